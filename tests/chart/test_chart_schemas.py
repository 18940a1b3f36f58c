"""What the chart renders is what Kubernetes and the project's own definitions take; its values are what it says."""

import functools
import json
import re
import subprocess
import sys
from typing import Any

import jsonschema
import kubernetes_validate
import kubernetes_validate.utils
import pytest
import yaml

from tests.support.chart import CHART, VARIANTS, Object, helm
from tests.support.service import ROOT

KUBERNETES = ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34"]
FOREIGN = {"ScaledObject", "HTTPRoute", "PodMonitor", "PrometheusRule"}
"""Kinds of add-ons, whose definitions are not at hand."""

# It reads the definitions of a whole version anew for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in map(yaml.safe_load, map(open, (ROOT / "k8s/crds").glob("*.yaml")))}


@pytest.mark.parametrize("version", KUBERNETES)
def test_each_object_is_one_of_each_kubernetes_version(version: str, objects: list[Object]) -> None:
    for one in objects:
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, version, strict=True)


def test_an_object_with_an_unknown_field_would_be_refused(most: list[Object]) -> None:
    service = next(one for one in most if one["kind"] == "Service")
    wrong = {**service, "spec": {**service["spec"], "slector": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.34", strict=True)


def closed(schema: Any) -> Any:
    """Return a definition's schema with what the API server does beside it: a field that is not there is refused."""
    if isinstance(schema, dict):
        inner = {name: closed(value) for name, value in schema.items()}
        return {**inner, "additionalProperties": False} if "properties" in schema else inner
    return [closed(value) for value in schema] if isinstance(schema, list) else schema


def resource_errors(resource: Object) -> list[str]:
    """Return what a definition has against a resource's spec."""
    schema = CRDS[resource["kind"]]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return [error.message for error in jsonschema.Draft7Validator(closed(schema)).iter_errors(resource["spec"])]


def test_the_default_resources_are_those_of_the_definitions(objects: list[Object]) -> None:
    configured = next(
        one for one in objects if one["kind"] == "ConfigMap" and one["metadata"]["name"].endswith("operator")
    )
    resources = list(yaml.safe_load_all(configured["data"]["resources.yaml"]))
    assert {resource["kind"] for resource in resources} >= {"Schema", "Hypertable", "ContinuousAggregate"}
    for resource in resources:
        assert resource_errors(resource) == []
        assert resource_errors({**resource, "spec": {**resource["spec"], "unknown": 1}}) != []


def test_the_definitions_are_rendered_whole_and_kept(most: list[Object]) -> None:
    rendered = {one["metadata"]["name"]: one for one in most if one["kind"] == "CustomResourceDefinition"}
    assert {name: one["spec"] for name, one in rendered.items()} == {
        crd["metadata"]["name"]: crd["spec"] for crd in CRDS.values()
    }
    for one in rendered.values():
        assert one["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@pytest.mark.parametrize("name", VARIANTS)
def test_each_case_fits_the_schema_of_the_values(name: str) -> None:
    jsonschema.validate(VARIANTS[name], json.loads((CHART / "values.schema.json").read_text()))


def test_the_schema_is_closed_at_each_level_and_knows_each_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    for path in (["imag"], ["image", "tga"], ["config", "ingest", "max_row"], ["worker", "scheduling", "taints"]):
        wrong: dict[str, Any] = {}
        inner = wrong
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = 1
        with pytest.raises(jsonschema.ValidationError, match=re.escape(path[-1])):
            jsonschema.validate(wrong, schema)


def test_generated_files_are_those_that_would_be_written() -> None:
    check = subprocess.run(
        [sys.executable, "-m", "charts.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize("name", [name for name in VARIANTS if (CHART / "examples" / f"{name}.yaml").exists()])
def test_the_strict_linter_has_nothing_against_an_example(name: str) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", str(CHART / "examples" / f"{name}.yaml"))
    assert done.returncode == 0, done.stdout
