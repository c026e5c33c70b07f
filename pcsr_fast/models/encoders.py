"""Encoders: regions and words to vectors of the joint space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pcsr_fast.models.layers import Dropout, drop_tokens, l2norm, xavier_linear
from pcsr_fast.models.pooling import pooling
from pcsr_fast.ops.gru import bidirectional_gru


@dataclass(frozen=True)
class TextFeatures:
    """Encoded captions: `values` (B, L, d) with word `lengths` (B,), or (B, d) where the head pools to one vector."""

    values: Tensor
    lengths: Tensor

    @property
    def words(self) -> Tensor:
        """Word sequences cut to the longest caption."""
        return self.values[:, : int(self.lengths.max())]

    def select(self, index: Tensor) -> TextFeatures:
        """The captions `index` (M,), as a gather: gradients flow back into the chosen rows."""
        return TextFeatures(self.values[index], self.lengths[index])


class RegionEncoder(nn.Module):
    """Region features to unit vectors, one a region: l2norm(FC(x)) (METHODS 2.1)."""

    def __init__(self, feature_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.project = xavier_linear(feature_dim, embed_dim)

    def forward(self, regions: Tensor) -> Tensor:
        """(B, R, F) -> (B, R, d)."""
        return l2norm(self.project(regions))


class PooledRegionEncoder(nn.Module):
    """Region features to one unit vector a picture: l2norm(pool(FC(x) + MLP(x))), as in VSE-infinity."""

    def __init__(self, feature_dim: int, embed_dim: int, pool: str, dropout: float, token_drop: float = 0.0) -> None:
        super().__init__()
        self.token_drop = token_drop
        self.dropout = Dropout(dropout)
        self.project = xavier_linear(feature_dim, embed_dim)
        self.mlp = nn.Sequential(
            xavier_linear(feature_dim, embed_dim // 2), nn.ReLU(), xavier_linear(embed_dim // 2, embed_dim)
        )
        self.pool = pooling(pool)

    def forward(self, regions: Tensor) -> Tensor:
        """(B, R, F) -> (B, d)."""
        regions, lengths = drop_tokens(self.dropout(regions), self.token_drop if self.training else 0)
        return l2norm(self.pool(self.project(regions) + self.mlp(regions), lengths))


class WordEncoder(nn.Module):
    """Word ids to vectors: embedding, dropout, bi-GRU, mean of the two directions (METHODS 2.1); padding gives zeros."""

    def __init__(self, vocabulary_size: int, word_dim: int, embed_dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, word_dim)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.dropout = Dropout(dropout)
        self.gru = nn.GRU(word_dim, embed_dim, layers, batch_first=True, bidirectional=True)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) int64, (B,) -> (B, L, d), not yet normalised."""
        # Places of words are packed, not vectors: padding is neither embedded nor copied, as its gradient would be.
        places = torch.arange(words.numel(), device=words.device).view_as(words)
        packed = nn.utils.rnn.pack_padded_sequence(places, lengths.cpu(), batch_first=True, enforce_sorted=False)
        values = self.dropout(self.embedding(words.flatten()[packed.data]))
        output = bidirectional_gru(self.gru, packed._replace(data=values))
        padded = output.new_zeros(words.numel(), output.shape[1]).index_copy_(0, packed.data, output)
        return padded.view(*words.shape, -1)


class SequenceTextEncoder(nn.Module):
    """Captions to unit vectors, one a word."""

    def __init__(self, words: WordEncoder) -> None:
        super().__init__()
        self.words = words

    def forward(self, words: Tensor, lengths: Tensor) -> TextFeatures:
        """(B, L), (B,) -> values (B, L, d)."""
        return TextFeatures(l2norm(self.words(words, lengths)), lengths)


class PooledTextEncoder(nn.Module):
    """Captions to one unit vector each: l2norm(pool(words))."""

    def __init__(self, words: WordEncoder, pool: str) -> None:
        super().__init__()
        self.words = words
        self.pool = pooling(pool)

    def forward(self, words: Tensor, lengths: Tensor) -> TextFeatures:
        """(B, L), (B,) -> values (B, d)."""
        return TextFeatures(l2norm(self.parts(words, lengths)[0]), lengths)

    def parts(self, words: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L), (B,) -> pooled captions (B, d), not yet normalised, and their words (B, L, d)."""
        tokens = self.words(words, lengths)
        return self.pool(tokens, lengths), tokens
