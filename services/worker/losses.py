"""What somebody took out of the stream past the workers, told."""

import structlog

from services.platform.runtime import metrics
from services.platform.stream import Stream

__all__ = ["tell_losses"]

log = structlog.get_logger(__name__)


async def tell_losses(stream: Stream) -> None:
    """Count and log what vanished since any worker looked last.

    Raises:
        redis.exceptions.RedisError: the stream's server is away.
    """
    lost = await stream.losses()
    if lost.entries:
        metrics.stream_losses.add(lost.entries, {"what": "entry"})
    if lost.entries or lost.rows:
        log.error(
            "entries were taken out of the stream by somebody (XTRIM, XDEL, DEL); what no worker had stored is lost",
            action="lose",
            entries=lost.entries,
            rows=lost.rows,
        )
