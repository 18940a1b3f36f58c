"""Settlement events, dead letters, usage and the ledger's refusals: what a release has written decodes for ever."""

import contextlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import given

from services import contract
from services.contract import (
    CallerUsage,
    DeadLetter,
    EntryError,
    Outcome,
    SettlementEvent,
    StreamNames,
    Verdict,
    decode_letter,
    decode_refusals,
    decode_settlement,
    decode_usage,
    encode_letter,
    encode_refusals,
    encode_settlement,
    encode_usage,
)

FOLDER = Path(contract.__file__).parent / "examples"


def examples(kind: str) -> dict[str, dict[str, Any]]:
    found = {f"{path.parent.name}/{path.stem}": path for path in sorted((FOLDER / kind).glob("v*/*.json"))}
    return {name: orjson.loads(path.read_bytes()) for name, path in found.items()}


SETTLEMENTS, LETTERS, USAGES = examples("settlement"), examples("dead_letter"), examples("usage")


def raw(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode("latin-1"): bytes.fromhex(value) for name, value in fields.items()}


@pytest.mark.parametrize("name", SETTLEMENTS)
def test_an_example_of_a_settlement_event_is_read_or_raises_its_own_error(name: str) -> None:
    example = SETTLEMENTS[name]
    try:
        event = decode_settlement(bytes.fromhex(example["message"]))
    except EntryError as error:
        assert type(error).__name__ == example["error"]
    else:
        assert [str(batch_id) for batch_id in event.batch_ids] == example["batch_ids"]


@pytest.mark.parametrize("name", USAGES)
def test_an_example_of_usage_is_read_or_raises_its_own_error(name: str) -> None:
    example = USAGES[name]
    try:
        callers = decode_usage(bytes.fromhex(example["message"]))
    except EntryError as error:
        assert type(error).__name__ == example["error"]
    else:
        assert callers == [CallerUsage(**caller) for caller in example["callers"]]


@pytest.mark.parametrize("name", LETTERS)
def test_an_example_of_a_dead_letter_is_read_or_raises_its_own_error(name: str) -> None:
    example = LETTERS[name]
    try:
        letter = decode_letter(raw(example["fields"]))
    except EntryError as error:
        assert type(error).__name__ == example["error"]
    else:
        wanted = example["letter"]
        batch_id = uuid.UUID(wanted["batch_id"]) if wanted["batch_id"] else None
        fields = raw(wanted["fields"])
        assert letter == DeadLetter(wanted["code"], wanted["detail"], wanted["origin"], fields, batch_id)


@given(st.lists(st.uuids()))
def test_a_settlement_event_is_read_as_it_was_written(batch_ids: list[uuid.UUID]) -> None:
    assert decode_settlement(encode_settlement(SettlementEvent(batch_ids))).batch_ids == batch_ids


AMOUNTS = st.none() | st.floats(0, allow_infinity=False)


@given(st.lists(st.builds(CallerUsage, st.text(), AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)))
def test_usage_is_read_as_it_was_written(callers: list[CallerUsage]) -> None:
    assert decode_usage(encode_usage(callers)) == callers


@pytest.mark.parametrize("decode", [decode_settlement, decode_usage])
@given(message=st.binary())
def test_any_other_message_is_refused_by_one_kind_of_error(decode: Callable[[bytes], object], message: bytes) -> None:
    with contextlib.suppress(EntryError):
        decode(message)


@given(
    st.dictionaries(st.sampled_from([b"reason", b"letter", b"fields", b"v", b"e"]) | st.binary(), st.binary()),
    st.none() | st.uuids(),
)
def test_a_dead_letter_keeps_every_field_of_its_entry(fields: dict[bytes, bytes], batch_id: uuid.UUID | None) -> None:
    letter = DeadLetter("damaged", "why: \u202e", "1-1", fields, batch_id)
    assert decode_letter(encode_letter(letter)) == letter


def test_refusals_are_read_as_they_were_written_and_apart() -> None:
    verdict = Verdict(Outcome.DEAD, "refused", "23514: new row: violates")
    written = encode_refusals([(0, verdict), (7, verdict)])
    assert orjson.loads(written)["7"] == "refused: 23514: new row: violates"
    assert decode_refusals(written) == {0: verdict, 7: verdict}
    apart = '{"0": {"code": "refused", "detail": "23514: new row: violates", "more": 1}}'
    assert decode_refusals(apart) == {0: verdict}


@pytest.mark.parametrize(
    "odd", [None, "", "[]", '["0"]', "7", '"0"', "null", '{"x": "a: b", "-1": "a: b", "": "c"}', "{"]
)
def test_an_odd_ledger_refuses_nothing(odd: str | None) -> None:
    assert decode_refusals(odd) == {}


@pytest.mark.parametrize("odd", ["{}", "7", "null", '"no code"', "[]", '{"code": 7}'])
def test_a_refusal_of_odd_words_is_a_refusal(odd: str) -> None:
    assert decode_refusals(f'{{"3": {odd}}}')[3].outcome is Outcome.DEAD


def test_channels_of_the_databases_of_one_server_are_apart() -> None:
    assert StreamNames("s", 0).settled != StreamNames("s", 1).settled
