"""Stopping and going on: where a run stops must not show in anything it leaves behind."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pcsr_fast.cli import main
from pcsr_fast.errors import CheckpointError, ConfigError, UserError
from pcsr_fast.files import exclusive
from pcsr_fast.training.run import train
from pcsr_fast.training.trainer import BEST, LAST, Interrupted, Trainer
from tests.training.conftest import ForkServer
from tests.training.tools import configured, losses_seen, outcome, quiet, run, words

Moment = tuple[str, int, int, int]


@pytest.fixture(scope="module")
def whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that nobody stopped; not to be changed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(tiny, folder)
    assert losses_seen(folder) == {"warmup", "clean", "refinable", "ambiguous"}
    return folder


@pytest.fixture
def finished(whole: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(whole, tmp_path / "finished"))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Signals that this process gets in the middle of an iteration."""
    iteration = Trainer._iteration
    # A shell's background jobs start with Ctrl-C ignored, and Python leaves it so.
    started_with = signal.signal(signal.SIGINT, signal.default_int_handler)

    def install(moment: Moment, *signals: int) -> None:
        def stopped(self: Trainer, *arguments: Any) -> None:
            where = self.progress.position
            if (where.stage, where.epoch, where.net, where.step) == moment:
                for number in signals:
                    # Unlike raise_signal, this runs the handler before it returns: two never become one.
                    signal.pthread_kill(threading.get_ident(), number)
            iteration(self, *arguments)

        monkeypatch.setattr(Trainer, "_iteration", stopped)

    yield install
    signal.signal(signal.SIGINT, started_with)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Trainer, *arguments: Any) -> None:
        raise AssertionError("a finished run was trained on")

    monkeypatch.setattr(Trainer, "_iteration", refuse)


def test_stopping_anywhere_changes_nothing(
    tiny: Path, tmp_path: Path, whole: Path, stop_at: Callable[..., None]
) -> None:
    """The first iteration, the middle of a net, a net's last, the stages' border, right after a split, the very last."""
    moments = [
        ("warmup", 0, 0, 0),
        ("warmup", 0, 0, 5),
        ("warmup", 0, 1, 2),
        ("warmup", 0, 1, 5),
        ("train", 0, 0, 0),
        ("train", 1, 0, 1),
        ("train", 1, 1, 0),
    ]
    folder = tmp_path / "run"
    for index, moment in enumerate(moments):
        stop_at(moment, signal.SIGTERM if index % 2 else signal.SIGINT)
        with pytest.raises(Interrupted):
            run(tiny, folder, resume=index > 0)
    stop_at(("never", 0, 0, 0))
    run(tiny, folder, resume=True)
    assert outcome(folder) == outcome(whole)


