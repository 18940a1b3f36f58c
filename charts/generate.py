"""What in the chart is made from something else: `make docs` writes it, `make check` compares (`--check`).

* values.yaml's block `config`, from the settings tree; README.md and values.schema.json, from values.yaml.
* the versions in Chart.yaml and elsewhere, from pyproject.toml; the definitions and the operator's rules, from k8s/;
  the alarms and dashboards, from monitoring/.

A value's sentence stands behind `# --`, as helm-docs has it. helm-docs and helm-schema do not replace this: they read
values.yaml alone, and a third of that is the settings tree, whose bounds and enumerations the settings' own model
gives; as comments they would be a second copy. What is left for them, a table and a walk over the tree, is the smaller
part. And they are programs that requirements.lock cannot pin: `make check` would depend on what a machine has.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from services.platform.settings import Settings, describe

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "millrace"
OWN_WAY = {
    "redis.url", "database.owner_url", "database.writer_url", "database.reader_url", "database.replica_url",
    "auth.keys_file", "mqtt.user", "mqtt.password", "mqtt.ca_file", "mqtt.cert_file", "mqtt.key_file",
    "mqtt.ingest_url", "worker.name", "repair.host", "repair.port", "operator.namespace", "operator.resources",
}  # fmt: skip
"""Settings that the chart gives by Secrets or sets itself, or that no pod of it reads."""
ELSEWHERE = {"client", "local"}
"""Sections that only commands and the one-machine stack read."""

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Value:
    """A documented key of values.yaml: its path, its sentence, and what `# @schema` adds to its kind."""

    path: tuple[str, ...]
    sentence: str
    schema: Schema


def config() -> Iterator[tuple[str, str, Any, str]]:
    """Yield section, name, default and meaning of each setting in `config`, in the tree's order."""
    tree = Settings.model_construct()
    for item in describe(tree):
        name = item.variable.removeprefix(f"MILLRACE_{item.section}_".upper()).lower()
        if item.section and item.section not in ELSEWHERE and f"{item.section}.{name}" not in OWN_WAY:
            default = getattr(getattr(tree, item.section), name)
            yield item.section, name, default, item.meaning + (f" In {item.unit}." if item.unit else "")


def config_block() -> str:
    lines, current = ["config:"], None
    for section, name, default, meaning in config():
        if section != current:
            current = section
            lines.append(f"  {section}:")
        lines += [f"    # -- {meaning}", f"    {name}: {json.dumps(default)}"]
    return "\n".join(lines) + "\n"


def config_schema() -> Schema:
    """Return the schema of `config`: the settings' own, each value possibly null, which leaves it to the service."""
    definitions = Settings.model_json_schema()["$defs"]
    sections: dict[str, dict[str, Schema]] = {}
    for section, name, default, _ in config():
        kind = Settings.model_fields[section].annotation
        assert isinstance(kind, type)
        found = definitions[kind.__name__]["properties"][name]
        known = {key: found[key] for key in ("type", "enum", "minimum", "maximum", "exclusiveMinimum") if key in found}
        if "type" in known:
            known["type"] = [known["type"], "null"]
        if "enum" in known:
            known["enum"] = [*known["enum"], None]
        sections.setdefault(section, {})[name] = {**known, "default": default}
    return closed({name: closed(properties) for name, properties in sections.items()})


