"""Which readings on their way into the table a deletion covers, against what a person would say of each row."""

from hypothesis import given
from hypothesis import strategies as st

from services.contract import decode, encode
from services.platform.stream import Delivery
from services.worker.deletions import Deletion, Deletions
from services.worker.work import Work
from tests.support.readings import Row, entry_of

SENSORS = st.sampled_from(["a", "b", "größe", "x" * 128])
INSTANTS = st.integers(0, 20)
ROWS = st.lists(st.tuples(SENSORS, INSTANTS, st.just(1.0)), min_size=1, max_size=8)
DELETIONS = st.lists(
    st.builds(
        lambda ids, start, length, at: Deletion(ids, start, start + length, at),
        st.frozensets(SENSORS, min_size=1),
        INSTANTS,
        st.integers(1, 10),
        INSTANTS,
    ),
    max_size=4,
)


def stays(row: Row, accepted_at: int, deletions: list[Deletion]) -> bool:
    sensor, at, _ = row
    return not any(
        sensor in deletion.sensor_ids and deletion.start <= at < deletion.end and accepted_at <= deletion.requested_at
        for deletion in deletions
    )


@given(st.lists(st.tuples(INSTANTS, st.lists(ROWS, min_size=1, max_size=3)), min_size=1, max_size=4), DELETIONS)
def test_exactly_what_deletions_cover_is_left_out(
    sent: list[tuple[int, list[list[Row]]]], deletions: list[Deletion]
) -> None:
    entries = [entry_of(*batches, accepted_at=accepted_at) for accepted_at, batches in sent]
    deliveries = [Delivery(b"%d-0" % number, encode(entry)) for number, entry in enumerate(entries, 1)]
    work = Work((delivery, decode(delivery.fields or {})) for delivery in deliveries)
    assert work.oldest == min(accepted_at for accepted_at, _ in sent)
    for known in (deletions, []):
        selection = work.without(Deletions(len(known), 0, tuple(known)))
        wanted = [
            [row for row in rows if stays(row, accepted_at, known)] for accepted_at, batches in sent for rows in batches
        ]
        for part, rows in zip(work.parts, wanted, strict=True):
            picked = selection.pick([part])
            ids = [picked.sensor_ids[code] for code in picked.index.tolist()]
            assert list(zip(ids, picked.timestamps.tolist(), picked.values.tolist(), strict=True)) == rows
            assert part.batch.rows - selection.taken_back(part) == len(rows)
        assert len(selection.pick(work.parts)) == sum(map(len, wanted))
        assert sum(map(selection.rows, work.units.values())) == sum(map(len, wanted))
