"""Plots of a comparison: rSum over the noise, losses under their mixtures, consistency over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pcsr_fast.report.artefacts import Progress, read_progress
from pcsr_fast.report.chart import AMBER, DEEP, GRID, INK, MUTED, WRONG, Drawing
from pcsr_fast.report.comparison import (
    ENSEMBLE,
    ORACLE,
    PLAIN,
    RECONSTRUCTION,
    SINGLE,
    Row,
    is_reconstructed,
    short_name,
)
from pcsr_fast.report.curves import EpochAxis
from pcsr_fast.report.histograms import consistency_columns, paint_consistency, paint_losses

WIDE = 10.0
_PANELS = 5
_SHOWN = 8  # methods whose splits are drawn
_ENDS = {PLAIN: (WRONG, "--"), ORACLE: (INK, ":")}


def drawings(folder: Path, rows: Sequence[Row]) -> list[Drawing]:
    """All plots that the rows allow; runs are read from `folder`.

    Raises:
        UserError: a file of a run is missing or damaged.
    """
    rows = [{**row, "method": short_name(row)} for row in rows]
    runs = _first_runs(folder, rows)
    found = [rsum_dots(rows), rsum_panels(rows), loss_grid(runs), consistency_grid(runs)]
    mark = f" †: {RECONSTRUCTION}." if any(map(is_reconstructed, rows)) else ""
    return [replace(one, note=one.note + mark) for one in found if one is not None]


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _noises(rows: Sequence[Row]) -> list[float]:
    return sorted({row["noise"] for row in rows})


def _of(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows of one method, by noise."""
    return sorted((row for row in rows if row["method"] == name), key=lambda row: float(row["noise"]))


def rsum_dots(rows: Sequence[Row]) -> Drawing:
    """A panel a noise ratio, a line a method, the best on average on top: mean, standard deviation, seeds, single net."""
    noises = _noises(rows)
    names = sorted(_names(rows), key=lambda name: float(np.mean([row[ENSEMBLE]["rsum"][0] for row in _of(rows, name)])))

    def paint(figure: Figure) -> None:
        grid = figure.subplots(1, len(noises), sharey=True, squeeze=False)[0]
        for axes, noise in zip(grid, noises, strict=True):
            here = {row["method"]: row for row in rows if row["noise"] == noise}
            for name, (colour, style) in _ENDS.items():
                if name in here:
                    axes.axvline(
                        here[name][ENSEMBLE]["rsum"][0], color=colour, linestyle=style, linewidth=1, label=name
                    )
            for height, name in enumerate(names):
                if name in here:
                    _dot(axes, here[name], height)
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(-0.7, len(names) - 0.3)
            axes.set_title(f"{100 * noise:g} % noise")
            axes.set_xlabel("test rSum")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        handles = {label: one for axes in grid for one, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=6, handlelength=1.6)

    note = "Bar: standard deviation over the seeds. The scale begins where the numbers do."
    return Drawing("rsum-dots", "rSum of every method", note, paint, 1.3 + 0.24 * len(names), WIDE)


def _dot(axes: Axes, row: Row, height: float) -> None:
    colour = DEEP if row.get("base", row["method"]) == "pcsr" else MUTED
    mean, std = row[ENSEMBLE]["rsum"]
    seeds = [run["rsum"] for run in row["runs"]]
    axes.plot(
        row[SINGLE]["rsum"][0], height, "|", color=AMBER, markersize=7, markeredgewidth=1.8, label="single net, mean"
    )
    axes.plot(seeds, [height] * len(seeds), "o", color=colour, alpha=0.45, markersize=3, markeredgewidth=0)
    axes.errorbar(mean, height, xerr=std, fmt="o", color=colour, markersize=5, capsize=2.5, linewidth=1.3)
    axes.plot([], [], "o", color=INK, markersize=5, label="ensemble, mean")
    axes.plot([], [], "o", color=INK, alpha=0.45, markersize=3, label="ensemble, a seed")


def rsum_panels(rows: Sequence[Row]) -> Drawing | None:
    """rSum over the noise, a panel a method with all others in grey; None for a single ratio."""
    names = _names(rows)
    if len(_noises(rows)) < 2:
        return None
    columns = min(_PANELS, len(names))
    lines = math.ceil(len(names) / columns)

    def paint(figure: Figure) -> None:
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes, name in zip(grid.ravel(), names, strict=False):
            _panel(axes, rows, name)
        for axes in grid.ravel()[len(names) :]:
            axes.set_axis_off()
        for axes in grid.ravel():
            axes.tick_params(labelbottom=True)
        figure.supxlabel("noise, %", fontsize=8.5, color=MUTED)
        figure.supylabel("test rSum", fontsize=8.5, color=MUTED)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=4, handlelength=2)

    note = "Mean and standard deviation over the seeds, ensemble of the nets; the other methods in grey."
    return Drawing("rsum-noise", "rSum over the noise", note, paint, 0.9 + 1.45 * lines, WIDE)


