"""Whole runs of TSVC as reconstructed: a stop leaves no trace, every head works."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcsr_fast.training.trainer import LAST, Interrupted, Trainer
from tests.training.tools import contents, losses_seen, outcome, run

TSVC = (
    "--method",
    "tsvc",
    "--tsvc.ema",
    "0.9",
    "--tsvc.min_label",
    "0.05",
    "--train.epochs",
    "3",
    "--noise.ratio",
    "0.6",
)


def test_a_stop_anywhere_leaves_no_trace(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the warm-up, right after a split, while the Assistant is trained, and when the Master has adopted pairs."""
    run(tiny, tmp_path / "whole", *TSVC)
    assert losses_seen(tmp_path / "whole") == {"warmup", "clean", "refinable"}
    iteration, folder = Trainer._iteration, tmp_path / "run"
    for number, moment in enumerate([("warmup", 0, 1, 2), ("train", 0, 0, 0), ("train", 1, 1, 0), ("train", 2, 0, 1)]):

        def stopped(self: Trainer, *arguments: object, moment: tuple[object, ...] = moment) -> None:
            where = self.progress.position
            self.stop_requested = (where.stage, where.epoch, where.net, where.step) == moment
            iteration(self, *arguments)

        monkeypatch.setattr(Trainer, "_iteration", stopped)
        with pytest.raises(Interrupted):
            run(tiny, folder, *TSVC, resume=number > 0)
    monkeypatch.setattr(Trainer, "_iteration", iteration)
    run(tiny, folder, *TSVC, resume=True)
    assert outcome(folder) == outcome(tmp_path / "whole")
    tensors = contents(folder / LAST)[0]
    weights = [tensors[f"{prefix}image_encoder.project.weight"] for prefix in ("method.coordinator.", "net0.", "net1.")]
    assert len({one[2] for one in weights}) == 3
    last = json.loads((folder / "history.jsonl").read_text().splitlines()[-1])
    master, assistant = (split["counts"] for split in last["split"])
    assert 0 < master["refinable"] <= assistant["refinable"]
    assert master["clean"] == assistant["clean"]


@pytest.mark.parametrize("head", ["sgr", "scan"])
def test_heads_that_keep_words(tiny: Path, tmp_path: Path, head: str) -> None:
    more = (
        "--model.head",
        head,
        "--model.sim_dim",
        "6",
        "--train.epochs",
        "1",
        "--tsvc.mi",
        "binned",
        "--tsvc.bins",
        "4",
    )
    metrics = run(tiny, tmp_path / "run", *TSVC, *more)
    assert metrics["split"][0]["counts"]["clean"] > 0
