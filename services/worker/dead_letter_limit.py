"""The limit of dead letters: a bad deployment buries some batches, not all of them."""

from services.platform.runtime.health import Health
from services.platform.stream import DeadLetters

__all__ = ["Graveyard", "GraveyardFullError"]

_PART = "dead_letters"


class GraveyardFullError(Exception):
    """No more dead letters may be written; what would become one stays pending, and the worker stops."""


class Graveyard:
    """Lets dead letters be written while they are fewer than the limit. One a worker."""

    def __init__(self, letters: DeadLetters, limit: int, health: Health) -> None:
        self._letters = letters
        self._limit = limit
        self._health = health

    async def admit(self, count: int) -> None:
        """Let `count` more dead letters be written.

        Workers look each for itself, so together they may pass the limit by what each has in hand.

        Raises:
            GraveyardFullError: the limit is reached; the worker is not ready until there is room.
            redis.exceptions.RedisError: the stream's server is away.
        """
        if not count:
            return
        there = await self._letters.count()
        if there >= self._limit:
            problem = (
                f"{there} dead letters, the limit is {self._limit}, and {count} more would follow: the worker stops. "
                "Find out why (millrace dead-letters list), mend it, replay or delete them"
            )
            self._health.lacks(_PART, problem)
            raise GraveyardFullError(problem)

    def passed(self) -> None:
        """Tell that the worker is not stopped by the limit: it has written all that was pending."""
        self._health.has(_PART)
