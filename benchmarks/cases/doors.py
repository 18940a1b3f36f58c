"""The front doors beside each other, beside JSON and beside other stores that take line protocol."""

from collections.abc import Mapping

from ..bodies import Shape
from ..case import Case, Options
from ..doors import ARROW, LABELLED, LINE, OTLP, REMOTE_WRITE
from ..figures import Measures, beside
from ..peers import INFLUXDB, VICTORIAMETRICS, peer_run
from ..stack import Bench
from ..way import way_run

__all__ = ["CASES"]

CONNECTIONS = 8
_LINE, _ALWAYS = "line protocol, 1,000 lines", "line protocol without dedup"
_ROUND, _ROUND_ALWAYS = "lines of one instant", "lines of one instant without dedup"
_JSON, _LARGE = "JSON, 1,000 rows", "JSON, 10,000 rows"
_REPEATED = LINE._replace(path=f"{LINE.path}&dedup=none")
SHAPES: Mapping[str, Shape] = {
    _LINE: Shape(1_000, door=LINE),
    _ALWAYS: Shape(1_000, door=_REPEATED),
    _ROUND: Shape(1_000, door=LINE, together=1_000),
    _ROUND_ALWAYS: Shape(1_000, door=_REPEATED, together=1_000),
    "remote write, 2,000 samples": Shape(2_000, door=REMOTE_WRITE),
    "OTLP, 1,000 points": Shape(1_000, door=OTLP),
    _JSON: Shape(1_000),
    "labelled JSON, 1,000 rows": Shape(1_000, door=LABELLED),
    _LARGE: Shape(10_000),
    "Arrow, 10,000 rows": Shape(10_000, door=ARROW),
}
_BESIDE = {
    _LINE: _ALWAYS,
    _ROUND: _ROUND_ALWAYS,
    "remote write, 2,000 samples": _LINE,
    "OTLP, 1,000 points": _LINE,
    "labelled JSON, 1,000 rows": _JSON,
    "Arrow, 10,000 rows": _LARGE,
}
"""What each is held against."""


async def measure(bench: Bench, options: Options) -> Measures:
    """Send the same rows by each door, and lines to each other store that is installed."""
    found: Measures = {}
    for name, shape in SHAPES.items():
        way = await way_run(bench, shape, options.seconds, CONNECTIONS)
        found |= {f"{name}: {figure}": value for figure, value in way.items()}
    for peer in (INFLUXDB, VICTORIAMETRICS):
        if peer.installed:
            run = await peer_run(peer, SHAPES[_LINE].rows, options.seconds, CONNECTIONS, bench.folder)
            found |= {f"{peer.name}: {figure}": value for figure, value in run.items()}
            found |= beside(found, _LINE, peer.name)
    for name, other in _BESIDE.items():
        found |= beside(found, name, other)
    return found


CASES = (Case("doors", "the same rows by each front door, and lines to other stores", measure, asked=True),)
