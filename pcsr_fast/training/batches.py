"""From pair ids to batches, in an order that depends on the position alone, so that a run can go on at any step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pcsr_fast.data.pairs import PairSet
from pcsr_fast.data.pixels import Pictures
from pcsr_fast.methods.base import Batch, IdArray, Partition, as_tensor
from pcsr_fast.training.augment import Augmentation
from pcsr_fast.training.streams import stream_seed


def shuffled(ids: IdArray, *stream: int | str) -> IdArray:
    """A permutation of `ids` that depends on the stream's name alone."""
    return np.random.Generator(np.random.PCG64(stream_seed(*stream))).permutation(ids)


def num_batches(count: int, batch_size: int) -> int:
    """Batches of a pass over `count` pairs; a last batch of a single pair is left out (it has no negative)."""
    full, rest = divmod(count, batch_size)
    return full + (rest > 1)


def padded(tokens: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Word ids of B captions -> (B, L) int64 zero-padded, (B,) lengths."""
    lengths = np.array([len(one) for one in tokens], dtype=np.int64)
    words = np.zeros((len(tokens), int(lengths.max())), dtype=np.int64)
    for row, one in zip(words, tokens, strict=True):
        row[: len(one)] = one
    return torch.from_numpy(words), torch.from_numpy(lengths)


class BatchSource:
    """Makes batches of training pairs.

    Args:
        pairs: the train split.
        held: (N,) rows of the pictures the captions hold.
        batch_size: pairs a batch.
        device: where the tensors go.
        stream: names the random stream of the order, e.g. the run's seed.
        augmentation: what happens to pictures and captions; None leaves them as they are.
        dense: ids of a dense text for each picture, for a method that asks for them.
    """

    def __init__(
        self,
        pairs: PairSet,
        held: IdArray,
        *,
        batch_size: int,
        device: torch.device,
        stream: int,
        augmentation: Augmentation | None = None,
        dense: list[np.ndarray] | None = None,
    ) -> None:
        self.pairs = pairs
        self.held = held
        self.batch_size = batch_size
        self.device = device
        self.stream = stream
        self.augmentation = augmentation
        self.dense = dense

    def batch(self, ids: IdArray, local: IdArray, partition: Partition, place: Sequence[int | str] = ()) -> Batch:
        """The pairs `ids` (B,) with their labels in `partition`; `place` names the draws of an augmentation."""
        images = self.held[ids]
        words, lengths = self._words("words", [self.pairs.tokens[i] for i in ids], ids, place)
        batch = Batch(
            regions=torch.from_numpy(self._regions(images, ids, place)).to(self.device),
            words=words,
            lengths=lengths,
            ids=as_tensor(ids).to(self.device),
            images=as_tensor(images).to(self.device),
            local=as_tensor(local).to(self.device),
            target=as_tensor(partition.target[ids]).to(self.device),
        )
        if partition.replacement is not None and partition.similarity is not None:
            chosen = partition.replacement[ids]
            if (chosen >= 0).all():
                words, lengths = padded([self.pairs.tokens[i] for i in chosen])
                batch.new_words, batch.new_lengths = words.to(self.device), lengths.to(self.device)
                batch.replacement = as_tensor(chosen).to(self.device)
                batch.similarity = as_tensor(partition.similarity[ids]).to(self.device)
        if self.dense is not None:
            dense = [self.dense[image] for image in images]
            batch.dense_words, batch.dense_lengths = self._words("dense", dense, ids, place)
        return batch

    def _regions(self, images: IdArray, ids: IdArray, place: Sequence[int | str]) -> np.ndarray:
        regions = self.pairs.regions
        if self.augmentation is not None and isinstance(regions, Pictures):
            return regions.take(images, self.augmentation.crops(ids, place))
        return regions.take(images)

    def _words(
        self, kind: str, tokens: list[np.ndarray], ids: IdArray, place: Sequence[int | str]
    ) -> tuple[Tensor, Tensor]:
        if self.augmentation is not None:
            tokens = self.augmentation.words(kind, tokens, ids, place)
        words, lengths = padded(tokens)
        return words.to(self.device), lengths.to(self.device)

    def nth(self, partition: Partition, subset: str, ids: IdArray, index: int, *stream: int | str) -> Batch | None:
        """Batch number `index` of a subset that is cycled for as long as needed, each cycle in a new order.

        None where the subset has fewer than two pairs.
        """
        per_cycle = num_batches(len(ids), self.batch_size)
        if per_cycle == 0:
            return None
        cycle, position = divmod(index, per_cycle)
        order = shuffled(np.arange(len(ids), dtype=np.int64), self.stream, *stream, subset, cycle)
        local = order[position * self.batch_size : (position + 1) * self.batch_size]
        return self.batch(ids[local], local, partition, (*stream, subset, index))
