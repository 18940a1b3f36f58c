"""The write: ledger, catalogue, COPY and notes of late ranges in one transaction, and the verdicts it comes to.

Only PostgreSQL is spoken to here. What a transaction came to leaves it as a value, once it has committed; one that does
not commit ends by an error, and nothing of it is kept.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import numpy as np
import structlog
from numpy.typing import NDArray

from services.contract import Outcome, Verdict
from services.contract.instants import instant_of, micros_of
from services.platform.postgres.capability import Capability
from services.platform.postgres.connections import Connector
from services.platform.postgres.errors import PoolerError, message_of, with_deadline
from services.platform.postgres.pool import Pool
from services.platform.runtime import failpoints, metrics
from services.platform.settings import DatabaseSettings, WorkerSettings

from .catalogue import Catalogue
from .columnstore import choose_path
from .copy import copy, hour_ranges, insert, ordered, within
from .deletions import NONE_KNOWN, deletions_since
from .known import DUPLICATE, judge_known, record_refusals
from .natural import lock_sensors, natural_repeats
from .pruning import prune_ledger, prune_slices
from .slices import claim_slices, correct_ledger
from .work import ApartError, Part, Rows, Selection, Unit, Verdicts, Work, Written

__all__ = ["DeadLettersError", "Store"]

log = structlog.get_logger(__name__)

_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.RaiseError)
"""Errors that the data bring about: SQLSTATE classes 22 and 23, and what a trigger raises."""

_DROPPED = Verdict(
    Outcome.DEAD,
    "behind_retention",
    "it holds readings of a time whose rows retention has dropped; to store them would empty the hours kept there",
)
_STORED = Verdict(Outcome.STORED)

# A batch that was refused and comes again, mended or replayed, may now be stored. Who takes a deletion waits for the
# shared locks of all transactions under way, and holds off those that come, until it has committed.
_CLAIM = """
insert into ingest_ledger as known (batch_id, batches, rows, digest, accepted_at)
select batch.*
from (select pg_advisory_xact_lock_shared(hashtext('millrace deletions'))) as no_deletion
cross join unnest($1::uuid[], $2::int[], $3::int[], $4::bytea[], $5::timestamptz[]) as batch
order by 1
on conflict (batch_id) do update
  set dead = null, committed_at = now(), accepted_at = excluded.accepted_at,
      rows = excluded.rows, digest = excluded.digest
  where known.dead ? '0'
returning
  batch_id,
  (select coalesce(max(number), 0) from deletions) as newest,
  (select exists (select from deletions where finished_at is null)) as unfinished,
  pg_catalog.current_setting('synchronous_commit') as synchronous_commit,
  (select hashtextextended(concat(pg_postmaster_start_time(), pg_relation_filenode('sensors')), 0)) as epoch
"""
_NOTE = """
with late as (
  select range_start, range_end
  from unnest($1::timestamptz[], $2::timestamptz[]) as touched (range_start, range_end)
  where range_start < (select late_before())
), noted as (
  insert into late_ranges (range_start, range_end) select range_start, range_end from late
)
select
  count(*) as noted,
  behind_retention(coalesce(range_agg(tstzrange(range_start, range_end)), '{}')) as dropped,
  (select coalesce(max(number), 0) from deletions) as newest
from late
"""
Span = tuple[int, int]
"""A half-open range of instants in microseconds since 1970."""


class BehindRetentionError(Exception):
    """Rows were copied to where retention has dropped theirs; `spans` are the hours. Nothing is committed."""

    def __init__(self, spans: Sequence[Span]) -> None:
        super().__init__("rows lie where retention has dropped theirs")
        self.spans = spans


class NewDeletionError(Exception):
    """There are deletions that the transaction did not know. Nothing is committed; it begins anew with them."""


class DeadLettersError(Exception):
    """The transaction would have made `count` dead letters, more than it may. Nothing is committed."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} batches would become dead letters")
        self.count = count


