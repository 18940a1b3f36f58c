"""Laws of all pods and of what looks after them."""

import re

from tests.support.chart import Object, Pod, pods

SERVERS = {"redis", "timescaledb", "timescaledb-replica"}
ONCE = {"secrets", "test", "base-backup", "restore-drill"}
ARCHIVE = "backup"
"""Runs on, but for nobody: it ends where it cannot go on, and its readiness says whether it is behind."""
WITH_TOKEN = {"operator", "secrets"}


def selected(selector: dict[str, str], pod: Pod) -> bool:
    return all(pod.metadata["labels"].get(name) == value for name, value in selector.items())


def test_pods_are_restricted(objects: list[Object]) -> None:
    for pod in pods(objects):
        security = pod.spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
        assert {kind for volume in pod.spec["volumes"] for kind in volume if kind != "name"} <= {
            "emptyDir", "secret", "configMap", "persistentVolumeClaim", "ephemeral"
        }  # fmt: skip
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_only_the_operator_and_the_maker_of_secrets_have_a_token(objects: list[Object]) -> None:
    for pod in pods(objects):
        assert pod.spec["automountServiceAccountToken"] is (pod.component in WITH_TOKEN), pod.name
        assert ("serviceAccountName" in pod.spec) is (pod.component in WITH_TOKEN), pod.name


def test_no_service_becomes_a_variable_that_looks_like_a_setting(objects: list[Object]) -> None:
    assert all(pod.spec["enableServiceLinks"] is False for pod in pods(objects))


def test_containers_say_what_they_need_and_are_bounded(objects: list[Object]) -> None:
    for pod in pods(objects):
        for container in pod.containers:
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), pod.name
            assert "memory" in resources["limits"], pod.name
            assert container["imagePullPolicy"] == "IfNotPresent"
            assert re.fullmatch(r"[^:]+:[^:]+", container["image"]), "an image without a tag"
            assert not container["image"].endswith(":latest")


def test_what_runs_on_has_three_probes_and_no_liveness_asks_another_server(objects: list[Object]) -> None:
    for pod in pods(objects):
        if pod.component in ONCE:
            continue
        for container in pod.spec["containers"]:
            if pod.component == ARCHIVE:
                assert "readinessProbe" in container
                continue
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys(), pod.name
            if pod.component not in SERVERS:
                assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
                assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
                ports = {port["name"] for port in container["ports"]}
                assert container["livenessProbe"]["httpGet"]["port"] in ports


def test_a_workload_is_run_by_its_own_name(objects: list[Object]) -> None:
    for pod in pods(objects):
        if pod.component in ONCE | SERVERS | {"schema", ARCHIVE}:
            continue
        (container,) = pod.spec["containers"]
        line = " ".join(["millrace", *container["args"]] if "args" in container else container["command"])
        assert f"millrace run {pod.component}" in line, pod.name


def test_objects_carry_the_common_labels_and_the_namespace(objects: list[Object]) -> None:
    for one in objects:
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "millrace", one["metadata"]["name"]
        assert {"app.kubernetes.io/name", "app.kubernetes.io/component", "helm.sh/chart"} <= labels.keys()
        if one["kind"] != "CustomResourceDefinition":
            assert one["metadata"]["namespace"] == "somewhere"


def test_selectors_find_their_own_pods_alone(objects: list[Object]) -> None:
    every = list(pods(objects))
    for one in objects:
        if one["kind"] in {"Deployment", "StatefulSet", "PodDisruptionBudget"}:
            selector = one["spec"]["selector"]["matchLabels"]
        elif one["kind"] == "Service":
            selector = one["spec"]["selector"]
        else:
            continue
        found = {pod.component for pod in every if selected(selector, pod)}
        assert found == {one["metadata"]["labels"]["app.kubernetes.io/component"]}
        assert "app.kubernetes.io/version" not in selector, "a selector must not change with the version"


def test_ports_of_services_are_those_of_their_pods(objects: list[Object]) -> None:
    by_component = {pod.component: pod for pod in pods(objects)}
    for service in (one for one in objects if one["kind"] == "Service"):
        pod = by_component[service["spec"]["selector"]["app.kubernetes.io/component"]]
        ports = [port for container in pod.spec["containers"] for port in container["ports"]]
        for port in service["spec"]["ports"]:
            assert (port["targetPort"], port["port"]) in [(own["name"], own["containerPort"]) for own in ports]


def test_pods_spread_and_leave_one_by_one(objects: list[Object]) -> None:
    budgets = {
        one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]: one["spec"]["maxUnavailable"]
        for one in objects
        if one["kind"] == "PodDisruptionBudget"
    }
    several = {"ingest", "query", "worker"} | ({pod.component for pod in pods(objects)} & {"timescaledb-replica"})
    several |= {
        one["metadata"]["labels"]["app.kubernetes.io/component"]
        for one in objects
        if one["kind"] == "StatefulSet" and one["spec"]["replicas"] > 1
    }
    assert budgets == dict.fromkeys(several, 1)
    for pod in pods(objects):
        for constraint in pod.spec["topologySpreadConstraints"]:
            assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
            assert selected(constraint["labelSelector"]["matchLabels"], pod)


def test_a_rollout_takes_no_pod_away_before_its_successor_is_ready(objects: list[Object]) -> None:
    for one in objects:
        component = one["metadata"]["labels"]["app.kubernetes.io/component"]
        if one["kind"] == "Deployment" and component not in {"operator", "mqtt", ARCHIVE}:
            assert one["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_volumes_and_mounts_belong_together(objects: list[Object]) -> None:
    for pod in pods(objects):
        names = {volume["name"] for volume in pod.spec["volumes"]}
        if pod.component in SERVERS:
            names.add("data")
        mounted = [mount for container in pod.containers for mount in container["volumeMounts"]]
        assert {mount["name"] for mount in mounted} == names, pod.name


def test_the_database_folder_lies_below_its_volume(objects: list[Object]) -> None:
    for pod in pods(objects):
        if pod.component.startswith("timescaledb"):
            container = pod.spec["containers"][0]
            folder = next(one["value"] for one in container["env"] if one["name"] == "PGDATA")
            volume = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "data")
            assert folder.startswith(f"{volume}/")


def test_a_number_of_pods_is_given_only_where_nothing_else_sets_it(objects: list[Object]) -> None:
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in objects if "scaleTargetRef" in one.get("spec", {})}
    configured = "".join(one["data"].get("resources.yaml", "") for one in objects if one["kind"] == "ConfigMap")
    if "kind: BacklogAutoscaler" in configured:
        scaled.add("millrace-worker")
    for one in objects:
        if one["kind"] == "Deployment":
            assert ("replicas" in one["spec"]) is (one["metadata"]["name"] not in scaled)
