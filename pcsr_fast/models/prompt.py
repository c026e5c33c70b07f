"""The text side of D2S-VSE: a prompt learner that adds to a sparse caption what a dense one would have said (METHODS 6)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from pcsr_fast.errors import ConfigError
from pcsr_fast.models.config import PromptConfig
from pcsr_fast.models.encoders import PooledTextEncoder, TextFeatures
from pcsr_fast.models.huggingface import TokenTextEncoder
from pcsr_fast.models.layers import l2norm, length_mask


class PromptLearner(nn.Module):
    """Learnt tokens read a caption's words: e = mean(LayerNorm(blocks([X; P]))) over the positions of P (METHODS 6).

    State-dict names: `tokens`, `blocks.K.*` (nn.TransformerEncoderLayer), `norm`.
    """

    def __init__(self, embed_dim: int, options: PromptConfig) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(options.tokens, embed_dim).normal_(std=0.02))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                embed_dim, options.heads, 4 * embed_dim, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(options.blocks)
        )
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Words (B, L, d) of which (B,) are valid -> (B, d); a caption's result does not depend on its batch."""
        states = torch.cat([words, self.tokens.to(words.dtype).expand(len(words), -1, -1)], dim=1)
        own = torch.ones(len(words), len(self.tokens), dtype=torch.bool, device=words.device)
        valid = torch.cat([length_mask(lengths, words.shape[1]), own], dim=1)
        for block in self.blocks:
            states = block(states, src_key_padding_mask=~valid)
        return self.norm(states[:, words.shape[1] :]).mean(1)


class PromptedTextEncoder(nn.Module):
    """Captions to unit vectors: l2norm(t) in the first stage, l2norm(t + e) once `distil` has been called.

    t = LayerNorm(pool(words)); `stage` (0 or 1) is part of the state dict, so that weights know what they are for.

    Args:
        base: encoder whose pooled captions and words are used.
        embed_dim: d.
        options: prompt learner.

    Raises:
        ConfigError: an encoder without words, or heads that do not divide d.
    """

    stage: Tensor

    def __init__(self, base: nn.Module, embed_dim: int, options: PromptConfig) -> None:
        super().__init__()
        if not isinstance(base, PooledTextEncoder | TokenTextEncoder):
            raise ConfigError(
                "method: d2s pools the words of a caption; expected model.head vse and, with model.backbone hf, "
                "model.image_path and model.text_path"
            )
        if embed_dim % options.heads:
            raise ConfigError(f"model.prompt.heads: got {options.heads}, expected a divisor of embed_dim {embed_dim}")
        self.base = base
        self.norm = nn.LayerNorm(embed_dim)
        self.prompt = PromptLearner(embed_dim, options)
        self.inference = options.inference
        self.register_buffer("stage", torch.zeros((), dtype=torch.int64))

    def forward(self, words: Tensor, lengths: Tensor) -> TextFeatures:
        """(B, L), (B,) -> values (B, d)."""
        pooled, tokens = self.base.parts(words, lengths)
        vectors = self.norm(pooled)
        if self.stage:
            extra = self.prompt(tokens, lengths)
            published = self.inference == "published" and not self.training
            vectors = vectors + (l2norm(extra) if published else extra)
        return TextFeatures(l2norm(vectors), lengths)

    def distil(self) -> None:
        """Begin the second stage."""
        self.stage.fill_(1)

    def teacher(self) -> PromptedTextEncoder:
        """A frozen copy of the first stage's encoder, in evaluation mode."""
        frozen = copy.deepcopy(self)
        frozen.stage.zero_()
        return frozen.eval().requires_grad_(False)
