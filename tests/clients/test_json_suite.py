"""JSONTestSuite at the two doors that take JSON: what is JSON is read, what is not is refused, and nothing breaks."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from services.platform.settings import Settings
from tests.support.ingest import taking
from tests.support.programs import cloned

REPOSITORY, COMMIT = "nst/JSONTestSuite", "1ef36fa01286573e846ac449e8683f8833c5b26a"
DOORS = {"/ingest": 422, "/v1/metrics": 400}
"""Each door, and how it answers what is no JSON."""

LABELLED = b'[{"name": "suite", "timestamp": "2025-10-22T21:00:00Z", "value": %s, "labels": {"l": %s}}]'
POINT = b"""
{"resourceMetrics": [{"resource": {"attributes": [{"key": "l", "value": {"stringValue": %s}}]}, "scopeMetrics": [
  {"metrics": [{"name": "suite", "gauge": {"dataPoints": [{"timeUnixNano": "1761166800000000000", "asDouble": %s}]}}]}
]}]}
"""
UNKNOWN = b'{"unknown": %s}'
BOMS = ("\ufeff".encode(), "\ufeff".encode("utf-16-le"))

TAKEN, WRONG, UNREADABLE = "taken", "wrong", "unreadable"
"""Stored; read, and refused for what it says; not JSON to the door."""

DECISIONS = {
    "i_number_double_huge_neg_exp": (TAKEN, TAKEN),
    "i_number_huge_exp": (WRONG, UNREADABLE),
    "i_number_neg_int_huge_exp": (WRONG, UNREADABLE),
    "i_number_pos_double_huge_exp": (WRONG, UNREADABLE),
    "i_number_real_neg_overflow": (WRONG, UNREADABLE),
    "i_number_real_pos_overflow": (WRONG, UNREADABLE),
    "i_number_real_underflow": (TAKEN, TAKEN),
    "i_number_too_big_neg_int": (TAKEN, TAKEN),
    "i_number_too_big_pos_int": (TAKEN, TAKEN),
    "i_number_very_big_negative_int": (TAKEN, TAKEN),
    "i_object_key_lone_2nd_surrogate": (WRONG, UNREADABLE),
    "i_string_1st_surrogate_but_2nd_missing": (WRONG, UNREADABLE),
    "i_string_1st_valid_surrogate_2nd_invalid": (WRONG, UNREADABLE),
    "i_string_UTF-16LE_with_BOM": (UNREADABLE, UNREADABLE),
    "i_string_UTF-8_invalid_sequence": (UNREADABLE, UNREADABLE),
    "i_string_UTF8_surrogate_U+D800": (UNREADABLE, UNREADABLE),
    "i_string_incomplete_surrogate_and_escape_valid": (WRONG, UNREADABLE),
    "i_string_incomplete_surrogate_pair": (WRONG, UNREADABLE),
    "i_string_incomplete_surrogates_escape_valid": (WRONG, UNREADABLE),
    "i_string_invalid_lonely_surrogate": (WRONG, UNREADABLE),
    "i_string_invalid_surrogate": (WRONG, UNREADABLE),
    "i_string_invalid_utf-8": (UNREADABLE, UNREADABLE),
    "i_string_inverted_surrogates_U+1D11E": (WRONG, UNREADABLE),
    "i_string_iso_latin_1": (UNREADABLE, UNREADABLE),
    "i_string_lone_second_surrogate": (WRONG, UNREADABLE),
    "i_string_lone_utf8_continuation_byte": (UNREADABLE, UNREADABLE),
    "i_string_not_in_unicode_range": (UNREADABLE, UNREADABLE),
    "i_string_overlong_sequence_2_bytes": (UNREADABLE, UNREADABLE),
    "i_string_overlong_sequence_6_bytes": (UNREADABLE, UNREADABLE),
    "i_string_overlong_sequence_6_bytes_null": (UNREADABLE, UNREADABLE),
    "i_string_truncated-utf-8": (UNREADABLE, UNREADABLE),
    "i_string_utf16BE_no_BOM": (UNREADABLE, UNREADABLE),
    "i_string_utf16LE_no_BOM": (UNREADABLE, UNREADABLE),
    "i_structure_500_nested_arrays": (WRONG, TAKEN),
    "i_structure_UTF-8_BOM_empty_object": (WRONG, UNREADABLE),
}
"""What RFC 8259 leaves open, and what `/ingest` and OTLP make of it: of a number as a value, of a string as a label; of
others `/ingest` makes a body, and OTLP a field that it does not know."""


@pytest.fixture
def suite() -> dict[str, bytes]:
    files = {file.stem: file.read_bytes() for file in (cloned(REPOSITORY, COMMIT) / "test_parsing").glob("*.json")}
    assert len(files) == 318
    return files


@pytest.fixture
async def ingest(timescaledb_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with taking(timescaledb_settings) as client:
        yield client


async def post(client: httpx.AsyncClient, door: str, body: bytes) -> httpx.Response:
    return await client.post(door, content=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("door", DOORS)
async def test_no_file_of_the_suite_is_a_body_that_breaks_a_door(
    door: str, suite: dict[str, bytes], ingest: httpx.AsyncClient
) -> None:
    statuses = {name: (await post(ingest, door, body)).status_code for name, body in suite.items()}
    taken = {name for name, status in statuses.items() if status == 200}
    # To OTLP each object is a request, as it passes over what it does not know; to /ingest none of them is a batch.
    right = {name for name, body in suite.items() if name.startswith("y_") and isinstance(json.loads(body), dict)}
    assert taken == (right if door == "/v1/metrics" else set())
    assert {status for name, status in statuses.items() if name not in taken} == {DOORS[door]}


@pytest.mark.parametrize("door", DOORS)
async def test_what_is_json_is_read_as_a_part_of_a_body_and_what_is_not_is_refused(
    door: str, suite: dict[str, bytes], ingest: httpx.AsyncClient
) -> None:
    for name, text in suite.items():
        body = LABELLED % (b"1", text) if door == "/ingest" else UNKNOWN % text
        answer = await post(ingest, door, body)
        told = f"{name}: {answer.status_code} {answer.text[:200]}"
        if name.startswith("y_"):
            # A label that is no string is wrong, but was read.
            assert answer.status_code == 200 or answer.json().get("code") == "invalid_readings", told
        if name.startswith("n_"):
            assert answer.status_code == DOORS[door], told


async def test_each_decision_that_the_standard_leaves_open_is_known(
    suite: dict[str, bytes], ingest: httpx.AsyncClient
) -> None:
    found = {name: await decided(ingest, name, text) for name, text in suite.items() if name.startswith("i_")}
    assert found == DECISIONS


async def decided(client: httpx.AsyncClient, name: str, text: bytes) -> tuple[str, str]:
    """Return what becomes of a file at `/ingest` and at OTLP."""
    plain, point = text, text if text.startswith(BOMS) else UNKNOWN % text
    if name.startswith("i_number"):
        plain, point = LABELLED % (text.strip()[1:-1], b'"l"'), POINT % (b'"l"', text.strip()[1:-1])
    elif name.startswith("i_string") and text.startswith(b"["):
        plain, point = LABELLED % (b"1", text.strip()[1:-1]), POINT % (text.strip()[1:-1], b"1")
    first, second = await post(client, "/ingest", plain), await post(client, "/v1/metrics", point)
    return decision(first), decision(second)


def decision(answer: httpx.Response) -> str:
    if answer.status_code == 200:
        return TAKEN
    return WRONG if answer.json()["code"] == "invalid_readings" else UNREADABLE
