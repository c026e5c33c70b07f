"""Text replacement: a noisy picture gets the caption of the clean pair it resembles most (METHODS 4.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pcsr_fast.methods.base import Batch, Encoded, FloatArray, IdArray, SplitStatistics, Visited
from pcsr_fast.methods.config import ReplaceConfig
from pcsr_fast.methods.losses import encode, select_texts
from pcsr_fast.methods.memory import CaptionQueue
from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.ops import match_texts
from pcsr_fast.ops.scores import best_captions_of

_CHUNK = 4096


@dataclass
class Replaced:
    """Replaced captions of a batch: their features, the similarity (B,) that vouches for each, and their global ids (B,)."""

    texts: TextFeatures
    similarity: Tensor
    ids: Tensor

    def select(self, rows: Tensor) -> Replaced:
        """Only the rows of the mask."""
        index = rows.nonzero().squeeze(1)
        return Replaced(self.texts.select(index), self.similarity[index], self.ids[index])


def best_clean_captions(
    statistics: SplitStatistics, images: IdArray, noisy: IdArray, clean: IdArray
) -> tuple[IdArray, FloatArray]:
    """For each noisy pair the clean caption most similar to its picture, over the whole set: ids and cosines (N,).

    Pairs outside `noisy` get -1 and 0. `images` (N,) are the rows of the held pictures. Memory: a chunk of scores.
    """
    v, t = statistics.image_embeddings, statistics.text_embeddings
    if v is None or t is None:
        raise ValueError("best_clean_captions: the split pass collected no embeddings; expected needs_embeddings")
    replacement = np.full(len(images), -1, dtype=np.int64)
    similarity = np.zeros(len(images), dtype=np.float32)
    if len(clean) == 0:
        return replacement, similarity
    candidates = torch.from_numpy(t[clean]).T
    for start in range(0, len(noisy), _CHUNK):
        rows = noisy[start : start + _CHUNK]
        best = (torch.from_numpy(v[images[rows]]) @ candidates).max(1)
        replacement[rows] = clean[best.indices.numpy()]
        similarity[rows] = best.values.numpy()
    return replacement, similarity


class TextReplacement:
    """Chooses and encodes the captions that replace those of a noisy batch, for one net."""

    def __init__(self, options: ReplaceConfig) -> None:
        self.options = options
        self.queue = CaptionQueue(options.queue_size)

    def remember(self, clean: Batch, encoded: Encoded, probabilities: Tensor | None) -> None:
        """Put a clean batch's captions into the queue, keyed by what they will be compared by."""
        if self.options.pool == "queue":
            keys = encoded.texts.values if self.options.by == "similarity" else probabilities
            if keys is None:
                raise ValueError("remember: replacement by prediction needs the clean step's predictions")
            self.queue.push(clean.words.cpu(), clean.lengths.cpu(), clean.ids.cpu(), keys.cpu())

    def __call__(
        self, model: RetrievalModel, batch: Batch, images: Tensor, probabilities: Tensor | None, clean: Visited
    ) -> Replaced:
        """Replace the captions of `batch`, whose encoded pictures are `images` and pseudo-class predictions
        `probabilities` (B, K), by captions of the clean pool."""
        if self.options.pool == "clean_set":
            return self._from_partition(model, batch)
        if self.options.pool == "queue" and len(self.queue):
            return self._from_queue(model, images, probabilities)
        return self._from_batch(model, batch, images, probabilities, clean)

    def _from_partition(self, model: RetrievalModel, batch: Batch) -> Replaced:
        if (
            batch.replacement is None
            or batch.new_words is None
            or batch.new_lengths is None
            or batch.similarity is None
        ):
            raise ValueError("text replacement: the batch carries no chosen captions; expected pool clean_set")
        texts = model.encode_texts(batch.new_words, batch.new_lengths)
        return Replaced(texts, batch.similarity, batch.replacement)

    def _from_queue(self, model: RetrievalModel, images: Tensor, probabilities: Tensor | None) -> Replaced:
        query = images if self.options.by == "similarity" else probabilities
        if query is None:
            raise ValueError("text replacement: by prediction needs predictions")
        index, cosine = match_texts(query, self.queue.keys.to(query))
        chosen = index.cpu()
        lengths = self.queue.lengths[chosen]
        words = self.queue.words[chosen, : int(lengths.max())]
        texts = model.encode_texts(words.to(images.device), lengths.to(images.device))
        return Replaced(texts, cosine, self.queue.ids[chosen].to(images.device))

    def _from_batch(
        self, model: RetrievalModel, batch: Batch, images: Tensor, probabilities: Tensor | None, clean: Visited
    ) -> Replaced:
        reuse = self.options.reuse_clean_emb and clean.encoded is not None
        source = clean.encoded if reuse and clean.encoded else encode(model, clean.batch)
        if self.options.by == "similarity":
            # A margin that is a constant of the step asks nothing of the scores that set it.
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.options.detach_margin):
                index, similarity = best_captions_of(model.scores(images, source.texts))
        else:
            if probabilities is None:
                raise ValueError("text replacement: by prediction needs predictions")
            index, similarity = match_texts(probabilities, model.image_logits(source.images).softmax(1))
        if self.options.resample == "official" and source.texts.values.dim() == 3:
            texts = select_texts(source.texts, index, batch.words.shape[1])
        else:
            texts = source.texts.select(index)
        return Replaced(texts, similarity, clean.batch.ids[index])


def state_of(replacements: list[TextReplacement]) -> dict[str, Tensor]:
    """Queues of all nets, for a checkpoint."""
    return {f"queue.{net}.{k}": v for net, one in enumerate(replacements) for k, v in one.queue.state().items()}


def load_state_of(replacements: list[TextReplacement], state: Mapping[str, Tensor]) -> None:
    """Restore what `state_of` returned."""
    for net, one in enumerate(replacements):
        prefix = f"queue.{net}."
        one.queue.load_state({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
