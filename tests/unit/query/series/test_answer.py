"""Batches become an answer's rows without holding anybody else up."""

import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.contract.instants import micros_of
from services.query.series import points
from services.query.series.answer import rows_of
from services.query.series.cursor import SeriesPage
from services.query.series.groups import unlabelled
from services.query.series.question import Limits, Parameters, ask
from services.query.table import Column, Kind, Table

START = micros_of(datetime(2025, 10, 22, 21, tzinfo=UTC))
SECOND = timedelta(seconds=1) // timedelta(microseconds=1)


async def batches(each: int, count: int) -> AsyncIterator[Table]:
    for number in range(count):
        at = START + np.arange(number * each, (number + 1) * each) * SECOND
        yield Table(
            {
                "sensor_id": Column.constant("sensor-1", each),
                "timestamp": Column(Kind.INSTANT, at),
                "value": Column(Kind.FLOAT, at % 7 / 1.0),
                "id": Column(Kind.INTEGER, at),
            }
        )


@pytest.mark.parametrize("downsample", points.DOWNSAMPLES)
async def test_points_are_chosen_apart_from_the_loop(monkeypatch: pytest.MonkeyPatch, downsample: str) -> None:
    threads: set[int] = set()

    taken = Table.taken

    def told(self: Table, rows: object) -> Table:
        threads.add(threading.get_ident())
        return taken(self, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(Table, "taken", told)
    asked = Parameters(["sensor-1"], "2025-10-22T21:00:00Z", points="10", downsample=downsample)
    question = ask(asked, START + 10**12, Limits(1, 100))
    page = SeriesPage(None, None, now=START, descending=False, keys=("sensor_id",))
    groups = unlabelled(question.sensors, question.by)
    rows = [len(table) async for table in rows_of(question, groups, batches(7, 20_000), page, 10**6)]
    assert 0 < sum(rows) <= 10
    assert threads
    assert threading.get_ident() not in threads
