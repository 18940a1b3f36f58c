"""A question to the query service, asked by the Python client: its answer, or one line for each fault that is named."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from millrace_client import Answer, AnswerError, BrokenAnswerError, Client, NoAnswerError, Question

from services.platform.settings import Settings

from ..process import CANNOT, address, fail

__all__ = ["FAILED", "asked"]

FAILED = 1
"""Exit code where a question was right and its answer did not come, or not whole."""

_WRONG = {400, 406, 414, 422}
"""Statuses that blame the question."""

_SILENCE = 600.0
"""Seconds without a byte after which an answer is given up."""


@contextmanager
def asked(settings: Settings, url: str | None, path: str, words: Mapping[str, Any]) -> Iterator[Answer]:
    """Yield the answer to a question, which is read inside the block; its instants are texts.

    Args:
        settings: of this machine, with the API key.
        url: where the query service is; on this machine where it is None.
        path: of the route.
        words: the route's parameters; those that are None are left out, and lists are repeated.

    Raises:
        typer.Exit: 2 where the service refuses the question, 1 where the answer does not come, or breaks off.
    """
    key = settings.client.key
    base = address(url or f"http://127.0.0.1:{settings.query.port}").geturl()
    with Client(base, key.get_secret_value() if key else None, timeout=_SILENCE, patience=0) as client:
        try:
            yield client.answer(Question.of(path, words))
        except BrokenPipeError:
            # Who read the output has seen enough; click ends quietly.
            raise
        except OSError as error:
            raise fail(f"the answer cannot be written: {error.strerror or error}", FAILED) from None
        except AnswerError as error:
            raise _refused(error) from None
        except (BrokenAnswerError, NoAnswerError) as error:
            raise fail(error, FAILED) from None


def _refused(error: AnswerError) -> typer.Exit:
    """Tell why the service does not answer: by option where it names parameters."""
    code = CANNOT if error.status in _WRONG else FAILED
    faults = [f"--{each['parameter'].replace('_', '-')}: {each['message']}" for each in error.parameters]
    *before, last = faults or [f"{error.code}: {error.detail}" if error.code else f"the query service answers {error}"]
    for line in before:
        fail(line, code)
    return fail(last, code)
