from hypothesis import given
from hypothesis import strategies as st

from services.ingest.limits.admission import retry_after

AMOUNT = st.floats(min_value=0, max_value=1e12)


@given(excess=AMOUNT, drain=AMOUNT)
def test_a_client_is_told_to_wait_a_second_to_a_minute_and_a_fifth(excess: float, drain: float) -> None:
    assert 1.0 <= retry_after(excess, drain) <= 72.0


def test_the_wait_is_what_the_excess_takes_to_drain() -> None:
    assert 20.0 <= retry_after(20_000, 1_000) <= 24.0
    assert 10.0 <= retry_after(20_000, 0) <= 12.0
