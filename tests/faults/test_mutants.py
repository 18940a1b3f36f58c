"""The tests of the tests: whoever breaks the promise on purpose is caught by the scenarios that show it."""

from pathlib import Path

import pytest

from services.platform.runtime.failpoints import Place
from services.platform.settings import Settings
from services.prove.agents import DOORS
from services.prove.harness import loaded
from services.prove.verdict import Verdict, judge
from tests.support import Service, eventually
from tests.support.faults import Failpoints, Make, drained, worker
from tests.support.moments import killed_worker, repeated_request
from tests.support.mutants import MUTANTS, VARIABLE
from tests.support.repeats import SENDERS, killed_and_sent_again

pytestmark = pytest.mark.long

PATIENCE = 20.0
LOST_ANSWERS = 8


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


@pytest.mark.parametrize("mutant", ["slices_outside_the_transaction", "slices_unclaimed"])
async def test_a_worker_that_claims_slices_on_its_own_or_not_at_all_is_caught_by_what_comes_again(
    settings: Settings, service: Make, failpoints: Failpoints, mutant: str
) -> None:
    broken = mutated(service("worker", worker(settings, "w")), mutant)
    with pytest.raises(AssertionError, match=r"^lost, doubled and foreign readings"):
        await killed_and_sent_again(
            service("ingest", settings), broken, failpoints, SENDERS["line"], ["worker.before_commit"]
        )


async def proved(door: str, ingest: Service, keen: Service, journal: Path) -> Verdict:
    """Let agents load a door until many answers were lost, and hold their journal against the table."""

    def answers_lost() -> bool:
        return journal.exists() and journal.read_bytes().count(b'"unknown"') >= LOST_ANSWERS

    async with ingest, keen:
        async with loaded(ingest.url, journal, door):
            await eventually(answers_lost, 60.0)
        await drained(ingest.settings)
        return await judge(journal, ingest.settings.database)


@pytest.mark.parametrize("door", DOORS)
async def test_what_agents_send_again_without_keys_is_stored_once(
    door: str, settings: Settings, service: Make, tmp_path: Path
) -> None:
    verdict = await proved(door, service("ingest", settings), service("worker", settings), tmp_path / "journal")
    assert verdict.clean, verdict
    assert verdict.unanswered > 0


@pytest.mark.parametrize("door", DOORS)
async def test_a_worker_that_claims_no_slices_is_caught_at_each_door(
    door: str, settings: Settings, service: Make, tmp_path: Path
) -> None:
    broken = mutated(service("worker", settings), "slices_unclaimed")
    verdict = await proved(door, service("ingest", settings), broken, tmp_path / "journal")
    assert verdict.doubled > 0 == verdict.lost


async def test_an_ingest_that_makes_one_slice_of_a_request_is_caught_by_rows_that_come_back_beside_newer_ones(
    settings: Settings, service: Make, tmp_path: Path
) -> None:
    broken = mutated(service("ingest", settings), "one_slice_a_request")
    verdict = await proved("line", broken, service("worker", settings), tmp_path / "journal")
    assert verdict.doubled > 0 == verdict.lost


def test_every_mutant_is_caught_above() -> None:
    assert set(MUTANTS) == {
        "acknowledge_before_commit",
        "ledger_outside_the_transaction",
        "no_reclaim",
        "one_slice_a_request",
        "seen_before_the_write",
        "slices_outside_the_transaction",
        "slices_unclaimed",
    }
