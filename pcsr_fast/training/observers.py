"""Who watches a run: progress bars with loss, rSum and time left; a line an epoch; TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pcsr_fast.errors import UserError


class Observer:
    """Hears of everything, does nothing; base of the others."""

    def activity(self, text: str) -> None:
        """A pass without steps begins."""

    def passed(self, done: int, total: int) -> None:
        """`done` of the `total` pairs of that pass are behind."""

    def begin_net(self, stage: str, epoch: int, net: int, step: int, total: int) -> None:
        """`total` iterations of one net begin, at `step`."""

    def step(self, sums: dict[str, list[float]]) -> None:
        """An iteration is done; `sums` holds [sum, count] of each kind's loss in this epoch."""

    def epoch(self, line: dict[str, Any], best: dict[str, Any]) -> None:
        """An epoch is done; `line` is its history entry."""

    def close(self) -> None:
        """The run ends or stops."""


class PassBar(Observer):
    """A live bar for the pass under way, with the time left; on no terminal, a line every SILENCE seconds on stderr.

    Args:
        console: where to print.
        clock: seconds since any moment.
    """

    SILENCE = 30.0

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.clock = clock
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_interactive and not console.is_jupyter,
        )
        self.text, self.begun, self.spoken = "", clock(), clock()
        self.part: TaskID | None = None
        self.bar.start()

    def activity(self, text: str) -> None:
        """A new bar, which shows when the pass first says how far it is."""
        self._end_pass()
        self.text = text
        self.begun = self.spoken = self.clock()

    def passed(self, done: int, total: int) -> None:
        """Advance, and take a full bar off."""
        if self.part is None:
            self.part = self.bar.add_task(self.text, total=total, status="pairs")
        self.bar.update(self.part, completed=done, total=total)
        if self.bar.disable:
            self._say(done, total)
        if done == total:
            self._end_pass()

    def _say(self, done: int, total: int) -> None:
        now = self.clock()
        if now - self.spoken >= self.SILENCE and done:
            seconds = now - self.begun
            left = seconds * (total - done) / done
            text = f"{self.text}: {100 * done // total} % of {total} pairs after {seconds:.0f} s, {left:.0f} s left"
            Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)
            self.spoken = now

    def _end_pass(self) -> None:
        if self.part is not None:
            self.bar.remove_task(self.part)
            self.part = None

    def close(self) -> None:
        """Take the bar off the screen."""
        if not self.bar.disable:
            self.bar.stop()


class ProgressBar(PassBar):
    """A live bar for the whole run, another for the pass under way, and one printed line an epoch.

    Args:
        console: where to print.
        epochs: epochs of the whole run, warm-up included.
        done: epochs behind, when a run is resumed.
        nets: nets an epoch.
    """

    def __init__(self, console: Console, epochs: int, done: int, nets: int) -> None:
        super().__init__(console)
        self.nets = nets
        self.rsum = 0.0
        self.share = 0.0
        self.total = 1
        self.task = self.bar.add_task("training", total=epochs, completed=done, status="")
        self.base = float(done)

    def activity(self, text: str) -> None:
        """Name it on the bar."""
        super().activity(text)
        self.bar.update(self.task, description=text)

    def begin_net(self, stage: str, epoch: int, net: int, step: int, total: int) -> None:
        """Name the stage and go to where this net starts."""
        self.total = max(total, 1)
        self.share = (net + step / self.total) / self.nets
        self.bar.update(
            self.task, description=f"{stage} epoch {epoch + 1}, net {net}", completed=self.base + self.share
        )

    def step(self, sums: dict[str, list[float]]) -> None:
        """Advance, show mean losses."""
        self.share += 1 / (self.total * self.nets)
        losses = "  ".join(f"{name} {total / count:.3f}" for name, (total, count) in sums.items() if count)
        self.bar.update(self.task, completed=self.base + self.share, status=f"{losses}  rSum {self.rsum:.1f}")

    def epoch(self, line: dict[str, Any], best: dict[str, Any]) -> None:
        """One line that stays."""
        self.base += 1
        self.rsum = line["dev"]["ensemble"]["rsum"]
        self.bar.update(self.task, completed=self.base)
        self.console.print(_epoch_text(line, best), highlight=False, soft_wrap=True)


def _epoch_text(line: dict[str, Any], best: dict[str, Any]) -> str:
    losses = " ".join(f"{name} {value:.3f}" for name, value in line["loss"].items())
    text = f"{line['stage']:>6} {line['epoch'] + 1:>3}  loss {losses}  dev rSum {line['dev']['ensemble']['rsum']:.1f}"
    text += f" (best {best['rsum']:.1f})"
    if line["split"]:
        first = line["split"][0]
        text += "  split " + "/".join(str(count) for count in first["counts"].values())
        if first["quality"]:
            text += f" precision {first['quality']['precision']:.2f} AUC {first['quality']['auc']:.2f}"
    return text + f"  {line['seconds']:.0f} s"


class TensorBoard(Observer):
    """Curves for TensorBoard under `folder`; what an earlier sitting wrote past `epochs_done` is purged."""

    def __init__(self, folder: Path, epochs_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.step_number = epochs_done
        try:
            self.writer = SummaryWriter(str(folder), purge_step=epochs_done)
        except OSError as error:
            raise UserError(f"{folder}: cannot write here ({error.strerror}); expected a writable folder") from error

    def epoch(self, line: dict[str, Any], best: dict[str, Any]) -> None:
        """Losses, rate, validation metrics and split quality of the epoch."""
        values = {"lr": line["lr"], "seconds": line["seconds"]}
        values |= {f"loss/{name}": value for name, value in line["loss"].items()}
        values |= {f"dev/{name}": value for name, value in line["dev"]["ensemble"].items()}
        for index, split in enumerate(line["split"] or []):
            values |= {f"split{index}/{name}": count for name, count in split["counts"].items()}
            quality = split["quality"] or {}
            values |= {f"split{index}/{name}": quality[name] for name in ("precision", "recall", "auc") if quality}
        for name, value in values.items():
            self.writer.add_scalar(name, value, self.step_number)
        self.step_number += 1
        self.writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self.writer.close()


class Several(Observer):
    """Tells each of a list."""

    def __init__(self, observers: list[Observer]) -> None:
        self.observers = observers

    def activity(self, text: str) -> None:
        """Pass on."""
        for one in self.observers:
            one.activity(text)

    def passed(self, done: int, total: int) -> None:
        """Pass on."""
        for one in self.observers:
            one.passed(done, total)

    def begin_net(self, stage: str, epoch: int, net: int, step: int, total: int) -> None:
        """Pass on."""
        for one in self.observers:
            one.begin_net(stage, epoch, net, step, total)

    def step(self, sums: dict[str, list[float]]) -> None:
        """Pass on."""
        for one in self.observers:
            one.step(sums)

    def epoch(self, line: dict[str, Any], best: dict[str, Any]) -> None:
        """Pass on."""
        for one in self.observers:
            one.epoch(line, best)

    def close(self) -> None:
        """Pass on."""
        for one in self.observers:
            one.close()
