"""References of what Millrace tells of itself: its metrics, and the actions of its log lines."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from .openapi import cell

__all__ = ["log_actions", "metrics"]

_MAKERS = {"_meter.create_counter": "counter", "_histogram": "histogram", "_durations": "histogram", "Gauge": "gauge"}
_SERVICES = {
    "ingest": "ingest",
    "worker": "worker",
    "query": "query",
    "dead_letters": "ingest, query",
    "database": "repair, operator",
    "operator": "operator",
    "mqtt": "mqtt",
    "platform": "all",
}
"""Folders of the code, by the services that run it."""


def metrics(services: Path, alarms: Path) -> str:
    """Return the page of all metrics.

    Args:
        services: the folder of the code; its module `platform.runtime.metrics` makes each metric in an assignment.
        alarms: Prometheus' rules.
    """
    lines = [
        "# Metrics",
        "",
        "Written by `make docs` from services/platform/runtime/metrics.py; do not edit. Names are those of `/metrics`,",
        "where counters end in `_total`; histograms are in seconds. [Alert](../alert.md) brings them to a Prometheus.",
        "",
        "| metric | kind | from | meaning | alarms |",
        "|---|---|---|---|---|",
    ]
    home = services / "platform" / "runtime" / "metrics.py"
    module = ast.parse(home.read_text())
    users = _users(services, home, module)
    rules = [rule for group in yaml.safe_load(alarms.read_text())["groups"] for rule in group["rules"]]
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=variable)], value=ast.Call(func=maker, args=arguments)):
                kind = _MAKERS.get(ast.unparse(maker))
            case _:
                continue
        if kind:
            name, *_, meaning = (str(ast.literal_eval(argument)) for argument in arguments)
            shown = f"{name}_total" if kind == "counter" else name
            pattern = re.compile(rf"\b{shown}(_bucket|_sum|_count)?\b")
            looking = [rule["alert"] for rule in rules if pattern.search(rule["expr"])]
            links = ", ".join(f"[{alarm}](../runbooks.md#{alarm.lower()})" for alarm in looking)
            lines.append(f"| `{shown}` | {kind} | {users(variable)} | {cell(meaning)} | {links} |")
    return "\n".join(lines) + "\n"


def _users(services: Path, home: Path, module: ast.Module) -> Callable[[str], str]:
    """Return what tells which services show a metric, by its variable: those whose code names it."""
    named: dict[str, set[str]] = {}
    for file in services.rglob("*.py"):
        folder = file.relative_to(services).parts[0]
        if file != home and folder in _SERVICES:
            for variable in _named(ast.parse(file.read_text())):
                named.setdefault(variable, set()).add(folder)
    # A function of the module shows the metrics that it names.
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name in named:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name):
                    named.setdefault(inner.id, set()).update(named[node.name])

    def users(variable: str) -> str:
        found = [_SERVICES[folder] for folder in _SERVICES if folder in named[variable]]
        return "all" if "all" in found else ", ".join(found)

    return users


def _named(module: ast.Module) -> Iterator[str]:
    """Yield what a module takes from `metrics`, by `metrics.NAME` or by import."""
    for node in ast.walk(module):
        match node:
            case ast.Attribute(value=ast.Name(id="metrics"), attr=name):
                yield name
            case ast.ImportFrom(module=str(source), names=names) if source.rpartition(".")[2] == "metrics":
                yield from (name.name for name in names)


@dataclass(frozen=True, slots=True, order=True)
class _Line:
    """A line of the log: its action, what it says, its level and the part of the services that writes it."""

    action: str
    said: str
    level: str
    part: str


def log_actions(services: Path) -> str:
    """Return the page of all actions that log lines have."""
    lines = [
        "# Log actions",
        "",
        "Written by `make docs` from the code; do not edit. Each line of the log has an `action` to search by. Its",
        "`event` says what happened; … stands where event or level are made at run time.",
        "",
        "| action | level | event | from |",
        "|---|---|---|---|",
    ]
    found = {line for file in services.rglob("*.py") for line in _written(file, services)}
    lines += [f"| `{line.action}` | {line.level} | {cell(line.said)} | `{line.part}` |" for line in sorted(found)]
    return "\n".join(lines) + "\n"


def _written(file: Path, services: Path) -> Iterator[_Line]:
    """Yield the lines that a module logs, as far as its text tells them."""
    part = str(file.relative_to(services).with_suffix(""))
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg == "action" and isinstance(keyword.value, ast.Constant):
                level = node.func.attr if isinstance(node.func, ast.Attribute) else "…"
                yield _Line(str(keyword.value.value), _said(node), level, part)


def _said(call: ast.Call) -> str:
    """Return the event of a call, with … for what is made at run time."""
    match call.args:
        case [ast.Constant(value=str(text)), *_]:
            return text
        case [ast.JoinedStr(values=parts), *_]:
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
        case _:
            return "…"
