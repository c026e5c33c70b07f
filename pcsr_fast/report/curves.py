"""Curves over the epochs: validation, losses, rate, and how the split fared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from pcsr_fast.report.artefacts import Run
from pcsr_fast.report.chart import AMBER, DEEP, GRID, INK, MUTED, PART_COLOURS, TEAL, Chart, chart, legend_above
from pcsr_fast.report.layout import PARTS

_NET_COLOURS = (DEEP, AMBER)
_QUALITY = {"precision": (DEEP, "o-"), "recall": (AMBER, "s--"), "auc": (TEAL, "^-.")}
_LOSS_KINDS = {"warmup": "warm-up", **{name: name for name in PARTS}}


class EpochAxis:
    """Position 1, 2, ... of every epoch of a run, warm-up first, and how the axis is marked."""

    def __init__(self, history: Sequence[dict[str, Any]]) -> None:
        self.history = history
        self.positions = np.arange(1, len(history) + 1)
        self.warm = sum(line["stage"] == "warmup" for line in history)

    def position(self, stage: str, epoch: int) -> int | None:
        """Where an epoch stands, None if the history lacks it."""
        found = (k for k, line in enumerate(self.history, start=1) if (line["stage"], line["epoch"]) == (stage, epoch))
        return next(found, None)

    def ticks(self) -> tuple[list[int], list[str]]:
        """At most about ten positions and their labels: w1, w2 for the warm-up, then 1, 2, ..."""
        count = len(self.history)
        step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 10**9) if count <= 10 * s)
        wanted = [1] if self.warm and step > 1 else list(range(1, self.warm + 1))
        trained = count - self.warm
        wanted += [self.warm + e for e in range(1, trained + 1) if e % step == 0 or e == 1]
        kept: list[int] = []
        for place in wanted:
            if not kept or place - kept[-1] >= step / 2:
                kept.append(place)
        return kept, [f"w{place}" if place <= self.warm else str(place - self.warm) for place in kept]

    def marker(self, shape: str) -> str:
        """`shape`, or nothing where so many would hide the line."""
        return shape if len(self.history) <= 25 else ""

    def mark(self, axes: Axes, label: bool = True) -> None:
        """Limits, ticks and the shaded warm-up."""
        axes.set_xlim(0.5, len(self.history) + 0.5)
        axes.set_xticks(*self.ticks())
        axes.grid(visible=False, axis="x")
        if self.warm:
            axes.axvspan(0.5, self.warm + 0.5, color=GRID, alpha=0.55, linewidth=0, zorder=0)
        if label:
            axes.set_xlabel("epoch (w: warm-up, shaded)" if self.warm else "epoch")


def validation(run: Run, axis: EpochAxis) -> Chart:
    """Dev rSum of each net and of the ensemble, the best epoch marked."""
    dev = [line["dev"] for line in run.history]
    nets = len(dev[0]["nets"])
    best = axis.position(run.metrics["best"]["stage"], run.metrics["best"]["epoch"])

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for net in range(nets if nets > 1 else 0):
            values = [scores["nets"][net]["rsum"] for scores in dev]
            colour, style = _NET_COLOURS[net % 2], ("--", ":")[net % 2]
            axes.plot(
                axis.positions,
                values,
                style,
                marker=axis.marker("."),
                color=colour,
                linewidth=1.2,
                label=f"net {net + 1}",
            )
        values = [scores["ensemble"]["rsum"] for scores in dev]
        axes.plot(axis.positions, values, marker=axis.marker("o"), color=INK, label="ensemble" if nets > 1 else "net")
        if best is not None:
            axes.plot(
                best, values[best - 1], "*", color=AMBER, markeredgecolor=INK, markersize=12, zorder=5, label="best"
            )
        axes.set_ylabel("dev rSum")
        axes.margins(y=0.12)
        axis.mark(axes)
        legend_above(axes)

    note = "Sum of R@1, R@5 and R@10 both ways on the dev split. The starred epoch is the one that was tested."
    return chart("validation", "Validation", note, paint)


def losses(run: Run, axis: EpochAxis) -> Chart:
    """Mean loss a pair of each kind, each on its own scale."""
    kinds = list(dict.fromkeys(kind for line in run.history for kind in line["loss"]))
    kinds.sort(key=lambda kind: list(_LOSS_KINDS).index(kind) if kind in _LOSS_KINDS else len(_LOSS_KINDS))
    rows = math.ceil(max(len(kinds), 1) / 2)

    def paint(figure: Figure) -> None:
        grid = figure.subplots(rows, 2, squeeze=False).ravel()
        for axes, kind in zip(grid, kinds, strict=False):
            values = [line["loss"].get(kind, math.nan) for line in run.history]
            axes.plot(axis.positions, values, marker=axis.marker("o"), color=PART_COLOURS.get(kind, MUTED))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.set_title(_LOSS_KINDS.get(kind, kind))
            axis.mark(axes, label=False)
        for axes in grid[len(kinds) :]:
            axes.set_axis_off()

    note = "Mean loss a pair, per kind of step. The kinds minimise different things: compare a curve with itself only."
    return chart("losses", "Losses", note, paint, height=max(3.0, 1.5 * rows))


def rate(run: Run, axis: EpochAxis) -> Chart:
    """The learning rate's steps."""
    rates = [line["lr"] for line in run.history]
    steps = sorted(set(rates))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(axis.positions, rates, drawstyle="steps-mid", marker=axis.marker("o"), color=INK, linewidth=1.2)
        if len(steps) > 1 and steps[0] > 0:
            axes.set_yscale("log")
            axes.margins(y=0.15)
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.set_ylim(0, 1.3 * steps[-1] or 1)
        axes.set_yticks(steps)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.set_ylabel("learning rate")
        axis.mark(axes)

    return chart("rate", "Learning rate", "Of Adam, by epoch.", paint)


