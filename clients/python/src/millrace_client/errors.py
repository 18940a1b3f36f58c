"""What can go wrong, as one family: each error of this package is a `MillraceError`."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "AnswerError", "BrokenAnswerError", "MillraceError", "NoAnswerError", "NotAllowedError", "RefusedError",
    "SpoolError", "UnavailableError", "UnsentError", "WriterFullError", "problem",
]  # fmt: skip


class MillraceError(Exception):
    """Anything that this package raises, but for wrong arguments, which are `TypeError` and `ValueError`."""


class NoAnswerError(MillraceError):
    """The service did not answer: nothing listens there, the connection failed, or the time was over."""


class BrokenAnswerError(MillraceError):
    """An answer began and did not come whole; what was read of it is not all."""


class AnswerError(MillraceError):
    """The service answered with an error.

    Attributes:
        status: the HTTP status.
        code: the problem's code, which stays; empty where the answer is no problem of Millrace, such as a proxy's.
        detail: names the fault and its fix.
        parameters: the faults by parameter, `{"parameter", "message"}` each, where the service names them.
        retry_after: seconds that the service asks to wait; None where it names none.
    """

    def __init__(
        self, status: int, code: str, detail: str, parameters: list[dict[str, Any]], retry_after: float | None
    ) -> None:
        told = [f"{each.get('parameter')}: {each.get('message')}" for each in parameters]
        faults = "".join(f"; {each}" for each in told if each not in detail)
        super().__init__(f"{status} {code}: {detail}{faults}" if code else f"{status}: {detail}{faults}")
        self.status = status
        self.code = code
        self.detail = detail
        self.parameters = parameters
        self.retry_after = retry_after


class RefusedError(AnswerError):
    """The question is wrong, or larger than the service answers; the same one is refused again."""


class NotAllowedError(AnswerError):
    """The API key is lacking, wrong, or has not the scope."""


class UnavailableError(AnswerError):
    """The service cannot answer now, or lets others go first; the same question may be answered later."""


class WriterFullError(MillraceError):
    """The memory of the writer, and its spool where it has one, are full; the reading was not taken."""


class SpoolError(MillraceError):
    """The spool cannot be used: another process has it, or its folder cannot be read or written."""


class UnsentError(MillraceError):
    """Readings that the writer took are not acknowledged.

    Attributes:
        kept: how many of them lie in the spool, and are sent by the next writer on it.
        lost: how many are in memory alone, and go with this process.
        why: what held them up last.
    """

    def __init__(self, kept: int, lost: int, why: str) -> None:
        parts = [f"{kept} kept in the spool"] * (kept > 0) + [f"{lost} in memory alone"] * (lost > 0)
        told = "1 reading is" if kept + lost == 1 else f"{kept + lost} readings are"
        super().__init__(f"{told} not acknowledged ({', '.join(parts)}): {why}")
        self.kept = kept
        self.lost = lost
        self.why = why


def problem(status: int, headers: Mapping[str, str], body: bytes) -> AnswerError:
    """Return the error that an answer of such a status is."""
    after = headers.get("retry-after", "")
    retry_after = float(after) if after.isdecimal() else None
    code, detail, parameters = "", body[:200].decode(errors="replace").strip() or "no detail", []
    try:
        found = json.loads(body)
        code, detail = str(found["code"]), str(found["detail"])
        parameters = [dict(each) for each in found.get("parameters", ())]
    except (ValueError, KeyError, TypeError):
        if 300 <= status < 400:
            detail = f"it leads to {headers.get('location', 'elsewhere')}; give that as the URL"
    kind: type[AnswerError]
    if status in {401, 403}:
        kind = NotAllowedError
    elif status == 429 or status >= 500:
        kind = UnavailableError
    else:
        kind = RefusedError
    return kind(status, code, detail, parameters, retry_after)