def closed(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def documented(text: str) -> Iterator[Value]:
    """Yield the documented keys of values.yaml, in its order."""
    path: list[str] = []
    sentence: list[str] = []
    schema: Schema = {}
    for line in text.splitlines():
        indent = (len(line) - len(line.lstrip())) // 2
        if comment := re.match(r" *# ?(.*)", line):
            if comment[1].startswith("-- "):
                sentence = [comment[1][3:]]
            elif comment[1].startswith("@schema "):
                schema = yaml.safe_load(comment[1].removeprefix("@schema "))
            elif sentence:
                sentence.append(comment[1])
        elif key := re.match(r" *([A-Za-z_.]+):", line):
            path = [*path[:indent], key[1]]
            if sentence:
                yield Value(tuple(path), " ".join(sentence), schema)
            sentence, schema = [], {}
        else:
            sentence, schema = [], {}


def schema_of(value: Any, path: tuple[str, ...], known: dict[tuple[str, ...], Value]) -> Schema:
    """Return the schema of a value; whatever has a sentence ends there, the rest are closed objects.

    Raises:
        SystemExit: a value has no sentence.
    """
    if path == ("config",):
        return config_schema()
    own = known.get(path)
    if own is None:
        if not isinstance(value, dict) or not value:
            sys.exit(f"values.yaml: {'.'.join(path)} has no sentence (`# -- …`)")
        return closed({name: schema_of(child, (*path, name), known) for name, child in value.items()})
    if "$ref" in own.schema:
        return own.schema
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    free = {name: rule for name, rule in own.schema.items() if name != "properties"}
    return {"type": kinds[type(value)], "description": own.sentence, **free}


def values_schema(text: str) -> Schema:
    known = {value.path: value for value in documented(text)}
    tree = yaml.safe_load(text)
    properties = {name: schema_of(value, (name,), known) for name, value in tree.items()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **closed({**properties, "global": {"type": "object"}}),
    }


def readme(text: str) -> str:
    tree, group = yaml.safe_load(text), None
    lines = [
        "# The chart of Millrace",
        "",
        "Written by `make docs` from values.yaml; do not edit. [How to install](../../docs/kubernetes.md).",
        "Each key of `config` may be null, which leaves it to the service.",
    ]
    for value in documented(text):
        if value.path[0] != group:
            group = value.path[0]
            lines += ["", f"## {group}", "", "| value | default | meaning |", "|---|---|---|"]
        default = tree
        for name in value.path:
            default = default[name]
        shown = json.dumps(default, ensure_ascii=False)
        lines.append(f"| `{'.'.join(value.path)}` | `{shown}` | {value.sentence.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def generated() -> Iterator[tuple[Path, str]]:
    """Yield each made file with what it should hold."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    values = (CHART / "values.yaml").read_text()
    values = re.sub(r"(?s)(# begin config.*?\n).*(# end config)", lambda m: m[1] + config_block() + m[2], values)
    yield CHART / "values.yaml", values
    yield CHART / "values.schema.json", json.dumps(values_schema(values), indent=1, ensure_ascii=False) + "\n"
    yield CHART / "README.md", readme(values)
    chart = (CHART / "Chart.yaml").read_text()
    yield CHART / "Chart.yaml", re.sub(r'(?m)^((?:appV|v)ersion: "?)[^"\n]*', rf"\g<1>{version}", chart)
    compose = (ROOT / "compose.yaml").read_text()
    yield ROOT / "compose.yaml", re.sub(r"(MILLRACE_VERSION:-)[^}]*", rf"\g<1>{version}", compose)
    for path in (ROOT / "k8s" / "operator.yaml", ROOT / "tests" / "cluster" / "workloads.yaml"):
        yield path, re.sub(r"image: millrace:.*", f"image: millrace:{version}", path.read_text())
    for crd in sorted((ROOT / "k8s" / "crds").glob("*.yaml")):
        yield CHART / "files" / "crds" / crd.name, crd.read_text()
    yield CHART / "files" / "alarms.yaml", (ROOT / "monitoring" / "alarms.yaml").read_text()
    for dashboard in sorted((ROOT / "monitoring" / "dashboards").glob("*.json")):
        yield CHART / "files" / "dashboards" / dashboard.name, dashboard.read_text()
    role = re.search(r"(?ms)^kind: Role$.*?^rules:\n(.*?)^---", (ROOT / "k8s" / "operator.yaml").read_text())
    assert role
    yield CHART / "files" / "operator-rules.yaml", re.sub(r"(?m)^  ", "", role[1])


def settle(files: Iterable[tuple[Path, str]], *, check: bool) -> int:
    """Write each file that differs from what it should hold, or only say so; return the exit code."""
    code = 0
    for path, text in files:
        if path.exists() and path.read_text() == text:
            continue
        if check:
            sys.stderr.write(f"{path.relative_to(ROOT)}: run make docs\n")
            code = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return code


if __name__ == "__main__":
    sys.exit(settle(generated(), check="--check" in sys.argv[1:]))
