"""The demo's training run with our kernels and with the reference, and how much of it the ops are: Amdahl's row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.comparison import ROOT
from benchmarks.record import THREADS, circumstances
from benchmarks.tables import duration, machine_text, table
from pcsr_fast import backends
from pcsr_fast.training.parse import parse_config
from pcsr_fast.training.run import train

WAYS = {"reference": "1", "native": "0"}  # PCSR_FAST_DISABLE
SHORT = ("--warmup.epochs", "1", "--train.epochs", "1")


def _timed_select(seconds: dict[str, float]) -> None:
    """Add up the CPU time of every op's kernel, forward and backward."""
    select = backends.select

    def timed(op: str, *args: Any, **options: Any) -> Any:
        run = select(op, *args, **options)

        def call(*values: Any, **named: Any) -> Any:
            start = time.process_time()
            try:
                return run(*values, **named)
            finally:
                seconds[op] = seconds.get(op, 0.0) + time.process_time() - start

        return call

    backends.select = timed


def train_once(words: list[str]) -> dict[str, Any]:
    """Train the demo on one thread: CPU seconds, those of each op, and the metrics."""
    seconds: dict[str, float] = {}
    _timed_select(seconds)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as nowhere:
        options = ["--config", "demo", "--output", f"{folder}/run", "--train.threads", str(THREADS)]
        config, _ = parse_config([*options, *words], "train")
        start = time.process_time()
        metrics, _ = train(config, console=Console(file=nowhere))
        total = time.process_time() - start
        lines = (Path(folder) / "run" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    dev = [json.loads(line)["dev"]["ensemble"]["rsum"] for line in lines]
    return {"cpu": total, "ops": seconds, "test_rsum": metrics["test"]["ensemble"]["rsum"], "dev_rsum": dev}


def _in_a_process(disable: str, short: bool) -> dict[str, Any]:
    environment = os.environ | {"PCSR_FAST_DISABLE": disable}
    command = [sys.executable, "-m", "benchmarks.end_to_end", *(SHORT if short else ())]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run(repeats: int, short: bool = False) -> dict[str, Any]:
    """Both ways in turn, `repeats` times, each in a process of its own; the fastest of each is kept."""
    start = circumstances()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    for _ in range(repeats):
        for name, disable in WAYS.items():
            runs[name].append(_in_a_process(disable, short))
    best = {name: min(found, key=lambda one: one["cpu"]) for name, found in runs.items()}
    return {"kind": "end_to_end", "short": short, "repeats": repeats, **start, "runs": best}


def end_to_end_table(result: dict[str, Any]) -> str:
    """What the run cost either way, and what faster ops alone can gain."""
    lines = [["the demo's PCSR run", "CPU time", "of it ops", "share", "test rSum"]]
    for name, one in result["runs"].items():
        ops = sum(one["ops"].values())
        share = f"{100 * ops / one['cpu']:.1f} %"
        lines.append([name, duration(one["cpu"]), duration(ops), share, f"{one['test_rsum']:.1f}"])
    before, after = (result["runs"][name] for name in WAYS)
    limit = before["cpu"] / (before["cpu"] - sum(before["ops"].values()))
    text = (
        f"The ops are {sum(before['ops'].values()) / sum(after['ops'].values()):.1f}x as fast, the run "
        f"{before['cpu'] / after['cpu']:.2f}x: with ops that cost nothing it would be {limit:.2f}x (Amdahl). "
        "The encoders are the rest.\n"
    )
    return f"{table(lines, 1)}\n{text}\n{machine_text(result)}, commit {result['commit']}.\n"


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    print(json.dumps(train_once(sys.argv[1:])))
