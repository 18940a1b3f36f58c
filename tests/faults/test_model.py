"""Long walks of the model-based test, and that they find the workers that are broken on purpose."""

from collections.abc import Callable

import pytest
from hypothesis import Phase

from services.platform.settings import Settings
from services.platform.stream import Stream
from services.worker.loop import Loop
from services.worker.transaction import Store
from tests.support.machine import walked
from tests.support.mutants import acknowledge_before_commit, ledger_outside_the_transaction, no_reclaim

pytestmark = pytest.mark.long


def test_long_walks_store_each_acknowledged_batch_once_or_keep_it_as_a_dead_letter(settings: Settings) -> None:
    walked(settings, examples=100, steps=60)


@pytest.mark.parametrize("mutant", [acknowledge_before_commit, ledger_outside_the_transaction, no_reclaim])
def test_a_walk_finds_a_broken_worker(
    timescaledb_settings: Settings, monkeypatch: pytest.MonkeyPatch, mutant: Callable[[], None]
) -> None:
    for owner, name in ((Store, "_claim"), (Loop, "_write"), (Stream, "reclaim")):
        # The mutant replaces it; this brings it back.
        monkeypatch.setattr(owner, name, getattr(owner, name))
    mutant()
    quick = {"phases": [Phase.generate], "database": None, "report_multiple_bugs": False}
    with pytest.raises(AssertionError, match=r"neither stored nor a dead letter|nothing is stored|not drained"):
        walked(timescaledb_settings, examples=300, steps=25, **quick)
