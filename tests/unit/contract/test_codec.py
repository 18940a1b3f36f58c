"""The codec's laws: what is encoded decodes to itself; what is damaged is called damaged, and nothing else happens."""

import dataclasses
import uuid
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.contract import (
    VERSION,
    Batch,
    Columns,
    DamagedEntryError,
    Entry,
    EntryError,
    NewerVersionError,
    Slice,
    check_series,
    decode,
    encode,
    keyed_id,
    member_id,
    new_group,
    series_id,
    series_of,
)
from services.contract.codec import MAX_SENSOR_ID, MAX_VALUE, TIMESTAMP_LIMITS
from services.contract.names import FIELD_PAYLOAD
from services.contract.series import KINDS, MAX_LABEL_NAME, MAX_LABEL_VALUE, MAX_NAME, MAX_UNIT
from tests.support.readings import spans

LOW, HIGH = TIMESTAMP_LIMITS
instants = st.integers(LOW, HIGH) | st.sampled_from([LOW, HIGH, 0, -1]) | st.integers(0, 4_000).map((1_000_000).__mul__)
sensor_ids = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=MAX_SENSOR_ID
)


def texts(longest: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=longest)


all_series = st.builds(
    lambda name, field, labels, kind, unit: series_of(name, labels.items(), field, kind, unit),
    texts(MAX_NAME),
    st.none() | texts(MAX_NAME),
    st.dictionaries(texts(MAX_LABEL_NAME), texts(MAX_LABEL_VALUE), max_size=4),
    st.none() | st.sampled_from(KINDS),
    st.none() | texts(MAX_UNIT),
)


@st.composite
def columns(draw: st.DrawFn) -> Columns:
    ids = draw(st.lists(sensor_ids, min_size=1, max_size=5, unique=True))
    series = {series_id(one): one for one in draw(st.lists(all_series, max_size=2))}
    ids = draw(st.permutations(list(dict.fromkeys([*ids, *series]))))
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, len(ids) - 1), instants, st.floats(-MAX_VALUE, MAX_VALUE)),
            min_size=1,
            max_size=20,
        )
    )
    index, timestamps, values = zip(*rows, strict=True)
    return Columns(
        ids, np.array(index, np.uint32), np.array(timestamps, np.int64), np.array(values, np.float64), series
    )


@st.composite
def slices(draw: st.DrawFn, rows: int) -> tuple[Slice, ...]:
    cuts = sorted(draw(st.sets(st.integers(1, rows - 1), max_size=3)) if rows > 1 else [])
    return tuple(Slice(size, draw(st.binary(min_size=16, max_size=16))) for size in np.diff([0, *cuts, rows]).tolist())


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    found = draw(columns())
    group = draw(st.none() | st.builds(new_group))
    cuts = sorted(draw(st.sets(st.integers(1, len(found) - 1), max_size=4)) if len(found) > 1 else [])
    sizes = np.diff([0, *cuts, len(found)]).tolist()
    batches = []
    for position, size in enumerate(sizes, 1):
        cut = draw(st.just(()) | slices(size))
        keyed = group is None or draw(st.booleans())
        batches.append(
            Batch(
                keyed_id("caller", str(position)) if keyed or group is None else member_id(group, position),
                size,
                draw(instants),
                draw(st.none() | st.text(st.characters(codec="ascii"), max_size=55)),
                draw(st.binary(min_size=1, max_size=32)) if keyed else None,
                draw(st.booleans()),
                cut,
                not cut and draw(st.booleans()),
            )
        )
    return Entry(group, batches, found)


def plain(entry: Entry) -> tuple[Any, ...]:
    found = entry.columns
    values = found.values.tobytes()
    rows = found.index.tolist(), found.timestamps.tolist(), values
    return entry.group, entry.batches, found.sensor_ids, found.series, *rows


def assert_lawful(entry: Entry) -> None:
    found = entry.columns
    assert len(found) == len(found.index) == len(found.timestamps) == sum(batch.rows for batch in entry.batches) > 0
    assert (found.index.dtype.name, found.timestamps.dtype.name, found.values.dtype.name) == (
        "uint32",
        "int64",
        "float64",
    )
    assert found.index.max() < len(found.sensor_ids)
    assert all(0 < len(sensor_id) <= MAX_SENSOR_ID and "\0" not in sensor_id for sensor_id in found.sensor_ids)
    assert found.series.keys() <= set(found.sensor_ids)
    for series in found.series.values():
        check_series(series)
    assert np.isfinite(found.values).all()
    assert LOW <= found.timestamps.min() <= found.timestamps.max() <= HIGH
    assert all(sum(one.rows for one in batch.slices) in {0, batch.rows} for batch in entry.batches)
    assert not any(batch.natural and batch.slices for batch in entry.batches)
    assert all(one.rows > 0 and len(one.key) == 16 for batch in entry.batches for one in batch.slices)
    assert all(batch.rows > 0 and LOW <= batch.accepted_at <= HIGH for batch in entry.batches)
    assert plain(decode(encode(entry))) == plain(entry)


