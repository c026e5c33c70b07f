"""What the trainer and a method tell each other (DESIGN 4). The trainer owns data order, optimisers, devices and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.retrieval import RetrievalModel

FloatArray = npt.NDArray[np.float32]
IdArray = npt.NDArray[np.int64]

CLEAN, REFINABLE, AMBIGUOUS = 0, 1, 2
PART_NAMES = ("clean", "refinable", "ambiguous")


@dataclass
class Batch:
    """B training pairs.

    Attributes:
        regions: (B, R, F) float32 features, or (B, 3, H, W) pixels, of the pictures the captions currently hold.
        words: (B, L) int64, zero-padded; lengths: (B,) int64.
        ids: (B,) int64 global pair ids (caption index in the train split).
        images: (B,) int64 rows of the held pictures.
        local: (B,) int64 positions inside the subset this batch was drawn from.
        target: (B,) float32 rectified label y of each pair.
        new_words, new_lengths, similarity: the captions chosen to replace the pairs' own, where the partition names them.
        dense_words, dense_lengths: dense texts of the pictures, for a method that asks for them.
        epoch, share: where training stands: the stage's epoch, and the share of its iterations that are behind.
    """

    regions: Tensor
    words: Tensor
    lengths: Tensor
    ids: Tensor
    images: Tensor
    local: Tensor
    target: Tensor
    replacement: Tensor | None = None
    new_words: Tensor | None = None
    new_lengths: Tensor | None = None
    similarity: Tensor | None = None
    dense_words: Tensor | None = None
    dense_lengths: Tensor | None = None
    epoch: int = 0
    share: float = 0.0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class Encoded:
    """A batch's embeddings, kept for the steps that follow in the same iteration."""

    images: Tensor
    texts: TextFeatures


@dataclass
class Losses:
    """What a step minimises (`total`), what is logged (a loss a pair), and the predictions that a memory may keep.

    `replaced` holds the rows of pictures and the ids of the captions they were given in their own one's place.
    """

    total: Tensor
    per_pair: Tensor
    image_probabilities: Tensor | None = None
    text_probabilities: Tensor | None = None
    encoded: Encoded | None = None
    replaced: tuple[Tensor, Tensor] | None = None


@dataclass
class SplitStatistics:
    """One net's look at all N training pairs in evaluation mode.

    Attributes:
        losses: (N,) float32 per-sample loss.
        image_probabilities, text_probabilities: (N, K) float32, where the method's `needs_predictions`.
        image_embeddings: (images, d) and text_embeddings: (N, d), where the method's `needs_embeddings`.
    """

    losses: FloatArray
    image_probabilities: FloatArray | None = None
    text_probabilities: FloatArray | None = None
    image_embeddings: FloatArray | None = None
    text_embeddings: FloatArray | None = None


@dataclass
class Partition:
    """Which kind each of the N pairs is for one net, and its label.

    Attributes:
        part: (N,) uint8, CLEAN, REFINABLE or AMBIGUOUS.
        target: (N,) float32 rectified label y in [0, 1].
        posterior: (N,) float32 probability of being clean.
        replacement: (N,) int64 caption id chosen to replace the pair's own, -1 where none; None if chosen in the batch.
        similarity: (N,) float32 of that choice.
    """

    part: npt.NDArray[np.uint8]
    target: FloatArray
    posterior: FloatArray
    replacement: IdArray | None = None
    similarity: FloatArray | None = None

    def ids(self, name: str) -> IdArray:
        """Global pair ids of the subset `clean`, `refinable` or `ambiguous`."""
        return np.flatnonzero(self.part == PART_NAMES.index(name)).astype(np.int64)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What a checkpoint keeps."""
        named = vars(self)
        return {name: value for name, value in named.items() if value is not None}


@dataclass
class NetSplit:
    """What one net's split says about itself, for logs and the report; `classes` counts the pseudo-labels in use."""

    losses: FloatArray
    posterior: FloatArray
    part: npt.NDArray[np.uint8]
    pcs: FloatArray | None = None
    pcs_threshold: float | None = None
    classes: int | None = None
    mixture: dict[str, object] = field(default_factory=dict)


StepLoss = Callable[[RetrievalModel, Batch, Mapping[str, "Visited"]], Losses | None]


@dataclass
class Visited:
    """A batch that an earlier step of the iteration used, with its embeddings before that step's update."""

    batch: Batch
    encoded: Encoded | None


@dataclass(frozen=True)
class Step:
    """What an iteration does with a batch of `subset`: a loss to minimise on it.

    Attributes:
        alone: whether the optimiser steps on this loss by itself; else its gradient is added to the next step's.
    """

    subset: str
    loss: StepLoss
    alone: bool = True


class Method(Protocol):
    """A way to learn from pairs of which some are wrong.

    `needs_split` asks for split passes and `partition`; `needs_predictions` and `needs_embeddings` say what those passes
    must collect. Every array is indexed by global pair id. All calls are deterministic given their inputs.
    """

    needs_split: bool
    needs_predictions: bool
    needs_embeddings: bool

    def see(self, models: Sequence[RetrievalModel]) -> None:
        """Called once, before anything else, with the nets that are going to be trained, in order."""
        ...

    def training_ids(self) -> IdArray:
        """The pairs that training may see at all."""
        ...

    def warmup_loss(self, net: int, model: RetrievalModel, batch: Batch) -> Losses:
        """Loss of a warm-up step."""
        ...

    def partition(self, statistics: Sequence[SplitStatistics], epoch: int) -> tuple[list[Partition], list[NetSplit]]:
        """For each net the subsets it is to be trained on, and each net's own split."""
        ...

    def training_steps(self, net: int, epoch: int) -> list[Step]:
        """Steps of each iteration, in order; the first one's subset decides the number of iterations."""
        ...

    def after_step(self, net: int, subset: str, batch: Batch, losses: Losses) -> None:
        """Called when the optimiser has stepped; memories are written here."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint must keep."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        ...


@runtime_checkable
class HasLookers(Protocol):
    """A method whose split passes are made by other models than the nets that it trains."""

    def lookers(self) -> Sequence[RetrievalModel]:
        """The models that look at all pairs before a split, as many as there are nets."""
        ...


def whole_partition(ids: IdArray, num_pairs: int) -> Partition:
    """Every pair of `ids` is clean with label 1; no other pair is in a subset."""
    part = np.full(num_pairs, len(PART_NAMES), dtype=np.uint8)
    part[ids] = CLEAN
    ones = np.ones(num_pairs, dtype=np.float32)
    return Partition(part=part, target=ones, posterior=ones)


def as_tensor(values: npt.NDArray[np.generic]) -> Tensor:
    """numpy -> torch without sharing memory that numpy may reuse."""
    return torch.from_numpy(np.ascontiguousarray(values).copy())
