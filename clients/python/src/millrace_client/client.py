"""The clients: `Client`, and `AsyncClient` for asyncio. Both take the words of the routes; reading an answer asks."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from .answers import Answer, AsyncAnswer
from .asking import Patience, Way, broken, no_answer, refusal, request
from .words import LatestWords, Question, SeriesWords, Texts, labels_path

__all__ = ["AsyncClient", "Client"]

_SENSOR_INSTANTS = ("first_seen", "timestamp")


class _Questions:
    """The questions that both clients make; a client is a context manager, and its connections are kept open."""

    @staticmethod
    def _series(words: SeriesWords) -> Question:
        return Question.of("/series", words, postable=True)

    @staticmethod
    def _latest(words: LatestWords) -> Question:
        return Question.of("/latest", words)

    @staticmethod
    def _sensors(match: Texts | None, *, stats: bool) -> Question:
        return Question.of("/sensors", {"match": match, "stats": stats or None})

    @staticmethod
    def _labels(name: str | None, match: Texts | None) -> Question:
        return Question.of(labels_path(name), {"match": match})


class Client(_Questions):
    """Asks the query service.

    Args:
        url: where it is, such as http://localhost:8001.
        key: API key with the scope `query`.
        timeout: seconds without a byte after which an answer is given up.
        patience: seconds in which a question is asked again while nothing listens, or the service asks to wait.
        transport: of httpx, such as one with a proxy or a socket of Unix.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        patience: float = 15.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._way = Way(url, key, timeout, patience)
        self._http = httpx.Client(transport=transport, **self._way.options())

    def series(self, **words: Unpack[SeriesWords]) -> Answer:
        """Ask readings, or what aggregates make of them: the words of `/series`."""
        return Answer(self._opened, self._series(words))

    def latest(self, **words: Unpack[LatestWords]) -> Answer:
        """Ask the newest reading of each sensor, or with `at` the one that held then: the words of `/latest`."""
        return Answer(self._opened, self._latest(words))

    def sensors(self, match: Texts | None = None, *, stats: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the sensors of the catalogue; with `stats` each has its newest reading."""
        return self._pages(self._sensors(match, stats=stats), _SENSOR_INSTANTS)

    def labels(self, name: str | None = None, *, match: Texts | None = None) -> Iterator[str]:
        """Yield the names of labels, or the values of the label `name`."""
        return self._pages(self._labels(name, match), ())

    def answer(self, question: Question) -> Answer:
        """Return the answer to a question in the words of HTTP; the instants of its rows stay texts."""
        return Answer(self._opened, question, ())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pages(self, question: Question, instants: tuple[str, ...]) -> Iterator[Any]:
        while True:
            page = Answer(self._opened, question, instants)
            yield from page
            if page.next is None:
                return
            question = question.asked(after=page.next)

    @contextlib.contextmanager
    def _opened(self, question: Question, form: str) -> Iterator[Iterator[bytes]]:
        with contextlib.closing(self._answered(question, form)) as response:
            yield _parts(response)

    def _answered(self, question: Question, form: str) -> httpx.Response:
        patience = Patience(self._way.patience)
        while True:
            try:
                response = self._http.send(request(self._http, question, form), stream=True)
                if response.is_success:
                    return response
                response.read()
                pause = patience.pause(refusal(response))
            except httpx.RequestError as error:
                pause = patience.pause(no_answer(error))
            time.sleep(pause)


class AsyncClient(_Questions):
    """Asks the query service, in asyncio; arguments and methods are those of `Client`."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        patience: float = 15.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._way = Way(url, key, timeout, patience)
        self._http = httpx.AsyncClient(transport=transport, **self._way.options())

    def series(self, **words: Unpack[SeriesWords]) -> AsyncAnswer:
        """Ask readings, or what aggregates make of them: the words of `/series`."""
        return AsyncAnswer(self._opened, self._series(words))

    def latest(self, **words: Unpack[LatestWords]) -> AsyncAnswer:
        """Ask the newest reading of each sensor, or with `at` the one that held then: the words of `/latest`."""
        return AsyncAnswer(self._opened, self._latest(words))

    def sensors(self, match: Texts | None = None, *, stats: bool = False) -> AsyncIterator[dict[str, Any]]:
        """Yield the sensors of the catalogue; with `stats` each has its newest reading."""
        return self._pages(self._sensors(match, stats=stats), _SENSOR_INSTANTS)

    def labels(self, name: str | None = None, *, match: Texts | None = None) -> AsyncIterator[str]:
        """Yield the names of labels, or the values of the label `name`."""
        return self._pages(self._labels(name, match), ())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _pages(self, question: Question, instants: tuple[str, ...]) -> AsyncIterator[Any]:
        while True:
            page = AsyncAnswer(self._opened, question, instants)
            async for row in page:
                yield row
            if page.next is None:
                return
            question = question.asked(after=page.next)

    @contextlib.asynccontextmanager
    async def _opened(self, question: Question, form: str) -> AsyncIterator[AsyncIterator[bytes]]:
        async with contextlib.aclosing(await self._answered(question, form)) as response:
            yield _async_parts(response)

    async def _answered(self, question: Question, form: str) -> httpx.Response:
        patience = Patience(self._way.patience)
        while True:
            try:
                response = await self._http.send(request(self._http, question, form), stream=True)
                if response.is_success:
                    return response
                await response.aread()
                pause = patience.pause(refusal(response))
            except httpx.RequestError as error:
                pause = patience.pause(no_answer(error))
            await asyncio.sleep(pause)


def _parts(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_bytes()
    except httpx.RequestError as error:
        raise broken(error) from error


async def _async_parts(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in response.aiter_bytes():
            yield part
    except httpx.RequestError as error:
        raise broken(error) from error
