"""Readings that real readers are given: ids that need quotes, instants with and without microseconds, small steps."""

from datetime import UTC, datetime, timedelta

__all__ = ["DEMO"]

_FIRST = datetime(2025, 10, 22, 21, tzinfo=UTC)
_IDS = ["sensor-1", 'a "quoted", id', "lines\r\nin\nit", "naïve ☃", "#no comment", " spaces ", "back\\slash", "null"]

DEMO = [
    (number, _FIRST + timedelta(seconds=number, microseconds=number % 3), _IDS[number % len(_IDS)], number / 7)
    for number in range(1, 41)
]
