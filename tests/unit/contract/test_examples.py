"""Whatever a release has written to a stream decodes for ever."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from services import contract
from services.contract import Entry, EntryError, decode

FOLDER = Path(contract.__file__).parent / "examples" / f"v{contract.VERSION}"
EXAMPLES = {path.stem: orjson.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))}
GOOD = [name for name, example in EXAMPLES.items() if "entry" in example]
BAD = [name for name, example in EXAMPLES.items() if "error" in example]


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
            }
            for batch in entry.batches
        ],
        "sensor_ids": entry.columns.sensor_ids,
        "index": entry.columns.index.tolist(),
        "timestamps": entry.columns.timestamps.tolist(),
        "values": [value.hex() for value in entry.columns.values.tolist()],
    }


@pytest.mark.parametrize("name", GOOD)
def test_an_example_decodes_to_its_clear_twin(name: str) -> None:
    expected = EXAMPLES[name]["entry"]
    # In hexadecimal, so that -0.0 is not 0.0.
    assert in_clear(decode(fields_of(name))) == expected | {"values": [float(v).hex() for v in expected["values"]]}


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
