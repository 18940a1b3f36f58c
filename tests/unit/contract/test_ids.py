"""Batch ids: groups, positions and keys can be told from the id alone."""

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import (
    ANONYMOUS,
    Batch,
    Columns,
    Entry,
    StreamNames,
    group_of,
    keyed_id,
    member_id,
    new_group,
    position_of,
)
from services.contract.ids import MAX_GROUP

positions = st.integers(1, MAX_GROUP)


def test_a_group_is_a_uuid7_of_now_at_position_0() -> None:
    before, group, after = time.time_ns() // 1_000_000, new_group(), time.time_ns() // 1_000_000
    assert (group.version, group.variant, position_of(group)) == (7, uuid.RFC_4122, 0)
    assert before <= group.int >> 80 <= after


def test_groups_do_not_meet() -> None:
    assert len({new_group() for _ in range(10_000)}) == 10_000


@given(positions)
def test_a_member_tells_its_group_and_position(position: int) -> None:
    group = new_group()
    member = member_id(group, position)
    assert (group_of(member), position_of(member)) == (group, position)
    assert (member.version, member.variant) == (7, uuid.RFC_4122)


@pytest.mark.parametrize("position", [0, -1, MAX_GROUP + 1])
def test_a_position_that_does_not_fit_is_refused(position: int) -> None:
    with pytest.raises(ValueError, match="not within 1 to 4095"):
        member_id(new_group(), position)


@given(st.text(), st.text())
def test_a_keyed_batch_is_its_own_group_and_the_same_each_time(caller: str, key: str) -> None:
    batch_id = keyed_id(caller, key)
    assert batch_id == keyed_id(caller, key)
    assert (batch_id.version, group_of(batch_id), position_of(batch_id)) == (5, batch_id, 0)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_keys_of_different_callers_never_meet(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (keyed_id(*one) == keyed_id(*other)) == (one == other)


def test_keyed_ids_stay_what_they_are() -> None:
    assert str(keyed_id(ANONYMOUS, "order-66")) == "19e85e8d-c330-5634-870d-9bce5fb08fe0"


def test_the_ledger_asks_for_the_group_of_anonymous_batches_only() -> None:
    group = new_group()
    batches = [Batch(member_id(group, 1), 1, 0), Batch(keyed_id(ANONYMOUS, "k"), 1, 0)]
    columns = Columns.__new__(Columns)
    assert [Entry(group, batches, columns).ledger_id(batch) for batch in batches] == [group, batches[1].batch_id]
    assert Entry(None, batches, columns).ledger_id(batches[0]) == batches[0].batch_id


def test_keys_beside_the_stream_share_its_slot() -> None:
    names = StreamNames("readings")
    for key in (names.dead, names.backlog, names.totals, names.queued, names.settled):
        assert key.startswith("{readings}:")
