"""What a client takes: `format`, `Accept`, `Accept-Encoding`."""

import pytest

from services.platform.http.errors import Problem
from services.query.formats import MEDIA_TYPES, Shape
from services.query.negotiation import content_coding, media_type

JSON, NDJSON, CSV, ARROW, PARQUET = MEDIA_TYPES.values()


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([], JSON),
        ([""], JSON),
        ([" , "], JSON),
        (["*/*"], JSON),
        (["application/*"], JSON),
        (["text/*"], CSV),
        (["text/csv"], CSV),
        (["Text/CSV; header=present"], CSV),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], JSON),
        (["text/csv;q=0.5, application/vnd.apache.parquet"], PARQUET),
        (["text/csv;q=0.5, application/vnd.apache.parquet;q=0.4"], CSV),
        (["application/json;q=0.1, */*;q=0.2"], NDJSON),
        (["application/json;q=0, application/*;q=0.3, text/csv;q=0.2"], NDJSON),
        (["text/csv", "application/vnd.apache.arrow.stream;q=0.9"], CSV),
        (["text/csv;q=0.9", "application/vnd.apache.arrow.stream"], ARROW),
        (["text/csv, application/json"], JSON),
        (["text/csv;q=high"], CSV),
        (["application/x-ndjson;q=1.000, application/json;q=0.999"], NDJSON),
    ],
)
def test_the_media_type_that_is_liked_best_is_chosen(accept: list[str], expected: str) -> None:
    assert media_type(Shape.LIST, None, accept) == expected


def test_the_format_wins_over_accept() -> None:
    for name, media in MEDIA_TYPES.items():
        assert media_type(Shape.PAGE, name, ["application/json"]) == media
        assert media_type(Shape.PAGE, name, ["text/html"]) == media


@pytest.mark.parametrize("wanted", ["", "xml", "JSON", "text/csv"])
def test_a_format_that_is_unknown_is_refused_with_those_there_are(wanted: str) -> None:
    with pytest.raises(Problem, match="json, ndjson, csv, arrow, parquet") as caught:
        media_type(Shape.PAGE, wanted, [])
    assert (caught.value.code, caught.value.kind.status) == ("not_acceptable", 406)


@pytest.mark.parametrize("accept", ["text/html", "csv", "*/*;q=0", "application/json;q=0", "*"])
def test_where_nothing_fits_what_there_is_is_told(accept: str) -> None:
    with pytest.raises(Problem, match=r"text/csv \(format=csv\)") as caught:
        media_type(Shape.LIST, None, [accept])
    assert caught.value.code == "not_acceptable"


def test_a_shape_that_json_alone_has_offers_no_other() -> None:
    assert media_type(Shape.ROW, None, ["text/csv, application/json;q=0.1"]) == JSON
    with pytest.raises(Problem, match=r"it may be json$"):
        media_type(Shape.ROW, "csv", [])


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ([], None),
        ([""], None),
        (["gzip"], "gzip"),
        (["gzip, deflate, br, zstd"], "zstd"),
        (["gzip;q=1.0, zstd;q=0.5"], "gzip"),
        (["*"], "zstd"),
        (["zstd;q=0, *"], "gzip"),
        (["gzip;q=0"], None),
        (["br"], None),
        (["identity"], None),
        (["identity, gzip;q=0.5"], None),
        (["identity;q=0.5, gzip"], "gzip"),
        (["GZIP"], "gzip"),
    ],
)
def test_the_coding_that_is_liked_best_is_chosen(accepted: list[str], expected: str | None) -> None:
    assert content_coding(CSV, accepted) == expected
    assert content_coding(ARROW, accepted) == expected
    assert content_coding(PARQUET, accepted) is None
