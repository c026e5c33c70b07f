"""One training run from configuration to report."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import yaml
from rich.console import Console

from pcsr_fast.data.load import load_dataset
from pcsr_fast.data.noise import digest, held_images, save_noise
from pcsr_fast.data.pairs import Dataset
from pcsr_fast.errors import ConfigError, UserError
from pcsr_fast.evaluation.metrics import evaluate_scores
from pcsr_fast.files import exclusive, write_json, write_text
from pcsr_fast.machine import machine_facts
from pcsr_fast.methods.base import IdArray
from pcsr_fast.ops.scores import mean_scores, score_matrix_of
from pcsr_fast.training.config import Config, as_dict, check_config
from pcsr_fast.training.encoders import for_encoders
from pcsr_fast.training.findings import find, write_findings, write_retrieval
from pcsr_fast.training.observers import Observer, ProgressBar, Several, TensorBoard
from pcsr_fast.training.summary import split_summary
from pcsr_fast.training.trainer import LAST, Trainer


def prepare(config: Config) -> tuple[Dataset, IdArray, dict[str, Any]]:
    """Checked configuration -> checked data set, held pictures, facts about the noise."""
    check_config(config)
    dataset = for_encoders(load_dataset(config.data), config.model)
    if dataset.train.num_captions < 2:
        raise ConfigError(f"data: {dataset.name} has {dataset.train.num_captions} training pairs, expected at least 2")
    held, facts = held_images(config.noise, dataset.train.image_of_caption, dataset.train.num_images)
    return dataset, held, facts


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turns a failed allocation into an error that says what to make smaller.

    Raises:
        UserError: there is not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise UserError(
            f"model: does not fit in memory ({str(error) or 'MemoryError'}); "
            "expected a smaller model.embed_dim, train.batch_size or train.eval_batch_size"
        ) from error


@enough_memory()
def train(config: Config, *, resume: bool = False, console: Console | None = None) -> tuple[dict[str, Any], Dataset]:
    """Train, test the best checkpoint, write findings and metrics; returns what metrics.json holds, and the data.

    Raises:
        UserError: bad configuration or data, or a run folder that holds another run or is in use.
        Interrupted: stopped by Ctrl-C or SIGTERM, after saving.
    """
    console = console or Console()
    folder = Path(config.output)
    _check_folder(folder, resume)
    dataset, held, noise = prepare(config)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    observers: list[Observer] = []
    trainer = Trainer(config, dataset, held, folder, Several(observers))
    with exclusive(folder, LAST.parent.name):
        if (folder / LAST).exists():
            trainer.resume()
        elif resume:
            console.print(f"{folder}: no checkpoint yet, training starts anew", markup=False, soft_wrap=True)
        _write_inputs(folder, config, dataset, held, noise)
        done = len(trainer.progress.history)
        try:
            _observe(observers, console, config, done)
            with stop_on_signals(trainer):
                trainer.fit()
        finally:
            trainer.observer.close()
        return conclude(trainer, noise), dataset


def _check_folder(folder: Path, resume: bool) -> None:
    """A run is neither overwritten nor, by a mistyped folder, begun anew."""
    saved = (folder / LAST).exists()
    if saved and not resume:
        raise ConfigError(f"output: {folder} already holds a run; expected --resume, or another folder")
    # A run that was killed early has no checkpoint yet.
    if resume and not saved and not (folder / "config.yaml").exists():
        raise ConfigError(f"output: {folder} holds no run; expected the folder of one, or no --resume")


def _observe(observers: list[Observer], console: Console, config: Config, done: int) -> None:
    epochs = config.warmup.epochs + config.train.epochs
    observers.append(ProgressBar(console, epochs, done, config.train.num_nets))
    if config.train.tensorboard:
        observers.append(TensorBoard(Path(config.output) / "tensorboard", done))


def _write_inputs(folder: Path, config: Config, dataset: Dataset, held: IdArray, noise: dict[str, Any]) -> None:
    write_text(folder / "config.yaml", yaml.safe_dump(as_dict(config), sort_keys=False))
    save_noise(folder, held, noise)
    dataset.vocabulary.save(folder / "vocabulary.json")


@contextmanager
def stop_on_signals(trainer: Trainer) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the trainer to save and stop after the iteration; a second Ctrl-C stops at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        trainer.stop_requested = True
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def conclude(trainer: Trainer, noise: dict[str, Any]) -> dict[str, Any]:
    """Test the best checkpoint, chosen on dev, and write metrics.json, findings and retrieval examples."""
    config, folder, progress = trainer.config, trainer.folder, trainer.progress
    if progress.best is None:
        raise ConfigError("train: no epoch was run, so there is no best checkpoint")
    trainer.write_history()
    trainer.load_best()
    splits = None
    if trainer.method.needs_split:
        findings, own = find(trainer)
        write_findings(folder, findings, trainer.dataset.train, trainer.held)
        truth = trainer.dataset.train.image_of_caption
        splits = [split_summary(one, None, trainer.held, truth) for one in own]
    scores = list(trainer.scores(trainer.dataset.test))
    write_retrieval(folder, score_matrix_of(mean_scores(scores)), trainer.dataset.test, config.train.seed)
    metrics = {
        "method": config.method,
        "profile": config.profile,
        "dataset": trainer.dataset.name,
        "noise": {**noise, "sha256": digest(trainer.held)},
        "seed": config.train.seed,
        "best": progress.best,
        "dev": trainer.evaluate(trainer.dataset.dev),
        "test": evaluate_scores(scores, trainer.dataset.test.image_of_caption),
        "split": splits,
        "seconds": progress.seconds,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {**machine_facts(), "device": str(trainer.device)},
    }
    write_json(folder / "metrics.json", metrics)
    return metrics
