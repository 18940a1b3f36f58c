"""The definitions that the API server has and what the operator reads are of the same fields."""

from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from services.operator.specs.resources import ContinuousAggregateSpec, HypertableSpec, SchemaSpec
from services.operator.specs.scaling import BacklogAutoscalerSpec
from tests.support.service import ROOT

SPECS: dict[str, type[BaseModel]] = {
    "schemas": SchemaSpec,
    "hypertables": HypertableSpec,
    "continuousaggregates": ContinuousAggregateSpec,
    "backlogautoscalers": BacklogAutoscalerSpec,
}


def part_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, one or several of them; None where it is a text or a number."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {Union, UnionType, tuple}:
        return next(filter(None, map(part_of, get_args(annotation))), None)
    return None


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields that the operator reads, by the names that people write."""
    parts = {field.alias or name: part_of(field.annotation) for name, field in model.model_fields.items()}
    return {name: part and fields_of(part) for name, part in parts.items()}


def defined(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return the fields that the API server keeps; what it does not know it drops."""
    inner = schema.get("items", schema)
    return {name: defined(part) for name, part in inner["properties"].items()} if "properties" in inner else None


def test_there_is_a_definition_for_each_kind() -> None:
    assert {path.stem for path in (ROOT / "k8s/crds").glob("*.yaml")} == SPECS.keys()


@pytest.mark.parametrize("name", SPECS)
def test_a_definition_has_the_fields_that_the_operator_reads(name: str) -> None:
    definition = yaml.safe_load((ROOT / "k8s/crds" / f"{name}.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert defined(schema["properties"]["spec"]) == fields_of(SPECS[name])
