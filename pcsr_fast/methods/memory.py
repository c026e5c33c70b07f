"""State keyed by pair: votes, last predictions, recent clean captions. Saved and restored with the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


class VoteMemory:
    """Votes of each pair for pseudo-classes (METHODS 4.2): dense counts, with a sliding window if asked for.

    Args:
        num_pairs: N.
        num_classes: K.
        window: votes a pair keeps; 0 keeps all.
    """

    def __init__(self, num_pairs: int, num_classes: int, window: int = 0) -> None:
        self.window = window
        self.counts = torch.zeros(num_pairs, num_classes, dtype=torch.int16)
        self.recent = torch.full((num_pairs, window), -1, dtype=torch.int32)
        self.weights = torch.zeros(num_pairs, window, dtype=torch.int16)
        self.cast = torch.zeros(num_pairs, dtype=torch.int64)

    def add(self, ids: Tensor, classes: Tensor, weight: int = 1) -> None:
        """One vote of `weight` for each pair `ids` (B,), all distinct, and its class (B,)."""
        if self.window:
            slot = self.cast[ids] % self.window
            old = self.recent[ids, slot]
            seen = old >= 0
            gone = self.weights[ids[seen], slot[seen]]
            self.counts.index_put_((ids[seen], old[seen].long()), -gone, accumulate=True)
            self.recent[ids, slot] = classes.to(torch.int32)
            self.weights[ids, slot] = weight
        one = torch.full_like(classes, weight, dtype=torch.int16)
        self.counts.index_put_((ids, classes), one, accumulate=True)
        self.cast[ids] += 1

    def state(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint."""
        return {"counts": self.counts, "recent": self.recent, "weights": self.weights, "cast": self.cast}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        self.counts, self.recent = state["counts"], state["recent"]
        self.weights, self.cast = state["weights"], state["cast"]


class PredictionBank:
    """Last stored pseudo-class prediction of each pair, uniform before the first."""

    def __init__(self, num_pairs: int, num_classes: int) -> None:
        self.probabilities = torch.full((num_pairs, num_classes), 1.0 / num_classes)

    def write(self, rows: Tensor, probabilities: Tensor) -> None:
        """Store (B, K) predictions at `rows` (B,)."""
        self.probabilities[rows] = probabilities.detach().to(self.probabilities)

    def state(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint."""
        return {"probabilities": self.probabilities}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        self.probabilities = state["probabilities"]


class CaptionQueue:
    """The most recent clean captions: their words, to encode them again, and what they are compared by.

    Args:
        capacity: captions kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.words = torch.zeros(0, 0, dtype=torch.int64)
        self.lengths = torch.zeros(0, dtype=torch.int64)
        self.ids = torch.zeros(0, dtype=torch.int64)
        self.keys = torch.zeros(0, 0)

    def __len__(self) -> int:
        return len(self.ids)

    def push(self, words: Tensor, lengths: Tensor, ids: Tensor, keys: Tensor) -> None:
        """Append B captions: words (B, L), lengths (B,), ids (B,), keys (B, K); the oldest fall out."""
        width = max(self.words.shape[1], words.shape[1])
        padded = [F.pad(part, (0, width - part.shape[1])) for part in (self.words, words)]
        self.words = torch.cat(padded)[-self.capacity :]
        self.lengths = torch.cat([self.lengths, lengths])[-self.capacity :]
        self.ids = torch.cat([self.ids, ids])[-self.capacity :]
        keys = keys.detach().float()
        self.keys = torch.cat([self.keys.reshape(-1, keys.shape[1]), keys])[-self.capacity :]

    def state(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint."""
        return {"words": self.words, "lengths": self.lengths, "ids": self.ids, "keys": self.keys}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        self.words, self.lengths = state["words"], state["lengths"]
        self.ids, self.keys = state["ids"], state["keys"]
