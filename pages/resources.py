"""The reference of the custom resources, from their definitions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .openapi import cell, kind

__all__ = ["resources"]

Schema = dict[str, Any]


def resources(folder: Path) -> str:
    """Return the page of the definitions in a folder."""
    lines = [
        "# Custom resources",
        "",
        "Written by `make docs` from k8s/crds; do not edit. What becomes of them says [the operator](../operator.md).",
    ]
    for file in sorted(folder.glob("*.yaml")):
        definition = yaml.safe_load(file.read_text())["spec"]
        for version in definition["versions"]:
            lines += ["", f"## {definition['names']['kind']}", ""]
            lines += _resource(f"{definition['group']}/{version['name']}", version["schema"]["openAPIV3Schema"])
    return "\n".join(lines) + "\n"


def _resource(version: str, schema: Schema) -> Iterator[str]:
    yield f"{schema['description']} `apiVersion: {version}`."
    spec = schema["properties"]["spec"]
    yield from ("", "| field of `spec` | type | default | meaning |", "|---|---|---|---|")
    yield from _fields(spec, "")
    said = list(dict.fromkeys(_refusals(spec)))
    if said:
        yield from ("", "What is refused:", "", *(f"- {cell(message)}" for message in said))


def _fields(schema: Schema, before: str) -> Iterator[str]:
    """Yield a row for each field; those inside an object or a list's items follow it, by their whole path."""
    for name, field in schema.get("properties", {}).items():
        path = f"{before}{name}"
        default = "needed" if name in schema.get("required", ()) else ""
        if "default" in field:
            default = f"`{json.dumps(field['default'])}`"
        yield f"| `{path}` | {kind(field)} | {default} | {cell(field.get('description', ''))} |"
        yield from _fields(field, f"{path}.")
        yield from _fields(field.get("items", {}), f"{path}[].")


def _refusals(schema: Schema) -> Iterator[str]:
    """Yield the messages of all rules in a schema."""
    for rule in schema.get("x-kubernetes-validations", ()):
        yield rule["message"]
    for inner in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from _refusals(inner)
