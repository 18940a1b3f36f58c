"""A question to the query service: its answer, unread, or one line for each fault that the service names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import typer

from services.platform.settings import Settings, masked

from ..process import CANNOT, address, fail

__all__ = ["FAILED", "asked", "broken"]

FAILED = 1
"""Exit code where a question was right and its answer did not come, or not whole."""

_WRONG = {400, 406, 414, 422}
"""Statuses that blame the question."""

_SILENCE = 600.0
"""Seconds without a byte after which an answer is given up."""


@contextmanager
def asked(settings: Settings, url: str | None, path: str, words: Mapping[str, Any]) -> Iterator[httpx.Response]:
    """Yield the answer to a question; its body is read inside the block.

    Args:
        settings: of this machine, with the API key.
        url: where the query service is; on this machine where it is None.
        path: of the route.
        words: the route's parameters; those that are None are left out, and lists are repeated.

    Raises:
        typer.Exit: 2 where the service refuses the question, 1 where the answer does not come, or breaks off.
    """
    key = settings.client.key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    base = address(url or f"http://127.0.0.1:{settings.query.port}").geturl()
    parameters = {name: value for name, value in words.items() if value is not None}
    timeout = httpx.Timeout(10.0, read=_SILENCE)
    with httpx.Client(base_url=base, headers=headers, timeout=timeout) as client:
        try:
            with client.stream("GET", path, params=parameters) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refused(answer)
                yield answer
        except BrokenPipeError:
            # Who read the output has seen enough; click ends quietly.
            raise
        except OSError as error:
            raise broken(f"the answer cannot be written: {error.strerror or error}") from None
        except httpx.RequestError as error:
            raise broken(f"the query service at {masked(base)}: {str(error) or type(error).__name__}") from None


def broken(message: object) -> typer.Exit:
    """Write one line to standard error and return the exit of a question whose answer failed."""
    return fail(message, FAILED)


def _refused(answer: httpx.Response) -> typer.Exit:
    """Tell why the service does not answer: by option where it names parameters."""
    code = CANNOT if answer.status_code in _WRONG else FAILED
    try:
        problem = answer.json()
        faults = [
            f"--{each['parameter'].replace('_', '-')}: {each['message']}" for each in problem.get("parameters", [])
        ]
        lines = faults or [f"{problem['code']}: {problem['detail']}"]
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = [f"the query service answers {answer.status_code}"]
    *before, last = lines
    for line in before:
        fail(line, code)
    return fail(last, code)
