"""How far a replica is behind, by what the primary had written at which instant."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.platform.settings import postgres_address
from services.query.replicas import Positions, one_address_a_host

HISTORIES = st.lists(
    st.tuples(st.floats(0.01, 10), st.integers(0, 1000)), min_size=1, max_size=30
)  # steps of time and bytes


def history(steps: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return (instant, bytes written) from steps of both."""
    at, written, noted = 0.0, 0, []
    for pause, more in steps:
        at, written = at + pause, written + more
        noted.append((at, written))
    return noted


def noted(entries: list[tuple[float, int]], span: float = 1e9) -> Positions:
    positions = Positions(span)
    for at, written in entries:
        positions.note(at, written)
    return positions


@given(HISTORIES)
def test_who_has_replayed_the_last_note_is_not_behind(steps: list[tuple[float, int]]) -> None:
    entries = history(steps)
    assert noted(entries).lag(entries[-1][0] + 1000, entries[-1][1]) == 0


@given(HISTORIES, st.integers(0, 30_000))
def test_the_lag_reaches_back_to_the_last_instant_whose_writes_were_replayed(
    steps: list[tuple[float, int]], replayed: int
) -> None:
    entries = history(steps)
    now = entries[-1][0] + 1
    known = [at for at, written in entries if written <= replayed]
    expected = math.inf if not known else 0 if known[-1] == entries[-1][0] else now - known[-1]
    assert noted(entries).lag(now, replayed) == expected
    assert noted(entries).replayed_at(replayed) == max(known, default=-math.inf)


@given(HISTORIES)
def test_who_has_replayed_more_is_never_further_behind(steps: list[tuple[float, int]]) -> None:
    entries = history(steps)
    positions, now = noted(entries), entries[-1][0] + 1
    lags = [positions.lag(now, replayed) for replayed in range(0, entries[-1][1] + 100, 50)]
    assert all(later <= earlier for earlier, later in pairwise(lags))


def test_notes_older_than_the_span_are_forgotten() -> None:
    positions = noted([(0, 10), (100, 20)], span=50)
    assert positions.lag(101, 10) == math.inf
    assert positions.lag(101, 20) == 0


def test_before_the_first_note_nobody_is_fresh() -> None:
    assert Positions(10).lag(5, 1 << 60) == math.inf


def test_each_host_of_a_url_becomes_an_address() -> None:
    both = postgres_address("postgresql://me:w%40rd@one:5432,two:5433/sensors?sslmode=verify-full")
    assert [address.url() for address in one_address_a_host(both)] == [
        "postgresql://me:w%40rd@one:5432/sensors?sslmode=verify-full",
        "postgresql://me:w%40rd@two:5433/sensors?sslmode=verify-full",
    ]
    for url in ("postgresql://one/sensors", "postgresql:///sensors"):
        assert one_address_a_host(postgres_address(url)) == [postgres_address(url)]