def _panel(axes: Axes, rows: Sequence[Row], name: str) -> None:
    for other in _names(rows):
        places, means, stds = _line(rows, other)
        if other == name:
            axes.errorbar(places, means, stds, fmt="o-", color=DEEP, capsize=2.5, zorder=4, label="the panel's method")
        elif other in _ENDS:
            colour, style = _ENDS[other]
            axes.plot(places, means, style, color=colour, linewidth=1, zorder=3)
        else:
            axes.plot(places, means, color=GRID, linewidth=1, zorder=2)
    for end, (colour, style) in _ENDS.items():
        if end in _names(rows):
            axes.plot([], [], style, color=colour, linewidth=1, label=end)
    axes.set_title(name)
    axes.set_xticks([100 * noise for noise in _noises(rows)])


def _line(rows: Sequence[Row], name: str) -> tuple[list[float], list[float], list[float]]:
    """Noise in percent, mean and standard deviation of rSum."""
    mine = _of(rows, name)
    places = [100 * row["noise"] for row in mine]
    return places, [row[ENSEMBLE]["rsum"][0] for row in mine], [row[ENSEMBLE]["rsum"][1] for row in mine]


def _first_runs(folder: Path, rows: Sequence[Row]) -> dict[tuple[str, float], Progress]:
    """The run of the first seed of the first rows that made a split, at every noise ratio."""
    split = list(dict.fromkeys(row["method"] for row in rows if row["split"]))
    chosen = (row for row in rows if row["method"] in split[:_SHOWN])
    runs = {(row["method"], row["noise"]): read_progress(folder / row["runs"][0]["folder"]) for row in chosen}
    return {key: run for key, run in runs.items() if run.splits}


Runs = Mapping[tuple[str, float], Progress]


def loss_grid(runs: Runs) -> Drawing | None:
    """Losses of the tested checkpoint under the fitted mixture: a line a method, a column a noise ratio."""
    if not runs:
        return None

    def paint_one(axes: Axes, run: Progress) -> None:
        paint_losses(axes, run, 0)
        axes.yaxis.set_major_locator(MaxNLocator(3))

    def finish(figure: Figure, grid: Any) -> None:
        shown = [axes for axes in grid.ravel() if axes.get_legend_handles_labels()[0]]
        handles = {label: one for axes in shown for one, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=7, handlelength=1.6)

    note = "Normalised losses of all training pairs, first seed, first net, and the mixture fitted to them."
    return _grid("losses", "Losses under the fitted mixture", note, runs, "pairs", paint_one, finish)


def consistency_grid(runs: Runs) -> Drawing | None:
    """PCS over the epochs: a line a method, a column a noise ratio; None where no method has scores."""
    voted = {key: run for key, run in runs.items() if consistency_columns(run, EpochAxis(run.history), 0)}
    if not voted:
        return None

    def paint_one(axes: Axes, run: Progress) -> None:
        axis = EpochAxis(run.history)
        paint_consistency(axes, run, axis, 0)
        axis.mark(axes)

    def finish(figure: Figure, grid: Any) -> None:
        handles, labels = grid[0, 0].get_legend_handles_labels()
        if labels:
            figure.legend(handles, labels, loc="outside upper left", handlelength=1.6)

    note = "A column an epoch: where the scores of all pairs lie, the darker the more; first seed, first net."
    return _grid("pcs", "Consistency (PCS) over the epochs", note, voted, "PCS", paint_one, finish)


def _grid(name: str, title: str, note: str, runs: Runs, label: str, paint_one: Any, finish: Any) -> Drawing:
    """Panels of runs, a line a method and a column a noise ratio, empty where there is no run."""
    methods = list(dict.fromkeys(method for method, _ in runs))
    noises = sorted({noise for _, noise in runs})

    def paint(figure: Figure) -> None:
        grid = figure.subplots(len(methods), len(noises), squeeze=False)
        for line, method in enumerate(methods):
            for column, noise in enumerate(noises):
                axes = grid[line, column]
                if (method, noise) not in runs:
                    axes.set_axis_off()
                    continue
                paint_one(axes, runs[method, noise])
                axes.set_title(f"{method}, {100 * noise:g} % noise")
            grid[line, 0].set_ylabel(label)
        finish(figure, grid)

    return Drawing(name, title, note, paint, 0.5 + 1.6 * len(methods), WIDE)
