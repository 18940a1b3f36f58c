from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare import changes
from benchmarks.docs import page
from benchmarks.figures import Figure
from benchmarks.machine import Place
from benchmarks.results import Outcome, Results
from benchmarks.targets import TARGETS, judge, missed_badly

VALUES = st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=9)


def outcomes(case: str, **figures: tuple[float, ...]) -> dict[str, Outcome]:
    return {case: Outcome("a case", {name: Figure(values) for name, values in figures.items()})}


def results(cases: dict[str, Outcome]) -> Results:
    where = Place("a cpu", 2, 8.0, "6.1", "xfs", "0123456789", changed=False, versions={"wrk": "4"}, settings={})
    return Results("2026-01-02T03:04:05+00:00", where, "PostgreSQL 18", (0.1, 0.2), cases)


@given(VALUES)
def test_the_median_lies_among_the_values_and_the_spread_covers_them(values: list[float]) -> None:
    figure = Figure(tuple(values))
    assert min(values) <= figure.median <= max(values)
    assert 2 * figure.spread * figure.median == pytest.approx(max(values) - min(values))


@given(VALUES, VALUES)
def test_a_difference_is_seen_from_both_sides_and_never_where_values_overlap(
    one: list[float], two: list[float]
) -> None:
    first, second = Figure(tuple(one)), Figure(tuple(two))
    assert first.differs(second, 0.0) == second.differs(first, 0.0)
    if min(one) <= max(two) and min(two) <= max(one):
        assert not first.differs(second, 0.0)


def test_what_moved_less_than_the_least_change_is_noise() -> None:
    assert not Figure((100.0, 101.0)).differs(Figure((102.0, 103.0)))
    assert Figure((100.0, 101.0)).differs(Figure((110.0, 111.0)))


def test_a_measure_of_some_runs_alone_is_kept() -> None:
    outcome = Outcome.of("a case", [{"rows/s": 1.0}, {"rows/s": 3.0, "drained in s": 2.0}])
    assert outcome.median("rows/s") == 2.0
    assert outcome.median("drained in s") == 2.0
    assert outcome.median("requests/s") is None


def test_results_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    written = results(outcomes("rows-10", **{"requests/s": (1.0, 2.5)}))
    written.write(tmp_path / "results" / "one.json")
    assert Results.read(tmp_path / "results" / "one.json") == written


def test_only_what_changed_beyond_noise_is_told_and_by_how_much() -> None:
    before = results(outcomes("rows-10", **{"requests/s": (100.0, 102.0), "p50": (5.0, 9.0), "gone": (1.0,)}))
    after = results(outcomes("rows-10", **{"requests/s": (150.0, 153.0), "p50": (6.0, 8.0), "new": (1.0,)}))
    found = list(changes(before, after, 0.03))
    assert [(change.case, change.figure, round(change.share, 2)) for change in found] == [
        ("rows-10", "requests/s", 0.5)
    ]


def test_verdicts_hold_bounds_from_either_side_and_say_what_was_not_measured() -> None:
    cases = outcomes("rows-1000", **{"× row-store COPY": (4.0, 5.0, 6.0), "all µs/row": (1.9,)}) | outcomes("rows-10")
    words = {(verdict.target.case, verdict.target.figure): verdict.word for verdict in judge(cases)}
    assert words == {
        ("rows-1000", "× row-store COPY"): "reached",
        ("rows-1000", "all µs/row"): "missed",
        ("rows-10", "ingest µs/request"): "not measured",
        ("rows-10", "requests/s"): "not measured",
    }


@pytest.mark.parametrize(("ratio", "badly"), [(2.4, True), (2.6, False), (5.0, False)])
def test_a_promised_ratio_is_missed_badly_below_its_half(ratio: float, badly: bool) -> None:
    assert bool(missed_badly(judge(outcomes("rows-1000", **{"× row-store COPY": (ratio,)})))) is badly


def test_an_absolute_figure_is_never_missed_badly() -> None:
    assert missed_badly(judge(outcomes("rows-1000", **{"all µs/row": (99.0,)}))) == []


def test_the_page_tells_every_verdict_and_every_figure() -> None:
    told = page(
        results(outcomes("rows-1000", **{"× row-store COPY": (2.0,), "ingest µs/row": (0.5,)})), [("a.svg", "A")]
    )
    assert "| rows-1000 | × row-store COPY | ≥ 5 | 2 | **missed** |" in told
    assert "| ingest µs/row | 0.5 |  |" in told
    assert "![A](performance/a.svg)" in told


def test_every_target_is_of_a_case_that_there_is() -> None:
    from benchmarks.cases import ALL  # noqa: PLC0415 -- it brings everything along

    assert {target.case for target in TARGETS} <= ALL.keys()


def test_cases_of_other_runs_name_the_run_they_were_measured_in_however_often_they_are_joined() -> None:
    other = results({**outcomes("here", rate=(1.0,)), **outcomes("there", rate=(2.0,))})
    joined = results(outcomes("here", rate=(3.0,))).beside(other)
    again = results({}).beside(joined)
    assert joined.cases["here"].median("rate") == 3.0
    assert joined.cases["here"].run == ""
    assert "2026-01-02T03:04 at commit 01234567" in joined.cases["there"].run
    assert again.cases["there"] == joined.cases["there"]
    assert again.cases["here"].run
