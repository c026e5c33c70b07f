"""Words of tiny runs, and what a run folder holds, to be compared to the bit."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from pcsr_fast.methods.profiles import PROFILES
from pcsr_fast.training.checkpoint import load_checkpoint
from pcsr_fast.training.config import Config
from pcsr_fast.training.parse import parse_config
from pcsr_fast.training.run import train
from pcsr_fast.training.trainer import BEST, LAST, Interrupted, Trainer

# Small, and yet every memory is in use: votes in a window, prediction bank, caption queue, running losses.
# The profile without measured choices, so that a new choice does not change what these tests look at.
SMALL = """
--profile plain
--data.min_word_count 1 --model.head vse --model.pooling mean --model.embed_dim 16
--model.word_dim 8 --head.num_classes 6 --head.hidden 16
--warmup.epochs 1 --train.epochs 2 --train.batch_size 40 --train.lr 0.005 --train.device cpu --train.tensorboard false
--noise.ratio 0.4 --pcs.count_warmup true --pcs.window 6 --pcs.threshold mean --split.momentum 0.5
--replace.pool queue --replace.queue_size 64 --apo.refinable.start_epoch 1 --apo.ambiguous.start_epoch 1
""".split()


# Kinds of noisy pairs that a method may be trained on.
NOISY_KINDS = {
    "pcsr": {"refinable", "ambiguous"},
    "cream": {"refinable", "ambiguous"},
    **{name: {"refinable"} for name in ("pc2", "ncr", "bicro", "tsvc")},
}
# Nets of a method that a single one does not do for.
NETS = {"tsvc": 2}


def of_method(name: str) -> tuple[str, ...]:
    """Words that choose a method with its own profile; those of PCSR and the plain ones stay with SMALL's."""
    return ("--method", name, "--profile", name if name in PROFILES and name != "pcsr" else "plain")


_CLOCK = ("seconds", "epoch_seconds", "date")


def words(data: Path, output: Path, *more: str) -> list[str]:
    """Command line of a small run; `more` wins."""
    return ["--data.path", str(data / "precomp"), "--output", str(output), *SMALL, *more]


def configured(data: Path, output: Path, *more: str) -> Config:
    """Configuration of a small run."""
    return parse_config(words(data, output, *more))[0]


def run_in_parts(
    data: Path, folder: Path, *more: str, moments: Sequence[tuple[str, int, int, int]], patch: pytest.MonkeyPatch
) -> None:
    """A small run that is stopped in the iteration at each of `moments` (stage, epoch, net, step), and goes on."""
    iteration = Trainer._iteration
    for moment in moments:

        def stopped(self: Trainer, *arguments: Any, moment: tuple[Any, ...] = moment) -> None:
            where = self.progress.position
            if (where.stage, where.epoch, where.net, where.step) == moment:
                signal.raise_signal(signal.SIGINT)
            iteration(self, *arguments)

        patch.setattr(Trainer, "_iteration", stopped)
        with pytest.raises(Interrupted):
            run(data, folder, *more, resume=folder.exists())
    patch.setattr(Trainer, "_iteration", iteration)
    run(data, folder, *more, resume=True)


def quiet() -> Console:
    """A console that keeps what is printed."""
    return Console(file=io.StringIO(), width=200)


def run(data: Path, output: Path, *more: str, resume: bool = False) -> dict[str, Any]:
    """Train a small run; returns its metrics."""
    return train(configured(data, output, *more), resume=resume, console=quiet())[0]


def contents(path: Path) -> tuple[dict[str, tuple[Any, ...]], dict[str, Any]]:
    """Tensors of a checkpoint as (type, shape, bytes), and its facts without what depends on the clock or the place."""
    tensors, facts = load_checkpoint(path)
    facts["config"]["output"] = ""
    for name in ("checkpoint_steps", "tensorboard"):
        facts["config"]["train"].pop(name)
    return {name: plain(tensor) for name, tensor in tensors.items()}, timeless(facts)


def plain(tensor: Tensor) -> tuple[Any, ...]:
    """Everything about a tensor, comparable."""
    return tensor.dtype, tuple(tensor.shape), tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def timeless(value: Any) -> Any:
    """Without seconds and dates."""
    if isinstance(value, dict):
        return {name: timeless(one) for name, one in value.items() if name not in _CLOCK}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def outcome(folder: Path) -> dict[str, Any]:
    """All that must not depend on how often a run was stopped; methods that do not split leave no findings."""
    found, suspects = folder / "findings.safetensors", folder / "suspects.csv"
    lines = (folder / "history.jsonl").read_text().splitlines()
    return {
        "last": contents(folder / LAST),
        "best": contents(folder / BEST),
        "history": [timeless(json.loads(line)) for line in lines],
        "metrics": timeless(json.loads((folder / "metrics.json").read_text())),
        "findings": found.read_bytes() if found.exists() else None,
        "suspects": suspects.read_text() if suspects.exists() else None,
    }


def losses_seen(folder: Path) -> set[str]:
    """Kinds of training steps that a run has taken."""
    return {kind for line in (folder / "history.jsonl").read_text().splitlines() for kind in json.loads(line)["loss"]}
