"""All cases, by name, in the order of a run."""

from . import writes

__all__ = ["ALL"]

ALL = {case.name: case for case in writes.CASES}
