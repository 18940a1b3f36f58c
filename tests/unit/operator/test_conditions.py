from datetime import UTC, datetime, timedelta, timezone

from services.operator.status.conditions import LONGEST_MESSAGE, Condition, condition, instant, merged

THEN = datetime(2025, 10, 22, 21, 0, 0, 123456, UTC)
LATER = THEN + timedelta(minutes=5)


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    first = merged([], 1, THEN, {"Ready": Condition(status=True, reason="Applied")})
    again = merged(first, 2, LATER, {"Ready": Condition(status=True, reason="Unchanged", message="all is well")})
    assert again[0]["lastTransitionTime"] == first[0]["lastTransitionTime"] == "2025-10-22T21:00:00Z"
    assert (again[0]["reason"], again[0]["observedGeneration"]) == ("Unchanged", 2)
    changed = merged(again, 2, LATER, {"Ready": Condition(status=None, reason="DatabaseAway")})
    assert changed[0]["status"] == "Unknown"
    assert changed[0]["lastTransitionTime"] == "2025-10-22T21:05:00Z"


def test_conditions_that_are_not_desired_go() -> None:
    first = merged([], 1, THEN, {"Ready": Condition(status=True, reason="Applied")})
    assert [item["type"] for item in merged(first, 1, LATER, {"Degraded": Condition(status=False, reason="Well")})] == [
        "Degraded"
    ]


def test_a_message_fits_into_a_condition() -> None:
    [item] = merged([], 1, THEN, {"Ready": Condition(status=False, reason="Refused", message="x" * 5000)})
    assert len(item["message"]) == LONGEST_MESSAGE


def test_instants_are_in_utc() -> None:
    assert instant(datetime(2025, 10, 22, 23, tzinfo=timezone(timedelta(hours=2)))) == "2025-10-22T21:00:00Z"


def test_a_condition_is_found_by_its_type() -> None:
    status = {"conditions": merged([], 1, THEN, {"Ready": Condition(status=True, reason="Applied")})}
    assert condition(status, "Ready")["reason"] == "Applied"
    assert condition(status, "Degraded") == condition({}, "Ready") == {}
