"""Stream, workers and ledger against a model, on walks that hypothesis draws; and that a walk finds a broken ledger."""

from typing import Any

import pytest
from hypothesis import Phase

from services.platform.settings import Settings
from services.worker.transaction import Store
from services.worker.work import Selection, Work
from tests.support.machine import walked


def test_each_acknowledged_batch_is_stored_once_or_a_dead_letter_on_every_walk(settings: Settings) -> None:
    walked(settings, examples=6, steps=25)


def test_a_walk_finds_a_ledger_that_forgets(timescaledb_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Store._claim

    async def forgetful(self: Store, connection: Any, work: Work, selection: Selection) -> Any:
        _, known = await claim(self, connection, work, selection)
        return list(work.units.values()), known

    monkeypatch.setattr(Store, "_claim", forgetful)
    with pytest.raises(AssertionError, match=r"a reading is stored twice|two bodies are stored under one key"):
        walked(
            timescaledb_settings,
            examples=300,
            steps=25,
            phases=[Phase.generate],
            database=None,
            report_multiple_bugs=False,
        )
