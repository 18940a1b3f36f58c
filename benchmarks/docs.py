"""`make bench-docs`: docs/performance.md and its plots, written from results."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from .plots import ROLES, SIZES, draw
from .results import FOLDER, Results
from .show import number
from .targets import Verdict, judge

__all__ = ["page"]

DOCS = Path(__file__).parents[1] / "docs"
REFERENCE = FOLDER / "reference.json"
QUIET = 0.25
"""Cores that others may take before a run counts as disturbed."""

SHORTFALLS = Path(__file__).with_name("falls-short.md")
"""Written by hand: what misses its target and why, as the profile shows it."""

INTRODUCTION = """\
# Performance

This page is written by `make bench-docs` from [one run](../benchmarks/results/reference.json) of `make bench`; do not
edit it. A case that was measured in a run of its own says so in its title. A run starts the whole stack as real
processes on a disk, loads it by wrk, and holds it against yardsticks that are measured beside it, in the same database.
Figures move from machine to machine: what counts is the ratio inside one run, and the CPU time a row. All figures are
medians; ± is half of the way from the least run to the greatest. [benchmarks/README.md](../benchmarks/README.md) says
how to run it and what exactly is measured.
"""

FLAMES = """\
Where ingest and worker spend their time, the kernel's and libraries' own code included: before small requests were
taken another way, at commit 121b45f, and after that. A box tells its function and its share where the pointer rests.
"""


def page(results: Results, plots: Sequence[tuple[str, str]]) -> str:
    """Return the page for results and plots, the latter as (file below docs/performance, title)."""
    verdicts = judge(results.cases)
    blocks = [
        INTRODUCTION,
        *_where(results),
        "## Targets\n",
        *_table(("case", "figure", "target", "measured", "verdict"), map(_verdict, verdicts)),
        *_short(verdicts),
        *(f"![{title}](performance/{file})\n" for file, title in plots),
        "## What each part costs\n",
        "Microseconds of CPU a row, by rows a request:\n",
        *_table(("rows a request", *ROLES, "all"), _costs(results)),
        "## Flame graphs\n",
        FLAMES,
        *_table(("", "10 rows a request", "1,000 rows a request"), _flames()),
        "## Every figure\n",
    ]
    for name, outcome in results.cases.items():
        run = f" ({outcome.run})" if outcome.run else ""
        blocks.append(f"### {name}: {outcome.title}{run}\n")
        rows = (
            (figure, number(values.median), f"{100 * values.spread:.0f} %" if values.spread else "")
            for figure, values in outcome.figures.items()
        )
        blocks += _table(("figure", "median", "±"), rows)
    return "\n".join(blocks)


def _flames() -> Iterator[tuple[str, ...]]:
    for service in ("ingest", "worker"):
        for when in ("before", "after"):
            pictures = [f"performance/flames/{when}-{rows}-{service}.svg" for rows in (10, 1000)]
            yield f"{service}, {when}", *(f"[picture]({picture})" for picture in pictures)


def _where(results: Results) -> Iterator[str]:
    place = results.place
    yield (
        f"Run of {results.began[:10]} at commit {place.commit[:8]}{' with changes' if place.changed else ''}: "
        f"{place.cpu}, {place.cores} cores, {place.memory_gib:g} GiB, {place.filesystem}, Linux {place.kernel}; "
        f"{results.database}; {', '.join(f'{name} {version}' for name, version in place.versions.items())}. "
        f"The machine's load was {results.load[0]:.1f} before and {results.load[1]:.1f} after"
        f"{_disturbed(results)}.\n"
    )
    if place.settings:
        yield f"Settings beside the shipped ones: {', '.join(f'{n}={v}' for n, v in place.settings.items())}.\n"


def _disturbed(results: Results) -> str:
    """Say how much of the machine others took, for rows a second fall by that and CPU time a row does not."""
    shares = [median for case in results.cases.values() if (median := case.median("cores of others")) is not None]
    if not shares:
        return ""
    told = f"; others took between {min(shares):.2f} and {max(shares):.2f} cores while a case ran"
    if max(shares) < QUIET:
        return told
    return f"{told}. **This run was disturbed**: its rates are too low and its CPU times too high, so run it again"


def _verdict(verdict: Verdict) -> tuple[str, ...]:
    target = verdict.target
    value = "" if verdict.value is None else number(verdict.value)
    word = f"**{verdict.word}**" if verdict.word == "missed" else verdict.word
    return target.case, target.figure, str(target), value, word


def _short(verdicts: Sequence[Verdict]) -> Iterator[str]:
    missed = [verdict.target for verdict in verdicts if verdict.word == "missed"]
    if missed:
        yield (
            f"{len(missed)} of {len(verdicts)} fall short. Where the time goes stands below; "
            f"`make bench CASE={missed[0].case} PROFILE=1` draws its flame graphs.\n"
        )
    if SHORTFALLS.exists():
        yield SHORTFALLS.read_text()


def _costs(results: Results) -> Iterator[tuple[str, ...]]:
    for size in SIZES:
        if case := results.cases.get(f"rows-{size}"):
            medians = [case.median(f"{role} µs/row") for role in (*ROLES, "all")]
            yield f"{size:,}", *("" if median is None else number(median) for median in medians)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('---' for _ in head)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def main(
    files: Annotated[list[Path] | None, typer.Argument(exists=True, dir_okay=False, help="Results of runs.")] = None,
) -> None:
    """Write docs/performance.md and its plots from a run, and from others what it lacks; that becomes the reference."""
    results = functools.reduce(Results.beside, map(Results.read, files or [REFERENCE]))
    results.write(REFERENCE)
    plots = draw(results, DOCS / "performance")
    (DOCS / "performance.md").write_text(page(results, plots))


if __name__ == "__main__":
    typer.run(main)
