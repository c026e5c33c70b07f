"""From the runs of a comparison to the rows of its table: mean and standard deviation over the seeds."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from pcsr_fast.errors import UserError
from pcsr_fast.report.comparison import gap_closed
from pcsr_fast.report.tables import QUALITY, mean_quality
from pcsr_fast.training.comparison_plan import Plan, Run, Variant


def summarise(plan: Plan) -> list[dict[str, Any]]:
    """One row a ratio and method or variant, from the metrics.json of the runs that are finished.

    Returns:
        dicts with `method` (name of the row), `base` (the method), `settings`, `noise`, `seeds` (finished runs),
        `metrics` and `single` {metric: [mean, std]} of the nets' mean similarity and of the mean over the nets, `split`
        {precision, recall, auc} (against the known truth, mean over nets and seeds) or None, `seconds`, `spread` (standard
        deviations of these), `gap_closed` {ensemble, single}, and `runs`, what each run saw and reached.

    Raises:
        UserError: runs with the same noise ratio and seed saw different noise.
    """
    rows = []
    for ratio, row in itertools.product(plan.ratios, plan.rows()):
        runs = [Run(row.name, ratio, seed) for seed in plan.seeds]
        finished = [(run, path) for run in runs if (path := plan.folder(run) / "metrics.json").is_file()]
        results = [(run, json.loads(path.read_text(encoding="utf-8"))) for run, path in finished]
        if results:
            rows.append(_row(row, ratio, results))
    gaps = {name: gap_closed(rows, scores) for name, scores in (("ensemble", "metrics"), ("single", "single"))}
    for index, one in enumerate(rows):
        one["gap_closed"] = {name: shares[index] for name, shares in gaps.items()}
    _check_noise(rows)
    return rows


def _row(row: Variant, ratio: float, results: Sequence[tuple[Run, dict[str, Any]]]) -> dict[str, Any]:
    ensembles = [result["test"]["ensemble"] for _, result in results]
    singles = [_mean_of_nets(result["test"]["nets"]) for _, result in results]
    splits = [found for _, result in results if (found := mean_quality(result["split"]))]
    seconds = _mean_std([result["seconds"] for _, result in results])
    quality = {key: _mean_std([one[key] for one in splits]) for key in QUALITY if splits}
    return {
        "method": row.name,
        "base": row.method,
        "settings": dict(row.settings),
        "noise": ratio,
        "seeds": len(results),
        "metrics": {name: _mean_std([one[name] for one in ensembles]) for name in ensembles[0]},
        "single": {name: _mean_std([one[name] for one in singles]) for name in singles[0]},
        "split": {key: values[0] for key, values in quality.items()} or None,
        "seconds": seconds[0],
        "spread": {**{key: values[1] for key, values in quality.items()}, "seconds": seconds[1]},
        "runs": [_run(run, result) for run, result in results],
    }


def _run(run: Run, result: dict[str, Any]) -> dict[str, Any]:
    kept = ("profile", "noise", "best", "seconds", "date", "machine")
    return {
        "folder": run.name,
        "seed": run.seed,
        "noise_file": f"{run.name}/noise.npy",
        "rsum": result["test"]["ensemble"]["rsum"],
        "net_rsums": [net["rsum"] for net in result["test"]["nets"]],
        **{name: result[name] for name in kept},
    }


def _mean_of_nets(nets: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([net[name] for net in nets])) for name in nets[0]}


def _mean_std(values: Sequence[float]) -> list[float]:
    return [float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0]


def _check_noise(rows: Sequence[dict[str, Any]]) -> None:
    """Numbers of one table at one ratio are comparable only if the very same pairs were wrong."""
    seen: dict[tuple[float, int], dict[str, Any]] = {}
    for row in rows:
        for run in row["runs"]:
            first = seen.setdefault((row["noise"], run["seed"]), run)
            if first["noise"]["sha256"] != run["noise"]["sha256"]:
                raise UserError(
                    f"{run['folder']}: was trained with other noise than {first['folder']} (SHA-256 of noise.npy "
                    f"{run['noise']['sha256'][:12]} and {first['noise']['sha256'][:12]}); expected the same data for both"
                )
