"""Fixtures of the tests on a real cluster: the definitions once, and for each test a namespace of its own."""

import json
import uuid
from collections.abc import Callable, Iterator

import pytest

from services.platform.settings import RedisSettings, Settings

from ..support import Service
from ..support.cluster import K8S, Namespace, kubectl, operator_settings


@pytest.fixture(scope="session", autouse=True)
def definitions() -> None:
    """The custom resources, established."""
    applied = kubectl("apply", "-f", str(K8S / "crds"))
    assert applied.returncode == 0, applied.stderr
    for path in (K8S / "crds").glob("*.yaml"):
        name = path.stem + ".millrace.dev"
        waited = kubectl("wait", "--for=condition=established", "--timeout=30s", f"crd/{name}")
        assert waited.returncode == 0, waited.stderr
        structural = kubectl("get", "crd", name, "-o", "json")
        conditions = json.loads(structural.stdout)["status"]["conditions"]
        assert not [c for c in conditions if c["type"] == "NonStructuralSchema" and c["status"] == "True"]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A namespace; that its deletion ends is part of each test."""
    name = f"millrace-{uuid.uuid4().hex[:8]}"
    assert kubectl("create", "namespace", name).returncode == 0
    yield Namespace(name)
    deleted = kubectl("delete", "namespace", name, "--wait=true", "--timeout=90s")
    assert deleted.returncode == 0, deleted.stderr


@pytest.fixture
def operator(
    redis_settings: RedisSettings, namespace: Namespace, service: Callable[[str, Settings], Service]
) -> Callable[..., Service]:
    """Make operators of the namespace, as processes; what they know of a database stands in its Secret alone."""

    def make(**changed: object) -> Service:
        return service("operator", operator_settings(redis_settings, namespace.name, **changed))

    return make
