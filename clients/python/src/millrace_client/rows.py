"""An answer in JSON, read row by row while its bytes come.

`{"data": [row, ...], "meta": {...}, "next": "..."}`, rows first, which are objects or texts: whole rows are
taken off the front, and what stands behind them is read when all is there. An answer that ends before its last brace is
broken, whatever the connection says.
"""

import codecs
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from .errors import BrokenAnswerError

__all__ = ["RowReader", "typed"]

_HEAD = re.compile(r'\s*\{\s*"data"\s*:\s*\[\s*')
_BETWEEN = re.compile(r"\s*,\s*")
_TAIL = re.compile(r"\s*\]\s*")
_LONGEST_HEAD = 100


class RowReader:
    """Takes an answer's bytes and gives its rows.

    Attributes:
        meta: what the answer tells of itself; empty until `finish`.
        next: what the next page is asked by; None where nothing follows.
    """

    def __init__(self) -> None:
        self.meta: dict[str, Any] = {}
        self.next: str | None = None
        self._decode = json.JSONDecoder().raw_decode
        self._text = codecs.getincrementaldecoder("utf-8")()
        self._left = ""
        self._inside: bool | None = None
        """None before the rows, True among them, False behind them."""

    def feed(self, part: bytes) -> Iterator[Any]:
        """Yield the rows that are complete with this part.

        Raises:
            BrokenAnswerError: it is no such answer.
        """
        try:
            self._left += self._text.decode(part)
        except UnicodeDecodeError as error:
            raise _none(error) from None
        at = 0
        if self._inside is None:
            head = _HEAD.match(self._left)
            if head is None:
                if len(self._left) > _LONGEST_HEAD:
                    raise _none(f"it begins with {self._left[:_LONGEST_HEAD]!r}")
                return
            self._inside, at = True, head.end()
        while self._inside:
            if tail := _TAIL.match(self._left, at):
                self._inside, at = False, tail.end()
                break
            start = between.end() if (between := _BETWEEN.match(self._left, at)) else at
            try:
                row, end = self._decode(self._left, start)
            except json.JSONDecodeError:
                break
            at = end
            yield row
        self._left = self._left[at:]

    def finish(self) -> None:
        """Read what stands behind the rows.

        Raises:
            BrokenAnswerError: the answer is not whole.
        """
        if self._inside is not False:
            raise BrokenAnswerError("the answer breaks off among its rows; what was read is not all")
        rest = self._left.lstrip().removeprefix(",")
        try:
            behind = json.loads("{" + rest)
        except json.JSONDecodeError:
            raise BrokenAnswerError("the answer breaks off behind its rows") from None
        self.meta = behind.get("meta", {})
        self.next = behind.get("next")


def typed(row: Any, instants: tuple[str, ...]) -> Any:
    """Return a row whose members `instants` are aware datetimes, inside of objects too; integers stay integers."""
    if not isinstance(row, dict):
        return row
    found = dict(row)
    for name, value in row.items():
        if isinstance(value, dict):
            found[name] = typed(value, instants)
        elif name in instants and isinstance(value, str):
            found[name] = datetime.fromisoformat(value)
    return found


def _none(why: object) -> BrokenAnswerError:
    return BrokenAnswerError(f"this is no answer of the query service: {why}")