def _by_net(run: Run, *keys: str) -> list[list[float]]:
    """(nets, epochs) of one number in the splits of the history, NaN where an epoch has none."""
    nets = max(len(line["split"] or []) for line in run.history)
    table = [[math.nan] * len(run.history) for _ in range(nets)]
    for column, line in enumerate(run.history):
        for net, value in enumerate(line["split"] or []):
            for key in keys:
                value = value[key] if value else None
            table[net][column] = math.nan if value is None else float(value)
    return table


def _known(table: list[list[float]]) -> bool:
    return bool(np.isfinite(table).any()) if table else False


def _mean_and_nets(axes: Axes, axis: EpochAxis, table: list[list[float]], label: str, colour: str, style: str) -> None:
    """The mean over the nets as a line, and each net as a thin one; `style` is a marker and a line style."""
    values = np.asarray(table)
    seen = np.isfinite(values).any(axis=0)
    for row in values if len(values) > 1 else ():
        axes.plot(axis.positions, row, color=colour, linewidth=0.8, alpha=0.5)
    mean = np.full(values.shape[1], math.nan)
    mean[seen] = np.nanmean(values[:, seen], axis=0)
    axes.plot(axis.positions, mean, style[1:], marker=axis.marker(style[0]), color=colour, label=label)


def split_quality(run: Run, axis: EpochAxis) -> Chart | None:
    """Precision, recall and AUC of the clean subset by epoch; None where no truth is known."""
    tables = {name: _by_net(run, "quality", name) for name in _QUALITY}
    if not _known(tables["auc"]):
        return None

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for name, table in tables.items():
            _mean_and_nets(axes, axis, table, "AUC" if name == "auc" else name, *_QUALITY[name])
        share = 1 - run.noise["wrong_share"]
        axes.axhline(share, color=MUTED, linewidth=1, linestyle=":", label="share of right pairs")
        axes.set_ylim(0, 1.02)
        axis.mark(axes)
        legend_above(axes)

    note = (
        "Precision: share of right pairs among those called clean. Recall: share of the right pairs found. Thin: nets."
    )
    return chart("quality", "Split against the truth", note, paint)


def counts(run: Run, axis: EpochAxis) -> Chart | None:
    """Pairs called clean, refinable and ambiguous by epoch, one panel a net; None if no epoch was split."""
    tables = [np.asarray(_by_net(run, "counts", name)) for name in PARTS]
    if not tables[0].size:
        return None
    nets = len(tables[0])

    def paint(figure: Figure) -> None:
        grid = figure.subplots(1, nets, squeeze=False, sharey=True)[0]
        for net, axes in enumerate(grid):
            edges = np.append(axis.positions - 0.5, axis.positions[-1] + 0.5)
            layers = [np.nan_to_num(np.append(table[net], table[net][-1])) for table in tables]
            axes.stackplot(
                edges, layers, step="post", labels=PARTS, colors=[PART_COLOURS[p] for p in PARTS], edgecolor="none"
            )
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axis.mark(axes)
            if nets > 1:
                axes.set_title(f"net {net + 1}")
        grid[0].set_ylabel("pairs")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3, handlelength=1.2)

    note = "How each net divides the training pairs at the start of every epoch after the warm-up."
    return chart("counts", "What the pairs were called", note, paint)


def replacement(run: Run, axis: EpochAxis) -> Chart | None:
    """How often a replacing caption truly belongs to the picture; None where it is not known."""
    hits, similarity = (_by_net(run, "replacement", name) for name in ("image_accuracy", "median_similarity"))
    if not _known(hits):
        return None

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        _mean_and_nets(axes, axis, hits, "belongs to the picture", DEEP, "o-")
        _mean_and_nets(axes, axis, similarity, "median similarity", AMBER, "s--")
        axes.set_ylim(bottom=0)
        axis.mark(axes)
        legend_above(axes)

    note = "Share of the captions put in another's place that truly belong to that picture, and how similar they look."
    return chart("replacement", "Replaced captions", note, paint)
