"""What a section of the settings tree is. Each field says its meaning, its unit and, where it helps, its reason."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["MIB", "ROOT_PATH", "Section", "setting"]

MIB = 1024 * 1024

ROOT_PATH = r"^(/[A-Za-z0-9._~-]+)*$"
"""What a path prefix looks like."""


def setting(default: Any, meaning: str, unit: str = "", **constraints: Any) -> Any:
    """Return a field with its meaning and unit, which the documentation is made from."""
    return Field(default, description=meaning, json_schema_extra={"unit": unit}, **constraints)


class Section(BaseModel):
    """A branch of the tree: frozen, and closed to unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
