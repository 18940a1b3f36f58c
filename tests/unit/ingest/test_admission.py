"""Admission before it has seen the stream's server, and what it tells clients to wait."""

import traceback
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.limits.admission import Admission
from services.platform.admission import retry_after
from services.platform.http.errors import Problem
from services.platform.runtime.health import Health
from services.platform.settings import IngestSettings, RedisSettings

AMOUNT = st.floats(min_value=0, max_value=1e12)


def test_a_refusal_keeps_nothing_of_the_requests_it_met() -> None:
    nowhere: Any = None
    admission = Admission(nowhere, nowhere, RedisSettings(), IngestSettings(), Health("stream"))
    lengths = []
    for _ in range(3):
        try:
            admission.check()
        except Problem as refusal:
            lengths.append(len(list(traceback.walk_tb(refusal.__traceback__))))
    assert lengths == [2, 2, 2]


@given(excess=AMOUNT, drain=AMOUNT)
def test_a_client_is_told_to_wait_a_second_to_a_minute_and_a_fifth(excess: float, drain: float) -> None:
    assert 1.0 <= retry_after(excess, drain) <= 72.0


def test_the_wait_is_what_the_excess_takes_to_drain() -> None:
    assert 20.0 <= retry_after(20_000, 1_000) <= 24.0
    assert 10.0 <= retry_after(20_000, 0) <= 12.0
