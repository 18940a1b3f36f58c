"""What a run of the benchmark found, as a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from .figures import Figure, Measures
from .machine import Place

__all__ = ["FOLDER", "Outcome", "Results"]

FOLDER = Path(__file__).with_name("results")


class Outcome(msgspec.Struct, frozen=True):
    """What a case found.

    Attributes:
        title: of the case.
        figures: by their names.
        run: which it comes from, where results of another run hold it.
    """

    title: str
    figures: dict[str, Figure]
    run: str = ""

    @classmethod
    def of(cls, title: str, runs: Sequence[Measures]) -> "Outcome":
        """Gather the measures of all runs; a measure of some runs alone is kept too."""
        names = dict.fromkeys(name for run in runs for name in run)
        return cls(title, {name: Figure.of(runs, name) for name in names})

    def median(self, name: str) -> float | None:
        """Return the median of a figure, None where it was not measured."""
        figure = self.figures.get(name)
        return figure.median if figure else None


class Results(msgspec.Struct, frozen=True):
    """One run of the benchmark.

    Attributes:
        began: when, ISO 8601.
        place: where.
        database: what the stack stored into.
        load: the machine's load average before and after; what is not ours in it disturbs.
        cases: outcomes by the case's name, in the order of the run.
    """

    began: str
    place: Place
    database: str
    load: tuple[float, float]
    cases: Mapping[str, Outcome]

    def beside(self, other: "Results") -> "Results":
        """Return these results with the cases of another run that they lack; those name their run."""
        run = f"a run of its own, {other.began[:16]} at commit {other.place.commit[:8]}"
        more = {
            name: msgspec.structs.replace(outcome, run=outcome.run or run)
            for name, outcome in other.cases.items()
            if name not in self.cases
        }
        return msgspec.structs.replace(self, cases={**self.cases, **more})

    @classmethod
    def read(cls, file: Path) -> "Results":
        """Read a file.

        Raises:
            msgspec.DecodeError: it holds something else.
        """
        return msgspec.json.decode(file.read_bytes(), type=cls)

    def write(self, file: Path) -> None:
        """Write a file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
