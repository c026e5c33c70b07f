"""What a run shows while it works: on a terminal, in a log file, in TensorBoard."""

from __future__ import annotations

import io
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pcsr_fast.errors import UserError
from pcsr_fast.training.observers import Observer, PassBar, ProgressBar, Several, TensorBoard
from pcsr_fast.training.run import train
from pcsr_fast.training.trainer import Interrupted, Trainer
from tests.training.tools import configured, quiet, run


def line(stage: str, epoch: int, rsum: float, split: bool = False) -> dict[str, Any]:
    """A history entry."""
    one = {"counts": {"clean": 5, "refinable": 3, "ambiguous": 2}, "quality": None}
    known = {**one, "quality": {"precision": 0.9, "recall": 0.8, "auc": 0.75}}
    return {
        "stage": stage, "epoch": epoch, "lr": 0.01, "seconds": 3.0, "loss": {"clean": 0.5},
        "dev": {"ensemble": {"rsum": rsum}}, "split": [known, one] if split else None,
    }  # fmt: skip


def test_a_log_file_gets_a_plain_line_an_epoch(tiny: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=60)
    train(configured(tiny, tmp_path / "run", "--train.epochs", "1"), console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [one for one in text.splitlines() if one.strip()]
    assert "\x1b" not in text
    assert "\r" not in text
    assert len(lines) == 2
    assert re.fullmatch(r"warmup   1  loss warmup [\d.]+  dev rSum [\d.]+ \(best [\d.]+\)  \d+ s", lines[0])
    assert re.match(r" train   1  loss clean [\d.]+  dev rSum", lines[1])
    assert re.search(r"  split \d+/\d+/\d+ precision 0\.\d\d AUC 0\.\d\d  \d+ s", lines[1])


def test_the_bar_shows_stage_losses_and_the_last_rsum() -> None:
    console = Console(file=io.StringIO(), width=140, force_terminal=True, color_system=None)
    bar = ProgressBar(console, epochs=4, done=1, nets=2)
    bar.epoch(line("warmup", 0, 123.4), {"rsum": 150.0})
    bar.begin_net("train", 2, 1, step=5, total=10)
    bar.step({"clean": [6.0, 4.0], "ambiguous": [0.0, 0.0]})
    bar.bar.refresh()
    share = bar.bar.tasks[0].completed
    bar.activity("validation")
    bar.bar.refresh()
    bar.close()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "train epoch 3, net 1" in text
    assert "clean 1.500  rSum 123.4" in text
    assert "ambiguous" not in text
    assert "validation" in text
    assert "warmup   1  loss clean 0.500  dev rSum 123.4 (best 150.0)  3 s" in text
    assert share == pytest.approx(2 + (1 + 0.6) / 2)


def test_a_pass_has_a_bar_of_its_own_that_goes_when_it_is_full() -> None:
    console = Console(file=io.StringIO(), width=140, force_terminal=True, color_system=None)
    bar = ProgressBar(console, epochs=4, done=1, nets=2)
    bar.activity("dev scores, net 0")
    assert len(bar.bar.tasks) == 1
    shares = []
    for done in (30, 60, 100):
        bar.passed(done, 100)
        shares += [task.percentage for task in bar.bar.tasks[1:]]
        bar.bar.refresh()
    assert shares == [30, 60]
    assert len(bar.bar.tasks) == 1
    bar.passed(5, 10)
    bar.activity("dev scores, net 1")
    assert len(bar.bar.tasks) == 1
    bar.close()
    assert "60/100 pairs" in " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_a_long_pass_says_now_and_then_how_far_it_is_where_no_bar_can_be(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    bar = PassBar(quiet(), clock=lambda: now)
    for text, moments in (("dev scores, net 0", (1, 29, 31, 40, 62, 80)), ("test scores, net 0", (81, 100))):
        bar.activity(text)
        for done, now in enumerate(moments, 1):  # noqa: B007
            bar.passed(done, len(moments))
    bar.close()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "dev scores, net 0: 50 % of 6 pairs after 31 s, 31 s left",
        "dev scores, net 0: 83 % of 6 pairs after 62 s, 12 s left",
    ]


