"""A file that describes a comparison: what it may say, what the command line says over it, a kill in the middle."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from pcsr_fast.cli import main
from pcsr_fast.commands.compare import _EXTRA, _plan, _shared
from pcsr_fast.errors import ConfigError
from pcsr_fast.methods import METHODS
from pcsr_fast.resources import config_path
from pcsr_fast.training.comparison_file import Comparison, read_comparison
from pcsr_fast.training.comparison_plan import Plan, Variant, check_plan
from pcsr_fast.training.parse import parse_config
from pcsr_fast.training.trainer import LAST
from tests.training.conftest import ForkServer
from tests.training.test_compare import is_free, until
from tests.training.tools import SMALL, outcome, run

GROUP = {
    "methods": ["triplet", "oracle"],
    "ratios": [0, 0.4],
    "seeds": [0, 1],
    "jobs": 2,
    "overrides": {"oracle": {"loss": {"margin": 0.4}, "warmup.epochs": 2}},
    "variants": [{"name": "wide", "method": "triplet", "set": {"loss.margin": 0.5}}],
}


def written(folder: Path, group: Any, **shared: Any) -> Path:
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump({"compare": group, **shared}))
    return path


def planned(*words: str) -> Plan:
    """The plan of a command line."""
    config, options = parse_config(words, "compare", _EXTRA)
    told = read_comparison(Path(options.config)) if options.config else Comparison()
    return _plan(told, options, _shared(words), Path(config.output))


def test_a_file_and_words_over_it(tmp_path: Path) -> None:
    path = str(written(tmp_path, GROUP, output="here", train={"epochs": 3}))
    plan = planned("--config", path, "--table", "--loss.margin", "0.9")
    assert (plan.methods, plan.ratios, plan.seeds, plan.jobs) == (["triplet", "oracle"], [0.0, 0.4], [0, 1], 2)
    assert plan.variants == [Variant("wide", "triplet", {"loss.margin": 0.5})]
    assert plan.overrides == {"oracle": {"loss.margin": 0.4, "warmup.epochs": 2}}
    assert plan.words == ["--config", path, "--loss.margin", "0.9"]
    assert plan.output == Path("here")
    config = parse_config(plan.row_words("oracle"))[0]
    assert (config.loss.margin, config.warmup.epochs, config.train.epochs) == (0.9, 2, 3)
    some = planned("--config", path, "--methods=wide,pcsr", "--seeds", "5", "--jobs", "1", "--ratios", "0.2")
    assert (some.methods, [one.name for one in some.variants], some.seeds) == (["pcsr"], ["wide"], [5])
    assert (some.jobs, some.ratios) == (1, [0.2])
    assert parse_config(some.row_words("wide"))[0].loss.margin == 0.5


def test_without_a_file_it_is_the_demo_comparison() -> None:
    plan = planned("--config", str(config_path("demo")))
    assert (plan.methods, plan.ratios, plan.seeds, plan.jobs) == (["triplet", "pcsr", "oracle"], [0.4], [0], 1)
    assert planned().methods == plan.methods


def test_training_leaves_the_comparison_of_a_file_out(tmp_path: Path) -> None:
    config, _ = parse_config(["--config", str(written(tmp_path, GROUP, train={"epochs": 3}))])
    assert config.train.epochs == 3


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ([], "compare: got [], expected a group with keys of methods, ratios"),
        ({"method": ["pcsr"]}, "unknown key compare.method; did you mean compare.methods"),
        ({"methods": "pcsr"}, "compare.methods: got 'pcsr', expected a list of names"),
        ({"ratios": ["0.4"]}, "compare.ratios: got '0.4', expected numbers"),
        ({"seeds": [0.5]}, "compare.seeds: got 0.5, expected integers"),
        ({"seeds": [True]}, "compare.seeds: got True, expected integers"),
        ({"jobs": "two"}, "compare.jobs: got 'two', expected an integer"),
        ({"variants": [{"name": "a", "method": "pcsr"}]}, "compare.variants[0]: lacks set; expected the keys name, "),
        ({"variants": [{"name": "a", "method": "pcsr", "sets": {}}]}, "compare.variants[0]: got 'sets', expected the"),
        ({"variants": [{"name": 1, "method": "pcsr", "set": {}}]}, "compare.variants[0].name: got 1, expected a name"),
        ({"overrides": ["pcsr"]}, "compare.overrides: got ['pcsr'], expected groups of keys, one a method"),
        ({"overrides": {"pcsr": None}}, "compare.overrides.pcsr: got None, expected a group of keys and values"),
    ],
)
def test_bad_groups(group: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, group)
    with pytest.raises(ConfigError) as caught:
        read_comparison(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["demo_compare", "demo_ablations"])
def test_files_of_the_package(name: str) -> None:
    plan = planned("--config", str(config_path(name)))
    check_plan(plan)
    demo = parse_config(["--config", "demo"])[0]
    mine = parse_config(plan.row_words("pcsr"))[0]
    mine.output = demo.output
    assert mine == parse_config(["--config", "demo", "--noise.ratio", str(mine.noise.ratio)])[0]
    if name == "demo_compare":
        assert set(METHODS) == set(plan.methods)
        assert (plan.ratios, plan.seeds) == ([0.0, 0.4, 0.8], [0, 1, 2])


@pytest.mark.slow
@pytest.mark.xdist_group("forked")
def test_a_killed_comparison_goes_on_inside_a_run(tiny: Path, tmp_path: Path, forked: ForkServer) -> None:
    """kill -9 of the comparison ends its runs, which save; the same command then goes on, and nothing shows it."""
    group = {**GROUP, "ratios": [0.4], "seeds": [0], "overrides": {}}
    path = written(tmp_path, group, output=str(tmp_path / "out"))
    command = ["compare", "--config", str(path), "--data.path", str(tiny / "precomp"), *SMALL]
    command += ["--train.checkpoint_steps", "1"]
    names = [f"{row}-0.4-seed0" for row in ("triplet", "oracle", "wide")]
    pid = forked.start(command)
    until(lambda: any((tmp_path / "out" / name / LAST).exists() for name in names))
    os.kill(pid, signal.SIGKILL)
    assert forked.wait(pid) == -signal.SIGKILL
    until(lambda: all(is_free(tmp_path / "out" / name) for name in names if (tmp_path / "out" / name).exists()))
    begun = [name for name in names if (tmp_path / "out" / name / LAST).exists()]
    assert not all((tmp_path / "out" / name / "metrics.json").exists() for name in names)
    assert forked.run(command) == 0, forked.log.read_text()
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [(row["method"], row["seeds"]) for row in rows] == [("triplet", 1), ("oracle", 1), ("wide", 1)]
    name = begun[0].removesuffix("-0.4-seed0")
    method = {"wide": ["--method", "triplet", "--loss.margin", "0.5"]}.get(name, ["--method", name])
    run(tiny, tmp_path / "whole", *method)
    assert trained(tmp_path / "out" / begun[0]) == trained(tmp_path / "whole")
    assert main(command) == 0


def trained(folder: Path) -> dict[str, Any]:
    """Outcome of a run without a split."""
    for name in ("findings.safetensors", "suspects.csv"):
        (folder / name).touch()
    return outcome(folder)
