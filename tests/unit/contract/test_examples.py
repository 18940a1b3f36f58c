"""Whatever a release has written to a stream decodes for ever."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from services import contract
from services.contract import Entry, EntryError, decode, series_id

FOLDER = Path(contract.__file__).parent / "examples"
EXAMPLES = {
    f"v{version}/{path.stem}": orjson.loads(path.read_bytes())
    for version in range(1, contract.VERSION + 1)
    for path in sorted((FOLDER / f"v{version}").glob("*.json"))
}
GOOD = [name for name, example in EXAMPLES.items() if "entry" in example]
# What was newer once may be known by now.
BAD = [
    name
    for name, example in EXAMPLES.items()
    if "error" in example
    and not (example["error"] == "NewerVersionError" and int(example["fields"]["v"]) <= contract.VERSION)
]


def fields_of(name: str) -> dict[bytes, bytes]:
    fields = EXAMPLES[name]["fields"]
    return {b"v": fields["v"].encode(), b"n": fields["n"].encode(), b"e": bytes.fromhex(fields["e"])}


def in_clear(entry: Entry) -> dict[str, Any]:
    return {
        "group": str(entry.group) if entry.group else None,
        "batches": [
            {
                "batch_id": str(batch.batch_id),
                "rows": batch.rows,
                "accepted_at": batch.accepted_at,
                "traceparent": batch.traceparent,
                "digest": batch.digest.hex() if batch.digest else None,
                "notify": batch.notify,
                **({"slices": [[one.rows, one.key.hex()] for one in batch.slices]} if batch.slices else {}),
                **({"natural": True} if batch.natural else {}),
            }
            for batch in entry.batches
        ],
        "sensor_ids": entry.columns.sensor_ids,
        "index": entry.columns.index.tolist(),
        "timestamps": entry.columns.timestamps.tolist(),
        "values": [value.hex() for value in entry.columns.values.tolist()],
        "series": {
            sensor_id: [series.name, series.field, dict(series.labels)]
            + ([series.kind, series.unit] if series.kind or series.unit else [])
            for sensor_id, series in entry.columns.series.items()
        },
    }


@pytest.mark.parametrize("name", GOOD)
def test_an_example_decodes_to_its_clear_twin(name: str) -> None:
    expected = {"series": {}} | EXAMPLES[name]["entry"]
    # In hexadecimal, so that -0.0 is not 0.0.
    assert in_clear(decode(fields_of(name))) == expected | {"values": [float(v).hex() for v in expected["values"]]}


@pytest.mark.parametrize("name", [name for name in GOOD if EXAMPLES[name]["entry"].get("series")])
def test_a_series_has_the_id_that_it_always_had(name: str) -> None:
    for sensor_id, series in decode(fields_of(name)).columns.series.items():
        assert series_id(series) == sensor_id


@pytest.mark.parametrize("name", BAD)
def test_a_bad_example_raises_its_own_error(name: str) -> None:
    with pytest.raises(EntryError) as raised:
        decode(fields_of(name))
    assert type(raised.value).__name__ == EXAMPLES[name]["error"]


def test_every_example_says_what_it_is_and_is_one_or_the_other() -> None:
    assert len(GOOD) > 10
    assert len(BAD) > 5
    for example in EXAMPLES.values():
        assert set(example) in ({"about", "fields", "entry"}, {"about", "fields", "error"})
