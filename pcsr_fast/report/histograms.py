"""Histograms of the split: losses under the fitted mixture, and pseudo-label consistency over the epochs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from pcsr_fast.report.artefacts import Progress
from pcsr_fast.report.chart import DEEP, INK, MUTED, RIGHT, WRONG, Chart, chart, legend_above
from pcsr_fast.report.curves import EpochAxis

FloatArray = npt.NDArray[np.float64]
_SHADES = LinearSegmentedColormap.from_list("consistency", ["#d3e6f5", "#6fb1de", "#1c5f9e"])


def component_densities(kind: str, mixture: dict[str, Any], x: FloatArray) -> FloatArray:
    """Weighted densities (2, len(x)) of a mixture given by means, variances and weights (METHODS 2.3).

    Args:
        kind: "gaussian", or "beta" whose shapes follow from the moments.
        mixture: `means`, `variances` and `weights`, two each.
        x: points, inside 0..1 for "beta".
    """
    rows = []
    for mean, variance, weight in zip(mixture["means"], mixture["variances"], mixture["weights"], strict=True):
        if kind == "beta":
            size = mean * (1 - mean) / variance - 1
            a, b = mean * size, (1 - mean) * size
            log_density = (a - 1) * np.log(x) + (b - 1) * np.log1p(-x)
            log_density += math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        else:
            log_density = -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance))
        rows.append(weight * np.exp(log_density))
    return np.array(rows)


def crossings(densities: FloatArray, x: FloatArray, threshold: float, falling_only: bool) -> list[float]:
    """Points where the posterior of the first component crosses `threshold`, or only those where it falls below it."""
    posterior = densities[0] / np.maximum(densities.sum(axis=0), np.finfo(float).tiny)
    above = posterior > threshold
    changes = np.flatnonzero(above[1:] != above[:-1])
    return [float(x[k : k + 2].mean()) for k in changes if above[k] or not falling_only]


def loss_histogram(run: Progress, net: int) -> Chart:
    """Losses of the last split, apart by truth where known, under the fitted mixture scaled to counts."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        paint_losses(axes, run, net)
        axes.set_xlabel("normalised loss")
        axes.set_ylabel("pairs")
        legend_above(axes, columns=3)

    title = f"Losses, net {net + 1}" if len(run.splits) > 1 else "Losses"
    mixture = run.splits[net]["mixture"]
    note = "All losses are equal, so that no mixture was fitted."
    if mixture:
        note = f"Separation of the two components {mixture['separation']:.2f} (above 2 they are well apart)."
    return chart(f"loss-{net}", title, note, paint)


def paint_losses(axes: Axes, run: Progress, net: int) -> None:
    """The histogram of one net's losses, its mixture and its threshold."""
    split, options = run.splits[net], run.config["split"]
    data, mixture = split["loss_histogram"], split["mixture"]
    edges = np.asarray(data["edges"], dtype=float)
    top = _bars(axes, data, edges)
    if mixture:
        x = np.linspace(edges[0] + 1e-3, edges[-1] - 1e-3, 600)
        densities = component_densities(options["mixture"], mixture, x)
        curves = densities * sum(data["all"]) * np.diff(edges).mean()
        axes.plot(x, curves[0], color=DEEP, linewidth=1.3, linestyle="--", label="low component")
        axes.plot(x, curves[1], color=WRONG, linewidth=1.3, linestyle="-.", label="high component")
        axes.plot(x, curves.sum(axis=0), color=INK, linewidth=1.3, label="mixture")
        top = max(top, min(float(curves.sum(axis=0).max()), 1.6 * top))
        threshold = options["p_threshold"]
        for index, place in enumerate(crossings(densities, x, threshold, options["monotone"] == "clip")):
            label = f"p(clean) = {threshold:g}" if index == 0 else None
            axes.axvline(place, color=INK, linewidth=1, linestyle=":", label=label)
    axes.set_ylim(0, 1.06 * max(top, 1))
    axes.set_xlim(edges[0], edges[-1])
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _bars(axes: Axes, data: dict[str, Any], edges: FloatArray) -> float:
    """Stacked bars; returns the height of the tallest."""
    whole = np.asarray(data["all"], dtype=float)
    if data["clean"] is None or data["wrong"] is None:
        axes.stairs(whole, edges, fill=True, color=MUTED, alpha=0.45, label="pairs")
    else:
        right = np.asarray(data["clean"], dtype=float)
        axes.stairs(right, edges, fill=True, color=RIGHT, alpha=0.85, label="right pairs")
        wrong = right + np.asarray(data["wrong"], dtype=float)
        axes.stairs(wrong, edges, baseline=right, fill=True, color=WRONG, alpha=0.9, label="wrong pairs")
    return float(whole.max())


def consistency(run: Progress, axis: EpochAxis, net: int) -> Chart | None:
    """Distribution of the consistency score in every epoch, with its threshold; None if it was never computed."""
    if not consistency_columns(run, axis, net):
        return None

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        shades = paint_consistency(axes, run, axis, net)
        if axes.get_legend_handles_labels()[0]:
            legend_above(axes)
        axes.set_ylabel("consistency (PCS)")
        axis.mark(axes)
        bar = figure.colorbar(shades, ax=axes, pad=0.02, aspect=30)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        bar.outline.set_visible(False)
        bar.set_label("share of the pairs")

    title = f"Consistency, net {net + 1}" if len(run.splits) > 1 else "Consistency"
    note = "A column an epoch: where the scores of all pairs lie. Noisy pairs above the red line are called refinable."
    return chart(f"pcs-{net}", title, note, paint)


def consistency_columns(run: Progress, axis: EpochAxis, net: int) -> list[tuple[int, dict[str, Any]]]:
    """Position on the axis and split of every epoch that has scores."""
    return [
        (int(place), line["split"][net])
        for place, line in zip(axis.positions, run.history, strict=True)
        if line["split"] and net < len(line["split"]) and line["split"][net]["pcs_histogram"]
    ]


def paint_consistency(axes: Axes, run: Progress, axis: EpochAxis, net: int) -> ScalarMappable:
    """A column of cells an epoch and its threshold; returns the colours."""
    columns = consistency_columns(run, axis, net)
    shares = [np.asarray(split["pcs_histogram"]["counts"], dtype=float) for _, split in columns]
    shares = [counts / max(counts.sum(), 1) for counts in shares]
    norm = PowerNorm(0.5, vmin=0, vmax=max(float(share.max()) for share in shares) or 1)
    for (place, split), share in zip(columns, shares, strict=True):
        cells = np.ma.masked_equal(share[:, None], 0)
        sides = [place - 0.5, place + 0.5]
        edges = split["pcs_histogram"]["edges"]
        axes.pcolormesh(sides, edges, cells, cmap=_SHADES, norm=norm, edgecolors="face", linewidth=0.2)
    lines = [(place, split["pcs_threshold"]) for place, split in columns if split["pcs_threshold"] is not None]
    if lines:
        places, heights = np.array(lines).T
        starts, ends = places - 0.5, places + 0.5
        axes.hlines(heights, starts, ends, color=WRONG, linewidth=2, clip_on=False, label="threshold")
    axes.margins(y=0.03)
    return ScalarMappable(norm, _SHADES)
