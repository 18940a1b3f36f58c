"""Two releases in two namespaces: they share the definitions of the custom resources and nothing else."""

from contextlib import ExitStack

import yaml

from services.platform.http.auth import new_key
from tests.support.cluster import K8S, Namespace, kubectl
from tests.support.release import Release, released

DEFINITIONS = [f"crd/{path.stem}.millrace.dev" for path in (K8S / "crds").glob("*.yaml")]
CALLERS = {"auth": {"existingSecret": "callers", "testSecret": "helm-test-key"}}
RESOURCES = [("schema", "sensors"), ("hypertable", "sensor-data"), ("continuousaggregate", "measurement-hourly")]


def as_if_installed_by_helm(namespace: str) -> None:
    """Make the release that is about to come the one that installed the definitions."""
    marks = [f"meta.helm.sh/release-namespace={namespace}", "meta.helm.sh/release-name=millrace"]
    for verb, what in (("annotate", marks), ("label", ["app.kubernetes.io/managed-by=Helm"])):
        done = kubectl(verb, "--overwrite", *DEFINITIONS, *what)
        assert done.returncode == 0, done.stderr


def with_callers(namespace: str) -> None:
    """Make the Secrets of a release that asks for keys."""
    text, key = new_key()
    caller = {
        "name": "helm-test",
        "scopes": ["ingest", "query"],
        "keys": [key.model_dump(mode="json", exclude_none=True)],
    }
    secrets = {"callers": {"keys.yaml": yaml.safe_dump({"callers": [caller]})}, "helm-test-key": {"key": text}}
    Namespace(namespace).make(
        *(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
            for name, data in secrets.items()
        )
    )


def passes(release: Release) -> bool:
    return "Phase:          Succeeded" in release.helm("test", "millrace", "--timeout", "2m")


def defines(release: Release) -> bool:
    return "kind: CustomResourceDefinition" in release.helm("get", "manifest", "millrace")


def may_look(release: Release, namespace: str) -> bool:
    """Tell whether a release's operator may see the custom resources of a namespace."""
    account = f"--as=system:serviceaccount:{release.namespace.name}:millrace-operator"
    return kubectl("auth", "can-i", "list", "hypertables.millrace.dev", account, "-n", namespace).returncode == 0


async def test_two_releases_do_not_see_each_other_and_one_outlives_the_other() -> None:
    with ExitStack() as later:
        with released({}, as_if_installed_by_helm) as first:
            second = later.enter_context(released(CALLERS, with_callers))
            assert (defines(first), defines(second)) == (True, False)
            assert passes(first)
            assert passes(second)
            for one, other in ((first, second), (second, first)):
                assert may_look(one, one.namespace.name)
                assert not may_look(one, other.namespace.name)
            first.namespace.example("measurement-daily")
            await first.namespace.ready("continuousaggregate", "measurement-daily")
            assert second.psql("select to_regclass('measurement_daily') is null") == "t"
            rows = second.psql("select count(*) from sensor_data")
        assert kubectl("get", *DEFINITIONS).returncode == 0
        assert second.psql("select count(*) from sensor_data") == rows
        second.install({**CALLERS, "podAnnotations": {"round": "two"}})
        for kind, name in RESOURCES:
            await second.namespace.ready(kind, name)
        assert passes(second)
