"""References of routes: an OpenAPI document as a page of Markdown."""

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["cell", "kind", "routes"]

Schema = dict[str, Any]

_REF = "#/components/schemas/"
_PROBLEM = "application/problem+json"


def routes(title: str, document: Schema) -> str:
    """Return the page of a service, whose OpenAPI document this is."""
    lines = [f"# {title}", "", "Written by `make docs` from the service's OpenAPI document; do not edit.", ""]
    lines += [document["info"]["description"], "What a problem's `code` means stands in [HTTP API](../api.md#errors)."]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += ["", f"## `{method.upper()} {path}`", "", *_operation(operation)]
    schemas = document.get("components", {}).get("schemas", {})
    if schemas:
        lines += ["", "## Objects"]
    for name, schema in sorted(schemas.items(), key=lambda item: _shown(item[0])):
        lines += ["", f"### {_shown(name)}", "", *_object(schema)]
    return "\n".join(lines) + "\n"


def _operation(operation: Schema) -> Iterator[str]:
    yield operation.get("description", f"{operation['summary']}.")
    if parameters := operation.get("parameters"):
        yield from ("", "| parameter | in | type | default | meaning |", "|---|---|---|---|---|")
        for item in parameters:
            schema = item["schema"]
            needed = "needed" if item.get("required") else _default(schema)
            meaning = item.get("description", schema.get("description", ""))
            yield f"| `{item['name']}` | {item['in']} | {kind(schema)} | {needed} | {cell(meaning)} |"
    if body := operation.get("requestBody"):
        for media, content in body["content"].items():
            yield from ("", f"Body `{media}`: {_named(content.get('schema', {}))}")
            yield from _fields(content.get("schema", {}))
            yield from _example(content)
    yield from ("", "| status | answer |", "|---|---|")
    for status, answer in operation["responses"].items():
        yield f"| {status} | {_answer(answer)} |"
    for answer in operation["responses"].values():
        for media, content in answer.get("content", {}).items():
            if media != _PROBLEM:
                yield from _example(content)


def _answer(answer: Schema) -> str:
    """Return what stands in the table of answers: codes of problems, else the media types with what they hold."""
    contents = answer.get("content", {})
    if _PROBLEM in contents:
        return ", ".join(f"`{code}`" for code in contents[_PROBLEM].get("examples", {})) or cell(answer["description"])
    said = answer["description"]
    first = "" if said == "Successful Response" else f"{cell(said)}. "
    held = [f"`{media}`: {kind(content.get('schema', {}))}" for media, content in contents.items()]
    return first + "; ".join(held) if held or first else "no body"


def _example(content: Schema) -> Iterator[str]:
    examples = [content["example"]] if "example" in content else []
    examples += [example["value"] for example in content.get("examples", {}).values()]
    for example in examples:
        if not isinstance(example, str):
            yield from ("", "```json", json.dumps(example, ensure_ascii=False), "```")


def _object(schema: Schema) -> Iterator[str]:
    said, _, attributes = schema.get("description", "").partition("\n\nAttributes:\n")
    known = dict(re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", attributes, re.MULTILINE))
    yield said or f"{kind(schema)}."
    if "enum" in schema or schema.get("type") == "array":
        yield from ("", f"Type: {kind(schema)}.")
    yield from _fields(schema, known)


def _fields(schema: Schema, known: dict[str, str] | None = None) -> Iterator[str]:
    """Yield the table of an object's fields; `known` has meanings that its schema does not tell."""
    fields = schema.get("properties")
    if not fields:
        return
    yield from ("", "| field | type | default | meaning |", "|---|---|---|---|")
    for name, field in fields.items():
        needed = "needed" if name in schema.get("required", ()) else _default(field)
        meaning = field.get("description") or (known or {}).get(name, "")
        yield f"| `{name}` | {kind(field)} | {needed} | {cell(meaning)} |"


def _named(schema: Schema) -> str:
    """Return the type of a body; an object whose fields follow is described by its own words."""
    return f"{schema.get('description') or kind(schema)}" if schema.get("properties") else f"{kind(schema)}."


def kind(schema: Schema) -> str:
    """Return a schema's type with its bounds, in words."""
    if "$ref" in schema:
        name = _shown(schema["$ref"].removeprefix(_REF))
        return f"[{name}](#{re.sub(r'[^a-z0-9_]', '', name.lower())})"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    several = schema.get("anyOf", schema.get("oneOf"))
    if several:
        return " or ".join(dict.fromkeys(kind(one) for one in several))
    if "allOf" in schema:
        return kind(schema["allOf"][0])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    form = schema.get("type", "anything")
    if form == "array":
        return f"list of {kind(schema.get('items', {}))}{_span(schema, 'minItems', 'maxItems', ' items')}"
    if form == "string":
        return str(schema.get("format", "string")) + _span(schema, "minLength", "maxLength", " characters")
    return str(form) + _span(schema, "minimum", "maximum", "")


def _span(schema: Schema, least: str, most: str, unit: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None and high is None:
        return ""
    if high is None:
        return f", {low:g}{unit} or more"
    return f", {low:g} to {high:g}{unit}" if low is not None else f", {high:g}{unit} or less"


def _default(schema: Schema) -> str:
    default = schema.get("default")
    return "" if default is None or default in ("", [], {}) else f"`{json.dumps(default)}`"


def _shown(name: str) -> str:
    """Return a schema's name; of those that two modules have, with the module."""
    return ".".join(name.split("__")[-2:])


def cell(text: str) -> str:
    """Return a text as it may stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")
