"""`dedup`: what is stored once though it comes again, as a request asks for it, else its caller, else its door."""

from collections.abc import Mapping, Sequence

from services.platform.http.auth import Caller
from services.platform.http.parameters import parameters, wrong

__all__ = ["NATURAL", "asked_in", "dedup"]

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
