"""`dedup`: what is stored once though it comes again, as a request asks for it, else its caller, else its door."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.platform.http.auth import Caller
from services.platform.http.parameters import parameters, wrong

__all__ = ["NATURAL", "asked_in", "dedup", "described"]

NATURAL = "natural"
"""Of a series and instant the first reading is stored, whatever its value and whoever sent it."""


def dedup(values: Mapping[str, str], caller: Caller, known: Sequence[str]) -> str:
    """Return what the parameters `values` ask for, else the caller's setting, else the first of what a door knows.

    Raises:
        Problem: `invalid_parameter`: they ask for what is not `known`.
    """
    found = values.get("dedup", caller.dedup or known[0])
    if found not in known:
        raise wrong(dedup=f"must be {' or '.join(known)}")
    return found


def asked_in(query: bytes, caller: Caller, known: Sequence[str]) -> str:
    """Return the same of a query string whose other parameters a door passes over.

    Raises:
        Problem: `invalid_parameter`.
    """
    return dedup(dict(parameters(query)), caller, known)


def described(known: Sequence[str]) -> dict[str, Any]:
    """Return the parameter as OpenAPI describes it."""
    return {
        "name": "dedup",
        "in": "query",
        "required": False,
        "description": "What is stored once though it is sent again: `batch`, slices of a request; `reading`, each "
        "reading; `natural`, the first reading of a series and instant. The caller's setting by default, else "
        f"`{known[0]}`.",
        "schema": {"type": "string", "enum": list(known)},
    }
