"""Every method but PCSR, which test_resume has: a stop does not show, and the kinds of pairs it is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcsr_fast.methods import METHODS
from tests.training.tools import NOISY_KINDS, losses_seen, of_method, outcome, run, run_in_parts

MORE = ("--train.batch_size", "60", "--split.momentum", "0.5")


@pytest.mark.parametrize("method", [name for name in METHODS if name != "pcsr"])
def test_a_stop_does_not_show(method: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the warm-up, at the stages' border, and between two nets that ask each other."""
    words = (*of_method(method), *MORE)
    run(tiny, tmp_path / "whole", *words)
    assert losses_seen(tmp_path / "whole") == {"warmup", "clean"} | NOISY_KINDS.get(method, set())
    moments = (("warmup", 0, 1, 1), ("train", 0, 0, 0), ("train", 1, 1, 0))
    run_in_parts(tiny, tmp_path / "parts", *words, moments=moments, patch=monkeypatch)
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("method", ["ncr", "bicro", "cream", "pc2", "decl"])
def test_one_net(method: str, tiny: Path, tmp_path: Path) -> None:
    """A net that is alone asks itself; it can disagree with nobody."""
    words = (*of_method(method), *MORE, "--train.num_nets", "1")
    metrics = run(tiny, tmp_path / "run", *words)
    assert losses_seen(tmp_path / "run") == {"warmup", "clean"} | (NOISY_KINDS.get(method, set()) - {"ambiguous"})
    assert len(metrics["test"]["nets"]) == 1
