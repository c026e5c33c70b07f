"""What a run found: who looks mismatched, what would fit better, and a few queries with what they retrieve."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from torch import Tensor

from pcsr_fast.data.pairs import PairSet
from pcsr_fast.files import atomic_write, write_json
from pcsr_fast.methods.base import AMBIGUOUS, CLEAN, PART_NAMES, REFINABLE, FloatArray, IdArray, NetSplit
from pcsr_fast.methods.replacement import best_clean_captions
from pcsr_fast.ops.scores import mean_scores, score_matrix_of
from pcsr_fast.training.passes import head_scores
from pcsr_fast.training.trainer import Trainer

_SHOWN = 24
_QUERIES = 4
_TOP = 5


@dataclass
class Findings:
    """One entry a training pair (N,).

    Attributes:
        p_clean: mean posterior of the nets. loss: mean normalised loss. pcs: consistency score (0 without votes).
        part: kind by the mean posterior. replacement: caption id that fits better, -1 where none was looked for.
        replacement_similarity: its similarity. is_true: known truth, or None.
    """

    p_clean: FloatArray
    loss: FloatArray
    pcs: FloatArray
    part: np.ndarray[Any, np.dtype[np.uint8]]
    replacement: IdArray
    replacement_similarity: FloatArray
    is_true: np.ndarray[Any, np.dtype[np.bool_]] | None

    def suspects(self) -> IdArray:
        """Ids of the pairs called wrong, the surest first (lowest posterior, then highest loss)."""
        order = np.lexsort((-self.loss, self.p_clean))
        return order[self.part[order] != 0].astype(np.int64)


def find(trainer: Trainer) -> tuple[Findings, list[NetSplit]]:
    """Split all pairs once more with the nets as they are, and look for better captions for the suspects."""
    config = trainer.config
    statistics = trainer.split_statistics(config.train.epochs, embeddings=True)
    _, splits = trainer.method.partition(statistics, config.train.epochs)
    zeros = np.zeros(len(trainer.held), dtype=np.float32)
    p_clean = np.mean([one.posterior for one in splits], axis=0).astype(np.float32)
    findings = Findings(
        p_clean=p_clean,
        loss=np.mean([one.losses for one in splits], axis=0).astype(np.float32),
        pcs=zeros if splits[0].pcs is None else splits[0].pcs,
        part=_joint_part(p_clean > config.split.p_threshold, splits),
        replacement=np.full(len(zeros), -1, dtype=np.int64),
        replacement_similarity=zeros.copy(),
        is_true=trainer.is_true if not trainer.is_true.all() else None,
    )
    clean = np.flatnonzero(findings.part == 0)
    suspects = findings.suspects()
    if len(clean) and len(suspects):
        if all(net.model.head is None for net in trainer.nets):
            joined = _joined(statistics)
            found = best_clean_captions(joined, trainer.held, suspects, clean)
            findings.replacement, findings.replacement_similarity = found
        else:
            # A cross-attention head scores pair by pair: only the pairs that the report shows are worth it.
            rows = suspects[:_SHOWN]
            best = _scores(trainer, trainer.held[rows], clean).max(1)
            findings.replacement[rows] = clean[best.indices.numpy()]
            findings.replacement_similarity[rows] = best.values.numpy()
    return findings, splits


def _joint_part(
    clean: np.ndarray[Any, np.dtype[np.bool_]], splits: list[NetSplit]
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Clean by the mean posterior; a noisy pair is refinable if a net calls it so, else ambiguous."""
    refinable = np.any([one.part == REFINABLE for one in splits], axis=0)
    return np.where(clean, CLEAN, np.where(refinable, REFINABLE, AMBIGUOUS)).astype(np.uint8)


def _joined(statistics: list[Any]) -> Any:
    """One pair of embeddings whose product is the mean similarity of the nets."""
    first = statistics[0]
    scale = 1.0 / len(statistics)
    first.image_embeddings = np.concatenate([s.image_embeddings for s in statistics], axis=1)
    first.text_embeddings = np.concatenate([s.text_embeddings for s in statistics], axis=1) * np.float32(scale)
    return first


def _scores(trainer: Trainer, rows: IdArray, captions: IdArray) -> Tensor:
    """Mean similarity (rows, captions) of the nets, of training pictures with training captions."""
    size, device, report = trainer.config.train.eval_batch_size, trainer.device, trainer.observer.passed
    found = []
    for index, net in enumerate(trainer.nets):
        trainer.observer.activity(f"better captions, net {index}")
        with trainer.precision():
            pairs = trainer.dataset.train
            found.append(head_scores(net.model, pairs, rows, captions, size=size, device=device, report=report))
    return score_matrix_of(mean_scores(found))


def write_findings(folder: Path, findings: Findings, pairs: PairSet, held: IdArray) -> None:
    """findings.safetensors with every array, and suspects.csv, the surest mismatch first."""
    arrays = {name: np.ascontiguousarray(value) for name, value in vars(findings).items() if value is not None}
    if findings.is_true is not None:
        arrays["is_true"] = findings.is_true.astype(np.uint8)
    with atomic_write(folder / "findings.safetensors") as temporary:
        save_file(arrays, temporary)
    with (
        atomic_write(folder / "suspects.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(["pair", "image", "caption", "p_clean", "kind", "better_caption", "similarity", "truly_wrong"])
        for pair in findings.suspects():
            image = int(held[pair])
            better = int(findings.replacement[pair])
            writer.writerow(
                [
                    int(pair),
                    pairs.image_names[image] if pairs.image_names else image,
                    pairs.captions[pair],
                    f"{findings.p_clean[pair]:.4f}",
                    PART_NAMES[findings.part[pair]],
                    pairs.captions[better] if better >= 0 else "",
                    f"{findings.replacement_similarity[pair]:.4f}" if better >= 0 else "",
                    "" if findings.is_true is None else int(not findings.is_true[pair]),
                ]
            )


def write_retrieval(folder: Path, scores: Tensor, pairs: PairSet, seed: int) -> None:
    """retrieval.json: a few test queries of each direction with the five best answers."""
    rng = np.random.default_rng(seed)
    truth = pairs.image_of_caption
    captions = np.sort(rng.choice(pairs.num_captions, min(_QUERIES, pairs.num_captions), replace=False))
    images = np.sort(rng.choice(pairs.num_images, min(_QUERIES, pairs.num_images), replace=False))
    to_image = []
    for query in captions.tolist():
        best = scores[:, query].topk(min(_TOP, len(scores)))
        answer = {"top": best.indices.tolist(), "scores": best.values.tolist()}
        to_image.append({"query": query, "image": int(truth[query]), **answer})
    to_text = []
    for query in images.tolist():
        best = scores[query].topk(min(_TOP, scores.shape[1]))
        answer = {"top": best.indices.tolist(), "scores": best.values.tolist()}
        to_text.append({"query": query, "true": np.flatnonzero(truth == query).tolist(), **answer})
    write_json(folder / "retrieval.json", {"split": pairs.name, "text_to_image": to_image, "image_to_text": to_text})
