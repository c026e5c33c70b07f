"""Where a run stands, and how that goes into a checkpoint and back."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcsr_fast.methods.base import Method, Partition, as_tensor
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.training.checkpoint import load_optimizer, optimizer_tensors, strip_prefix, with_prefix


@dataclass
class Position:
    """The next iteration: `step` of `net` in `epoch` of `stage` ("warmup", "train", then "done")."""

    stage: str = "warmup"
    epoch: int = 0
    net: int = 0
    step: int = 0


@dataclass
class Progress:
    """Everything about a run that is no tensor; JSON keeps its floats to the bit.

    Attributes:
        position: the next iteration.
        history: one entry an epoch.
        best: entry of the best epoch so far: stage, epoch, rsum.
        sums: running [sum, count] of each kind's loss in the epoch under way.
        split: what the epoch's split pass found, a dict a net.
        replaced: [captions that truly belonged to the picture they were given to, captions given] in that epoch.
        seconds: training time so far.
        epoch_seconds: of which in the epoch under way.
        stalled: epochs since the best.
    """

    position: Position = field(default_factory=Position)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    sums: dict[str, list[float]] = field(default_factory=dict)
    split: list[dict[str, Any]] | None = None
    replaced: list[int] = field(default_factory=lambda: [0, 0])
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    stalled: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Progress:
        """Inverse of `to_json`."""
        return cls(**{**values, "position": Position(**values["position"])})


@dataclass
class Net:
    """One of the co-trained nets."""

    model: RetrievalModel
    optimizer: torch.optim.Optimizer


def collect(nets: list[Net], method: Method, partitions: list[Partition] | None) -> dict[str, Tensor]:
    """All tensors of a run."""
    tensors = with_prefix("method.", method.state())
    for index, net in enumerate(nets):
        tensors |= with_prefix(f"net{index}.", net.model.state_dict())
        tensors |= with_prefix(f"optimizer{index}.", optimizer_tensors(net.optimizer))
        if partitions is not None:
            arrays = {name: as_tensor(value) for name, value in partitions[index].arrays().items()}
            tensors |= with_prefix(f"partition{index}.", arrays)
    return tensors


def restore(tensors: dict[str, Tensor], nets: list[Net], method: Method) -> list[Partition] | None:
    """Put the tensors of `collect` back; returns the partitions of the epoch under way, if it had been split."""
    method.load_state(strip_prefix("method.", tensors))
    partitions = []
    for index, net in enumerate(nets):
        net.model.load_state_dict(strip_prefix(f"net{index}.", tensors))
        load_optimizer(net.optimizer, strip_prefix(f"optimizer{index}.", tensors))
        arrays: dict[str, np.ndarray[Any, Any]] = {
            name: value.numpy() for name, value in strip_prefix(f"partition{index}.", tensors).items()
        }
        if arrays:
            partitions.append(Partition(**arrays))
    return partitions or None
