"""How the versions of InfluxDB's API differ: their path, their parameters, and how a refusal looks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...readings import Fault

__all__ = ["DIALECTS", "Dialect"]

_CODES = {401: "unauthorized", 403: "forbidden", 404: "not found", 413: "request too large", 503: "unavailable"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """One version of the API.

    Attributes:
        version: of InfluxDB.
        path: where lines are written to.
        labels: parameters that say which database is meant; each series gets them as labels.
        precision: the unit of timestamps where no parameter says one.
        refusal: the body of a refusal, by its status, message and faults.
    """

    version: int
    path: str
    labels: Sequence[str]
    precision: str
    refusal: Callable[[int, str, Sequence[Fault]], Mapping[str, Any]]


def _error(_: int, message: str, __: Sequence[Fault]) -> Mapping[str, Any]:
    return {"error": message}


def _code_and_message(status: int, message: str, _: Sequence[Fault]) -> Mapping[str, Any]:
    return {"code": _CODES.get(status, "invalid" if status < 500 else "internal error"), "message": message}


def _error_and_lines(_: int, message: str, faults: Sequence[Fault]) -> Mapping[str, Any]:
    data = [{"line_number": fault.index + 1, "error_message": fault.message} for fault in faults]
    return {"error": message, "data": data or None}


DIALECTS = (
    Dialect(1, "/write", ("db", "rp"), "ns", _error),
    Dialect(2, "/api/v2/write", ("bucket",), "ns", _code_and_message),
    Dialect(3, "/api/v3/write_lp", ("db",), "auto", _error_and_lines),
)
