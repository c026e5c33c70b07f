"""A comparison runs what is missing, refuses what does not fit, and takes its runs along when it ends."""

from __future__ import annotations

import contextlib
import csv
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
import yaml
from rich.console import Console

from pcsr_fast.cli import main
from pcsr_fast.data.noise import digest
from pcsr_fast.errors import ConfigError, UserError
from pcsr_fast.files import exclusive
from pcsr_fast.training.compare import compare
from pcsr_fast.training.comparison_plan import Plan, Run, Variant, check_plan
from pcsr_fast.training.comparison_rows import summarise
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
    names = ", ".join(run.name for run in wrong.runs())
    first = f"triplet-0.4-seed0: ended with code 2 ({message}); see {log}"
    assert str(caught.value) == f"4 of 4 runs failed, {names}; {first}"
    assert len(here) == 4
    assert not (tmp_path / "out" / "comparison.json").exists()


def test_a_failed_run_does_not_lose_the_others(tiny: Path, tmp_path: Path, here: list[list[str]]) -> None:
    """The row whose data cannot be read fails alone; the table has the rest, and is whole when that is mended."""
    wrong = plan(tiny, tmp_path / "out", seeds=[0], overrides={"oracle": {"noise.file": "/no/such.npy"}})
    with pytest.raises(UserError, match=r"^oracle-0.4-seed0: ended with code 2 \(error: /no/such.npy"):
        compare(wrong, quiet())
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["method"] for row in rows] == ["triplet"]
    here.clear()
    rows = compare(plan(tiny, tmp_path / "out", seeds=[0]), quiet())
    assert [row["method"] for row in rows] == ["triplet", "oracle"]
    assert len(here) == 1


def test_variants_and_overrides_are_rows_of_their_own(tiny: Path, tmp_path: Path, here: list[list[str]]) -> None:
    variants = [Variant("wide", "triplet", {"loss.margin": 0.7, "loss.positive_mask": "diag"})]
    overrides = {"triplet": {"loss.margin": 0.3, "warmup.temperature": 0.2}}
    wanted = plan(tiny, tmp_path / "out", seeds=[0], variants=variants, overrides=overrides)
    wanted.words += ["--warmup.temperature", "0.4"]
    rows = compare(wanted, quiet())
    assert [(row["method"], row["base"], row["settings"]) for row in rows] == [
        ("triplet", "triplet", {}),
        ("oracle", "oracle", {}),
        ("wide", "triplet", {"loss.margin": 0.7, "loss.positive_mask": "diag"}),
    ]
    written = [
        yaml.safe_load((tmp_path / "out" / f"{n}-0.4-seed0" / "config.yaml").read_text())
        for n in ("triplet", "oracle", "wide")
    ]
    assert [one["method"] for one in written] == ["triplet", "oracle", "triplet"]
    assert [one["loss"]["margin"] for one in written] == [0.3, 0.2, 0.7]
    assert [one["loss"]["positive_mask"] for one in written] == ["image_id", "image_id", "diag"]
    assert [one["warmup"]["temperature"] for one in written] == [0.4, 0.4, 0.4]
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "loss.margin: 0.7, loss.positive_mask: diag" in page


