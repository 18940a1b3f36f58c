"""Growth of what a proof watches."""

import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from services.prove.leaks import FEWEST, SETTLED_AFTER, Growth, Leftovers, Sample, Watch, growth, longest_life


def life(born: float, *memory: float) -> list[Sample]:
    """Return samples of one process, a second apart, from where it has settled on."""
    return [Sample(born, SETTLED_AFTER + second, figure, 10) for second, figure in enumerate(memory)]


@given(level=st.floats(1, 10_000), noise=st.lists(st.floats(-1, 1), min_size=FEWEST, max_size=200))
def test_what_only_wavers_is_flat(level: float, noise: list[float]) -> None:
    found = growth(life(0, *(level + each for each in noise)), "memory")
    assert found is not None
    assert found.flat


@given(level=st.floats(1, 1000), seconds=st.integers(FEWEST, 600))
def test_what_doubles_over_a_life_grows(level: float, seconds: int) -> None:
    leak = life(0, *(level + (level + 60) * second / seconds for second in range(2 * seconds)))
    found = growth(leak, "memory")
    assert found is not None
    assert not found.flat


def test_what_has_not_settled_is_not_judged() -> None:
    fresh = [Sample(0, SETTLED_AFTER - 1, memory, 10) for memory in range(1000)]
    assert growth(fresh, "memory") is None
    assert growth(life(0, *range(FEWEST - 1)), "memory") is None


def test_a_leak_shows_in_the_longest_life_where_restarts_hide_it_from_the_run() -> None:
    leak = [20.0 * second for second in range(40)]
    watch = Watch()
    watch.samples["worker-1"] = [*life(1, *leak), *life(2, *leak[:30]), *life(3, *leak), *life(4, *leak[:20])]
    run, own = (watch.growths("worker-1")["memory", span] for span in ("run", "life"))
    assert run is not None
    assert run.flat
    assert own is not None
    assert not own.flat
    assert not watch.flat


def test_what_each_life_adds_shows_over_the_run() -> None:
    watch = Watch()
    watch.samples["Valkey"] = [sample for born in range(20) for sample in life(born, *[100.0 + 50 * born] * 15)]
    assert not watch.flat
    assert [sample.born for sample in longest_life(watch.samples["Valkey"])] == [0.0] * 15


def test_a_process_is_seen_with_its_children_and_forgotten_when_it_is_gone() -> None:
    child = "x = bytearray(64 << 20); print(1, flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    watch = Watch()
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        watch.look({"part": process.pid, "self": os.getpid(), "not started": None})
    watch.look({"part": process.pid})
    (sample,) = watch.samples["part"]
    assert sample.memory > 64
    assert sample.descriptors >= 3
    assert len(watch.samples["self"]) == 1
    assert "not started" not in watch.samples


def test_descriptors_may_come_and_go_but_not_pile_up() -> None:
    assert Growth(20, 28, 8).flat
    assert not Growth(20, 60, 8).flat


def test_each_thing_left_over_tells() -> None:
    assert Leftovers(0, (), 12, 0).clean
    assert not Leftovers(1, (), 12, 0).clean
    assert not Leftovers(0, ("worker-9",), 12, 0).clean
    assert not Leftovers(0, (), 12, 3).clean