@pytest.mark.parametrize("epoch", [0, 2])
def test_stop_during_validation_is_heard_before_the_next_epoch_and_after_the_last(
    epoch: int, tiny: Path, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = Trainer.evaluate

    def stopped(self: Trainer, *arguments: Any) -> dict[str, Any]:
        if len(self.progress.history) == epoch:
            signal.raise_signal(signal.SIGINT)
        return evaluate(self, *arguments)

    monkeypatch.setattr(Trainer, "evaluate", stopped)
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        run(tiny, folder)
    assert len((folder / "history.jsonl").read_text().splitlines()) == epoch + 1
    assert not (folder / "metrics.json").exists()
    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    run(tiny, folder, resume=True)
    assert outcome(folder) == outcome(whole)


def test_a_run_stopped_early_by_patience_stays_stopped(
    tiny: Path, tmp_path: Path, stop_at: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    more = ("--train.patience", "1", "--train.epochs", "9", "--train.lr", "1e-9")
    run(tiny, tmp_path / "whole", *more)
    lines = (tmp_path / "whole" / "history.jsonl").read_text().splitlines()
    assert 2 <= len(lines) < 10
    stop_at(("train", 0, 0, 1), signal.SIGINT)
    with pytest.raises(Interrupted):
        run(tiny, tmp_path / "stopped", *more)
    run(tiny, tmp_path / "stopped", *more, resume=True)
    request.getfixturevalue("no_training")
    run(tiny, tmp_path / "stopped", *more, resume=True)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


@pytest.mark.usefixtures("no_training")
def test_resuming_a_finished_run_reports_again(tiny: Path, finished: Path, whole: Path) -> None:
    for name in ("history.jsonl", "metrics.json", "findings.safetensors", "suspects.csv", "retrieval.json"):
        (finished / name).unlink()
    run(tiny, finished, resume=True)
    assert outcome(finished) == outcome(whole)
    assert (finished / "retrieval.json").read_bytes() == (whole / "retrieval.json").read_bytes()


@pytest.mark.usefixtures("no_training")
def test_what_may_change_between_sittings(tiny: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "precomp", tmp_path / "moved" / "precomp")
    run(tmp_path / "moved", finished, "--train.checkpoint_steps", "7", "--train.threads", "1", resume=True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--train.lr", "0.01"), "train.lr = 0.005, got 0.01"),
        (("--train.epochs", "4"), "train.epochs = 2, got 4"),
        (("--noise.seed", "1"), "noise.seed = 0, got 1"),
        (("--method", "triplet"), "method = 'pcsr', got 'triplet'"),
        (("--apo.ambiguous.q", "0.5"), "apo.ambiguous.q = 0.7, got 0.5"),
        (("--data.limit_images", "40"), "data.limit_images = None, got 40"),
    ],
)
def test_another_configuration_is_refused(
    more: tuple[str, ...], message: str, tiny: Path, finished: Path, whole: Path
) -> None:
    with pytest.raises(CheckpointError) as caught:
        run(tiny, finished, *more, resume=True)
    assert f"{finished / LAST}: was written with {message}; expected the same value" in str(caught.value)
    assert (finished / "config.yaml").read_text() == (whole / "config.yaml").read_text()
    assert outcome(finished) == outcome(whole)


def change_text(folder: Path) -> None:
    path = folder / "train_caps.txt"
    lines = path.read_text().splitlines()
    lines[0], lines[7] = lines[7], lines[0]
    path.write_text("\n".join(lines) + "\n")


def add_words(folder: Path) -> None:
    path = folder / "dev_caps.txt"
    path.write_text(path.read_text().replace(" ", " unheard of ", 1))


def change_features(folder: Path) -> None:
    values = np.load(folder / "train_ims.npy")
    values[0, 0, 0] += 1
    np.save(folder / "train_ims.npy", values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_text, "other data, words of the captions: "),
        (add_words, "other data, vocabulary ids: "),
        (change_features, "other data, features of the first and last picture: "),
    ],
)
def test_other_data_are_refused(
    change: Callable[[Path], None], message: str, tiny: Path, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny / "precomp", tmp_path / "other" / "precomp")
    change(tmp_path / "other" / "precomp")
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path / "other", finished, resume=True)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def flip_epoch(path: Path) -> None:
    content = path.read_bytes()
    flip(path, content.index(b"epoch") + len(b'epoch\\": '))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a weight": (lambda path: flip(path, -100), "checksum does not match its contents"),
    "the position": (flip_epoch, "checksum does not match its contents"),
    "the header": (lambda path: flip(path, 9), "cannot be read as safetensors"),
    "cut short": (lambda path: os.truncate(path, path.stat().st_size - 1), "cannot be read as safetensors"),
    "empty": (lambda path: os.truncate(path, 0), "cannot be read as safetensors"),
    "text": (lambda path: path.write_text("not a checkpoint\n"), "cannot be read as safetensors"),
    "a pickle": (lambda path: torch.save({"net0": torch.ones(3)}, path), "cannot be read as safetensors"),
    "other safetensors": (lambda path: save_file({"w": torch.ones(3)}, path), "format is None, expected"),
    "the best weights": (lambda path: shutil.copy(path.with_name(BEST.name), path), "holds weights alone"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint(damage: str, tiny: Path, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, message = DAMAGES[damage]
    change(finished / LAST)
    broken = (finished / LAST).read_bytes()
    assert main(["train", *words(tiny, finished), "--resume"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {finished / LAST}: {message}")
    assert error.count("\n") == 1
    assert "expected" in error
    assert (finished / LAST).read_bytes() == broken


def test_lost_best_weights(tiny: Path, finished: Path) -> None:
    (finished / BEST).unlink()
    with pytest.raises(CheckpointError, match=r"best.safetensors: no such file; expected"):
        run(tiny, finished, resume=True)


def test_a_run_is_not_overwritten(tiny: Path, finished: Path) -> None:
    with pytest.raises(ConfigError, match="already holds a run; expected --resume, or another folder"):
        run(tiny, finished)


def test_resume_needs_a_run(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run; expected the folder of one, or no --resume"):
        run(tiny, tmp_path / "mistyped", resume=True)
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_killed_before_the_first_checkpoint(
    resume: bool, tiny: Path, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both commands start again, and clean up."""
    folder, console = tmp_path / "run", quiet()
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text("method: pcsr\n")
    left = [folder / ".noise.npy.a1b2.part", folder / LAST.parent / ".last.safetensors.c3d4.part"]
    for path in left:
        path.write_bytes(b"half")
    train(configured(tiny, folder), resume=resume, console=console)
    assert ("no checkpoint yet, training starts anew" in console.file.getvalue()) == resume  # type: ignore[attr-defined]
    assert not any(path.exists() for path in left)
    assert outcome(folder) == outcome(whole)


def test_a_folder_in_use_is_refused(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with exclusive(folder, "checkpoints"), pytest.raises(UserError, match="another process is writing here"):
        run(tiny, folder)
    assert not (folder / "config.yaml").exists()


def test_the_printed_command_goes_on(
    tiny: Path, tmp_path: Path, whole: Path, stop_at: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "it's my run"
    stop_at(("warmup", 0, 1, 3), signal.SIGINT)
    assert main(["train", *words(tiny, folder)]) == 130
    message = capsys.readouterr().err
    assert message.startswith("stopped and saved; go on with: pcsr-fast train ")
    assert message.count("\n") == 1
    again = shlex.split(message.split("go on with: ")[1])
    stop_at(("train", 1, 0, 0), signal.SIGTERM)
    assert main(again[1:]) == 130
    assert shlex.split(capsys.readouterr().err.split("go on with: ")[1]) == again
    assert main(again[1:]) == 0
    assert outcome(folder) == outcome(whole)
    assert (folder / "report.html").is_file()


def test_second_ctrl_c_stops_at_once(
    tiny: Path, tmp_path: Path, stop_at: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    stop_at(("warmup", 0, 0, 2), signal.SIGINT, signal.SIGINT)
    before = signal.getsignal(signal.SIGINT)
    assert main(["train", *words(tiny, tmp_path / "run")]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    message = capsys.readouterr().err
    assert message.startswith("stopped at once; go on with: pcsr-fast train ")
    assert "--resume" not in message
    assert not (tmp_path / "run" / LAST).exists()


@pytest.mark.xdist_group("forked")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_a_real_process(number: int, tiny: Path, tmp_path: Path, whole: Path, forked: ForkServer) -> None:
    folder = tmp_path / "run"
    pid = forked.start(["train", *words(tiny, folder, "--train.checkpoint_steps", "1")])
    patience = time.monotonic() + 60
    while not (folder / LAST).exists() and time.monotonic() < patience:
        time.sleep(0.005)
    os.kill(pid, number)
    assert forked.wait(pid) == 130
    assert "Traceback" not in forked.log.read_text()
    again = shlex.split(forked.log.read_text().split("go on with: pcsr-fast ")[1])
    assert forked.run(again) == 0
    assert outcome(folder) == outcome(whole)
