"""The only way in which names and values become SQL text."""

from ..specs.intervals import Interval

__all__ = ["identifier", "interval", "literal", "relation"]

SCHEMA = "public"


def identifier(name: str) -> str:
    """Quote a name.

    Raises:
        ValueError: it is empty or has a zero byte, which PostgreSQL has no way to write.
    """
    if not name or "\0" in name:
        raise ValueError(f"{name!r} cannot be a name")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a value, whatever `standard_conforming_strings` says.

    Raises:
        ValueError: it has a zero byte.
    """
    if "\0" in text:
        raise ValueError("a value has no zero byte")
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return f" E{quoted}" if "\\" in text else quoted


def interval(value: Interval) -> str:
    """Return the interval as a literal."""
    return f"interval {literal(str(value))}"


def relation(name: str) -> str:
    """Return the quoted name of a table or view in the schema `public`."""
    return f"{identifier(SCHEMA)}.{identifier(name)}"
