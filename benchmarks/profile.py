"""Where the CPU time of an SGR step goes, function by function, as Linux' perf samples it: `python -m benchmarks profile`.

What each function does is said where it is defined; `_native` is csrc/, the rest are libraries.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.comparison import ROOT
from benchmarks.harness import Implementation
from benchmarks.ops import heads, step
from benchmarks.record import THREADS, circumstances
from benchmarks.tables import machine_text, table
from pcsr_fast.errors import UserError

FREQUENCY = 499  # samples a second
LEAST = 0.01  # share; functions below are joined by library
# Runs by name: the implementation that is called, and whether of a step or of the head's scores alone.
RUNS = {
    "scores, exact": ("cpu exact", False),
    "scores, bf16": ("cpu bf16", False),
    "step, fp32": ("cpu fp32", True),
    "step, bf16": ("cpu bf16", True),
}
_ROW = re.compile(r"^\s*([\d.]+)%\s*\|\s*(.+?)\s*\|\s*\[.\]\s*(.+?)\s*$")


def implementation(name: str, count: int, size: str) -> Implementation:
    """A run on `count` pairs."""
    wanted, whole = RUNS[name]
    sizes = heads.sizes(size)
    workload = step.build(count, sizes, True) if whole else heads.build_scores("sgr", count, count, sizes, 1.0)
    return workload.implementations[wanted]


def short(library: str, symbol: str) -> str:
    """A function of our core without its surroundings; of a library, or of code made at run time, whose it is."""
    if "JIT" in library:
        return "compiled by oneDNN"
    if "_native" not in library:
        return re.sub(r"(\.cpython.*)?\.so.*$", "", library).strip("[]")
    bare = re.sub(r"\(.*$|<.*$", "", symbol.replace("(anonymous namespace)", "")).split("::")[-1]
    return bare or symbol


def shares(report: str) -> dict[str, float]:
    """Share of the samples by function of our core and by library, largest first; small ones of the core together."""
    found: dict[str, float] = {}
    for line in report.splitlines():
        row = _ROW.match(line)
        if row:
            name = short(row[2], row[3])
            found[name] = found.get(name, 0.0) + float(row[1]) / 100
    small = sum(share for share in found.values() if share < LEAST)
    kept = {name: share for name, share in found.items() if share >= LEAST}
    return dict(sorted(kept.items(), key=lambda one: -one[1])) | {"others": small}


def profile(name: str, count: int, size: str) -> dict[str, float]:
    """Sample one call, after one to warm up, in a process of its own.

    Raises:
        UserError: there is no perf, or it cannot sample here.
    """
    perf = shutil.which("perf")
    if perf is None:
        raise UserError("profile: found no perf (Debian: apt install linux-perf); expected it on PATH")
    with tempfile.TemporaryDirectory() as folder:
        control, answer, data = (Path(folder) / part for part in ("control", "answer", "data"))
        os.mkfifo(control)
        os.mkfifo(answer)
        record = [perf, "record", "-q", "-F", str(FREQUENCY), "-D", "-1", f"--control=fifo:{control},{answer}"]
        child = [sys.executable, "-m", "benchmarks.profile", name, str(count), size, str(control), str(answer)]
        run = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, check=False)
        done = run([*record, "-o", str(data), "--", *child])
        fields = ["--stdio", "--no-children", "-F", "overhead,dso,symbol", "-t", "|"]
        report = run([perf, "report", "-i", str(data), *fields])
    found = shares(report.stdout)
    if done.returncode or len(found) < 2:
        raise UserError(f"profile: perf failed: {(done.stderr or report.stderr).strip()[-500:]}")
    return found


def run(count: int = heads.LARGE, size: str = "full") -> dict[str, Any]:
    """All runs, one after the other."""
    start = circumstances()
    return {"kind": "profile", **start, "pairs": count, "runs": {name: profile(name, count, size) for name in RUNS}}


def profile_table(result: dict[str, Any]) -> str:
    """Shares of every function in every run."""
    runs = result["runs"]
    names = list(dict.fromkeys(name for one in runs.values() for name in one if name != "others"))
    lines = [["function of the core, or library", *runs]]
    for name in [*names, "others"]:
        lines.append([name, *(f"{100 * one[name]:.0f} %" if name in one else "" for one in runs.values())])
    return f"{table(lines, 1)}\nSGR, B={result['pairs']}. {machine_text(result)}, commit {result['commit']}.\n"


def main(name: str, count: str, size: str, control: str, answer: str) -> None:
    """One call between the samples' beginning and end."""
    torch.set_num_threads(THREADS)
    call = implementation(name, int(count), size).run
    assert call is not None
    call()
    with open(control, "w", encoding="ascii") as orders, open(answer, encoding="ascii") as answers:
        print("enable", file=orders, flush=True)
        answers.readline()
        call()
        print("disable", file=orders, flush=True)
        answers.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
