"""What callers are told to use of their limits."""

from services.contract import CallerUsage
from services.ingest.limits.rates import Rates, Taken
from services.ingest.limits.usage import used
from services.platform.http.auth import Caller, Scope

GARDEN = Caller(name="garden", scopes=[Scope.INGEST], requests_per_second=10.0, rows_per_second=1000.0)
FREE = Caller(name="free", scopes=[Scope.INGEST])


def test_what_callers_with_limits_take_is_counted_and_of_others_nothing() -> None:
    rates = Rates()
    for caller in (GARDEN, GARDEN, FREE):
        rates.check(caller)
        rates.count_request(caller)
        rates.count_rows(caller, 30)
    assert {(taken.name, taken.what, taken.limit): taken.total for taken in rates.taken()} == {
        ("garden", "requests", 10.0): 2.0,
        ("garden", "rows", 1000.0): 60.0,
    }


def test_a_caller_is_told_from_the_second_look_on_and_until_it_was_silent_for_a_minute() -> None:
    callers, meters = used([Taken("garden", "rows", 1000.0, 500.0, 1.0)], {}, 2.0)
    assert callers == []
    callers, meters = used([Taken("garden", "rows", 1000.0, 4500.0, 6.0)], meters, 7.0)
    assert callers == [CallerUsage("garden", rows=800.0, rows_limit=1000.0)]
    callers, meters = used([Taken("garden", "rows", 1000.0, 4500.0, 6.0)], meters, 70.0)
    assert (callers, meters) == ([], {})


def test_limits_that_were_set_anew_are_told_as_they_are_now() -> None:
    before, now = Taken("garden", "rows", 1000.0, 500.0, 5.0), Taken("garden", "rows", 50.0, 20.0, 9.0)
    _, meters = used([now, before], {}, 10.0)
    [caller], _ = used([Taken("garden", "rows", 50.0, 70.0, 14.0), before], meters, 15.0)
    assert caller == CallerUsage("garden", rows=10.0, rows_limit=50.0)
