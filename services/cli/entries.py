"""Entries in clear as lines of text."""

from collections.abc import Iterator, Mapping
from typing import Any

from .process import printable

__all__ = ["lines"]


def lines(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield a clear entry as lines of text: itself first, then its batches and rows, indented."""
    details = {name: value for name, value in entry.items() if name not in {"id", "batches", "first_rows"}}
    yield f"{entry['id']}  {_pairs(details)}"
    for batch in entry.get("batches", []):
        yield f"  batch {_pairs(batch)}"
    for row in entry.get("first_rows", []):
        yield f"    {row['timestamp']}  {row['value']!r}  {printable(row['sensor_id'])}"


def _pairs(values: Mapping[str, Any]) -> str:
    return printable("  ".join(f"{name}={value}" for name, value in values.items() if value not in {None, "", False}))
