"""kill -9 at any moment: the run goes on, and ends with the weights of a run that was never stopped, to the bit."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pcsr_fast.training.checkpoint import load_checkpoint
from pcsr_fast.training.trainer import BEST, LAST
from tests.training.conftest import ForkServer
from tests.training.tools import losses_seen, outcome, words

KILLS = 20
MORE = ("--train.checkpoint_steps", "2", "--train.tensorboard", "true")
pytestmark = pytest.mark.xdist_group("forked")


def again(data: Path, folder: Path) -> list[str]:
    """The command that a user gives after a kill: --resume once there is a run."""
    return ["train", *words(data, folder, *MORE), *(["--resume"] if (folder / "config.yaml").exists() else [])]


def check_whole(folder: Path) -> None:
    """Whatever checkpoint is there is whole."""
    for name in (LAST, BEST):
        if (folder / name).exists():
            load_checkpoint(folder / name)


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


@pytest.fixture(scope="module")
def uninterrupted(tiny: Path, forked: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Outcome and duration of a run that nobody stops."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    pid = forked.start(again(tiny, folder))
    since = time.monotonic()
    assert forked.wait(pid) == 0, forked.log.read_text()
    seconds = time.monotonic() - since
    assert losses_seen(folder) == {"warmup", "clean", "refinable", "ambiguous"}
    return {"outcome": outcome(folder), "seconds": seconds}


def test_twenty_random_kills(tiny: Path, tmp_path: Path, forked: ForkServer, uninterrupted: dict[str, Any]) -> None:
    chance = random.Random(5)
    kills, folder = 0, tmp_path / "run0"
    while kills < KILLS:
        pid = forked.start(again(tiny, folder))
        time.sleep(chance.uniform(0.02, 0.35) * uninterrupted["seconds"])
        os.kill(pid, signal.SIGKILL)
        code = forked.wait(pid)
        check_whole(folder)
        if code == -signal.SIGKILL:
            kills += 1
        else:
            assert code == 0, forked.log.read_text()
            assert outcome(folder) == uninterrupted["outcome"]
            folder = tmp_path / f"run{kills}"
    assert forked.run(again(tiny, folder)) == 0, forked.log.read_text()
    assert outcome(folder) == uninterrupted["outcome"]
    assert parts(folder) == []


@pytest.mark.parametrize("how", ["half", "after"])
def test_kill_at_every_kind_of_write(
    how: str, tiny: Path, tmp_path: Path, forked: ForkServer, uninterrupted: dict[str, Any]
) -> None:
    """Writes 1 to 4 of a sitting are config.yaml, noise.npy, noise.json and vocabulary.json, then come checkpoints."""
    folder, code, write = tmp_path / "run", -signal.SIGKILL, 0
    while code == -signal.SIGKILL:
        write += 1 if write < 5 else 4
        code = forked.run(again(tiny, folder), {"write": write, "how": how})
        check_whole(folder)
        assert len(parts(folder)) == (code != 0 and how == "half")
    assert code == 0, forked.log.read_text()
    assert write > 9
    assert outcome(folder) == uninterrupted["outcome"]
