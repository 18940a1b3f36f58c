"""What form the answer to a question takes: its order, pages and layout, and how plots are thinned out."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..grid import EPOCHS
from .cursor import Position, identity, unpack
from .points import DOWNSAMPLES

__all__ = ["LAYOUTS", "ORDERS", "Form", "form_of", "position_of", "too_many_points"]

LAYOUTS = ("rows", "columns", "wide")
ORDERS = ("asc", "desc")

_WHOLE = re.compile(r"[1-9]\d{0,17}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Form:
    """The form of an answer.

    Attributes:
        layout: out of `LAYOUTS`.
        epoch: out of `EPOCHS`: what instants are counted in; None where they are written as instants.
        descending: whether the newest of a sensor comes first.
        limit: most rows of the page; None where there are no pages.
        after: where the page before ended; None for the first one.
        points: most readings of a sensor; None for all.
        downsample: out of `DOWNSAMPLES`: how these are chosen.
    """

    layout: str = "rows"
    epoch: str | None = None
    descending: bool = False
    limit: int | None = None
    after: Position | None = None
    points: int | None = None
    downsample: str = "m4"


def position_of(given: Mapping[str, Any]) -> Position | None:
    """Return where the page before ended, of parameters by their names; None where no cursor is given.

    Raises:
        CursorError: it is damaged, or belongs to another question.
    """
    cursor = given["cursor"]
    return None if cursor is None else unpack(cursor, identity(given))


def form_of(
    given: Mapping[str, Any], after: Position | None, *, sensors: int, most_rows: int, most_points: int
) -> tuple[Form, dict[str, str]]:
    """Return the form that parameters ask for, and what is wrong with each of them.

    Args:
        given: what the client wrote, by the parameters' names; None where one is absent.
        after: where the page before ended.
        sensors: how many are asked.
        most_rows: of a page.
        most_points: of all sensors together.
    """
    faults: dict[str, str] = {}

    def chosen(name: str, names: Iterable[str]) -> str | None:
        text: str | None = given[name]
        if text is not None and text not in names:
            faults[name] = f"is none of {', '.join(names)}"
        return text

    layout = chosen("layout", LAYOUTS) or "rows"
    epoch = chosen("epoch", EPOCHS)
    order = chosen("order", ORDERS)
    downsample = chosen("downsample", DOWNSAMPLES) or "m4"
    limit = _whole("limit", given, most_rows, faults)
    points = _whole("points", given, None, faults)
    if layout == "wide" and given["bucket"] is None:
        faults["layout"] = "wide needs bucket, whose starts its rows are; with agg it has a column for each aggregate"
    if given["downsample"] is not None and given["points"] is None:
        faults.setdefault("downsample", "needs points, the most readings of a sensor")
    if given["points"] is not None:
        alone = [name for name in ("limit", "cursor", "order") if given[name] is not None]
        faults |= dict.fromkeys(alone, "is not for points, which are few and in the order of time")
        if given["agg"] is not None or given["bucket"] is not None:
            faults["points"] = "is for readings alone; leave agg and bucket out, or points"
    if points is not None and downsample in DOWNSAMPLES:
        least = DOWNSAMPLES[downsample]
        if points < least:
            faults["points"] = f"is at least {least} with downsample={downsample}"
        if fault := too_many_points(points, sensors, most_points):
            faults["points"] = fault
    return Form(layout, epoch, order == "desc", limit, after, points, downsample), faults


def too_many_points(points: int, sensors: int, most: int) -> str | None:
    """Return what is wrong with so many points of each of so many sensors; None where nothing is."""
    if points * sensors <= most:
        return None
    return (
        f"{sensors} × {points} points (sensors × points) are more than the {most} of MILLRACE_QUERY_MAX_CELLS; "
        f"{most // sensors} is the most that fits"
    )


def _whole(name: str, given: Mapping[str, Any], most: int | None, faults: dict[str, str]) -> int | None:
    text: str | None = given[name]
    if text is None:
        return None
    if not _WHOLE.fullmatch(text):
        faults[name] = "is no whole number from 1 on"
        return None
    if most is not None and int(text) > most:
        faults[name] = f"is more than the {most} rows of MILLRACE_QUERY_MAX_LIMIT; take so many, and page by cursor"
    return int(text)
