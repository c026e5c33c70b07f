"""A comparison runs what is missing, refuses what does not fit, and takes its runs along when it ends."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pcsr_fast.cli import main
from pcsr_fast.errors import ConfigError, UserError
from pcsr_fast.files import exclusive
from pcsr_fast.training.compare import Plan, Run, check_plan, compare, summarise
from pcsr_fast.training.trainer import LAST
from tests.training.conftest import ForkServer
from tests.training.tools import SMALL, quiet

SHORT = ("--train.epochs", "0", "--train.num_nets", "1", "--train.batch_size", "120")


def plan(data: Path, output: Path, **changes: Any) -> Plan:
    shared = ["--data.path", str(data / "precomp"), *SMALL, *SHORT]
    given: dict[str, Any] = {
        "methods": ["triplet", "oracle"],
        "ratios": [0.4],
        "seeds": [0, 1],
        "words": shared,
        "jobs": 2,
    }
    return Plan(**{**given, "output": output, **changes})


class Here:
    """Runs the command in this process, when it is asked whether it has ended."""

    started: list[list[str]]

    def __init__(self, command: list[str], stdout: Any, env: dict[str, str], **named: Any) -> None:
        assert command[1:4] == ["-m", "pcsr_fast", "train"]
        assert env["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))
        self.words, self.log = command[3:], open(stdout.name, "a", encoding="utf-8")  # noqa: SIM115
        self.returncode: int | None = None
        Here.started.append(self.words)

    def poll(self) -> int | None:
        if self.returncode is None:
            with self.log, contextlib.redirect_stdout(self.log), contextlib.redirect_stderr(self.log):
                self.returncode = main(self.words)
        return self.returncode

    def terminate(self) -> None:
        self.returncode = -signal.SIGTERM

    def wait(self) -> int | None:
        return self.returncode


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Command lines of the runs that were started."""
    Here.started = []
    monkeypatch.setattr("pcsr_fast.training.compare.subprocess.Popen", Here)
    monkeypatch.setattr("pcsr_fast.training.compare._POLL_SECONDS", 0)
    return Here.started


def test_runs_what_is_missing_and_makes_a_table(tiny: Path, tmp_path: Path, here: list[list[str]]) -> None:
    wanted = plan(tiny, tmp_path / "out")
    console = Console(file=io.StringIO(), width=200)
    rows = compare(wanted, console)
    names = ["triplet-0.4-seed0", "oracle-0.4-seed0", "triplet-0.4-seed1", "oracle-0.4-seed1"]
    assert [words[words.index("--output", words.index("--method")) + 1] for words in here] == [
        str(tmp_path / "out" / name) for name in names
    ]
    assert [(row["method"], row["noise"], row["seeds"]) for row in rows] == [("triplet", 0.4, 2), ("oracle", 0.4, 2)]
    results = [json.loads((tmp_path / "out" / name / "metrics.json").read_text()) for name in names]
    assert [(one["method"], one["seed"], one["noise"]["seed"]) for one in results] == [
        ("triplet", 0, 0), ("oracle", 0, 0), ("triplet", 1, 1), ("oracle", 1, 1),
    ]  # fmt: skip
    sums = [results[index]["test"]["ensemble"]["rsum"] for index in (0, 2)]
    assert rows[0]["metrics"]["rsum"] == [pytest.approx(np.mean(sums)), pytest.approx(np.std(sums, ddof=1))]
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == rows
    assert "oracle" in (tmp_path / "out" / "comparison.md").read_text()
    assert console.file.getvalue().count(": done in ") == 4  # type: ignore[attr-defined]
    here.clear()
    assert compare(wanted, quiet()) == rows
    assert here == []
    more = plan(tiny, tmp_path / "out", seeds=[1, 2], methods=["oracle"])
    compare(more, quiet())
    assert len(here) == 1
    assert here[0][-2:] == ["--train.seed", "2"]


def test_a_run_that_was_stopped_is_resumed(tiny: Path, tmp_path: Path, here: list[list[str]]) -> None:
    one = plan(tiny, tmp_path / "out", methods=["triplet"], seeds=[0])
    compare(one, quiet())
    folder = tmp_path / "out" / "triplet-0.4-seed0"
    (folder / "metrics.json").unlink()
    here.clear()
    compare(one, quiet())
    assert [words[-1] for words in here] == ["--resume"]


def test_runs_of_another_configuration_are_not_mixed_in(tiny: Path, tmp_path: Path, here: list[list[str]]) -> None:
    compare(plan(tiny, tmp_path / "out", methods=["triplet"], seeds=[0]), quiet())
    other = plan(tiny, tmp_path / "out", methods=["triplet"], seeds=[0])
    other.words += ["--train.lr", "0.5"]
    with pytest.raises(ConfigError, match=r"config.yaml: this run was made with train.lr = 0.005, got 0.5; expected"):
        compare(other, quiet())
    moved = tmp_path / "moved"
    shutil.copytree(tiny / "precomp", moved / "precomp")
    compare(plan(moved, tmp_path / "out", methods=["triplet"], seeds=[0]), quiet())


