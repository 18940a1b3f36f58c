"""Which readings are first of their sensor and instant, held against a plain loop."""

from hypothesis import given
from hypothesis import strategies as st

from services.worker.natural import behind_another
from tests.support.readings import Row, columns

ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-2, 2), st.just(1.0)), min_size=1, max_size=40)


@given(ROWS)
def test_a_row_is_behind_another_where_its_sensor_and_instant_came_before(rows: list[Row]) -> None:
    seen = set[tuple[str, int]]()
    expected = []
    for sensor, at, _ in rows:
        expected.append((sensor, at) in seen)
        seen.add((sensor, at))
    assert behind_another(columns(rows)).tolist() == expected
