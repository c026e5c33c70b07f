"""Ablations of PCSR by configuration: each runs to the end on a planted set, and does what its switch says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from pcsr_fast.methods.config import PcsConfig
from tests.training.tools import losses_seen, run

CHOICES = get_type_hints(PcsConfig)
QUICK = ("--train.num_nets", "1", "--train.batch_size", "60", "--split.momentum", "0")
ALL = {"warmup", "clean", "refinable", "ambiguous"}
ABLATIONS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "refinable": (("--apo.refinable.enabled", "false"), {"refinable"}),
    "ambiguous": (("--apo.ambiguous.enabled", "false"), {"ambiguous"}),
    "pcs": (("--pcs.enabled", "false"), {"ambiguous"}),
    "oscillation": (("--po.enabled", "false"), set()),
    "head": (
        tuple(
            "--head.enabled false --pcs.enabled false --replace.by similarity --replace.min_cos 0 "
            "--apo.ambiguous.enabled false".split()
        ),
        {"ambiguous"},
    ),
    "entropy": (("--head.lambda_en", "0"), set()),
}


def splits(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [line["split"][0] for line in lines if line["split"]]


@pytest.mark.parametrize("without", ABLATIONS)
def test_without(without: str, tiny: Path, tmp_path: Path) -> None:
    words, missing = ABLATIONS[without]
    run(tiny, tmp_path, *QUICK, *words)
    assert losses_seen(tmp_path) == ALL - missing
    if without in ("pcs", "head"):
        assert all(one["counts"]["ambiguous"] == 0 < one["counts"]["refinable"] for one in splits(tmp_path))


@pytest.mark.parametrize("score", get_args(CHOICES["score"]))
def test_every_score(score: str, tiny: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path, *QUICK, "--pcs.score", score)
    assert losses_seen(tmp_path) == ALL
    if score == "neg_entropy":
        assert all(min(one["pcs_histogram"]["edges"]) < 0 for one in splits(tmp_path))


@pytest.mark.parametrize("threshold", get_args(CHOICES["threshold"]))
def test_every_threshold(threshold: str, tiny: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path, *QUICK, "--pcs.threshold", threshold)
    assert {"warmup", "clean"} <= losses_seen(tmp_path) <= ALL
    assert all(one["pcs_threshold"] is not None for one in splits(tmp_path))


@pytest.mark.parametrize("rule", ["posterior", "ncr", "mean_predict", "bicro"])
def test_every_label_rule(rule: str, tiny: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path, *QUICK, "--train.num_nets", "2", "--label.rule", rule)
    assert losses_seen(tmp_path) == ALL


def test_split_by_agreement_calls_disagreement_ambiguous(tiny: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path, *QUICK, "--train.num_nets", "2", "--split.rule", "agreement")
    assert losses_seen(tmp_path) == ALL