def test_a_net_without_steps_does_not_stop_the_bar() -> None:
    bar = ProgressBar(quiet(), epochs=1, done=0, nets=1)
    bar.begin_net("train", 0, 0, step=0, total=0)
    bar.close()


def test_several_tell_all_of_them_everything() -> None:
    heard: list[tuple[int, str]] = []

    class Witness(Observer):
        def __init__(self, number: int) -> None:
            self.number = number

        def activity(self, text: str) -> None:
            heard.append((self.number, "activity"))

        def passed(self, done: int, total: int) -> None:
            heard.append((self.number, "passed"))

        def begin_net(self, stage: str, epoch: int, net: int, step: int, total: int) -> None:
            heard.append((self.number, "begin_net"))

        def step(self, sums: dict[str, list[float]]) -> None:
            heard.append((self.number, "step"))

        def epoch(self, line: dict[str, Any], best: dict[str, Any]) -> None:
            heard.append((self.number, "epoch"))

        def close(self) -> None:
            heard.append((self.number, "close"))

    both = Several([Witness(1), Witness(2)])
    both.activity("x")
    both.passed(1, 2)
    both.begin_net("train", 0, 0, 0, 1)
    both.step({})
    both.epoch({}, {})
    both.close()
    names = ["activity", "passed", "begin_net", "step", "epoch", "close"]
    assert heard == [(number, name) for name in names for number in (1, 2)]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each curve, as TensorBoard shows them."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_curves_of_an_epoch(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, 0)
    board.epoch(line("warmup", 0, 100.0), {})
    board.epoch(line("train", 0, 110.5, split=True), {})
    board.close()
    shown = curves(tmp_path)
    assert shown["dev/rsum"] == [(0, 100.0), (1, 110.5)]
    assert shown["split0/clean"] == [(1, 5.0)]
    assert shown["split0/auc"] == [(1, 0.75)]
    assert shown["split1/ambiguous"] == [(1, 2.0)]
    assert "split1/auc" not in shown
    assert {"lr", "seconds", "loss/clean"} < set(shown)


@pytest.mark.parametrize("moment", [("warmup", 0), ("train", 1)])
def test_a_resumed_run_shows_each_epoch_once(
    moment: tuple[str, int], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends after TensorBoard has heard of an epoch and before the checkpoint has, then is taken up."""
    save, number = Trainer.save, 0

    def killed(self: Trainer) -> None:
        if (self.progress.history[-1]["stage"], self.progress.history[-1]["epoch"]) == moment:
            raise KeyboardInterrupt
        save(self)

    def writer_names(*arguments: object) -> float:
        nonlocal number
        number += 1
        return 1e9 + number

    # Files are read in the order of the second in their names.
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer.time.time", writer_names)
    monkeypatch.setattr(Trainer, "save", killed)
    more = ("--train.tensorboard", "true", "--train.num_nets", "1")
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path / "run", *more)
    monkeypatch.setattr(Trainer, "save", save)
    run(tiny, tmp_path / "run", *more, resume=True)
    shown = curves(tmp_path / "run" / "tensorboard")
    assert [step for step, _ in shown["dev/rsum"]] == [0, 1, 2]
    assert [step for step, _ in shown["loss/warmup"]] == [0]


def test_bar_and_files_are_closed_when_a_run_stops(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    for kind in (ProgressBar, TensorBoard):
        close = kind.close
        monkeypatch.setattr(kind, "close", lambda self, close=close: (closed.append(type(self).__name__), close(self)))
    monkeypatch.setattr(Trainer, "_train_net", lambda self, net: None)
    evaluate = Trainer.evaluate
    monkeypatch.setattr(
        Trainer, "evaluate", lambda self, pairs: (signal.raise_signal(signal.SIGINT), evaluate(self, pairs))[1]
    )
    with pytest.raises(Interrupted):
        run(tiny, tmp_path / "run", "--train.tensorboard", "true")
    assert closed == ["ProgressBar", "TensorBoard"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(UserError, match=r"tensorboard: cannot write here \(File exists\)"):
        TensorBoard(tmp_path / "tensorboard", 0)
