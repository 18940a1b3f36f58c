"""How fast a total grows, told from looks at it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.platform.runtime.rates import SHOWN_OVER, Meter


@given(
    rate=st.floats(0, 1e9),
    gaps=st.lists(st.floats(0.1, 60), min_size=1, max_size=20),
    start=st.floats(0, 1e6),
)
def test_what_grows_evenly_is_told_as_it_is_after_the_second_look(rate: float, gaps: list[float], start: float) -> None:
    meter, at, total = Meter(start, 5.0), start, 5.0
    assert meter.per_second is None
    for gap in gaps:
        at, total = at + gap, total + rate * gap
        meter = meter.look(at, total)
        assert meter.per_second == pytest.approx(rate, rel=1e-3, abs=1e-3)


def test_what_stands_still_fades_and_what_moves_again_shows() -> None:
    meter = Meter(0.0, 0.0)
    for second in range(1, 61):
        meter = meter.look(float(second), 100.0 * second)
    before = meter.per_second or 0.0
    meter = meter.look(60.0 + SHOWN_OVER / 2, 6000.0)
    assert (meter.per_second or 0.0) == pytest.approx(before / 2)
    assert meter.look(60.0 + SHOWN_OVER / 2 + 2 * SHOWN_OVER, 6000.0).per_second == 0.0


def test_a_total_that_fell_or_was_not_seen_for_long_is_measured_anew() -> None:
    meter = Meter(0.0, 100.0).look(1.0, 200.0)
    assert meter.look(1.0, 300.0) == meter
    for at, total in ((2.0, 50.0), (1000.0, 300.0)):
        again = meter.look(at, total)
        assert (again.per_second, again.total) == (None, total)
