"""Defects of the public codes (METHODS 1.2, 1.3, 4.6) that a whole run must not have.

Two more are held elsewhere: banks are keyed by global pair id (tests/methods/test_pcsr.py::test_who_writes_the_bank and
test_pc2.py::test_bank_of_noisy_and_clean_pairs), margins are the anchor's (tests/ops/test_triplet.py, tests/methods).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcsr_fast.data.noise import digest
from pcsr_fast.data.pairs import PairSet
from pcsr_fast.evaluation.metrics import retrieval_metrics
from pcsr_fast.methods.base import NetSplit
from pcsr_fast.training import trainer as module
from pcsr_fast.training.observers import Observer
from pcsr_fast.training.run import prepare
from pcsr_fast.training.trainer import BEST, Trainer
from tests.training.tools import configured, contents, of_method, run

SHORT = ("--train.epochs", "1", "--train.num_nets", "1", "--apo.refinable.start_epoch", "0")


@pytest.mark.parametrize("method", ["pcsr", "cream"])
def test_the_split_is_measured_against_the_true_flags(
    method: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caption j is wrong where it holds another picture than j // 5, not where its picture is held by a wrong one."""
    seen: list[NetSplit] = []
    summary = module.split_summary

    def watched(split: NetSplit, *rest: Any) -> dict[str, Any]:
        seen.append(split)
        return summary(split, *rest)

    monkeypatch.setattr(module, "split_summary", watched)
    run(tiny, tmp_path, *of_method(method), *SHORT, "--train.num_nets", "2")
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    held = np.load(tmp_path / "noise.npy")
    true = np.array([held[j] == j // 5 for j in range(len(held))])
    for split, line in zip(seen, lines[-1]["split"], strict=True):
        clean = split.part == 0
        assert line["quality"]["precision"] == pytest.approx(true[clean].mean() if clean.any() else 0)
        assert line["quality"]["recall"] == pytest.approx(clean[true].mean())
        assert 0 < line["quality"]["recall"] < 1


def test_each_direction_has_its_own_ranks() -> None:
    """Every caption finds its picture first, no picture finds a caption of its own among the first five."""
    truth = np.repeat(np.arange(12), 2)
    S = torch.zeros(12, 24, dtype=torch.float64)
    S[torch.from_numpy(truth), torch.arange(24)] = 1.0
    S += 10 * (torch.arange(24) % 24)[None, :]
    found = retrieval_metrics(S, truth)
    assert found["t2i_r1"] == 100.0
    assert found["i2t_r1"] == pytest.approx(100 / 12)
    assert found["rsum"] == pytest.approx(sum(found[f"{side}_r{k}"] for side in ("i2t", "t2i") for k in (1, 5, 10)))


def test_the_test_split_chooses_nothing(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not looked at before training is over, and another one leaves the same best weights."""
    evaluated: list[str] = []
    evaluate = Trainer.evaluate

    def watched(self: Trainer, pairs: PairSet, *rest: Any) -> dict[str, Any]:
        evaluated.append(pairs.name)
        return evaluate(self, pairs, *rest)

    monkeypatch.setattr(Trainer, "evaluate", watched)
    run(tiny, tmp_path / "one", *SHORT)
    assert set(evaluated) == {"dev"}
    shutil.copytree(tiny / "precomp", tmp_path / "other" / "precomp")
    path = tmp_path / "other" / "precomp" / "test_ims.npy"
    np.save(path, np.load(path)[::-1])
    run(tmp_path / "other", tmp_path / "two", *SHORT)
    first, second = (contents(tmp_path / name / BEST) for name in ("one", "two"))
    assert first[0] == second[0]
    assert first[1]["best"] == second[1]["best"]
    scores = [json.loads((tmp_path / name / "metrics.json").read_text())["test"] for name in ("one", "two")]
    assert scores[0] != scores[1]


@pytest.mark.parametrize("level", ["caption", "image"])
@pytest.mark.parametrize("method", ["ncr", "triplet"])
def test_results_name_their_noise(method: str, level: str, tiny: Path, tmp_path: Path) -> None:
    words = ("--noise.level", level, "--train.epochs", "0", "--train.num_nets", "1")
    metrics = run(tiny, tmp_path, *of_method(method), *words)
    held = np.load(tmp_path / "noise.npy")
    assert metrics["noise"]["level"] == level
    assert (metrics["noise"]["ratio"], metrics["noise"]["seed"]) == (0.4, 0)
    assert metrics["noise"]["sha256"] == digest(held)
    assert metrics["noise"]["wrong_share"] == pytest.approx((held != np.arange(240) // 5).mean())


@pytest.mark.parametrize("loss", ["triplet_mean", "infonce"])
def test_losses_may_be_independent_of_the_batches(loss: str, tiny: Path, tmp_path: Path) -> None:
    """Under `split.batch_size` of the whole set every pair is every other's negative, whatever the order is."""
    found = {}
    for size in ("240", "60"):
        config = configured(tiny, tmp_path, "--split.batch_size", size, "--split.loss", loss, *SHORT)
        dataset, held, _ = prepare(config)
        trainer = Trainer(config, dataset, held, tmp_path, Observer())
        found[size] = [trainer.split_statistics(epoch, embeddings=False)[0].losses for epoch in (0, 1)]
    np.testing.assert_allclose(*found["240"], rtol=1e-4, atol=1e-6)
    assert np.abs(found["60"][0] - found["60"][1]).max() > 1e-3


def test_a_sequential_pass_repeats_itself(tiny: Path, tmp_path: Path) -> None:
    config = configured(tiny, tmp_path, "--split.loader", "sequential", *SHORT)
    dataset, held, _ = prepare(config)
    trainer = Trainer(config, dataset, held, tmp_path, Observer())
    first, second = (trainer.split_statistics(epoch, embeddings=False)[0].losses for epoch in (0, 1))
    np.testing.assert_array_equal(first, second)
