"""What `POST /ingest` says of itself."""

from services.ingest.app import create_app
from services.ingest.formats import formats_of
from services.ingest.formats.isolation import Isolation
from services.platform.settings import IngestSettings, Settings


def test_the_document_names_the_limits_that_are_set() -> None:
    ingest = IngestSettings(max_rows=1234, max_body_bytes=3 * 1024 * 1024)
    app = create_app(Settings().model_copy(update={"ingest": ingest}))
    takes = app.openapi()["paths"]["/ingest"]["post"]["requestBody"]["description"]
    mends = app.state.admin.openapi()["paths"]["/dead-letters/{letter_id}/replay"]["post"]["requestBody"]["description"]
    assert takes == mends
    assert "1,234 readings and 3 MiB" in takes


def test_what_is_documented_beside_the_body_is_what_is_read() -> None:
    described = create_app(Settings()).openapi()["paths"]["/ingest"]["post"]["parameters"]
    assert {parameter["name"] for parameter in described} == {"ack", "partial", "layout", "dedup", "Idempotency-Key"}


def test_each_format_that_is_read_is_documented_with_an_example() -> None:
    content = create_app(Settings()).openapi()["paths"]["/ingest"]["post"]["requestBody"]["content"]
    assert list(content) == list(formats_of(Isolation(1)))
    assert all(described.get("examples") or described.get("example") for described in content.values())
