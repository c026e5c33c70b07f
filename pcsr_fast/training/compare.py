"""Methods x noise ratios x seeds: one run each in a process of its own, resumable, one table."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from pcsr_fast.errors import InUse, UserError
from pcsr_fast.files import exclusive, make_folder
from pcsr_fast.report.comparison_noise import noise_lines
from pcsr_fast.report.comparison_page import write_comparison
from pcsr_fast.training.comparison_plan import Plan, Run, check_plan
from pcsr_fast.training.comparison_rows import summarise
from pcsr_fast.training.trainer import LAST

_POLL_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded here, as a fork must do next to nothing


def compare(plan: Plan, console: Console) -> list[dict[str, Any]]:
    """Run what is missing, then print and write the table and the plots; see `write_comparison` for the files.

    A run that fails does not keep the others from running; the table then has what there is.

    Raises:
        UserError: a run failed; the first one's log is named.
    """
    check_plan(plan)
    with exclusive(plan.output, "plots"):
        failures = _Runs(plan, console).finish()
        rows = tabulate(plan, console)
    if failures:
        count = (
            f"{len(failures)} of {len(plan.runs())} runs failed, {', '.join(failures)}; " if len(failures) > 1 else ""
        )
        raise UserError(f"{count}{next(iter(failures.values()))}")
    return rows


def tabulate(plan: Plan, console: Console) -> list[dict[str, Any]]:
    """Print and write the table of the runs that are finished; nothing where none is."""
    rows = summarise(plan)
    if not rows:
        return rows
    for table in write_comparison(plan.output, rows):
        console.print(table)
    for line in noise_lines(rows):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"report: {plan.output}/comparison.html", highlight=False, markup=False, soft_wrap=True)
    return rows


class _Runs:
    """The runs of a plan that are not finished, `jobs` at a time."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.plan = plan
        self.console = console
        self.waiting = [run for run in plan.runs() if not (plan.folder(run) / "metrics.json").is_file()]
        self.running: dict[Run, tuple[subprocess.Popen[bytes], float]] = {}
        self.failures: dict[str, str] = {}

    def finish(self) -> dict[str, str]:
        """Run all to the end; what went wrong, by name of the run."""
        try:
            with self.console.status("") as status:
                while self.waiting or self.running:
                    self._start_some()
                    time.sleep(_POLL_SECONDS)
                    for run in [run for run, (process, _) in self.running.items() if process.poll() is not None]:
                        self._ended(run, *self.running.pop(run))
                    status.update("; ".join(f"{run.name}: {self._last_line(run)[:60]}" for run in self.running))
        finally:
            for process, _ in self.running.values():
                process.terminate()
            for process, _ in self.running.values():
                process.wait()
        return self.failures

    def _start_some(self) -> None:
        while len(self.running) < self.plan.jobs:
            # A run of a comparison that was killed may still be saving.
            free = next((run for run in self.waiting if _is_free(self.plan.folder(run))), None)
            if free is None:
                return
            self.waiting.remove(free)
            self.running[free] = (self._start(free), time.perf_counter())

    def _start(self, run: Run) -> subprocess.Popen[bytes]:
        folder = make_folder(self.plan.folder(run))
        words = [*self.plan.run_words(run), *(["--resume"] if (folder / LAST).exists() else [])]
        threads = str(max(1, (os.cpu_count() or 1) // self.plan.jobs))
        environment = {
            "OMP_WAIT_POLICY": "passive",
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "COLUMNS": "160",
            "TERM": "dumb",
        }
        with self._log(run).open("ab") as log:
            command = [sys.executable, "-m", "pcsr_fast", "train", *words]
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                preexec_fn=_end_with_parent,
            )

    def _ended(self, run: Run, process: subprocess.Popen[bytes], since: float) -> None:
        if process.returncode == 0:
            text = f"{run.name}: done in {time.perf_counter() - since:.0f} s"
        else:
            last, log = self._last_line(run), self._log(run)
            text = f"{run.name}: ended with code {process.returncode} ({last}); see {log}"
            self.failures[run.name] = text
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _log(self, run: Run) -> Path:
        return self.plan.folder(run) / "log.txt"

    def _last_line(self, run: Run) -> str:
        lines = [line for line in self._log(run).read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else "starting"


def _is_free(folder: Path) -> bool:
    """Whether no process is training in the folder."""
    try:
        with exclusive(folder, LAST.parent.name):
            return True
    except InUse:
        return False


def _end_with_parent() -> None:
    """Have Linux end the run, which then saves, when the comparison is killed and cannot do it."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
