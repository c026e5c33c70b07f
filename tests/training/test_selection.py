"""What is reported was chosen on dev alone, and each direction's recalls come from its own ranks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr_fast.ops.scores import Scores, mean_scores, score_matrix_of
from pcsr_fast.training.trainer import BEST, Trainer
from tests.evaluation.test_metrics import naive_metrics
from tests.training.tools import contents, run

METHODS = ("pcsr", "triplet", "tsvc")


@pytest.mark.parametrize("method", METHODS)
def test_the_checkpoint_is_the_best_on_dev_and_test_is_seen_once(
    method: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, asked = Trainer.scores, []

    def watched(self: Trainer, pairs: Any) -> Iterator[Scores]:
        found = list(scores(self, pairs))
        asked.append((pairs.name, self.progress.position.stage, found, pairs.image_of_caption))
        return iter(found)

    monkeypatch.setattr(Trainer, "scores", watched)
    metrics = run(tiny, tmp_path, "--method", method, "--train.epochs", "3")
    assert [name for name, *_ in asked].count("test") == 1
    assert {name for name, stage, *_ in asked if stage != "done"} == {"dev"}
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    sums = [line["dev"]["ensemble"]["rsum"] for line in history]
    best = history[int(np.argmax(sums))]
    assert metrics["best"] == {"stage": best["stage"], "epoch": best["epoch"], "rsum": max(sums)}
    assert metrics["dev"] == best["dev"]
    ((_, _, found, truth),) = [one for one in asked if one[0] == "test"]
    for reported, one in ((metrics["test"]["nets"][1], found[1]), (metrics["test"]["ensemble"], mean_scores(found))):
        naive = naive_metrics(score_matrix_of(one).numpy(), truth)
        assert reported == pytest.approx(naive)
    assert metrics["test"]["ensemble"]["i2t_r5"] != metrics["test"]["ensemble"]["t2i_r5"]


def test_another_test_split_changes_no_checkpoint(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny / "precomp", tmp_path / "other" / "precomp")
    path = tmp_path / "other" / "precomp" / "test_ims.npy"
    np.save(path, np.load(path)[::-1])
    found = [run(data, tmp_path / name) for data, name in ((tiny, "one"), (tmp_path / "other", "two"))]
    tensors = [contents(tmp_path / name / BEST)[0] for name in ("one", "two")]
    assert tensors[0] == tensors[1]
    assert found[0]["best"] == found[1]["best"]
    assert found[0]["test"] != found[1]["test"]
