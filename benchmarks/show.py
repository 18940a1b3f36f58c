"""Results for people at a terminal."""

from collections.abc import Sequence

from rich.table import Table

from .results import Outcome
from .targets import Verdict

__all__ = ["number", "outcome_table", "verdict_table"]


def outcome_table(name: str, outcome: Outcome) -> Table:
    """Return the figures of a case, each as its median and spread."""
    table = Table("figure", "median", "± %", title=f"{name}: {outcome.title}", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for figure, values in outcome.figures.items():
        table.add_row(figure, number(values.median), f"{100 * values.spread:.0f}" if values.spread else "")
    return table


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Return the targets, what was measured, and the verdicts."""
    table = Table("case", "figure", "target", "measured", "verdict", title="targets", title_justify="left")
    for verdict in verdicts:
        target = verdict.target
        value = "" if verdict.value is None else number(verdict.value)
        table.add_row(target.case, target.figure, str(target), value, verdict.word)
    return table


def number(value: float) -> str:
    """Return a number with three digits, or all those before its point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
