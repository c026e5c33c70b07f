"""Numbers of a run as a terminal table."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from pcsr_fast.report.layout import RECALLS, SIDES

COLUMNS = (*(f"{side}_{name}" for side in SIDES for name in (*(f"r{k}" for k in RECALLS), "medr")), "rsum")
QUALITY = ("precision", "recall", "auc")


def number(metric: str, value: float) -> str:
    """A metric for reading: ranks as whole numbers where they are, everything else with one decimal."""
    return f"{value:g}" if metric.endswith("medr") else f"{value:.1f}"


def named_scores(scores: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """(name, metrics) of each net and of the ensemble; a single net is its own ensemble and stands once."""
    nets = scores["nets"]
    if len(nets) < 2:
        return [("net", scores["ensemble"])]
    return [(f"net {k}", one) for k, one in enumerate(nets, start=1)] + [("ensemble", scores["ensemble"])]


def mean_quality(splits: list[dict[str, Any]] | None) -> dict[str, float] | None:
    """Precision, recall and AUC, mean over the nets; None where no truth is known."""
    known = [split["quality"] for split in splits or [] if split["quality"]]
    return {name: sum(one[name] for one in known) / len(known) for name in QUALITY} if known else None


def epoch_name(best: dict[str, Any]) -> str:
    """How an epoch is called: `epoch 3`, `warm-up epoch 1`, counted from 1."""
    return f"{'warm-up ' if best['stage'] == 'warmup' else ''}epoch {best['epoch'] + 1}"


def slim_table(title: str) -> Table:
    """An empty table that leaves room for many columns."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=0)


def heading(metric: str) -> str:
    """Two-line column head of a metric."""
    if metric == "rsum":
        return "\nrSum"
    side, name = metric.split("_")
    return f"{side}\n" + (name.replace("r", "R@", 1) if name != "medr" else "medR")


def retrieval_table(scores: dict[str, Any], title: str, splits: list[dict[str, Any]] | None = None) -> Table:
    """Retrieval metrics of each net and the ensemble, with split precision, recall and AUC where the truth is known.

    Args:
        scores: `nets` and `ensemble`, as `evaluate_scores` returns them.
        title: heading of the table.
        splits: what each net's split found, as in metrics.json.
    """
    table = slim_table(title)
    table.add_column("", no_wrap=True)
    for metric in COLUMNS:
        # A little air sets the directions apart.
        width = 6 if metric.endswith("r1") or metric == "rsum" else None
        style = "bold" if metric == "rsum" else None
        table.add_column(heading(metric), justify="right", style=style, no_wrap=True, min_width=width)
    splits, mean = splits or [], mean_quality(splits)
    for head in (" split\n  prec.", "\nrecall", "\n AUC") if mean else ():
        table.add_column(head, justify="right", no_wrap=True)
    for row, (name, one) in enumerate(named_scores(scores)):
        quality = splits[row]["quality"] if row < len(splits) else mean
        cells = [number(metric, one[metric]) for metric in COLUMNS]
        cells += [f"{quality[key]:.2f}" if quality else "-" for key in QUALITY] if mean else []
        table.add_row(Text(name), *cells)
    return table


def metrics_table(metrics: dict[str, Any]) -> Table:
    """The table that ends a training run: test metrics of the checkpoint chosen on dev.

    Args:
        metrics: what `train` returns and metrics.json holds.
    """
    best = metrics["best"]
    title = f"test, checkpoint of {epoch_name(best)} (dev rSum {best['rsum']:.1f})"
    return retrieval_table(metrics["test"], title, metrics["split"])