class Store:
    """Writes work with the writer's role. One a worker; it connects when it is first used."""

    def __init__(self, database: DatabaseSettings, settings: WorkerSettings, capability: Capability) -> None:
        limit = int(settings.transaction_timeout * 1000)
        self._pool = Pool(
            Connector(
                database.writer_url,
                database,
                statement_timeout=limit,
                lock_timeout=limit // 2,  # sooner than the statement's, so that the lock is told as the reason
                idle_in_transaction_session_timeout=limit,
                synchronous_commit="on",
                default_transaction_read_only="off",
                # Where triggers note what other SQL does.
                **{"millrace.notes": "own"},
            ),
            size=2,
        )
        self._settings = settings
        self._spread = capability.spread
        # What a node refuses of a COPY, Citus tells without its class; so it is looked into, row by row of INSERT.
        self._refused = (*_REFUSED, asyncpg.InternalServerError) if capability.spread else _REFUSED
        self._compresses = capability.compresses_on_copy
        self._deletions = NONE_KNOWN
        self._catalogue = Catalogue(settings.remembered_sensors)

    async def write(self, work: Work, most_dead: int = 0) -> Written:
        """Write what is new in `work` and return what became of every part. Repeating it is harmless.

        Args:
            work: what to write.
            most_dead: dead letters that it may come to. Whoever calls finds out whether there is room for more, and
                writes again.

        Raises:
            DeadLettersError: it comes to more; nothing is written.
            DATABASE_FAILURES: nothing is known to be written; it may pass, or somebody will mend it.
        """
        patience = 2 * self._settings.transaction_timeout
        try:
            return await self._written(work, most_dead, patience)
        except asyncpg.ReadOnlySQLTransactionError:
            # After a failover these connections may lead to what is a standby now.
            self.close()
            raise

    async def check(self) -> None:
        """See that the database can be asked.

        Raises:
            DATABASE_FAILURES: it cannot.
        """
        await with_deadline(self._answered(), self._pool.connector.settings.connect_timeout, self.close)

    async def _written(self, work: Work, most_dead: int, patience: float) -> Written:
        """Write `work`, and again with care where the database refuses rows, or has dropped those of their time.

        Each round is a transaction of `patience` seconds at most. The last one that was rolled back says what the next
        one has to know, so there are few: a refusal is looked into once, a span of dropped rows is met once, batches
        are taken apart once, and deletions are people's.
        """
        careful, dropped = False, list[Span]()
        while True:
            transaction = self._transaction(work, dropped, most_dead, careful=careful)
            try:
                return await with_deadline(transaction, patience, self.close)
            except ApartError:
                work = work.apart()
            except BehindRetentionError as error:
                dropped += error.spans
                work = work.apart()
            except NewDeletionError:
                self._deletions = NONE_KNOWN
            except self._refused as error:
                if careful:
                    raise
                log.warning("the database refuses some rows; looking which", action="bisect", error=message_of(error))
                careful = True
                work = work.apart()

    async def prune(self, horizon: float) -> int:
        """Delete up to 20,000 ledger rows older than `horizon` hours; return how many. One worker at a time does."""
        async with self._pool.lent() as connection, connection.asking():
            return await prune_ledger(connection, horizon)

    async def prune_slices(self, horizon: float) -> int:
        """Delete up to 100,000 keys of slices older than `horizon` hours, one worker at a time; return how many."""
        async with self._pool.lent() as connection, connection.asking():
            return await prune_slices(connection, horizon)

    def close(self) -> None:
        """Drop the connections, and what was known of deletions and sensors: after a failover there may be others."""
        self._pool.drop()
        self._deletions = NONE_KNOWN
        self._catalogue.forget()

    async def _answered(self) -> None:
        async with self._pool.answering():
            pass

    async def _transaction(self, work: Work, dropped: Sequence[Span], most_dead: int, *, careful: bool) -> Written:
        """Write `work` in one transaction and return what it came to once that has committed.

        The order is what keeps the promise. First the ledger, which shuts out whoever has the same batches and says
        which are new; then the sensors and rows of these; then the notes, which must see the newest watermarks; at last
        what became of the refused, so that a ledger row and its verdict are there together or not at all.

        Args:
            work: what to write.
            dropped: spans whose rows retention has dropped; a batch that touches one is refused.
            most_dead: dead letters that it may come to.
            careful: look for the batches that the database refuses, rather than end by the refusal.

        Raises:
            DeadLettersError: it would make more dead letters.
            ApartError: not all batches of a part come to the same.
            BehindRetentionError: rows lie in a span that `dropped` lacks.
            NewDeletionError: there is a deletion that was not known.
            DATABASE_FAILURES: nothing is known to be written.
        """
        async with self._pool.lent() as connection:
            if work.oldest < self._deletions.since:
                async with connection.asking():
                    self._deletions = await deletions_since(connection, work.oldest)
            selection = work.without(self._deletions)
            async with connection.writing():
                fresh, known = await self._claim(connection, work, selection)
                failpoints.reach("worker.after_ledger")
                refused = self._expired(work, fresh)
                refused |= {part: _DROPPED for unit in fresh for part in unit.parts if work.touches(part, dropped)}
                parts = [part for unit in fresh for part in unit.parts if part not in refused]
                entered, repeated = list[str](), list[Rows]()
                if natural := [part for part in parts if part.batch.natural]:
                    # Which is the first is told by the stream, not by ledger ids.
                    parts.sort(key=lambda part: part.rows.start)
                    await lock_sensors(connection, work.columns, natural)
                if careful:
                    await self._catalogue.alone(connection)
                    found, repeated = await self._bisect(connection, selection, parts)
                    refused |= found
                elif parts:
                    entered, repeated = await self._store(connection, selection, parts, careful=False)
                if repeated:
                    selection = selection.without(repeated)
                    await correct_ledger(connection, selection, fresh)
                stored = [part for part in parts if part not in refused]
                late = await self._note(connection, selection.pick(stored).timestamps) if stored else 0
                await record_refusals(connection, refused)
                verdicts = {**known, **refused, **{part: _stored_verdict(part, selection) for part in stored}}
                dead = len(refused) + sum(verdict.outcome is Outcome.DEAD for verdict in known.values())
                if dead > most_dead:
                    raise DeadLettersError(dead)
                failpoints.reach("worker.before_commit")
        self._catalogue.remember(entered)
        if late:
            metrics.late_ranges_noted.add(late)
        return Written(work, verdicts, selection)

    async def _claim(self, connection: Any, work: Work, selection: Selection) -> tuple[list[Unit], Verdicts]:
        """Put the units into the ledger, sorted so that two workers cannot deadlock.

        Returns:
            The new ones, and the verdicts on the parts of all others.
        """
        units = sorted(work.units.values(), key=lambda unit: unit.ledger_id.int)
        rows = await connection.fetch(
            _CLAIM,
            [unit.ledger_id for unit in units],
            [unit.batches for unit in units],
            [selection.rows(unit) for unit in units],
            [unit.parts[0].batch.digest for unit in units],
            [instant_of(unit.accepted_at) for unit in units],
        )
        if any(row["synchronous_commit"] != "on" for row in rows):
            raise PoolerError("synchronous_commit is not on in the worker's transaction: something on the way set it")
        if rows:
            self._check(rows[0]["newest"])
            self._catalogue.begin(rows[0]["epoch"])
            if rows[0]["unfinished"]:
                # Ids that this session has in store were given out before; the rows behind a deletion need later ones.
                await connection.execute("discard sequences")
        new = {row["batch_id"] for row in rows}
        known = [part for unit in units if unit.ledger_id not in new for part in unit.parts] + work.repeats
        return [unit for unit in units if unit.ledger_id in new], await judge_known(connection, known)

    def _expired(self, work: Work, units: Iterable[Unit]) -> dict[Part, Verdict]:
        """Find batches so old that the ledger may have forgotten that it had them."""
        horizon = dt.timedelta(hours=self._settings.ledger_horizon)
        oldest = micros_of(dt.datetime.now(dt.UTC) - horizon)
        if work.oldest >= oldest:
            return {}
        if any(part.batches > 1 for part in work.parts):
            raise ApartError
        verdict = Verdict(Outcome.DEAD, "expired", f"accepted longer than the ledger's horizon ({horizon}) ago")
        return {part: verdict for unit in units for part in unit.parts if part.batch.accepted_at < oldest}

    async def _bisect(
        self, connection: Any, selection: Selection, parts: Sequence[Part]
    ) -> tuple[dict[Part, Verdict], list[Rows]]:
        """Store `parts`, halving whatever the database refuses down to single batches.

        Returns:
            The refused ones, and rows of the others that came before. What a refused one claimed is rolled back with
            it, so that the same slice, or reading of a natural batch, behind it is a first one.
        """
        if not parts:
            return {}, []
        try:
            async with connection.transaction():
                _, repeated = await self._store(connection, selection, parts, careful=True)
        except _REFUSED as error:
            if len(parts) == 1:
                return {parts[0]: Verdict(Outcome.DEAD, "refused", f"{error.sqlstate}: {message_of(error)}")}, []
            middle = len(parts) // 2
            refused, repeated = await self._bisect(connection, selection, parts[:middle])
            others = await self._bisect(connection, selection, parts[middle:])
            return refused | others[0], repeated + others[1]
        return {}, repeated

    def _check(self, newest: int) -> None:
        if newest != self._deletions.newest:
            raise NewDeletionError

    async def _store(
        self, connection: Any, selection: Selection, parts: Sequence[Part], *, careful: bool
    ) -> tuple[list[str], list[Rows]]:
        """Write sensors and rows of `parts`, but for slices and natural rows that came before.

        With `careful`, what the database refuses is told with its class.

        Returns:
            What the catalogue may remember after the commit, and the rows that came before.
        """
        repeated: list[Rows] = [*await claim_slices(connection, parts)]
        left = selection.without(repeated) if repeated else selection
        if came_before := await natural_repeats(connection, left, parts, spread=self._spread):
            repeated += came_before
            left = selection.without(repeated)
        failpoints.reach("worker.before_copy")
        columns = left.pick(parts)
        if not len(columns):
            return [], repeated
        entered = await self._catalogue.enter(connection, columns)
        rows = ordered(columns)
        if self._compresses:
            await choose_path(connection, rows, self._settings.compress_rows_per_sensor)

        if careful and self._spread:
            await insert(connection, rows)
        else:
            await copy(connection, rows)
        return entered, repeated

    async def _note(self, connection: Any, timestamps: NDArray[np.int64]) -> int:
        """Note the hours that aggregates may have read already. Last, so that it sees the newest watermarks.

        It sees each deletion, too, that was taken before the claim had its lock.

        Returns:
            How many ranges were noted.

        Raises:
            BehindRetentionError: rows lie where retention has dropped theirs, while their hours are kept.
            NewDeletionError: a deletion was not known.
        """
        if not len(timestamps):
            return 0
        ranges = hour_ranges(timestamps)
        starts, ends = ([instant_of(edge) for edge in edges] for edges in zip(*ranges, strict=True))
        found = await connection.fetchrow(_NOTE, starts, ends)
        self._check(found["newest"])
        dropped = [(micros_of(span.lower), micros_of(span.upper)) for span in found["dropped"]]
        # A range of hours may be wider than the rows in it.
        if dropped := [span for span in dropped if within(timestamps, [span]).any()]:
            raise BehindRetentionError(dropped)
        return int(found["noted"])


def _stored_verdict(part: Part, selection: Selection) -> Verdict:
    return DUPLICATE if selection.repeated(part) == part.batch.rows else _STORED
