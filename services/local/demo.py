"""`millrace demo`: six readings in, three questions, and whether the answers are right to the letter."""

import json
import re
import shlex
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

import httpx
import typer

from services.platform.settings import masked

__all__ = ["Demo"]

VALUES = {
    "2025-10-22T21:00:00Z": (25.3,),
    "2025-10-22T21:01:00Z": (26.7,),
    "2025-10-22T21:05:00Z": (30.7,),
    "2025-10-22T22:00:00Z": (10.0,),
    "2025-10-22T22:06:00Z": (12.0, 114.0),
}
KEY = "millrace-demo"
"""The batch's Idempotency-Key: a second demo is a repeat and changes nothing."""

START = 30.0
"""Seconds that services may take to be ready: whoever types `make demo` beside `make up` may be the quicker one."""

PAUSE = 0.5
"""Seconds between attempts while a service may still start, or an answer still become right."""


@dataclass(frozen=True, slots=True)
class Question:
    """A path of the query service and the answer on a fresh database."""

    path: str
    answer: str


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo with one ingest and one query service, by their base URLs; a sensor, and an API key if one is needed."""

    ingest: str
    query: str
    sensor: str = "sensor-1"
    key: str | None = None

    def commands(self) -> list[str]:
        """Return the demo as commands for a shell."""
        body = json.dumps(self._readings(), separators=(",", ":"))
        curl = "curl -sS" + (' -H "Authorization: Bearer $MILLRACE_CLIENT_KEY"' if self.key else "")
        headers = f"-H 'Content-Type: application/json' -H 'Idempotency-Key: {self._key()}'"
        send = f"{curl} '{masked(self.ingest)}/ingest?ack=stored' {headers} -d {shlex.quote(body)}"
        return [send, *(f"{curl} '{masked(self.query)}{question.path}'" for question in self._questions())]

    def run(self, patience: float = 0.0) -> bool:
        """Send the readings, ask the questions, show both, and tell whether all answers are those expected.

        Services that are not ready are waited for, and then given up, before anything is sent.

        Args:
            patience: seconds in which a wrong answer, or none, is asked for again: read replicas follow a little
                later, and a service that has just got its database back is not ready yet.
        """
        send, *asks = self.commands()
        own = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        with httpx.Client(timeout=30.0, headers=own) as client:
            headers = {"Idempotency-Key": self._key()}
            post = partial(client.post, f"{self.ingest}/ingest?ack=stored", headers=headers, json=self._readings())
            problem = self._wait(client)
            if problem:
                return _no_answer(problem)
            deadline = time.monotonic() + patience
            try:
                taken = _show(send, _persist(post, _stored, deadline))
                right = _stored(taken)
                for ask, question in zip(asks, self._questions(), strict=True):
                    get = partial(client.get, self.query + question.path)
                    right &= _check(question, _show(ask, _persist(get, partial(_right, question), deadline)))
                if not right and _stored(taken):
                    typer.echo(self._difference(client, taken), err=True)
            except httpx.TransportError as error:
                return _no_answer(str(error))
        typer.echo("ok: all answers are right to the letter" if right else "failed")
        return right

    def _wait(self, client: httpx.Client) -> str | None:
        """Wait until both services are ready, saying once for what; return what is lacking in the end."""
        deadline, told = time.monotonic() + START, False
        for base in (self.ingest, self.query):
            while problem := _lacking(client, base):
                if time.monotonic() >= deadline:
                    return problem
                if not told:
                    typer.echo(f"Waiting up to {START:g} s: {problem}", err=True)
                    told = True
                time.sleep(PAUSE)
        return None

    def _difference(self, client: httpx.Client, taken: httpx.Response) -> str:
        """Return in words why answers are not those of a fresh database, though the readings were taken."""
        first, last = min(VALUES), max(VALUES)
        bounds = f"start={first}&end={last.replace('Z', '.000001Z')}"
        answer = client.get(f"{self.query}/get_range?sensor_id={quote(self.sensor, safe='')}&{bounds}")
        found = (
            Counter((row["timestamp"], row["value"]) for row in answer.json()["data"]) if answer.is_success else None
        )
        sent = Counter((timestamp, value) for timestamp, values in VALUES.items() for value in values)
        gone = 0 if found is None else (sent - found).total()
        if gone and "idempotent-replayed" in taken.headers:
            return (
                f"The Idempotency-Key {self._key()} was taken before, so nothing was stored anew, and {gone} of the "
                f"demo's {sent.total()} readings are gone: somebody deleted them. Another sensor has a key of its own: "
                "millrace demo --sensor another"
            )
        return (
            "These answers differ from those of a fresh database. Where other readings of the sensor are stored, an "
            "answer differs by them."
        )

    def _key(self) -> str:
        return KEY if self.sensor == "sensor-1" else f"{KEY}-{self.sensor}"

    def _readings(self) -> list[dict[str, object]]:
        return [
            {"sensor_id": self.sensor, "timestamp": timestamp, "value": value}
            for timestamp, values in VALUES.items()
            for value in values
        ]

    def _questions(self) -> tuple[Question, ...]:
        sensor = quote(self.sensor, safe="")
        return (
            Question(
                f"/get_range?sensor_id={sensor}&start=2025-10-22T21:00:00Z&end=2025-10-22T21:00:01Z",
                '{"data":[{"id":1,"timestamp":"2025-10-22T21:00:00Z",'
                f'"sensor_id":{json.dumps(self.sensor)},"value":25.3}}]}}',
            ),
            Question(
                f"/min?sensor_id={sensor}&start=2025-10-22T21:00:00Z&end=2026-10-22T21:00:01Z",
                '{"min_value":10.0}',
            ),
            Question(
                f"/hourly?sensor_id={sensor}",
                '[{"timestamp":"2025-10-22T21:00:00Z","avg":27.566666666666666,"min":25.3,"max":30.7,"samples":3},'
                '{"timestamp":"2025-10-22T22:00:00Z","avg":45.333333333333336,"min":10.0,"max":114.0,"samples":3}]',
            ),
        )


def _no_answer(problem: str) -> bool:
    typer.echo(f"No answer ({problem}). Does `make up` run?", err=True)
    return False


def _lacking(client: httpx.Client, base: str) -> str | None:
    """Return why a service is not ready. A proxy that shows no `/readyz` is taken at the service's own word."""
    try:
        answer = client.get(f"{base}/readyz", timeout=5.0)
    except httpx.TransportError as error:
        return f"{masked(base)} does not answer: {error}"
    return f"{masked(base)} is not ready: {answer.text}" if answer.status_code in {502, 503, 504} else None


