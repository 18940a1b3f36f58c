"""The tests of the tests: whoever breaks the promise on purpose is caught by the scenarios that show it."""

import pytest

from services.platform.runtime.failpoints import Place
from services.platform.settings import Settings
from tests.support import Service
from tests.support.faults import Failpoints, Make, worker
from tests.support.moments import killed_worker, repeated_request
from tests.support.mutants import MUTANTS, VARIABLE

pytestmark = pytest.mark.long

PATIENCE = 20.0


def mutated(process: Service, mutant: str) -> Service:
    process.module = "tests.support.mutants"
    process.variables[VARIABLE] = mutant
    return process


@pytest.mark.parametrize(
    ("mutant", "place", "told"),
    [
        ("acknowledge_before_commit", "worker.after_ledger", "^0 readings are stored"),
        ("ledger_outside_the_transaction", "worker.after_ledger", "^0 readings are stored"),
        ("no_reclaim", "worker.after_read", "not within"),
    ],
)
async def test_a_broken_worker_is_caught(
    settings: Settings, service: Make, failpoints: Failpoints, mutant: str, place: Place, told: str
) -> None:
    victim, heir = (mutated(service("worker", worker(settings, name)), mutant) for name in ("victim", "heir"))
    with pytest.raises(AssertionError, match=told):
        await killed_worker(service("ingest", settings), victim, heir, failpoints, place, PATIENCE)


async def test_an_ingest_that_marks_a_key_as_seen_before_the_write_is_caught(
    settings: Settings, service: Make, failpoints: Failpoints
) -> None:
    broken = mutated(service("ingest", settings), "seen_before_the_write")
    keen = service("worker", worker(settings, "w"))
    with pytest.raises(AssertionError, match=r"^0 readings are stored"):
        await repeated_request(broken, keen, failpoints, "ingest.before_add", "kill", PATIENCE)


def test_every_mutant_is_caught_above() -> None:
    assert set(MUTANTS) == {
        "acknowledge_before_commit",
        "ledger_outside_the_transaction",
        "no_reclaim",
        "seen_before_the_write",
    }
