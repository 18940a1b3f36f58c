"""InfluxData's corpus of line protocol: each case is read as its reference decoder reads it."""

import base64
import json
from typing import Any

from services.ingest.doors.line_protocol.decode import PRECISIONS
from services.ingest.doors.line_protocol.grammar import LineFault, Point, parse
from tests.support.programs import downloaded

MODULE, VERSION = "github.com/influxdata/line-protocol-corpus", "v0.0.0-20210922080147-aa28ccfb8937"
NUMBERS = {"int": int, "uint": int, "float": float, "bool": bool}


def test_the_grammar_reads_every_case_of_the_corpus() -> None:
    cases = json.loads((downloaded(MODULE, VERSION) / "corpus.json").read_text())["decode"].values()
    wrong = [case["input"]["text"] for case in cases if read(case["input"]) != expected(case)]
    assert len(cases) > 6000
    assert wrong == []


def read(given: dict[str, Any]) -> list[tuple[Any, ...]] | None:
    """Return the points of a body, the tags of each in the order of their names; None where a line is wrong."""
    unit = PRECISIONS[given["precision"].removeprefix("1")]
    points: list[tuple[Any, ...]] = []
    for found in parse(raw(given["text"])):
        if isinstance(found, LineFault):
            return None
        time = given["defaultTime"] // unit * unit if found.timestamp is None else found.timestamp * unit
        if not -(2**63) <= time < 2**63:
            return None
        points.append((found.measurement, sorted(found.tags), found.fields, time))
    return points


def expected(case: dict[str, Any]) -> list[tuple[Any, ...]] | None:
    if "error" in case["output"]:
        return None
    return [
        Point(
            0,
            text(point["name"]),
            sorted((text(tag["key"]), text(tag["value"])) for tag in point.get("tags", [])),
            [(text(one["key"]), value(*one["value"].items())) for one in point["fields"]],
            point["time"],
        )[1:]
        for point in case["output"]["result"]
    ]


def value(kind_and_value: tuple[str, Any]) -> Any:
    kind, found = kind_and_value
    return NUMBERS[kind](found) if kind in NUMBERS else text(found)


def text(given: Any) -> str:
    return raw(given).decode()


def raw(given: Any) -> bytes:
    return base64.b64decode(given["binary"]) if isinstance(given, dict) else str(given).encode()