def _show(command: str, answer: httpx.Response) -> httpx.Response:
    typer.echo(f"$ {command}\n{answer.text}\n")
    return answer


def _persist(
    ask: Callable[[], httpx.Response], right: Callable[[httpx.Response], bool], deadline: float
) -> httpx.Response:
    """Ask until the answer is right or the deadline has passed, and return the last answer."""
    while True:
        try:
            answer = ask()
        except httpx.TransportError:
            if time.monotonic() >= deadline:
                raise
        else:
            if right(answer) or time.monotonic() >= deadline:
                return answer
        time.sleep(PAUSE)


def _stored(answer: httpx.Response) -> bool:
    return answer.status_code == 200


def _right(question: Question, answer: httpx.Response) -> bool:
    return answer.status_code == 200 and _normal(answer.text) == _normal(question.answer)


def _check(question: Question, answer: httpx.Response) -> bool:
    if _right(question, answer):
        return True
    typer.echo(
        f"{question.path}\n  expected on a fresh database (id may be any integer): {question.answer}\n"
        f"  answered ({answer.status_code}): {answer.text}\n",
        err=True,
    )
    return False


def _normal(text: str) -> str:
    """Return the JSON with one spacing and each row id as 1; the order of members and digits stay as they are."""
    return re.sub(r'"id":-?\d+', '"id":1', re.sub(r"(?<=[:,\]}]) (?=[\"\[{\d-])", "", text.strip()))
