"""The scaler in closed loop with a queue, workers that take a while to start, and a database that they share.

Seconds pass one by one, the scaler looks every five. Arrivals and the database's speed vary by a seeded tenth.
"""

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from services.operator.autoscaling.decision import Decision, Measurement, State, decide
from services.operator.autoscaling.rates import Counts
from services.operator.specs.scaling import BacklogAutoscalerSpec, ScaleTarget

SPEC = BacklogAutoscalerSpec(
    scale_target_ref=ScaleTarget(api_version="apps/v1", kind="Deployment", name="worker"), max_replicas=10
)
STARTING = 20
WINDOW = SPEC.behavior.scale_down.stabilization_window_seconds


def linear(second: int, workers: int) -> float:
    """A database that never is the limit: each worker drains 100 rows/s."""
    del second
    return 100.0 * workers


@dataclass
class Simulation:
    arriving: Callable[[int], float]
    draining: Callable[[int, int], float] = linear
    lost: Callable[[int], bool] = lambda second: False  # noqa: ARG005 -- the backlog is always known
    restarts: Callable[[int], bool] = lambda second: False  # noqa: ARG005 -- the operator stays
    seed: int = 0
    most: int = SPEC.max_replicas
    started: list[int] = field(default_factory=lambda: [-STARTING])
    queue: deque[list[int]] = field(default_factory=deque)
    accepted: int = 0
    settled: int = 0
    workers: list[int] = field(default_factory=list)
    backlog: list[int] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def run(self, seconds: int) -> "Simulation":
        print(f"seed {self.seed}")
        spec = SPEC.model_copy(update={"max_replicas": self.most})
        chance, state = random.Random(self.seed), State()
        for second in range(seconds):
            self.flow(second, chance)
            if self.restarts(second):
                state = State()
            if second % 5 == 0:
                state, decision = decide(state, self.seen(second), spec)
                self.decisions.append(decision)
                self.started = self.started[: decision.replicas]
                self.started += [second] * (decision.replicas - len(self.started))
            self.workers.append(len(self.started))
            self.backlog.append(self.accepted - self.settled)
        return self

    def ready(self, second: int) -> int:
        return sum(second - start >= STARTING for start in self.started)

    def flow(self, second: int, chance: random.Random) -> None:
        arrived = round(self.arriving(second) * chance.uniform(0.9, 1.1))
        self.accepted += arrived
        if arrived:
            self.queue.append([second, arrived])
        able = round(self.draining(second, self.ready(second)) * chance.uniform(0.9, 1.1))
        while able and self.queue:
            taken = min(able, self.queue[0][1])
            self.queue[0][1] -= taken
            self.settled += taken
            able -= taken
            if not self.queue[0][1]:
                self.queue.popleft()

    def seen(self, second: int) -> Measurement:
        age = second - self.queue[0][0] if self.queue else 0
        counts = Counts(float(second), self.accepted, self.settled, self.accepted - self.settled, float(age))
        return Measurement(float(second), len(self.started), self.ready(second), None if self.lost(second) else counts)

    @property
    def turns(self) -> int:
        """How often the number of workers went from growing to shrinking or back."""
        ways = [after > before for before, after in pairwise(self.workers) if after != before]
        return sum(before != after for before, after in pairwise(ways))

    def reasons(self, since: int = 0, until: int = 10**6) -> set[str]:
        return {decision.reason for decision in self.decisions[since // 5 : until // 5]}

    def empty_after(self, second: int) -> int:
        """Seconds from `second` until less than three seconds of arrivals wait."""
        limit = 3 * max(self.arriving(second), 100)
        return next(s for s in range(second, len(self.backlog)) if self.backlog[s] < limit) - second


seeds = pytest.mark.parametrize("seed", range(5))


@seeds
@pytest.mark.parametrize("load", [0, 30, 80, 250, 555])
def test_steady_load_finds_its_number_and_keeps_it(load: int, seed: int) -> None:
    run = Simulation(lambda _: load, seed=seed).run(3600)
    needed = max(1, math.ceil(load / 100))
    assert needed <= run.workers[-1] <= needed + 1
    assert run.turns <= 1
    assert len(set(run.workers[1200:])) == 1
    assert run.backlog[-1] < 3 * max(load, 100)


@seeds
def test_a_burst_is_drained_in_about_the_catch_up_time_and_the_workers_go_after(seed: int) -> None:
    run = Simulation(lambda s: 20_000 if s == 60 else 50, seed=seed).run(1800)
    assert max(run.workers) >= 3
    assert next(s for s in range(60, 200) if run.workers[s] >= 3) <= 120
    assert run.empty_after(61) <= 2 * SPEC.catch_up_seconds
    assert run.turns == 1
    assert run.workers[61 + 2 * SPEC.catch_up_seconds + WINDOW + 5 * 60] == 1


@seeds
def test_bursts_that_come_again_and_again_do_not_make_it_flap(seed: int) -> None:
    run = Simulation(lambda s: 5_000 if s % 120 == 0 else 50, seed=seed).run(3600)
    assert run.turns <= 1
    assert max(run.backlog[600:]) < 7_000


@seeds
def test_a_ramp_is_followed_up_and_down(seed: int) -> None:
    run = Simulation(lambda s: max(20, 700 - abs(s - 900)), seed=seed).run(3000)
    assert 7 <= max(run.workers) <= SPEC.max_replicas
    assert run.turns == 1
    assert max(run.backlog) / 700 < SPEC.catch_up_seconds
    assert run.workers[-1] == 1


@seeds
def test_more_than_the_most_workers_can_drain_stops_at_max(seed: int) -> None:
    run = Simulation(lambda s: 2_000 if s < 300 else 20, seed=seed).run(2400)
    assert max(run.workers) == SPEC.max_replicas
    assert "TooManyReplicas" in {decision.limited for decision in run.decisions}
    assert run.turns == 1
    assert run.workers[-1] == 1


def sharing(second: int, workers: int) -> float:
    """A database that two workers fill, and that does less the more there are."""
    del second
    return min(100.0 * workers, 210.0 - 5 * workers)


@seeds
def test_a_database_that_is_the_limit_is_not_given_ever_more_workers(seed: int) -> None:
    run = Simulation(lambda s: 300 if s < 600 else 10, sharing, seed=seed, most=30).run(3000)
    assert "MoreHardlyHelp" in run.reasons(60, 600)
    assert max(run.workers) <= 16
    assert run.turns <= 1
    assert run.workers[-1] == 1


@seeds
def test_workers_that_slowed_each_other_down_go_again_though_they_looked_slow(seed: int) -> None:
    run = Simulation(lambda s: 300 if s < 600 else 80, sharing, seed=seed, most=8).run(9000)
    assert max(run.workers) == 8
    assert run.workers[-1] <= 2
    assert run.turns <= 2


@seeds
def test_a_database_that_slows_down_for_all_gets_the_workers_that_it_then_takes(seed: int) -> None:
    run = Simulation(lambda _: 250, lambda s, n: (100.0 if s < 900 else 50.0) * n, seed=seed).run(2400)
    assert run.workers[-1] >= 5
    assert run.backlog[-1] < 3 * 250
    assert run.turns <= 3


@seeds
def test_a_database_away_for_five_minutes_gets_two_workers_more_at_most(seed: int) -> None:
    run = Simulation(lambda _: 150, lambda s, n: 0 if 600 <= s < 900 else 100.0 * n, seed=seed).run(2700)
    before = run.workers[599]
    assert set(run.workers[600:900]) <= set(range(before, before + 3))
    assert "NothingDrains" in run.reasons(600, 900)
    assert run.empty_after(900) <= 3 * SPEC.catch_up_seconds
    assert run.workers[-1] <= before
    assert run.turns <= 2


@seeds
def test_a_database_away_from_the_first_moment_gets_two_workers_more_at_most(seed: int) -> None:
    run = Simulation(lambda _: 150, lambda s, n: 0 if s < 600 else 100.0 * n, seed=seed).run(700)
    assert max(run.workers[:600]) <= 3


@seeds
def test_a_backlog_that_is_not_known_changes_nothing_until_it_is(seed: int) -> None:
    run = Simulation(lambda s: 450 if s < 600 else 20, lost=lambda s: 600 <= s < 1500 or s % 35 == 0, seed=seed).run(
        3300
    )
    assert len(set(run.workers[600:1500])) == 1
    assert run.workers[1500 + WINDOW - 10] == run.workers[1500]
    assert run.workers[-1] == 1
    assert run.turns == 1


@seeds
def test_restarts_of_the_operator_do_no_harm(seed: int) -> None:
    run = Simulation(lambda s: 450 if s < 900 else 20, restarts=lambda s: s % 400 == 399, seed=seed).run(3600)
    assert all(4 <= number <= 8 for number in run.workers[60:900])
    assert max(run.backlog[120:900]) < 450 * SPEC.catch_up_seconds
    assert run.turns <= 3
    assert run.workers[-1] < run.workers[900]
