"""Methods x noise ratios x seeds: one run each in a process of its own, resumable, one table."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pcsr_fast.errors import ConfigError, UserError
from pcsr_fast.files import make_folder, write_json, write_text
from pcsr_fast.methods import METHODS
from pcsr_fast.report import comparison_markdown, comparison_table
from pcsr_fast.training.config import as_dict
from pcsr_fast.training.identity import differences
from pcsr_fast.training.parse import parse_config
from pcsr_fast.training.trainer import LAST

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Run:
    """One cell of the comparison."""

    method: str
    ratio: float
    seed: int

    @property
    def name(self) -> str:
        """Folder of the run."""
        return f"{self.method}-{self.ratio:g}-seed{self.seed}"


@dataclass
class Plan:
    """A comparison.

    Attributes:
        methods, ratios, seeds: what is crossed; a seed sets both the noise and the training.
        words: command-line words of the shared configuration.
        output: folder of all runs.
        jobs: runs side by side; the cores are shared out among them.
    """

    methods: list[str]
    ratios: list[float]
    seeds: list[int]
    words: list[str]
    output: Path
    jobs: int

    def runs(self) -> list[Run]:
        """All cells; the slowest method first, so that side-by-side runs end together."""
        order = sorted(self.methods, key=lambda name: name != "pcsr")
        return [Run(m, r, s) for s, r, m in itertools.product(self.seeds, self.ratios, order)]


def check_plan(plan: Plan) -> None:
    """Refuse an empty or impossible plan.

    Raises:
        ConfigError: naming what is wrong.
    """
    for option in ("methods", "ratios", "seeds"):
        values = getattr(plan, option)
        twice = next((one for index, one in enumerate(values) if one in values[:index]), None)
        if twice is not None:
            raise ConfigError(f"--{option}: got {twice} twice, expected each once")
    for name in plan.methods:
        if name not in METHODS:
            raise ConfigError(f"--methods: got {name!r}, expected some of {', '.join(METHODS)}")
    for ratio in plan.ratios:
        if not 0 <= ratio <= 1:
            raise ConfigError(f"--ratios: got {ratio}, expected numbers from 0 to 1")
    if plan.jobs < 1:
        raise ConfigError(f"--jobs: got {plan.jobs}, expected a number >= 1")
    for run in plan.runs():
        _check_same(plan, run)


def _check_same(plan: Plan, run: Run) -> None:
    """A run that is there already must have been made with this configuration."""
    written = plan.output / run.name / "config.yaml"
    if written.is_file():
        mine, _ = parse_config(_words(plan, run), "compare")
        other, _ = parse_config(["--config", str(written)], "compare")
        for key, wanted, found in differences(as_dict(mine), as_dict(other)):
            raise ConfigError(
                f"{written}: this run was made with {key} = {found!r}, got {wanted!r}; "
                "expected the same value, or another --output"
            )


def compare(plan: Plan, console: Console) -> list[dict[str, Any]]:
    """Run what is missing, then print and write comparison.json and comparison.md.

    Raises:
        UserError: a run failed; its log is named.
    """
    check_plan(plan)
    waiting = [run for run in plan.runs() if not (plan.output / run.name / "metrics.json").is_file()]
    running: dict[Run, tuple[subprocess.Popen[bytes], float]] = {}
    try:
        with console.status("") as status:
            while waiting or running:
                while waiting and len(running) < plan.jobs:
                    run = waiting.pop(0)
                    running[run] = (_start(plan, run), time.perf_counter())
                time.sleep(_POLL_SECONDS)
                for run in [run for run, (process, _) in running.items() if process.poll() is not None]:
                    process, since = running.pop(run)
                    _check_finished(plan, run, process.returncode)
                    console.print(f"{run.name}: done in {time.perf_counter() - since:.0f} s", highlight=False)
                status.update("; ".join(f"{run.name}: {_last_line(plan, run)[:60]}" for run in running))
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.wait()
    rows = summarise(plan)
    write_json(plan.output / "comparison.json", rows)
    write_text(plan.output / "comparison.md", comparison_markdown(rows))
    console.print(comparison_table(rows))
    console.print(f"reports: {plan.output}/*/report.html", highlight=False, markup=False, soft_wrap=True)
    return rows


def _start(plan: Plan, run: Run) -> subprocess.Popen[bytes]:
    folder = make_folder(plan.output / run.name)
    words = [*_words(plan, run), *(["--resume"] if (folder / LAST).exists() else [])]
    threads = str(max(1, (os.cpu_count() or 1) // plan.jobs))
    environment = {
        "OMP_WAIT_POLICY": "passive",
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "COLUMNS": "160",
        "TERM": "dumb",
    }
    with _log(plan, run).open("ab") as log:
        command = [sys.executable, "-m", "pcsr_fast", "train", *words]
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)


def _words(plan: Plan, run: Run) -> list[str]:
    """Command-line words of one run; the later ones win over the shared ones."""
    words = [*plan.words, "--method", run.method, "--output", str(plan.output / run.name)]
    return [*words, "--noise.ratio", str(run.ratio), "--noise.seed", str(run.seed), "--train.seed", str(run.seed)]


def _log(plan: Plan, run: Run) -> Path:
    return plan.output / run.name / "log.txt"


def _last_line(plan: Plan, run: Run) -> str:
    lines = [line for line in _log(plan, run).read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "starting"


def _check_finished(plan: Plan, run: Run, code: int) -> None:
    if code:
        raise UserError(f"{run.name}: ended with code {code} ({_last_line(plan, run)}); see {_log(plan, run)}")


def summarise(plan: Plan) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds of each method and ratio, from the runs' metrics.json."""
    rows = []
    for ratio, method in itertools.product(plan.ratios, plan.methods):
        results = [
            json.loads((plan.output / Run(method, ratio, seed).name / "metrics.json").read_text())
            for seed in plan.seeds
        ]
        tests = [result["test"]["ensemble"] for result in results]
        qualities = [split["quality"] for result in results for split in result["split"] or [] if split["quality"]]
        rows.append(
            {
                "method": method,
                "noise": ratio,
                "seeds": len(plan.seeds),
                "metrics": {name: _mean_std([test[name] for test in tests]) for name in tests[0]},
                "single_net": _mean_std([net["rsum"] for result in results for net in result["test"]["nets"]]),
                "split": {
                    name: float(np.mean([one[name] for one in qualities])) for name in ("precision", "recall", "auc")
                }
                if qualities
                else None,
                "seconds": float(np.mean([result["seconds"] for result in results])),
            }
        )
    return rows


def _mean_std(values: list[float]) -> list[float]:
    return [float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0]
