"""`ack=stored`: waiting until the ledger has a batch.

The ledger alone is believed. A settlement event says only that a look is worth while; where none comes, because it
was lost or a worker of another release published none that is understood, looks follow each other at growing pauses.
"""

import asyncio
import contextlib

from services.contract import Outcome
from services.contract.instants import instant_of
from services.platform.runtime.retry import pauses

from .commit.pending import Accepted
from .store import Receipt, Receipts, ReceiptsUnavailableError

__all__ = ["stored_receipt"]

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 2.0


async def stored_receipt(
    receipts: Receipts, accepted: Accepted, settled: asyncio.Event, timeout: float
) -> Receipt | None:
    """Return what the ledger says of a batch that was accepted, None where it says nothing within `timeout` s.

    Args:
        receipts: the ledger; while it cannot be asked, it says nothing.
        accepted: the batch.
        settled: is set when somebody says that the batch is settled.
        timeout: after it comes one last look.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + timeout
    for pause in pauses(_FIRST_PAUSE, _LONGEST_PAUSE):
        # Pauses end at the same instants for all, so that all who wait share a query.
        wait = min(2 * pause - now() % pause, deadline - now())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await settled.wait()
        settled.clear()
        with contextlib.suppress(ReceiptsUnavailableError):
            receipt = await receipts.find(accepted.batch_id)
            if receipt is not None and not _is_older(receipt, accepted):
                return receipt
        if now() >= deadline:
            break
    return None


def _is_older(receipt: Receipt, accepted: Accepted) -> bool:
    """Tell whether a receipt is of an earlier batch of the same key, which was refused: this one may be stored."""
    refused = receipt.verdict.outcome is Outcome.DEAD and accepted.keyed
    return refused and receipt.accepted_at < instant_of(accepted.accepted_at)
