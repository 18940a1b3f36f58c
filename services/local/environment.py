"""Settings, handed to child processes as their environment."""

import os
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from services.platform.settings import Settings
from services.platform.settings.tree import PREFIX, variables

__all__ = ["environment"]


def environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with `settings`, and no other setting, in it."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    for variable, section, name in variables():
        holder: Any = getattr(settings, section) if section else settings
        value = getattr(holder, name)
        if value is not None and value != type(holder).model_fields[name].default:
            kept[variable] = _text(value)
    return kept


def _text(value: SecretStr | Path | str | float) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
