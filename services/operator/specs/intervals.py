"""PostgreSQL's intervals: months, days and microseconds, which no timedelta keeps apart."""

import re
from dataclasses import dataclass
from typing import Self

__all__ = ["Interval"]

SECOND = 1_000_000
DAY = 24 * 3600 * SECOND
MONTH = 30 * DAY

UNITS = {
    "year": (12, 0, 0),
    "mon": (1, 0, 0),
    "month": (1, 0, 0),
    "week": (0, 7, 0),
    "day": (0, 1, 0),
    "hour": (0, 0, 3600 * SECOND),
    "minute": (0, 0, 60 * SECOND),
    "second": (0, 0, SECOND),
    "microsecond": (0, 0, 1),
}

_TERM = re.compile(r"([+-]?\d{1,18})\s+(year|month|mon|week|day|hour|minute|second|microsecond)s?", re.ASCII)
_CLOCK = re.compile(r"([+-]?)(\d{1,9}):(\d\d):(\d\d)(?:\.(\d{1,6}))?", re.ASCII)
_WHOLE = re.compile(rf"(?:{_TERM.pattern}|{_CLOCK.pattern})(?:\s+(?:{_TERM.pattern}|{_CLOCK.pattern}))*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Interval:
    """A length of time. Two are equal when PostgreSQL stores them alike: "1 day" is not "24 hours"."""

    months: int = 0
    days: int = 0
    microseconds: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read terms such as "7 days" or "1 year 02:30:00", as people and PostgreSQL write them.

        Raises:
            ValueError: the text is something else.
        """
        if not _WHOLE.fullmatch(text.strip()):
            raise ValueError(f'{text[:50]!r} is no interval; write for example "7 days" or "90 minutes"')
        terms = [(int(number), UNITS[unit]) for number, unit in _TERM.findall(text)]
        months, days, microseconds = (sum(number * unit[place] for number, unit in terms) for place in range(3))
        return cls(months, days, microseconds + sum(_clock(*parts) for parts in _CLOCK.findall(text)))

    @property
    def total(self) -> int:
        """Microseconds, with months of 30 days, as PostgreSQL compares intervals."""
        return self.months * MONTH + self.days * DAY + self.microseconds

    def __str__(self) -> str:
        """Write it so that PostgreSQL reads the same interval."""
        clock = [
            (self.microseconds, "microsecond") if self.microseconds % SECOND else
            (self.microseconds // SECOND, "second") if self.microseconds % (60 * SECOND) else
            (self.microseconds // (60 * SECOND), "minute") if self.microseconds % (3600 * SECOND) else
            (self.microseconds // (3600 * SECOND), "hour")
        ]  # fmt: skip
        terms = [(self.months, "month"), (self.days, "day"), *clock]
        words = [f"{number} {unit}{'' if number == 1 else 's'}" for number, unit in terms if number]
        return " ".join(words) or "0 seconds"


def _clock(sign: str, hours: str, minutes: str, seconds: str, fraction: str) -> int:
    whole = (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * SECOND + int(fraction.ljust(6, "0"))
    return -whole if sign == "-" else whole
