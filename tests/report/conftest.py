"""Run folders as training writes them, made from a synthetic data set without any training."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import save_file

from pcsr_fast.data.noise import inject_noise, save_noise
from pcsr_fast.data.pairs import Dataset, PairSet, Thumbnails
from pcsr_fast.data.synthetic import synthetic_dataset
from pcsr_fast.data.write import write_thumbnails

PARTS = ("clean", "refinable", "ambiguous")
MakeRun = Callable[..., Path]


def _with_thumbnails(pairs: PairSet, folder: Path) -> PairSet:
    files = []
    for row in range(pairs.num_images):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), (row % 256, 80, 160)).save(stream, format="WEBP")
        files.append(stream.getvalue())
    write_thumbnails(folder, pairs.name, files)
    return replace(pairs, thumbnails=Thumbnails(folder / f"{pairs.name}_thumbnails.tar"))


@pytest.fixture(scope="session")
def plain_set() -> Dataset:
    """40 + 10 + 10 pictures, two captions each, without thumbnails."""
    return synthetic_dataset(40, captions_per_image=2, regions=2, dim=4, topics=8, seed=3)


@pytest.fixture(scope="session")
def picture_set(plain_set: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same set with a thumbnail of every picture and one caption that tries to run a script."""
    folder = tmp_path_factory.mktemp("thumbnails")
    train, test = (_with_thumbnails(pairs, folder) for pairs in (plain_set.train, plain_set.test))
    train.captions[5] = "<script>alert('train')</script> & \"quotes\""
    test.captions[0] = "<script>alert('test')</script>"
    return replace(plain_set, train=train, test=test)


def scores(nets: int, rsum: float) -> dict[str, Any]:
    """Metrics of `nets` nets and the ensemble; all six recalls are rsum / 6."""
    one = {f"{side}_{name}": rsum / 6 for side in ("i2t", "t2i") for name in ("r1", "r5", "r10")}
    one |= {"i2t_medr": 3.0, "t2i_medr": 4.0, "i2t_meanr": 9.0, "t2i_meanr": 9.5}
    return {"nets": [{**one, "rsum": rsum - 10}] * nets, "ensemble": {**one, "rsum": rsum}}


def _histogram(values: np.ndarray, bins: int) -> tuple[list[float], list[int]]:
    counts, edges = np.histogram(values, bins=bins, range=(0, 1))
    return edges.tolist(), counts.tolist()


def split(part: np.ndarray, losses: np.ndarray, is_true: np.ndarray, known: bool) -> dict[str, Any]:
    """Summary of one net's split."""
    edges, whole = _histogram(losses, 40)
    pcs_edges, pcs = _histogram(1 - losses, 20)
    confusion = {
        n: [int((is_true & (part == k)).sum()), int((~is_true & (part == k)).sum())] for k, n in enumerate(PARTS)
    }
    return {
        "counts": {name: int((part == k).sum()) for k, name in enumerate(PARTS)},
        "pcs_threshold": 0.4,
        "mixture": {"means": [0.25, 0.7], "variances": [0.01, 0.02], "weights": [0.6, 0.4], "separation": 3.67},
        "loss_histogram": {
            "edges": edges,
            "all": whole,
            "clean": _histogram(losses[is_true], 40)[1] if known else None,
            "wrong": _histogram(losses[~is_true], 40)[1] if known else None,
        },
        "pcs_histogram": {"edges": pcs_edges, "counts": pcs},
        "quality": {"precision": 0.875, "recall": 0.75, "auc": 0.9, "confusion": confusion} if known else None,
        "replacement": {"image_accuracy": 0.25, "median_similarity": 0.6} if known else None,
    }


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Write a run folder: make_run(dataset, method=, nets=, warm=, trained=, known=)."""

    def make(
        dataset: Dataset, *, method: str = "pcsr", nets: int = 2, warm: int = 2, trained: int = 3, known: bool = True
    ) -> Path:
        folder = tmp_path_factory.mktemp("run")
        pairs, rng = dataset.train, np.random.default_rng(0)
        held = inject_noise(pairs.image_of_caption, ratio=0.5, seed=1)
        is_true = held == pairs.image_of_caption
        save_noise(
            folder,
            held,
            {
                "ratio": 0.5,
                "level": "caption",
                "seed": 1,
                "source": "generated",
                "wrong_share": float((~is_true).mean()),
            },
        )
        losses = np.clip(np.where(is_true, 0.25, 0.7) + 0.1 * rng.standard_normal(len(held)), 0, 1).astype(np.float32)
        losses[5] = 0.99
        part = np.where(losses < 0.45, 0, np.where(losses < 0.6, 1, 2)).astype(np.uint8)
        splits = [split(part, losses, is_true, known)] * nets if method == "pcsr" else None
        history = [
            {
                "stage": "warmup" if k < warm else "train",
                "epoch": k if k < warm else k - warm,
                "lr": 1e-3 * 0.1 ** (k // 3),
                "seconds": 1.5,
                "loss": {"warmup": 4.0 - k} if k < warm else {"clean": 0.5, "ambiguous": 1.2},
                "dev": scores(nets, 100.0 + k),
                "split": splits if k >= warm else None,
            }
            for k in range(warm + trained)
        ]
        last = history[-1]
        metrics = {
            "method": method,
            "profile": "pcsr",
            "dataset": dataset.name,
            "noise": {"ratio": 0.5},
            "seed": 7,
            "best": {"stage": last["stage"], "epoch": last["epoch"], "rsum": last["dev"]["ensemble"]["rsum"]},
            "dev": last["dev"],
            "test": scores(nets, 123.4),
            "split": splits,
            "seconds": 187.0,
            "machine": {"cpu": "x86_64", "threads": 1, "device": "cpu", "torch": "2"},
        }
        (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history))
        (folder / "metrics.json").write_text(json.dumps(metrics))
        options = {"split": {"mixture": "gaussian", "p_threshold": 0.5, "monotone": "off"}, "output": "<runs/one>"}
        (folder / "config.yaml").write_text(yaml.safe_dump(options))
        retrieval = {
            "split": "test",
            "text_to_image": [
                {"query": 0, "image": 0, "top": [3, 0, 1, 2, 4], "scores": [0.5, 0.4, 0.3, 0.2, 0.1]},
                {"query": 4, "image": 2, "top": [9, 8, 7, 6, 5], "scores": [0.5, 0.4, 0.3, 0.2, 0.1]},
            ],
            "image_to_text": [
                {"query": 1, "true": [2, 3], "top": [2, 9, 8, 7, 6], "scores": [0.9, 0.4, 0.3, 0.2, 0.1]}
            ],
        }
        (folder / "retrieval.json").write_text(json.dumps(retrieval))
        if method == "pcsr":
            replacement = np.where(part == 0, -1, 2 * held)
            arrays = {
                "p_clean": (1 - losses).astype(np.float32),
                "loss": losses,
                "pcs": (1 - losses).astype(np.float32),
                "part": part,
                "replacement": replacement.astype(np.int64),
                "replacement_similarity": np.full(len(held), 0.625, dtype=np.float32),
            }
            save_file(
                arrays | ({"is_true": is_true.astype(np.uint8)} if known else {}), folder / "findings.safetensors"
            )
        return folder

    return make
