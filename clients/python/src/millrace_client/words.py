"""Questions in the words of HTTP: a route and its parameters, made of Python's values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, TypedDict
from urllib.parse import quote, urlencode

__all__ = ["FORMATS", "Instant", "LatestWords", "Length", "Question", "SeriesWords", "Texts", "labels_path"]

Instant: TypeAlias = datetime | str | int
"""An aware datetime, milliseconds since 1970, or a text that the service reads: RFC 3339, `now-6h`, `-7d/d`."""

Length: TypeAlias = timedelta | str
"""A timedelta of whole milliseconds, or a text that the service reads: `5m`, `1d`, `1mo`, `PT5M`."""

Texts: TypeAlias = str | Sequence[str]
"""One or several."""

Epoch: TypeAlias = Literal["s", "ms", "us"]

FORMATS = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
"""Formats of answers, and their media types."""

_LONGEST = 4_000
"""Characters of a query from which on a question is posted, as proxies take no longer targets."""

_UNITS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
"""Lengths that are fixed, as those of a timedelta are, in milliseconds; a day of the service follows the calendar."""

_BY_COMMAS = {"agg", "by"}


class LatestWords(TypedDict, total=False):
    """The parameters of `/latest`."""

    sensor_id: Texts | None
    match: Texts | None
    at: Instant | None
    tz: str | None
    epoch: Epoch | None


class SeriesWords(TypedDict, total=False):
    """The parameters of `/series`."""

    sensor_id: Texts | None
    match: Texts | None
    start: Instant | None
    end: Instant | None
    agg: Texts | None
    bucket: Length | None
    tz: str | None
    fill: str | float | None
    by: Texts | None
    points: int | None
    downsample: Literal["m4", "minmax", "lttb"] | None
    order: Literal["asc", "desc"] | None
    limit: int | None
    cursor: str | None
    layout: Literal["rows", "wide"] | None
    epoch: Epoch | None


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the query service.

    Attributes:
        path: of the route.
        parameters: names and values, as a query has them; a name may stand several times.
        postable: whether the route takes the parameters as the body of a POST, too.
    """

    path: str
    parameters: tuple[tuple[str, str], ...]
    postable: bool = False

    @classmethod
    def of(cls, path: str, words: Mapping[str, Any], *, postable: bool = False) -> "Question":
        """Return a question of a route's words; those that are None are left out.

        Raises:
            TypeError, ValueError: a value has no form in HTTP, such as a datetime without a time zone.
        """
        found = [(name, text) for name, value in words.items() if value is not None for text in _texts(name, value)]
        return cls(path, tuple(found), postable)

    def asked(self, **more: str | None) -> "Question":
        """Return the same question with more parameters, or others in their place; None asks for nothing more."""
        kept = [(name, text) for name, text in self.parameters if name not in more]
        return Question(
            self.path, (*kept, *((name, text) for name, text in more.items() if text is not None)), self.postable
        )

    def request(self) -> tuple[str, str, dict[str, Any] | None]:
        """Return method, target and JSON body: a POST where the query is long and the route takes one."""
        query = urlencode(self.parameters, quote_via=quote)
        if not self.postable or len(query) <= _LONGEST:
            return "GET", f"{self.path}?{query}" if query else self.path, None
        body: dict[str, Any] = {}
        for name, text in self.parameters:
            if name in {"sensor_id", "match"}:
                body.setdefault(name, []).append(text)
            else:
                body[name] = text
        return "POST", self.path, body


def labels_path(name: str | None) -> str:
    """Return the route of all labels' names, or of one label's values."""
    return "/labels" if name is None else f"/labels/{quote(name)}/values"


def _texts(name: str, value: Any) -> Iterable[str]:
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        texts = [_text(name, each) for each in value]
        return [",".join(texts)] if name in _BY_COMMAS else texts
    return [_text(name, value)]


def _text(name: str, value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case datetime():
            if value.utcoffset() is None:
                raise ValueError(f"{name}: {value!r} has no time zone, so it is no instant; say tzinfo")
            return value.isoformat()
        case timedelta():
            whole, rest = divmod(value, timedelta(milliseconds=1))
            if rest or whole <= 0:
                raise ValueError(f"{name}: {value!r} is no positive number of whole milliseconds")
            unit, width = next((unit, width) for unit, width in _UNITS.items() if whole % width == 0)
            return f"{whole // width}{unit}"
        case _:
            raise TypeError(f"{name}: {type(value).__name__} is no value of a question")
