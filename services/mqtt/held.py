"""Messages in hand: from their arrival until they are acknowledged, in the order in which they came."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .broker import Message

__all__ = ["Held", "InHand"]


@dataclass(slots=True, eq=False)
class Held:
    """A message in hand.

    Attributes:
        message: as it came.
        readings: what it says; empty where nothing of it is to be stored.
        done: whether it may be acknowledged.
    """

    message: Message
    readings: list[dict[str, Any]]
    done: bool = False


class InHand:
    """All of them. What waits is handed out in batches; each is acknowledged when it and all before it are done.

    MQTT asks for that order (MQTT-4.6.0-2).
    """

    def __init__(self, acknowledge: Callable[[Message], None]) -> None:
        self._acknowledge = acknowledge
        self._held: deque[Held] = deque()
        self._waiting: deque[Held] = deque()
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, held: Held) -> None:
        """Take a message; one without readings is done."""
        self._held.append(held)
        if held.readings:
            self._waiting.append(held)
            self._some.set()
        else:
            self.done([held])

    async def batch(self, most: int) -> list[Held]:
        """Return what waits, at least one message and at most `most`; the longer requests take, the more that is."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def done(self, batch: Iterable[Held]) -> None:
        """Acknowledge messages, as soon as all before them are done."""
        for held in batch:
            held.done = True
        while self._held and self._held[0].done:
            message = self._held.popleft().message
            if message.qos:
                self._acknowledge(message)

    def resumed(self, connection: int) -> None:
        """Let go of what waits and the broker sends again on a new connection, so that reconnecting makes no heap."""

        def again(held: Held) -> bool:
            return held.message.qos > 0 and held.message.connection < connection

        for held in self._waiting:
            held.done = held.done or again(held)
        self._waiting = deque(held for held in self._waiting if not again(held))
        self.done([])
