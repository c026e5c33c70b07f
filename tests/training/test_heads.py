"""Runs with cross-attention heads: every method, both precisions, stopped and taken up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr_fast.methods import METHODS
from tests.training.tools import NOISY_KINDS, losses_seen, of_method, outcome, run, run_in_parts

# Two epochs of few batches.
HEADS = """
--model.embed_dim 8 --model.word_dim 6 --model.sim_dim 6 --model.sgr_steps 2 --train.batch_size 60
--warmup.epochs 1 --train.epochs 1 --apo.refinable.start_epoch 0 --apo.ambiguous.start_epoch 0
--ncr.noisy_start 0 --ncr.hard_start 0 --replace.pool batch --replace.min_cos 0
""".split()


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(finite(one) for one in value.values())
    return all(finite(one) for one in value) if isinstance(value, list) else bool(np.isfinite(value))


# The methods differ in whom they ask for scores in evaluation mode; those that ask nobody are one to a head. D2S pools words.
METHODS_OF_HEADS = {
    "scan": ("pcsr", "triplet", "infonce", "bicro"),
    "sgr": tuple(method for method in METHODS if method != "d2s"),
    "saf": ("pcsr", "triplet", "infonce", "ncr"),
    "sgraf": ("pcsr", "triplet", "infonce", "pc2", "cream"),
}


@pytest.mark.parametrize(("head", "method"), [(head, one) for head, some in METHODS_OF_HEADS.items() for one in some])
def test_heads_with_methods(head: str, method: str, tiny: Path, tmp_path: Path) -> None:
    nets = 2 if head == "sgraf" else 1
    words = ("--model.head", head, *of_method(method), "--train.num_nets", str(nets))
    metrics = run(tiny, tmp_path / "run", *HEADS, *words)
    # One epoch may find noisy pairs of one kind alone.
    assert {"warmup", "clean"} <= losses_seen(tmp_path / "run") <= {"warmup", "clean", *NOISY_KINDS.get(method, ())}
    assert len(metrics["test"]["nets"]) == nets
    assert finite(metrics["test"])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stop_does_not_show(precision: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SGR and SAF with dropout, running statistics and captions replaced by similarity."""
    words = (*HEADS, "--model.head", "sgraf", "--replace.by", "similarity", "--train.precision", precision)
    run(tiny, tmp_path / "whole", *words)
    moments = (("warmup", 0, 1, 2), ("train", 0, 0, 1), ("train", 0, 1, 0))
    run_in_parts(tiny, tmp_path / "parts", *words, moments=moments, patch=monkeypatch)
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")
