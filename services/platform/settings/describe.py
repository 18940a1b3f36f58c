"""The settings tree, described from itself: for `millrace config` and for the documentation."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

from .tree import Settings, variables

__all__ = ["Described", "describe", "markdown", "masked"]

_PASSWORDS = (
    re.compile(r"://[^:]*:(.*)@", re.DOTALL),
    re.compile(r"[?&][^=&]*pass[^=&]*=([^&]*)", re.IGNORECASE),
)
_HOST_MADE = {"worker.name": "host name and process id"}


@dataclass(frozen=True, slots=True)
class Described:
    """One setting: its variable, section, default, value in force, unit and meaning. Secrets are masked."""

    variable: str
    section: str
    default: str
    value: str
    unit: str
    meaning: str


def describe(settings: Settings) -> Iterator[Described]:
    """Yield every setting in the tree's order."""
    for variable, section, name in variables():
        holder: BaseModel = getattr(settings, section) if section else settings
        field = type(holder).model_fields[name]
        extra: Any = field.json_schema_extra or {}
        yield Described(
            variable=variable,
            section=section,
            default=_HOST_MADE.get(f"{section}.{name}") or _shown(field.default),
            value=_shown(getattr(holder, name)),
            unit=extra.get("unit", ""),
            meaning=field.description or "",
        )


def markdown() -> str:
    """Return docs/settings.md."""
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    lines = [
        "# Settings",
        "",
        "Written by `make docs` from the settings tree; do not edit. Each is an environment variable;",
        "`millrace config` shows the values in force. A name with the prefix `MILLRACE_` that is not listed",
        "here is refused at start-up.",
    ]
    current = None
    for item in describe(Settings.model_construct()):
        if item.section != current:
            current = item.section
            title = sections[current].__doc__ if current else "For all."
            lines += ["", f"## {current or 'general'}", "", str(title), ""]
            lines += ["| variable | default | unit | meaning |", "|---|---|---|---|"]
        lines.append(f"| `{item.variable}` | {_code(item.default)} | {item.unit} | {item.meaning} |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return masked(text) if isinstance(value, SecretStr) or "://" in text else text


def masked(url: str) -> str:
    """Hide the password wherever a URL may carry one, unescaped signs in it too; what is no URL, whole."""
    if "://" not in url:
        return "***"
    shown, end = "", 0
    for start, stop in sorted(match.span(1) for form in _PASSWORDS for match in form.finditer(url)):
        if start >= end:
            shown += f"{url[end:start]}***"
        # A sign of one form may stand in a password of the other: what either hides is hidden.
        end = max(end, stop)
    return shown + url[end:]
