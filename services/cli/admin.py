"""A client of ingest's administrative port, for commands."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson

from services.platform.settings import Settings, masked

from .process import address, fail

__all__ = ["Admin", "administration"]

PATIENCE = 60.0
"""Seconds for which a full backlog or a server that is away is waited for."""

LONGEST_PAUSE = 5.0


class Admin:
    """Asks, waits where it is told to, and ends the command in one line where it is refused."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(self, method: str, path: str, body: bytes = b"", key: str = "", /, **parameters: object) -> Any:
        """Return the JSON of the answer, None where it has none; parameters that are None are left out.

        `key` is the Idempotency-Key, where there is one.

        Raises:
            typer.Exit: the request was refused, or was not served within a minute.
        """
        deadline = time.monotonic() + PATIENCE
        chosen = {name: str(value) for name, value in parameters.items() if value is not None}
        headers = {"Content-Type": "application/json"} if body else {}
        if key:
            headers["Idempotency-Key"] = key
        while True:
            try:
                answer = self._client.request(method, path, params=chosen, content=body, headers=headers)
            except httpx.TransportError as error:
                raise fail(f"the administrative port at {masked(str(self._client.base_url))}: {error}") from None
            if answer.is_success:
                return orjson.loads(answer.content) if answer.content else None
            if answer.status_code not in {429, 503} or time.monotonic() > deadline:
                raise fail(_words(answer))
            time.sleep(min(LONGEST_PAUSE, float(answer.headers.get("retry-after", "1"))))

    def pages(self, method: str, path: str, **parameters: object) -> Iterator[Any]:
        """Yield page after page; the first one settles where the last one ends."""
        after, through = None, parameters.pop("through", None)
        while True:
            page = self.ask(method, path, b"", **parameters, after=after, through=through)
            yield page
            after, through = page["next"], page["through"]
            if after is None:
                return


@contextmanager
def administration(settings: Settings, url: str | None) -> Iterator[Admin]:
    """Yield a client of the administrative port at `url`, on this machine where it is None."""
    key = settings.client.key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    here = f"http://127.0.0.1:{settings.ingest.admin_port}"
    with httpx.Client(base_url=address(url or here).geturl(), headers=headers, timeout=30.0) as client:
        yield Admin(client)


def _words(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        return f"{problem['code']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"the administrative port answers {answer.status_code}"
