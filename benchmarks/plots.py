"""The plots of docs/performance.md, as SVG that is the same for the same results."""

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from .results import Results

__all__ = ["draw"]

SIZES = (1, 10, 100, 1_000, 10_000)
ROLES = ("ingest", "Valkey", "worker", "PostgreSQL backends", "PostgreSQL background")


def draw(results: Results, folder: Path) -> list[tuple[str, str]]:
    """Draw what `results` hold into `folder`; return each file's name and what it shows."""
    mpl.rcParams.update(
        {"svg.hashsalt": "millrace", "svg.fonttype": "none", "font.family": "sans-serif", "axes.grid": True}
    )
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, (title, plot) in PLOTS.items():
        figure, axes = plt.subplots(figsize=(7.5, 4))
        if plot(results, axes):
            axes.set_title(title)
            axes.set_axisbelow(True)
            figure.savefig(folder / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
            drawn.append((f"{name}.svg", title))
        plt.close(figure)
    return drawn


def _median(results: Results, case: str, figure: str) -> float | None:
    return results.cases[case].median(figure) if case in results.cases else None


def _rates(results: Results, axes: Axes) -> bool:
    sizes = [size for size in SIZES if f"rows-{size}" in results.cases]
    lines = {
        "the whole way": "rows/s",
        "bare COPY, row store": "row-store COPY: rows/s",
        "bare COPY, compressed": "compressed COPY: rows/s",
    }
    for label, name in lines.items():
        figures = [results.cases[f"rows-{size}"].figures.get(name) for size in sizes]
        points = [(size, figure) for size, figure in zip(sizes, figures, strict=True) if figure]
        if points:
            medians = [figure.median for _, figure in points]
            least = [figure.median - min(figure.values) for _, figure in points]
            most = [max(figure.values) - figure.median for _, figure in points]
            axes.errorbar([size for size, _ in points], medians, (least, most), marker="o", capsize=3, label=label)
    axes.set(xscale="log", yscale="log", xlabel="rows a request, or a COPY", ylabel="rows/s")
    axes.legend()
    return len(sizes) > 1


def _costs(results: Results, axes: Axes) -> bool:
    sizes = [size for size in SIZES if f"rows-{size}" in results.cases]
    places = [f"{size:,}" for size in sizes]
    below = [0.0] * len(sizes)
    for role in ROLES:
        spent = [_median(results, f"rows-{size}", f"{role} µs/row") or 0.0 for size in sizes]
        shares = [
            part / (_median(results, f"rows-{size}", "all µs/row") or 1.0)
            for part, size in zip(spent, sizes, strict=True)
        ]
        axes.bar(places, shares, bottom=below, label=role)
        below = [low + share for low, share in zip(below, shares, strict=True)]
    for place, size in enumerate(sizes):
        axes.text(place, 1.02, f"{_median(results, f'rows-{size}', 'all µs/row'):.3g} µs", ha="center")
    axes.set(xlabel="rows a request", ylabel="share of the CPU time a row", ylim=(0, 1.12))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return len(sizes) > 1


def _scaling(results: Results, axes: Axes) -> bool:
    counts = [1, 2, 4]
    rates = [_median(results, "workers", f"workers={count}: rows/s") for count in counts]
    known = [rate for rate in rates if rate is not None]
    if len(known) < len(counts):
        return False
    axes.plot(counts, known, marker="o", label="measured")
    axes.plot(counts, [count * known[0] for count in counts], linestyle="--", label="linear")
    axes.set(xlabel="workers", ylabel="rows/s drained", xticks=counts, ylim=(0, None))
    axes.legend()
    return True


def _freshness(results: Results, axes: Axes) -> bool:
    bars = [
        (f"{load}, {quantile}", _median(results, "freshness", f"{load}: {quantile} ms"))
        for load in ("idle", "half load")
        for quantile in ("p50", "p99")
    ]
    known = [(label, value) for label, value in bars if value is not None]
    bar = axes.bar([label for label, _ in known], [value for _, value in known])
    axes.bar_label(bar, fmt="%.0f")
    axes.set(ylabel="ms from POST until visible")
    return bool(known)


PLOTS = {
    "rows-per-second": ("Rows a second by batch size", _rates),
    "cpu": ("Where the CPU time goes, by batch size", _costs),
    "scaling": ("A backlog drained by several workers", _scaling),
    "freshness": ("Freshness", _freshness),
}
