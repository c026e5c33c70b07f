"""Passes over whole sets in evaluation mode: encodings, per-sample losses, score matrices.

Of a head that keeps regions and words, a set's encodings are gigabytes: a pass needs no more than about MOST_BYTES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pcsr_fast.data.pairs import PairSet
from pcsr_fast.methods.base import Encoded, FloatArray, IdArray, SplitStatistics
from pcsr_fast.methods.config import LossConfig
from pcsr_fast.methods.losses import pooled
from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.layers import l2norm
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops.scores import Product, Scores, contrastive_loss_of, triplet_loss_of
from pcsr_fast.training.batches import padded

# Encodings that are kept are a part of it: there is the work on a block of them, and what the allocator keeps.
MOST_BYTES = 2**30
# Pictures and captions that a head scores in one go.
BLOCK = 128

# Hears (done, total) of a pass, in pairs.
Report = Callable[[int, int], None]


def unheard(done: int, total: int) -> None:
    """Nobody wants to know."""


def _spans(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def encode_images(model: RetrievalModel, pairs: PairSet, rows: IdArray, size: int, device: torch.device) -> Tensor:
    """Encoded pictures `rows`, `size` at a time."""
    parts = [
        model.encode_images(torch.from_numpy(pairs.regions.take(rows[span])).to(device))
        for span in _spans(len(rows), size)
    ]
    return torch.cat(parts)


def encode_texts(model: RetrievalModel, pairs: PairSet, ids: IdArray, size: int, device: torch.device) -> TextFeatures:
    """Encoded captions `ids`, `size` at a time; word sequences are padded to the longest."""
    parts = []
    for span in _spans(len(ids), size):
        words, lengths = padded([pairs.tokens[i] for i in ids[span]])
        parts.append(model.encode_texts(words.to(device), lengths.to(device)))
    values = [part.values for part in parts]
    if values[0].dim() == 3:
        longest = max(v.shape[1] for v in values)
        values = [torch.nn.functional.pad(v, (0, 0, 0, longest - v.shape[1])) for v in values]
    return TextFeatures(torch.cat(values), torch.cat([part.lengths for part in parts]))


class SplitPass:
    """Looks at all training pairs with one net (METHODS 2.3 step 1).

    Pictures and captions are encoded once where a head pools them or all of them fit into memory (MOST_BYTES); else each
    batch encodes its own: captions once an order, pictures once a batch that they are in.

    Args:
        pairs: the train split.
        held: (N,) rows of the pictures the captions hold.
        size: pairs a batch, each other's negatives.
        kind: the per-sample loss, as `split.loss`.
        options: its margin, its temperature, and which pairs are no negatives.
    """

    def __init__(
        self, pairs: PairSet, held: IdArray, *, size: int, kind: str, options: LossConfig, device: torch.device
    ) -> None:
        self.pairs = pairs
        self.held = held
        self.size = size
        self.kind = kind
        self.options = options
        self.device = device

    @torch.no_grad()
    def __call__(
        self,
        model: RetrievalModel,
        orders: list[IdArray],
        *,
        predictions: bool,
        embeddings: bool,
        report: Report = unheard,
    ) -> SplitStatistics:
        """Statistics of all pairs; losses are means over the passes, one an order of `orders`.

        `embeddings` of models that do not pool are means of regions and of words; `report` hears of every batch.
        """
        model.eval()
        whole = self._encode_whole(model) if self._fits(model) else None
        count = len(self.held)
        losses = np.zeros(count, dtype=np.float64)
        image_p: FloatArray | None = None
        text_p: FloatArray | None = None
        image_e: FloatArray | None = None
        text_e: FloatArray | None = None
        done, total = 0, sum(map(len, orders))
        for number, order in enumerate(orders):
            for ids in np.array_split(order, self._blocks(len(order))):
                encoded = self._encoded(model, ids, whole)
                losses[ids] += self._losses(model, encoded, ids)
                if predictions and number == 0:
                    p = model.image_logits(encoded.images).softmax(1).float().cpu().numpy()
                    q = model.text_logits(encoded.texts).softmax(1).float().cpu().numpy()
                    if image_p is None or text_p is None:
                        image_p = np.zeros((count, p.shape[1]), dtype=np.float32)
                        text_p = np.zeros_like(image_p)
                    image_p[ids], text_p[ids] = p, q
                if embeddings and number == 0 and model.head is not None:
                    images, texts = (l2norm(means) for means in pooled(encoded))
                    if image_e is None or text_e is None:
                        image_e = np.zeros((self.pairs.num_images, images.shape[1]), dtype=np.float32)
                        text_e = np.zeros((count, texts.shape[1]), dtype=np.float32)
                    image_e[self.held[ids]], text_e[ids] = images.float().cpu().numpy(), texts.float().cpu().numpy()
                done += len(ids)
                report(done, total)
        statistics = SplitStatistics((losses / len(orders)).astype(np.float32), image_p, text_p, image_e, text_e)
        if embeddings and model.head is None and whole is not None:
            statistics.image_embeddings = whole.images.float().cpu().numpy()
            statistics.text_embeddings = whole.texts.values.float().cpu().numpy()
        return statistics

    def _blocks(self, count: int) -> int:
        """Nearly equal blocks: the mean divides by the block, so pairs of a short last one would look clean."""
        blocks = -(-count // self.size)
        return blocks if count // blocks >= 2 else max(1, count // 2)

    def _fits(self, model: RetrievalModel) -> bool:
        if model.head is None:
            return True
        one = encode_images(model, self.pairs, np.zeros(1, dtype=np.int64), 1, self.device)
        vectors = self.pairs.num_images * one.shape[1] + len(self.held) * max(map(len, self.pairs.tokens))
        return vectors * one.shape[2] * one.element_size() <= MOST_BYTES // 2

    def _encode_whole(self, model: RetrievalModel) -> Encoded:
        rows = np.arange(self.pairs.num_images, dtype=np.int64)
        ids = np.arange(self.pairs.num_captions, dtype=np.int64)
        images = encode_images(model, self.pairs, rows, self.size, self.device)
        return Encoded(images, encode_texts(model, self.pairs, ids, self.size, self.device))

    def _encoded(self, model: RetrievalModel, ids: IdArray, whole: Encoded | None) -> Encoded:
        if whole is not None:
            index = torch.from_numpy(ids).to(self.device)
            images = torch.from_numpy(self.held[ids]).to(self.device)
            texts = whole.texts.select(index)
            if model.head is not None:
                # Padded as a batch of its own would be: a classifier may read the padding.
                texts = TextFeatures(texts.words, texts.lengths)
            return Encoded(whole.images[images], texts)
        images = encode_images(model, self.pairs, self.held[ids], self.size, self.device)
        return Encoded(images, encode_texts(model, self.pairs, ids, self.size, self.device))

    def _losses(self, model: RetrievalModel, encoded: Encoded, ids: IdArray) -> FloatArray:
        S = model.scores(encoded.images, encoded.texts)
        same = self.options.positive_mask == "image_id"
        groups = torch.from_numpy(self.held[ids]).to(self.device) if same else None
        if self.kind == "infonce":
            temperature = self.options.temperature
            values = contrastive_loss_of(S, kind=self.kind, temperature=temperature, groups=groups, reduction="none")
        else:
            values = triplet_loss_of(S, margin=self.options.margin, negatives="mean", groups=groups, reduction="none")
        result: FloatArray = values.float().cpu().numpy()
        return result


class _Block(NamedTuple):
    """Encoded captions and their positions (k,)."""

    positions: IdArray
    texts: TextFeatures


def _text_shards(
    model: RetrievalModel, pairs: PairSet, ids: IdArray, size: int, device: torch.device
) -> Iterator[list[_Block]]:
    """All captions in blocks of `size`, as many at a time as memory is set aside for; short ones first, as padding costs."""
    by_length = np.argsort([len(pairs.tokens[i]) for i in ids], kind="stable")
    shard: list[_Block] = []
    held = 0
    for span in _spans(len(ids), size):
        block = _Block(by_length[span], encode_texts(model, pairs, ids[by_length[span]], size, device))
        held += block.texts.values.nbytes
        if shard and held > MOST_BYTES // 4:
            yield shard
            shard, held = [], block.texts.values.nbytes
        shard.append(block)
    yield shard


@torch.no_grad()
def head_scores(
    model: RetrievalModel,
    pairs: PairSet,
    rows: IdArray,
    ids: IdArray,
    *,
    size: int,
    device: torch.device,
    report: Report = unheard,
) -> Tensor:
    """Similarity (k, m) of the pictures `rows` with the captions `ids` by a cross-attention head, float32 on the CPU.

    A block of at most `size` pictures meets a block of captions at a time. Captions are encoded once, pictures once for
    every shard of captions that memory holds (MOST_BYTES; about 5,000 captions of 12 words of 1024 numbers).
    `report` hears of every block.
    """
    model.eval()
    size = min(size, BLOCK)
    scores = torch.empty(len(rows), len(ids))
    done = 0
    for shard in _text_shards(model, pairs, ids, size, device):
        for span in _spans(len(rows), size):
            images = encode_images(model, pairs, rows[span], size, device)
            for positions, texts in shard:
                found = model.similarity(images, texts)
                scores[span, torch.from_numpy(positions)] = found.float().cpu()
                done += found.numel()
                report(done, scores.numel())
        del shard  # before the next is encoded
    return scores


@torch.no_grad()
def split_scores(
    model: RetrievalModel, pairs: PairSet, size: int, device: torch.device, report: Report = unheard
) -> Scores:
    """Similarity of every picture with every caption of a split, float32 on the CPU; of products, the embeddings.

    `size` items are encoded at a time. Memory of cross-attention heads: the scores and what `head_scores` says.
    """
    model.eval()
    rows = np.arange(pairs.num_images, dtype=np.int64)
    ids = np.arange(pairs.num_captions, dtype=np.int64)
    if model.head is not None:
        return head_scores(model, pairs, rows, ids, size=size, device=device, report=report)
    images = encode_images(model, pairs, rows, size, device)
    texts = encode_texts(model, pairs, ids, size, device)
    return Product(images.float().cpu(), texts.values.float().cpu())
