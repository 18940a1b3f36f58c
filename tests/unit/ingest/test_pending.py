"""Batches that share a check and an entry: none is judged, named or hashed otherwise than alone."""

import asyncio
import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import keyed_id, position_of
from services.ingest.commit.pending import Accepted, PendingBatch, check_together, shared_entry
from services.ingest.idempotency import digest
from services.ingest.limits.window import Limits
from services.ingest.readings import Decoded, Written, check
from services.platform.http.errors import Problem
from tests.support.readings import spans

LIMITS = Limits(0, 4_102_444_800_000_000)
FIRST = dt.datetime(2025, 10, 22, 21, tzinfo=dt.UTC)
VALUE = st.floats(-1e100, 1e100) | st.just(2e100)
READINGS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "é"]), VALUE), min_size=1, max_size=5)


def decoded(readings: list[tuple[str, float]]) -> Decoded:
    times = [(FIRST + dt.timedelta(seconds=row)).isoformat() for row in range(len(readings))]
    return Decoded(Written([sensor_id for sensor_id, _ in readings], times, [value for _, value in readings]))


def waiting(readings: list[tuple[str, float]], **named: Any) -> PendingBatch:
    done = asyncio.get_running_loop().create_future()
    return PendingBatch(decoded(readings), done, len(readings), **named)


def heard(batch: PendingBatch) -> "asyncio.Future[Accepted]":
    assert isinstance(batch.done, asyncio.Future)
    return batch.done


@given(st.lists(st.tuples(READINGS, st.booleans(), st.booleans()), min_size=1, max_size=8))
async def test_beside_others_a_batch_is_what_it_is_alone(
    made: list[tuple[list[tuple[str, float]], bool, bool]],
) -> None:
    pending = [
        waiting(readings, partial=partial, batch_id=keyed_id("ann", str(number)) if keyed else None)
        for number, (readings, partial, keyed) in enumerate(made)
    ]
    checked = check_together(pending, LIMITS)
    right = {id(one.pending): one for one in checked}
    assert len(right) == len(checked)
    for batch in pending:
        try:
            columns, faults, _ = check(batch.decoded, LIMITS, partial=batch.partial)
        except Problem as alone:
            failed = heard(batch).exception()
            assert isinstance(failed, Problem)
            assert (failed.detail, failed.members) == (alone.detail, alone.members)
        else:
            one = right[id(batch)]
            assert (one.faults, one.digest) == (faults, digest(columns) if batch.batch_id else None)
            assert not batch.done.done()


@given(st.lists(st.tuples(READINGS, st.booleans()), min_size=1, max_size=8))
async def test_the_rows_of_an_entry_are_its_batches_rows_and_its_marks_lead_to_each(
    made: list[tuple[list[tuple[str, float]], bool]],
) -> None:
    pending = [
        waiting(
            [(sensor_id, float(number)) for sensor_id, _ in readings],
            batch_id=keyed_id("ann", str(number)) if keyed else None,
        )
        for number, (readings, keyed) in enumerate(made)
    ]
    checked = check_together(pending, LIMITS)
    entry, marks = shared_entry(checked)
    for one, (batch, rows) in zip(checked, spans(entry), strict=True):
        columns = entry.columns.take(rows)
        sent = one.pending.decoded.readings
        assert isinstance(sent, Written)
        assert [columns.sensor_ids[code] for code in columns.index] == sent.sensor_ids
        assert columns.values.tolist() == sent.values
        assert entry.ledger_id(batch) in marks
    keyed = {batch.batch_id: batch.digest for batch in entry.batches if batch.digest is not None}
    assert {key: mark for key, mark in marks.items() if key != entry.group} == keyed
    positions = sorted(position_of(batch.batch_id) for batch in entry.batches if batch.digest is None)
    assert positions == list(range(1, len(made) - len(keyed) + 1))
    assert entry.group is not None
    assert marks.get(entry.group) == (b"%d" % len(positions) if positions else None)


async def test_who_sent_no_fault_does_not_hear_of_the_neighbours() -> None:
    good, bad = waiting([("a", 1.0)]), waiting([("", 1.0)])
    assert [one.pending for one in check_together([good, bad], LIMITS)] == [good]
    assert not good.done.done()
    with pytest.raises(Problem, match="sensor_id is empty"):
        heard(bad).result()
