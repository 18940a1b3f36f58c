"""How long callers wait: asks and sends without a pause, and says the longest time between two good answers.

It runs in a pod of Millrace's image, which has the standard library: `python waits.py INGEST QUERY`. A line `watching`
tells that each kind was answered; when there is a file `/tmp/enough`, the last line is an object with seconds a kind.
"""

import contextlib
import json
import pathlib
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime

ENOUGH = pathlib.Path("/tmp/enough")
_TIMEOUT = 30.0
_BETWEEN = 0.05


def _status(url: str, body: bytes | None = None) -> int:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        answer.read()
        return int(answer.status)


def _sending(ingest: str, ack: str) -> Callable[[], int]:
    def send() -> int:
        reading = {"sensor_id": f"watched-{ack}", "timestamp": datetime.now(UTC).isoformat(), "value": 1.0}
        return _status(f"{ingest}/ingest?ack={ack}", json.dumps([reading]).encode())

    return send


def _watch(kind: str, ask: Callable[[], int], answered: threading.Event, longest: dict[str, float]) -> None:
    last = time.monotonic()
    while not ENOUGH.exists():
        good = False
        with contextlib.suppress(OSError):
            good = ask() == 200
        now = time.monotonic()
        if good and not answered.is_set():
            answered.set()
            last = now
        if answered.is_set():
            # A wait that has not ended counts as long as it has lasted.
            longest[kind] = max(longest.get(kind, 0.0), now - last)
        if good:
            last = now
        time.sleep(_BETWEEN)


def _main(ingest: str, query: str) -> None:
    kinds = {
        "question": lambda: _status(f"{query}/latest?sensor_id=watched-stored"),
        "durable": _sending(ingest, "durable"),
        "stored": _sending(ingest, "stored"),
    }
    longest: dict[str, float] = {}
    answered = [threading.Event() for _ in kinds]
    watching = [
        threading.Thread(target=_watch, args=(kind, ask, event, longest))
        for (kind, ask), event in zip(kinds.items(), answered, strict=True)
    ]
    for thread in watching:
        thread.start()
    for event in answered:
        event.wait()
    print("watching", flush=True)
    for thread in watching:
        thread.join()
    print(json.dumps({kind: round(seconds, 1) for kind, seconds in longest.items()}), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
