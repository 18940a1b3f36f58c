"""`python -m tests.support.mutants run WORKLOAD`: the workload with the promise broken on purpose, as MUTANT says."""

import os
from collections.abc import Callable
from typing import Any

from services.cli.app import main
from services.contract import Outcome, Verdict
from services.ingest.accept import Acceptance, Acceptor
from services.ingest.doors.line_protocol import door as line_protocol
from services.ingest.readings import Decoded
from services.ingest.slices import whole
from services.platform.stream import Stream
from services.worker import transaction
from services.worker.loop import Loop
from services.worker.transaction import Store
from services.worker.work import Selection, Work

__all__ = ["MUTANTS", "VARIABLE"]

VARIABLE = "MUTANT"


def acknowledge_before_commit() -> None:
    async def mutated(self: Loop, work: Work) -> None:
        await self._stream.settle(work.settlement(dict.fromkeys(work.parts, Verdict(Outcome.STORED))))
        await self._committed(work)

    Loop._write = mutated  # type: ignore[method-assign]


def ledger_outside_the_transaction() -> None:
    claim = Store._claim

    async def mutated(self: Store, _: Any, work: Work, selection: Selection) -> Any:
        async with self._pool.lent() as other:
            return await claim(self, other, work, selection)

    Store._claim = mutated  # type: ignore[method-assign,assignment]


def no_reclaim() -> None:
    async def mutated(*_: object) -> list[Any]:
        return []

    Stream.reclaim = mutated  # type: ignore[method-assign,assignment]


def seen_before_the_write() -> None:
    async def mutated(self: Acceptor, batch_id: Any, decoded: Decoded, **_: object) -> Acceptance | None:
        client: Any = self.admission._stream.client
        fresh = await client.set(f"seen:{batch_id}", 1, nx=True)
        return None if fresh else Acceptance(batch_id, len(decoded), [], repeated=True)

    Acceptor._repeat = mutated  # type: ignore[method-assign]


def slices_unclaimed() -> None:
    async def mutated(*_: object) -> list[slice]:
        return []

    transaction.claim_slices = mutated  # type: ignore[attr-defined,assignment]


def slices_outside_the_transaction() -> None:
    claim, store = transaction.claim_slices, Store._store  # type: ignore[attr-defined]

    async def mutated(self: Store, connection: Any, selection: Selection, parts: Any, **named: Any) -> Any:
        async with self._pool.lent() as other:
            repeated = await claim(other, parts)

        async def claimed(*_: object) -> list[slice]:
            return repeated

        transaction.claim_slices = claimed  # type: ignore[attr-defined,assignment]
        return await store(self, connection, selection, parts, **named)

    Store._store = mutated  # type: ignore[method-assign]


def one_slice_a_request() -> None:
    line_protocol.by_instant = whole  # type: ignore[attr-defined]


MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__: mutant
    for mutant in (
        acknowledge_before_commit,
        ledger_outside_the_transaction,
        no_reclaim,
        one_slice_a_request,
        seen_before_the_write,
        slices_outside_the_transaction,
        slices_unclaimed,
    )
}

if __name__ == "__main__":
    MUTANTS[os.environ[VARIABLE]]()
    main()
