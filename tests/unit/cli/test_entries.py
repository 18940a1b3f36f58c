"""Entries are shown in clear as far as they can be read."""

import uuid

import numpy as np

from services.cli.entries import lines
from services.contract import Batch, Columns, Entry, encode, member_id, new_group, readable_entry

GROUP = new_group()
ENTRY = Entry(
    GROUP,
    [
        Batch(member_id(GROUP, 1), 2, 1_767_225_600_000_000, traceparent="00-a-b-01", notify=True),
        Batch(uuid.uuid5(uuid.NAMESPACE_OID, "k"), 1, 1_767_225_600_500_000, digest=b"\x01\xff"),
    ],
    Columns(
        ["alpha", "βeta"],
        np.array([0, 1, 0], np.uint32),
        np.array([1_767_225_600_000_000, 1_767_225_600_000_001, 1_767_225_601_000_000]),
        np.array([1.5, -2.0, 3.0]),
    ),
)


def test_an_entry_shows_its_batches_and_first_rows() -> None:
    found = readable_entry(b"17-0", encode(ENTRY), rows=2)
    assert (found["id"], found["version"], found["rows"], found["group"]) == ("17-0", "1", "3", str(GROUP))
    assert [(batch["rows"], batch["keyed"]) for batch in found["batches"]] == [(2, False), (1, True)]
    assert [batch["accepted_at"] for batch in found["batches"]] == [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.500000Z",
    ]
    assert found["first_rows"] == [
        {"sensor_id": "alpha", "timestamp": "2026-01-01T00:00:00Z", "value": 1.5},
        {"sensor_id": "βeta", "timestamp": "2026-01-01T00:00:00.000001Z", "value": -2.0},
    ]


def test_text_has_a_line_an_entry_a_batch_and_a_row() -> None:
    told = list(lines(readable_entry(b"17-0", encode(ENTRY), rows=1)))
    assert told[0].startswith("17-0  version=1  rows=3  bytes=")
    assert told[1].startswith(f"  batch batch_id={member_id(GROUP, 1)}  rows=2")
    assert "digest=01ff" in told[2]
    assert told[3:] == ["    2026-01-01T00:00:00Z  1.5  alpha"]


def test_a_damaged_entry_is_shown_as_damaged() -> None:
    found = readable_entry(b"17-0", {**encode(ENTRY), b"e": b"\xff\x00"}, rows=1)
    assert found["problem"].startswith("damaged: ")
    assert "problem=damaged" in next(lines(found))


def test_a_newer_entry_is_shown_as_newer() -> None:
    found = readable_entry(b"17-0", {**encode(ENTRY), b"v": b"9"}, rows=1)
    assert found["problem"].startswith("newer: contract version 9")


def test_fields_of_a_dead_letter_are_kept_even_if_they_are_no_text() -> None:
    found = readable_entry(b"17-0", {b"reason": b"refused", b"odd": b"\xff"}, rows=1)
    assert (found["reason"], found["odd"]) == ("refused", "\\xff")
    assert found["problem"].startswith("damaged: ")