def test_one_table_in_every_format_with_its_noise(tiny: Path, tmp_path: Path, here: list[list[str]]) -> None:
    wanted = plan(tiny, tmp_path / "out", words=[*plan(tiny, tmp_path).words, "--train.num_nets", "2"])
    console = quiet()
    rows = compare(wanted, console)
    folder, printed = tmp_path / "out", console.file.getvalue()  # type: ignore[attr-defined]
    digests = {seed: digest(np.load(folder / f"oracle-0.4-seed{seed}" / "noise.npy")) for seed in (0, 1)}
    assert digests[0] != digests[1]
    for row in rows:
        assert [run["noise"]["sha256"] for run in row["runs"]] == [digests[0], digests[1]]
        assert [run["noise"]["level"] for run in row["runs"]] == ["caption", "caption"]
        assert [(folder / run["noise_file"]).is_file() for run in row["runs"]] == [True, True]
        results = [json.loads((folder / run["folder"] / "metrics.json").read_text())["test"] for run in row["runs"]]
        for name in ("i2t_r1", "t2i_r10", "rsum"):
            alone = [np.mean([net[name] for net in one["nets"]]) for one in results]
            assert row["single"][name] == pytest.approx([np.mean(alone), np.std(alone, ddof=1)])
    for seed in (0, 1):
        assert f"noise 40 % at caption level, seed {seed}: " in printed
        assert f"SHA-256 {digests[seed][:16]}" in printed
        assert digests[seed] in (folder / "comparison.md").read_text()
        assert digests[seed] in (folder / "comparison.html").read_text()
    lines = list(csv.DictReader((folder / "comparison.csv").open()))
    assert [(line["method"], line["scores"]) for line in lines] == [
        ("triplet", "ensemble"), ("oracle", "ensemble"), ("triplet", "single net"), ("oracle", "single net"),
    ]  # fmt: skip
    assert float(lines[3]["t2i_r5_std"]) == pytest.approx(rows[1]["single"]["t2i_r5"][1])
    assert "test, single net, 40 % noise, mean of 2 seeds" in printed
    for name in ("rsum-dots",):
        assert (folder / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"plots/{name}.png" in (folder / "comparison.md").read_text()


def test_runs_that_saw_other_noise_are_not_compared(tiny: Path, tmp_path: Path, here: list[list[str]]) -> None:
    one = plan(tiny, tmp_path / "out", seeds=[0])
    compare(one, quiet())
    path = tmp_path / "out" / "oracle-0.4-seed0" / "metrics.json"
    result = json.loads(path.read_text())
    result["noise"]["sha256"] = "0" * 64
    path.write_text(json.dumps(result))
    with pytest.raises(UserError, match=r"oracle-0.4-seed0: was trained with other noise than triplet-0.4-seed0"):
        summarise(one)


def test_order_of_runs_and_their_names() -> None:
    names = [run.name for run in plan(Path(), Path(), methods=["triplet", "pcsr"], ratios=[0.2, 0.4], seeds=[1]).runs()]
    assert names == ["pcsr-0.2-seed1", "triplet-0.2-seed1", "pcsr-0.4-seed1", "triplet-0.4-seed1"]


def test_split_quality_is_the_mean_over_nets_then_seeds(tmp_path: Path) -> None:
    def result(values: list[float | None]) -> dict[str, Any]:
        scores = {"ensemble": {"rsum": 100.0}, "nets": [{"rsum": 90.0}, {"rsum": 80.0 + sum(map(bool, values))}]}
        split = [{"quality": None if v is None else {"precision": v, "recall": v / 2, "auc": v}} for v in values]
        facts = dict.fromkeys(("profile", "best", "date", "machine")) | {"noise": {"sha256": ""}}
        return {"test": scores, "split": split or None, "seconds": 7.0 + len(values), **facts}

    for seed, values in ((0, [0.5, 0.7]), (1, [0.9, None])):
        folder = tmp_path / Run("pcsr", 0.4, seed).name
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps(result(values)))
    row = summarise(plan(Path(), tmp_path, methods=["pcsr"]))[0]
    assert row["split"] == pytest.approx({"precision": 0.75, "recall": 0.375, "auc": 0.75})
    assert row["spread"] == pytest.approx(
        {"precision": 0.3 / 2**0.5, "recall": 0.15 / 2**0.5, "auc": 0.3 / 2**0.5, "seconds": 0}
    )
    assert row["single"] == {"rsum": [85.75, pytest.approx(0.125**0.5)]}
    assert row["metrics"] == {"rsum": [100.0, 0.0]}
    assert row["seconds"] == 9.0
    (tmp_path / "triplet-0.4-seed0").mkdir()
    (tmp_path / "triplet-0.4-seed0" / "metrics.json").write_text(json.dumps(result([])))
    assert summarise(plan(Path(), tmp_path, methods=["triplet"], seeds=[0]))[0]["split"] is None


def test_the_table_of_what_is_finished(tiny: Path, tmp_path: Path, here: list[list[str]]) -> None:
    compare(plan(tiny, tmp_path / "out", methods=["triplet"], seeds=[0]), quiet())
    here.clear()
    words = [*plan(tiny, tmp_path).words, "--output", str(tmp_path / "out"), "--table", "--seeds", "0,1"]
    assert main(["compare", *words, "--methods", "oracle,triplet"]) == 0
    assert here == []
    (row,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (row["method"], row["seeds"]) == ("triplet", 1)


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
        ({"seeds": [-1]}, "--seeds: got -1, expected integers >= 0"),
        ({"seeds": []}, "compare: got nothing to run; expected a method or variant, a ratio and a seed at least"),
        (
            {"variants": [Variant("a/b", "pcsr", {})]},
            "compare.variants: a/b: expected a name of letters, digits and _.+-",
        ),
        ({"variants": [Variant("pcsr", "pcsr", {})]}, "compare.variants: pcsr: expected a name"),
        ({"variants": [Variant("a", "best", {})]}, "compare.variants: a: method: got 'best', expected one of pcsr, "),
        ({"variants": [Variant("a", "pcsr", {})] * 2}, "compare.variants: got a twice, expected each once"),
        ({"variants": [Variant("a", "pcsr", {"noise.ratio": 0})]}, "compare.variants: a: noise.ratio is set by the"),
        ({"variants": [Variant("a", "pcsr", {"pcs.scor": 0})]}, "a: command line: unknown key pcs.scor; did you mean"),
        ({"overrides": {"best": {}}}, "compare.overrides: got 'best', expected one of pcsr, "),
        ({"overrides": {"oracle": {"output": "x"}}}, "compare.overrides: oracle: output is set by the comparison"),
        ({"overrides": {"oracle": {"loss.margin": "x"}}}, "oracle: loss.margin: got 'x', expected float"),
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
