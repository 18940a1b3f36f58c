"""`millrace demo`: six readings in, three questions, and whether the answers are right to the letter."""

import json
import re
import shlex
from dataclasses import dataclass

import httpx
import typer

from services.platform.settings import Settings

__all__ = ["commands", "run_demo"]

READINGS = [
    {"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:00:00Z", "value": 25.3},
    {"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:01:00Z", "value": 26.7},
    {"sensor_id": "sensor-1", "timestamp": "2025-10-22T21:05:00Z", "value": 30.7},
    {"sensor_id": "sensor-1", "timestamp": "2025-10-22T22:00:00Z", "value": 10.0},
    {"sensor_id": "sensor-1", "timestamp": "2025-10-22T22:06:00Z", "value": 12.0},
    {"sensor_id": "sensor-1", "timestamp": "2025-10-22T22:06:00Z", "value": 114.0},
]
KEY = "millrace-demo"
"""The batch's Idempotency-Key: a second demo is a repeat and changes nothing."""


@dataclass(frozen=True, slots=True)
class Question:
    """A path of the query service and the answer on a fresh database."""

    path: str
    answer: str


QUESTIONS = (
    Question(
        "/get_range?sensor_id=sensor-1&start=2025-10-22T21:00:00Z&end=2025-10-22T21:00:01Z",
        '{"data":[{"id":1,"timestamp":"2025-10-22T21:00:00Z","sensor_id":"sensor-1","value":25.3}]}',
    ),
    Question(
        "/min?sensor_id=sensor-1&start=2025-10-22T21:00:00Z&end=2026-10-22T21:00:01Z",
        '{"min_value":10.0}',
    ),
    Question(
        "/hourly?sensor_id=sensor-1",
        '[{"timestamp":"2025-10-22T21:00:00Z","avg":27.566666666666666,"min":25.3,"max":30.7,"samples":3},'
        '{"timestamp":"2025-10-22T22:00:00Z","avg":45.333333333333336,"min":10.0,"max":114.0,"samples":3}]',
    ),
)


def commands(settings: Settings) -> list[str]:
    """Return the demo as commands for a shell."""
    ingest, query = _bases(settings)
    body = json.dumps(READINGS, separators=(",", ":"))
    curl = "curl -sS" + (' -H "Authorization: Bearer $MILLRACE_CLIENT_KEY"' if settings.client.key else "")
    headers = f"-H 'Content-Type: application/json' -H 'Idempotency-Key: {KEY}'"
    send = f"{curl} '{ingest}/ingest?ack=stored' {headers} -d {shlex.quote(body)}"
    return [send, *(f"{curl} '{query}{question.path}'" for question in QUESTIONS)]


def run_demo(settings: Settings) -> bool:
    """Send the readings, ask the questions, show both, and tell whether all answers are those expected."""
    send, *asks = commands(settings)
    ingest, query = _bases(settings)
    key = settings.client.key
    own = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    with httpx.Client(timeout=30.0, headers=own) as client:
        try:
            stored = _show(
                send,
                client.post(
                    f"{ingest}/ingest",
                    params={"ack": "stored"},
                    headers={"Idempotency-Key": KEY},
                    json=READINGS,
                ),
            )
            answers = [
                _show(ask, client.get(query + question.path)) for ask, question in zip(asks, QUESTIONS, strict=True)
            ]
        except httpx.TransportError as error:
            typer.echo(f"No answer ({error}). Does `make up` run?", err=True)
            return False
    right = stored.status_code == 200
    for question, answer in zip(QUESTIONS, answers, strict=True):
        right &= _check(question, answer)
    typer.echo("ok: all answers are right to the letter" if right else "failed")
    return right


def _bases(settings: Settings) -> tuple[str, str]:
    return f"http://localhost:{settings.ingest.port}", f"http://localhost:{settings.query.port}"


def _show(command: str, answer: httpx.Response) -> httpx.Response:
    typer.echo(f"$ {command}\n{answer.text}\n")
    return answer


def _check(question: Question, answer: httpx.Response) -> bool:
    if answer.status_code == 200 and _normal(answer.text) == _normal(question.answer):
        return True
    typer.echo(
        f"{question.path}\n  expected on a fresh database (id may be any integer): {question.answer}\n"
        f"  answered ({answer.status_code}): {answer.text}\n"
        "  Where other readings of sensor-1 are stored, an answer differs by them.\n",
        err=True,
    )
    return False


def _normal(text: str) -> str:
    """Return the JSON with one spacing and each row id as 1; the order of members and digits stay as they are."""
    return re.sub(r'"id":-?\d+', '"id":1', re.sub(r"(?<=[:,\]}]) (?=[\"\[{\d-])", "", text.strip()))