@given(entries())
def test_what_is_encoded_decodes_to_itself(entry: Entry) -> None:
    assert plain(decode(encode(entry))) == plain(entry)
    assert_lawful(decode(encode(entry)))


@given(entries())
def test_an_entry_is_of_the_oldest_version_that_can_say_it(entry: Entry) -> None:
    natural, sliced = (any(getattr(batch, name) for batch in entry.batches) for name in ("natural", "slices"))
    described = any(series.kind or series.unit for series in entry.columns.series.values())
    oldest = b"5" if described else b"4" if natural else b"3" if sliced else b"2" if entry.columns.series else b"1"
    assert encode(entry)[b"v"] == oldest


@given(entries())
def test_every_truncation_is_damaged(entry: Entry) -> None:
    fields = encode(entry)
    for length in range(len(fields[b"e"])):
        with pytest.raises(DamagedEntryError):
            decode({**fields, b"e": fields[b"e"][:length]})


@given(entries(), st.data())
def test_a_flipped_bit_gives_a_lawful_entry_or_an_entry_error(entry: Entry, data: st.DataObject) -> None:
    fields = encode(entry)
    payload = bytearray(fields[b"e"])
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    payload[bit // 8] ^= 1 << bit % 8
    _decode_or_refuse({**fields, b"e": bytes(payload)})


@given(st.dictionaries(st.sampled_from([b"v", b"n", b"e", b"x"]), st.binary(max_size=64)))
@example({})
@example({b"v": b"1", b"n": b"1"})
@example({b"v": "\u0661".encode(), b"n": b"1", b"e": b""})
def test_any_fields_give_a_lawful_entry_or_an_entry_error(fields: dict[bytes, bytes]) -> None:
    _decode_or_refuse(fields)


def _decode_or_refuse(fields: dict[bytes, bytes]) -> None:
    try:
        found = decode(fields)
    except EntryError:
        return
    assert_lawful(found)


@given(entries(), st.integers(VERSION + 1, 999_999_999))
def test_a_newer_version_is_never_called_damaged(entry: Entry, version: int) -> None:
    with pytest.raises(NewerVersionError, match=str(version)) as raised:
        decode({**encode(entry), b"v": b"%d" % version, b"e": b"anything"})
    assert raised.value.version == version


@pytest.mark.parametrize(
    "changes",
    [
        {"sensor_ids": []},
        {"sensor_ids": [""]},
        {"sensor_ids": ["s" * (MAX_SENSOR_ID + 1)]},
        {"values": np.array([np.inf])},
        {"values": np.array([1.0, 2.0])},
        {"timestamps": np.array([LOW - 1])},
        {"timestamps": np.array([HIGH + 1])},
        {"index": np.array([1], np.uint32)},
        {"index": np.array([0, 0], np.uint32)},
    ],
)
def test_columns_against_the_law_are_damaged(changes: dict[str, Any]) -> None:
    lawful = Columns(["s"], np.zeros(1, np.uint32), np.zeros(1, np.int64), np.zeros(1))
    unlawful = dataclasses.replace(lawful, **changes)
    with pytest.raises(DamagedEntryError):
        decode(encode(Entry(None, [Batch(uuid.uuid4(), len(unlawful), 0)], unlawful)))


def test_series_that_came_before_are_those_of_the_dictionary_they_come_with() -> None:
    heat, wind = (series_of(name, [("room", "a")]) for name in ("heat", "wind"))
    ids = [series_id(heat), series_id(wind)]
    columns = Columns(
        ids, np.zeros(1, np.uint32), np.zeros(1, np.int64), np.ones(1), dict(zip(ids, (heat, wind), strict=True))
    )
    fields = encode(Entry(None, [Batch(keyed_id("a", "b"), 1, 0)], columns))
    for sensors in (ids, ids[::-1], [*ids, "plain"], ids):
        payload = msgspec.msgpack.decode(fields[FIELD_PAYLOAD])
        again = decode({**fields, FIELD_PAYLOAD: msgspec.msgpack.encode(payload | {"sensors": sensors})})
        assert again.columns.series == {sensors[0]: heat, sensors[1]: wind}
    for sensors in (ids[:1], []):
        with pytest.raises(DamagedEntryError):
            decode({**fields, FIELD_PAYLOAD: msgspec.msgpack.encode(payload | {"sensors": sensors})})


def test_sensors_that_came_before_are_labelled_only_where_they_are_now() -> None:
    heat, wind = (series_of(name, [("room", "b")]) for name in ("heat", "wind"))
    ids = [series_id(heat), series_id(wind)]
    both = dict(zip(ids, (heat, wind), strict=True))
    told = {ids[0]: series_of("heat", heat.labels, kind="gauge"), ids[1]: series_of("wind", wind.labels, unit="m/s")}
    for order, series in (
        *((ids, both), (ids[::-1], both), (ids, {ids[0]: heat}), (ids, {}), (ids, both)),
        *((ids, told), (ids, both)),
    ):
        columns = Columns(order, np.zeros(1, np.uint32), np.zeros(1, np.int64), np.ones(1), series)
        again = decode(encode(Entry(None, [Batch(keyed_id("a", "b"), 1, 0)], columns)))
        assert (again.columns.sensor_ids, again.columns.series) == (order, series)


def test_a_row_takes_ten_bytes_where_a_byte_counts_sensors_and_seconds() -> None:
    rows = np.arange(1000)
    regular = Columns(
        ["a", "b", "c", "d"],
        (rows % 4).astype(np.uint32),
        1_767_225_600_000_000 + rows // 4 * 1_000_000,
        rows.astype(np.float64),
    )
    payload = encode(Entry(None, [Batch(uuid.uuid4(), 1000, 0)], regular))[b"e"]
    assert len(payload) < 10_150


@given(st.lists(columns(), min_size=1, max_size=4))
def test_concat_keeps_rows_in_order_under_one_dictionary(parts: list[Columns]) -> None:
    joined = Columns.concat(parts)
    assert rows_of(joined) == [row for part in parts for row in rows_of(part)]
    assert len(set(joined.sensor_ids)) == len(joined.sensor_ids)
    assert joined.series == {name: one for part in parts for name, one in part.series.items()}
    assert joined.index.dtype == np.uint32


@given(columns(), columns(), columns())
def test_concat_is_associative(first: Columns, second: Columns, third: Columns) -> None:
    left = Columns.concat([Columns.concat([first, second]), third])
    right = Columns.concat([first, Columns.concat([second, third])])
    assert rows_of(left) == rows_of(right) == rows_of(Columns.concat([first, second, third]))


@given(entries())
def test_spans_cut_an_entry_into_its_batches(entry: Entry) -> None:
    parts = [entry.columns.take(span) for _, span in spans(entry)]
    assert [len(part) for part in parts] == [batch.rows for batch in entry.batches]
    assert rows_of(Columns.concat(parts)) == rows_of(entry.columns)


@given(columns(), st.data())
def test_compact_keeps_the_rows_and_drops_unused_ids(found: Columns, data: st.DataObject) -> None:
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found))), np.bool_)
    chosen = found.take(keep)
    small = chosen.compact()
    assert rows_of(small) == rows_of(chosen)
    assert set(small.sensor_ids) == {sensor_id for sensor_id, _, _ in rows_of(chosen)}
    assert small.series == {name: one for name, one in found.series.items() if name in small.sensor_ids}


def rows_of(found: Columns) -> list[tuple[str, int, str]]:
    ids = [found.sensor_ids[code] for code in found.index.tolist()]
    values = [value.hex() for value in found.values.tolist()]
    return list(zip(ids, found.timestamps.tolist(), values, strict=True))


def test_concat_of_parts_that_share_ids_has_what_any_of_them_says_of_these() -> None:
    heat, wind = (series_of(name, [("room", "a")]) for name in ("heat", "wind"))
    ids = [series_id(heat), series_id(wind)]
    plain_ones = Columns(ids, np.zeros(1, np.uint32), np.zeros(1, np.int64), np.ones(1))
    one, other = (dataclasses.replace(plain_ones, series={series_id(found): found}) for found in (heat, wind))
    for parts, found in [
        ([plain_ones, one], one.series),
        ([one, plain_ones, one], one.series),
        ([one, other], {**one.series, **other.series}),
        ([plain_ones, plain_ones], {}),
    ]:
        joined = Columns.concat(parts)
        assert joined.series == found
        assert rows_of(joined) == [row for part in parts for row in rows_of(part)]
