import itertools
import uuid
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.contract import Batch, Entry, Slice, group_of, keyed_id, member_id, new_group
from services.platform.stream import Delivery
from services.worker.work import Work
from tests.support.readings import columns

OWN: list[dict[str, Any]] = [
    {"batch_id": keyed_id("", "k")},
    {"traceparent": f"00-{'1' * 32}-{'1' * 16}-01"},
    {"digest": b"d"},
    {"notify": True},
    {"slices": (Slice(1, b"k" * 16),)},
    {"natural": True},
    {"batch_id": member_id(new_group(), 1)},
]
"""What makes a batch one that is asked about by itself."""


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    # A group of another version than ours is nobody's: each of its batches has a row of its own.
    group = draw(st.none() | st.builds(new_group) | st.builds(uuid.uuid4))
    own = draw(st.lists(st.none() | st.sampled_from(OWN), min_size=1, max_size=12))
    batches = [
        msgspec.structs.replace(
            Batch(member_id(group or new_group(), position), draw(st.integers(1, 3)), draw(st.integers(1, 1000))),
            **(members or {}),
        )
        for position, members in enumerate(own, 1)
    ]
    return Entry(group, batches, columns([("a", number, 1.0) for number in range(sum(one.rows for one in batches))]))


def read(*found: Entry) -> list[tuple[Delivery, Entry]]:
    return [(Delivery(b"%d-0" % number, {}), entry) for number, entry in enumerate(found, 1)]


@given(st.lists(entries(), min_size=1, max_size=3))
def test_parts_together_have_the_rows_units_and_batches_of_parts_apart(found: list[Entry]) -> None:
    apart, together = Work(read(*found)), Work(read(*found), together=True)
    assert together.oldest == apart.oldest
    assert [(unit.ledger_id, unit.batches, unit.accepted_at) for unit in together.units.values()] == [
        (unit.ledger_id, unit.batches, unit.accepted_at) for unit in apart.units.values()
    ]
    ends = [0, *itertools.accumulate(part.batch.rows for part in together.parts)]
    assert [part.rows for part in together.parts] == list(map(slice, ends, ends[1:]))
    assert ends[-1] == len(together.columns)
    again = together.apart()
    assert [(part.batch, part.ledger_id, part.rows) for part in again.parts] == [
        (part.batch, part.ledger_id, part.rows) for part in apart.parts
    ]
    assert again.apart() is again


@given(st.lists(entries(), min_size=1, max_size=3))
def test_what_is_asked_about_by_itself_is_a_part_by_itself(found: list[Entry]) -> None:
    own = {id(batch) for entry in found for batch in entry.batches if _has_own(batch, entry.group)}
    parts = Work(read(*found), together=True).parts
    assert {id(part.batch) for part in parts} >= own
    assert sum(part.batches for part in parts) == sum(len(entry.batches) for entry in found)


def _has_own(batch: Batch, group: uuid.UUID | None) -> bool:
    return batch != Batch(batch.batch_id, batch.rows, batch.accepted_at) or group_of(batch.batch_id) != group


def test_a_thousand_batches_that_nobody_asks_about_are_one_part() -> None:
    group = new_group()
    batches = [Batch(member_id(group, position), 1, position) for position in range(1, 1001)]
    entry = Entry(group, batches, columns([("a", number, 1.0) for number in range(1000)]))
    [part] = Work(read(entry), together=True).parts
    assert (part.batches, part.batch, part.ledger_id) == (1000, Batch(group, 1000, 1), group)
