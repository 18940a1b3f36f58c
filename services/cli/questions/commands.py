"""The words of the three questions; the service reads them, so that they mean here what they mean over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..process import command

if TYPE_CHECKING:
    from millrace_client import Answer

__all__ = ["latest", "query", "sensors"]

Sensors = Annotated[list[str] | None, typer.Option("--sensor-id", help="A sensor, to the letter; may be repeated.")]
Match = Annotated[
    list[str] | None,
    typer.Option(help="Sensors by a glob over ids, or a selector such as 'name{site=\"a\"}'; may be repeated."),
]
Zone = Annotated[str | None, typer.Option("--tz", help="IANA time zone; UTC if not said.")]
Epoch = Annotated[str | None, typer.Option(help="Instants as integers: s, ms or us.")]
Format = Annotated[
    str | None,
    typer.Option("--format", help="json, ndjson, csv, arrow or parquet, passed on as it comes; a table if not said."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="File for what --format says; it is there whole or not at all."),
]
Url = Annotated[str | None, typer.Option(help="Where the query service is; on this machine if not said.")]


def query(
    *,
    sensor_id: Sensors = None,
    match: Match = None,
    start: Annotated[str | None, typer.Option(help="First instant: RFC 3339, 13 digits, -6h, now-1d/d.")] = None,
    end: Annotated[str | None, typer.Option(help="First instant after the range; now if not said.")] = None,
    agg: Annotated[str | None, typer.Option(help="Aggregates by commas; the readings themselves if not said.")] = None,
    bucket: Annotated[str | None, typer.Option(help="Length of the buckets, such as 5m, 1h, 1d, 1mo.")] = None,
    tz: Zone = None,
    fill: Annotated[
        str | None, typer.Option(help="Buckets without readings: none, null, previous, linear or a number.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Aggregate sensors together: all, or names of labels by commas.")
    ] = None,
    points: Annotated[str | None, typer.Option(help="Most readings of a sensor.")] = None,
    downsample: Annotated[str | None, typer.Option(help="How these are chosen: m4, minmax or lttb.")] = None,
    order: Annotated[str | None, typer.Option(help="asc or desc.")] = None,
    limit: Annotated[str | None, typer.Option(help="Most rows of a page.")] = None,
    cursor: Annotated[str | None, typer.Option(help="What the page before told.")] = None,
    layout: Annotated[str | None, typer.Option(help="rows, columns or wide.")] = None,
    epoch: Epoch = None,
    format_: Format = None,
    output: Output = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw a plot into the terminal.")] = False,
    url: Url = None,
) -> None:
    """Ask readings, or what aggregates make of them in buckets, of one or many sensors."""
    words = {
        "sensor_id": sensor_id, "match": match, "start": start, "end": end, "agg": agg, "bucket": bucket, "tz": tz,
        "fill": fill, "by": by, "points": points, "downsample": downsample, "order": order, "limit": limit,
        "cursor": cursor, "layout": layout, "epoch": epoch,
    }  # fmt: skip
    if plot:
        for option, value in {"layout": layout, "epoch": epoch, "format": format_, "output": output}.items():
            if value is not None:
                raise typer.BadParameter(f"--plot draws rows; leave --{option} out, or --plot")
        _plotted(words, url)
    elif layout == "columns" and format_ is None:
        raise typer.BadParameter("columns make no table: say --format, or another --layout")
    else:
        _answered("/series", words, format_, output, url)


def latest(
    *,
    sensor_id: Sensors = None,
    match: Match = None,
    at: Annotated[
        str | None, typer.Option(help="The reading that held at this instant; the newest if not said.")
    ] = None,
    tz: Zone = None,
    epoch: Epoch = None,
    format_: Format = None,
    output: Output = None,
    url: Url = None,
) -> None:
    """Ask the newest reading of each sensor, or the one that held at an instant."""
    words = {"sensor_id": sensor_id, "match": match, "at": at, "tz": tz, "epoch": epoch}
    _answered("/latest", words, format_, output, url)


def sensors(
    *,
    match: Match = None,
    limit: Annotated[str | None, typer.Option(help="Most sensors of a page; all pages if not said.")] = None,
    after: Annotated[str | None, typer.Option(help="What the page before told.")] = None,
    stats: Annotated[bool, typer.Option("--stats", help="With each one's newest reading and its age.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")] = False,
    url: Url = None,
) -> None:
    """List the sensors of the catalogue."""
    from rich.console import Console

    from .asking import asked
    from .table import show, tell, write

    words: dict[str, Any] = {"match": match, "limit": limit, "after": after, "stats": "true" if stats else None}
    found: list[Answer] = []

    def pages() -> Iterator[dict[str, Any]]:
        """Yield the sensors of the page that is asked for, or of all."""
        with command() as settings:
            while True:
                with asked(settings, url, "/sensors", words) as answer:
                    found.append(answer)
                    yield from answer
                words["after"] = found[-1].next
                if limit is not None or found[-1].next is None:
                    return

    count = write(pages()) if as_json else show(pages(), Console())
    tell(found[-1], count, "--after")


def _answered(path: str, words: dict[str, Any], format_: str | None, output: Path | None, url: str | None) -> None:
    """Ask, and show a table, or pass the answer on where its format is said."""
    from rich.console import Console

    from .asking import asked
    from .saving import save
    from .table import show, tell

    if output is not None and format_ is None:
        raise typer.BadParameter("--output takes what --format says: json, ndjson, csv, arrow or parquet")
    with command() as settings, asked(settings, url, path, words) as answer:
        if format_ is not None:
            save(answer, format_, output)
            return
        tell(answer, show(answer, Console()), "--cursor")


def _plotted(words: dict[str, Any], url: str | None) -> None:
    """Ask, and draw a plot.

    What the buckets lack is asked for, so that gaps are seen, and of readings no more than the terminal shows.
    """
    from zoneinfo import ZoneInfo

    from rich.console import Console

    from .asking import asked
    from .plot import POINTS_A_COLUMN, draw, lines_of, span_of
    from .table import tell

    console = Console()
    if words["bucket"] is not None and words["fill"] is None:
        words = {**words, "fill": "null"}
    if all(words[name] is None for name in ("agg", "points", "order", "limit", "cursor")):
        words = {**words, "points": str(console.width * POINTS_A_COLUMN)}
    with command() as settings, asked(settings, url, "/series", words) as answer:
        lines = lines_of(answer)
    if lines:
        typer.echo(draw(lines, span_of(lines, answer.meta), ZoneInfo(answer.meta.get("tz", "UTC")), console))
    tell(answer, sum(len(line.values) for line in lines), "--cursor")
