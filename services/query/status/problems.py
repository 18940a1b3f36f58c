"""A part of the status that cannot be had."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["LONGEST", "Part", "lacks", "problem"]

LONGEST = 2.0
"""Seconds that one statement, or all questions to the stream's server, may take."""

Part = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What a part tells; one that cannot be had is a `problem`."""


def problem(why: str) -> dict[str, str]:
    """Return a part that cannot be had, and in words why."""
    return {"problem": why}


def lacks(part: object) -> bool:
    """Tell whether a part is a problem."""
    return isinstance(part, Mapping) and "problem" in part
