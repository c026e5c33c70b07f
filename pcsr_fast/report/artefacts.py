"""A run folder, read and checked as a whole before anything is drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pcsr_fast.data.noise import verify
from pcsr_fast.data.pairs import Dataset
from pcsr_fast.errors import UserError
from pcsr_fast.report.layout import EPOCH, FINDINGS, NOISE, PARTS, RETRIEVAL, RUN, SPLIT_OPTIONS
from pcsr_fast.report.shape import Spec, check

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Progress:
    """What a finished run wrote about its training, readable without its data.

    Attributes:
        metrics: metrics.json. history: lines of history.jsonl.
        config_text, config: config.yaml as it stands and parsed.
    """

    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    config_text: str
    config: dict[str, Any]

    @property
    def splits(self) -> list[dict[str, Any]]:
        """Summary of the last split of each net; empty for a method that makes none."""
        return self.metrics["split"] or []

    @property
    def truth_known(self) -> bool:
        """Whether it is known which pairs are wrong."""
        return any(split["quality"] for split in self.splits)


@dataclass(frozen=True)
class Run(Progress):
    """What a finished run left in its folder.

    Attributes:
        noise: noise.json. retrieval: retrieval.json.
        held: (N,) int64 picture row each training caption held.
        findings: arrays (N,) of findings.safetensors; None for a method that makes no split.
    """

    noise: dict[str, Any]
    retrieval: dict[str, Any]
    held: npt.NDArray[np.int64]
    findings: dict[str, Array] | None


def read_progress(folder: Path) -> Progress:
    """Read and check metrics.json, history.jsonl and config.yaml.

    Raises:
        UserError: a file is missing or damaged; the message names it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected the folder of a finished run")
    metrics = _read_json(folder / "metrics.json", RUN)
    history = _read_history(folder / "history.jsonl")
    for path, splits in _all_splits(folder, metrics, history):
        _check_histograms(path, splits)
    return Progress(metrics, history, *_read_config(folder / "config.yaml", SPLIT_OPTIONS if metrics["split"] else {}))


def read_run(folder: Path, dataset: Dataset) -> Run:
    """Read and check every artefact that the report shows.

    Raises:
        UserError: a file is missing, damaged, or belongs to another data set; the message names it.
    """
    progress = read_progress(folder)
    held, noise = verify(folder)
    check(noise, NOISE, f"{folder / 'noise.json'}: the file")
    if len(held) != dataset.train.num_captions or held.min() < 0 or held.max() >= dataset.train.num_images:
        raise UserError(
            f"{folder / 'noise.npy'}: holds {len(held)} captions, pictures up to {held.max(initial=-1)}; expected the "
            f"{dataset.train.num_captions} captions and {dataset.train.num_images} pictures of {dataset.name}"
        )
    retrieval = _read_json(folder / "retrieval.json", RETRIEVAL)
    _check_retrieval(folder / "retrieval.json", retrieval, dataset)
    findings = _read_findings(folder / "findings.safetensors", len(held)) if progress.metrics["split"] else None
    return Run(**vars(progress), noise=noise, retrieval=retrieval, held=held, findings=findings)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"{path}: cannot be read ({reason}); expected a file that a finished run wrote") from error


def _parse(text: str, spec: Spec, place: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not valid JSON; expected what a finished run wrote") from error
    check(value, spec, place)
    return value


def _read_json(path: Path, spec: Spec) -> Any:
    return _parse(_read_text(path), spec, f"{path}: the file")


def _read_history(path: Path) -> list[dict[str, Any]]:
    lines = [line for line in _read_text(path).splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path}: is empty; expected one line an epoch")
    history = [_parse(line, EPOCH, f"{path}: line {number}") for number, line in enumerate(lines, start=1)]
    nets = len(history[0]["dev"]["nets"])
    for number, line in enumerate(history, start=1):
        if len(line["dev"]["nets"]) != nets or (line["split"] and len(line["split"]) != nets):
            raise UserError(
                f"{path}: line {number} has another number of nets than line 1; expected {nets} on every line"
            )
    return history


def _read_config(path: Path, spec: Spec) -> tuple[str, dict[str, Any]]:
    text = _read_text(path)
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not valid YAML; expected the configuration of the run") from error
    check(config, spec, f"{path}: the file")
    return text, config


def _all_splits(
    folder: Path, metrics: dict[str, Any], history: list[dict[str, Any]]
) -> list[tuple[str, list[dict[str, Any]]]]:
    places = [(f"{folder / 'metrics.json'}: split", metrics["split"])]
    places += [(f"{folder / 'history.jsonl'}: line {k}", line["split"]) for k, line in enumerate(history, start=1)]
    return [(place, splits) for place, splits in places if splits]


def _check_histograms(place: str, splits: list[dict[str, Any]]) -> None:
    for split in splits:
        loss, pcs = split["loss_histogram"], split["pcs_histogram"]
        for edges, counts in [(loss["edges"], loss[name]) for name in ("all", "clean", "wrong")] + (
            [(pcs["edges"], pcs["counts"])] if pcs else []
        ):
            if counts is not None and (len(edges) != len(counts) + 1 or np.any(np.diff(edges) <= 0)):
                raise UserError(
                    f"{place} has a histogram of {len(counts)} counts and {len(edges)} edges; expected rising edges, "
                    "one more than counts"
                )


def _check_retrieval(path: Path, retrieval: dict[str, Any], dataset: Dataset) -> None:
    pairs = dataset.test
    for key, queries, answers in (
        ("text_to_image", pairs.num_captions, pairs.num_images),
        ("image_to_text", pairs.num_images, pairs.num_captions),
    ):
        for number, entry in enumerate(retrieval[key]):
            place = f"{path}: {key}[{number}]"
            truth = [entry["image"]] if key == "text_to_image" else entry["true"]
            _in_range(f"{place}.query", [entry["query"]], queries, dataset.name)
            _in_range(f"{place}.top", entry["top"], answers, dataset.name)
            _in_range(f"{place}, the truth", truth, answers, dataset.name)
            if len(entry["top"]) != len(entry["scores"]):
                raise UserError(
                    f"{place} has {len(entry['top'])} answers; expected {len(entry['scores'])}, one a score"
                )


def _in_range(place: str, rows: Sequence[int], count: int, dataset: str) -> None:
    wrong = next((row for row in rows if not 0 <= row < count), None)
    if wrong is not None:
        raise UserError(f"{place} holds {wrong}; expected 0..{count - 1}, the test split of {dataset}")


def _read_findings(path: Path, num_pairs: int) -> dict[str, Array]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected what the split found, as a finished run writes it")
    try:
        arrays: dict[str, Array] = load_file(path)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is damaged; expected a safetensors file as a finished run writes it") from error
    expected = FINDINGS | ({"is_true": "u"} if "is_true" in arrays else {})
    for name, kind in expected.items():
        array = arrays.get(name)
        if array is None or array.shape != (num_pairs,) or array.dtype.kind != kind:
            got = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise UserError(f"{path}: {name} holds {got}; expected one entry of kind {kind!r} a pair ({num_pairs},)")
    replacement, part = arrays["replacement"], arrays["part"]
    if replacement.min() < -1 or replacement.max() >= num_pairs or part.max() >= len(PARTS):
        raise UserError(
            f"{path}: replacement or part is out of range; expected captions -1..{num_pairs - 1} and parts 0..2"
        )
    return arrays
