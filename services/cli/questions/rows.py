"""An answer in JSON, read row by row while it comes."""

from collections.abc import Iterator
from typing import Any

import httpx
import ijson
from ijson.common import ObjectBuilder

from .asking import broken

__all__ = ["Answer"]


class Answer:
    """The rows of an answer, and what it tells of itself, which is known when all rows are read.

    Attributes:
        meta: what stands behind the rows.
        next: what the next page is asked by; None where nothing follows.
    """

    def __init__(self, response: httpx.Response) -> None:
        """Take an answer that is not read yet."""
        self._response = response
        self.meta: dict[str, Any] = {}
        self.next: str | None = None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows in their order, once.

        Raises:
            typer.Exit: the answer is not whole, or has no rows.
        """
        try:
            yield from self._read()
        except ijson.JSONError:
            raise broken("the answer breaks off, or is none of the query service; what was shown is not all") from None

    def _read(self) -> Iterator[dict[str, Any]]:
        events = ijson.parse(ijson.from_iter(self._response.iter_bytes()), use_float=True)
        for prefix, event, value in events:
            if prefix == "data.item" and event == "start_map":
                yield _built(prefix, event, value, events)
            elif prefix == "meta" and event == "start_map":
                self.meta = _built(prefix, event, value, events)
            elif prefix == "next" and event == "string":
                self.next = value


def _built(prefix: str, event: str, value: Any, events: Iterator[tuple[str, str, Any]]) -> dict[str, Any]:
    """Return the object whose first event this is."""
    builder = ObjectBuilder()
    builder.event(event, value)
    for inner, event, value in events:  # noqa: PLR1704 -- the next of the same
        builder.event(event, value)
        if inner == prefix and event == "end_map":
            break
    found: dict[str, Any] = builder.value
    return found