def test_a_failed_run_says_why(tiny: Path, tmp_path: Path, here: list[list[str]]) -> None:
    wrong = plan(tiny, tmp_path / "out", words=["--data.path", "/no/such"])
    with pytest.raises(UserError) as caught:
        compare(wrong, quiet())
    log = tmp_path / "out" / "triplet-0.4-seed0" / "log.txt"
    message = "error: /no/such: no such folder; expected a data set in the pairs or precomp layout"
    assert str(caught.value) == f"triplet-0.4-seed0: ended with code 2 ({message}); see {log}"
    assert len(here) == 2
    assert not (tmp_path / "out" / "comparison.json").exists()


def test_order_of_runs_and_their_names() -> None:
    names = [run.name for run in plan(Path(), Path(), methods=["triplet", "pcsr"], ratios=[0.2, 0.4], seeds=[1]).runs()]
    assert names == ["pcsr-0.2-seed1", "triplet-0.2-seed1", "pcsr-0.4-seed1", "triplet-0.4-seed1"]


def test_split_quality_is_the_mean_over_runs_and_nets(tmp_path: Path) -> None:
    def result(values: list[float | None]) -> dict[str, Any]:
        scores = {"ensemble": {"rsum": 100.0}, "nets": [{"rsum": 90.0}, {"rsum": 80.0}]}
        split = [{"quality": None if v is None else {"precision": v, "recall": v / 2, "auc": v}} for v in values]
        return {"test": scores, "split": split or None, "seconds": 7.0}

    for seed, values in ((0, [0.5, 0.7]), (1, [0.9, None])):
        folder = tmp_path / Run("pcsr", 0.4, seed).name
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps(result(values)))
    row = summarise(plan(Path(), tmp_path, methods=["pcsr"]))[0]
    assert row["split"] == pytest.approx({"precision": 0.7, "recall": 0.35, "auc": 0.7})
    assert row["single_net"] == [85.0, pytest.approx(math.sqrt(100 / 3))]
    assert row["metrics"] == {"rsum": [100.0, 0.0]}
    assert row["seconds"] == 7.0
    (tmp_path / "triplet-0.4-seed0").mkdir()
    (tmp_path / "triplet-0.4-seed0" / "metrics.json").write_text(json.dumps(result([])))
    assert summarise(plan(Path(), tmp_path, methods=["triplet"], seeds=[0]))[0]["split"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["pcsr", "best"]}, "--methods: got 'best', expected some of pcsr, pc2, "),
        ({"methods": [""]}, "--methods: got '', expected some of"),
        ({"methods": ["pcsr", "pcsr"]}, "--methods: got pcsr twice, expected each once"),
        ({"ratios": [1.2]}, "--ratios: got 1.2, expected numbers from 0 to 1"),
        ({"ratios": [math.nan]}, "--ratios: got nan, expected numbers from 0 to 1"),
        ({"ratios": [0.2, 0.4, 0.2]}, "--ratios: got 0.2 twice, expected each once"),
        ({"seeds": [3, 3]}, "--seeds: got 3 twice, expected each once"),
        ({"jobs": 0}, "--jobs: got 0, expected a number >= 1"),
    ],
)
def test_bad_plans(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check_plan(plan(tmp_path, tmp_path, **changes))
    assert str(caught.value).startswith(message)


def until(condition: Callable[[], bool]) -> None:
    patience = time.monotonic() + 120
    while not condition() and time.monotonic() < patience:
        time.sleep(0.01)
    assert condition()


def is_free(folder: Path) -> bool:
    try:
        with exclusive(folder, "checkpoints"):
            return True
    except UserError:
        return False


@pytest.mark.xdist_group("forked")
def test_ended_from_outside_it_takes_its_runs_along(tiny: Path, tmp_path: Path, forked: ForkServer) -> None:
    shared = ["--data.path", str(tiny / "precomp"), *SMALL, "--train.epochs", "5000", "--train.checkpoint_steps", "1"]
    options = ["--methods", "triplet", "--output", str(tmp_path / "out")]
    pid = forked.start(["compare", *shared, *options])
    folder = tmp_path / "out" / "triplet-0.4-seed0"
    until((folder / LAST).exists)
    assert not is_free(folder)
    os.kill(pid, signal.SIGTERM)
    assert forked.wait(pid) == 130
    assert "stopped; the same command goes on from here" in forked.log.read_text()
    assert "stopped and saved; go on with: pcsr-fast train" in (folder / "log.txt").read_text()
    assert is_free(folder)
