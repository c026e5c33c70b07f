"""SGRAF similarity heads: SGR (graph reasoning) and SAF (attention filtration), scored by `cross_attention_similarity`.

Source: Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021; equations in METHODS 2.1.
Shapes: B images of R regions, C captions of up to L words, joint size d, similarity size s.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.layers import Dropout, autocast_precision, l2norm, length_mask, of_one_dtype, xavier_linear
from pcsr_fast.ops.cross_attention import filtration_similarity
from pcsr_fast.ops.scores import BatchScores, HeadScores, score_matrix_of
from pcsr_fast.reference.saf import FiltrationScores, SafParameters
from pcsr_fast.reference.sgr import SgrParameters

MOMENTUM = 0.1


class VisualSelfAttention(nn.Module):
    """Global image vector: regions weighted by their agreement with the mean region; BatchNorm over regions and over d."""

    def __init__(self, embed_dim: int, regions: int, dropout: float) -> None:
        super().__init__()
        self.local = nn.Sequential(
            xavier_linear(embed_dim, embed_dim), nn.BatchNorm1d(regions), nn.Tanh(), Dropout(dropout)
        )
        self.mean = nn.Sequential(
            xavier_linear(embed_dim, embed_dim), nn.BatchNorm1d(embed_dim), nn.Tanh(), Dropout(dropout)
        )
        self.weight = xavier_linear(embed_dim, 1)

    def forward(self, regions: Tensor) -> Tensor:
        """(B, R, d) -> (B, d)."""
        agreement = self.local(regions) * self.mean(regions.mean(1)).unsqueeze(1)
        weights = torch.softmax(self.weight(agreement).squeeze(-1), dim=1)
        return l2norm((weights.unsqueeze(-1) * regions).sum(1))


class TextSelfAttention(nn.Module):
    """Global caption vector: words weighted by their agreement with the mean word."""

    def __init__(self, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.local = nn.Sequential(xavier_linear(embed_dim, embed_dim), nn.Tanh(), Dropout(dropout))
        self.mean = nn.Sequential(xavier_linear(embed_dim, embed_dim), nn.Tanh(), Dropout(dropout))
        self.weight = xavier_linear(embed_dim, 1)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """(C, L, d) words of which (C,) are valid -> (C, d). The longest caption fills L."""
        valid = length_mask(lengths, words.shape[1])
        words = words.masked_fill(~valid.unsqueeze(-1), 0)
        agreement = self.local(words) * self.mean(words.sum(1) / lengths.unsqueeze(-1)).unsqueeze(1)
        scores = self.weight(agreement).squeeze(-1).masked_fill(~valid, -torch.inf)
        return l2norm((torch.softmax(scores, dim=1).unsqueeze(-1) * words).sum(1))


class GraphReasoning(nn.Module):
    """Weights of one SGR step: E <- relu(W_s(softmax(W_q E (W_k E)^T) E))."""

    def __init__(self, sim_dim: int) -> None:
        super().__init__()
        self.query = xavier_linear(sim_dim, sim_dim)
        self.key = xavier_linear(sim_dim, sim_dim)
        self.update = xavier_linear(sim_dim, sim_dim)


class AttentionFiltration(nn.Module):
    """Weights of SAF: nodes are weighed by l1norm(sigmoid(BN(W_a E))). Its BatchNorm runs over a caption's pairs and nodes."""

    def __init__(self, sim_dim: int) -> None:
        super().__init__()
        self.score = xavier_linear(sim_dim, 1)
        self.norm = nn.BatchNorm1d(1, momentum=MOMENTUM)

    def fields(self) -> dict[str, Tensor]:
        """`score_*` and `norm_*` of `SafParameters`; the statistics are left out in training."""
        norm = self.norm
        values: dict[str, Tensor] = {"score_weight": self.score.weight, "score_bias": self.score.bias}
        values |= {"norm_weight": norm.weight, "norm_bias": norm.bias}
        if not self.training:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            values |= {"norm_mean": norm.running_mean, "norm_variance": norm.running_var}
        return {name: value.squeeze(0) for name, value in values.items()}

    @torch.no_grad()
    def remember(self, found: FiltrationScores, nodes: Tensor) -> None:
        """Move the running statistics as if captions had come one after the other; `nodes` (C,) went into each one's."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        keep, count = 1 - MOMENTUM, len(nodes)
        weights = MOMENTUM * keep ** torch.arange(count - 1, -1, -1, device=nodes.device, dtype=found.mean.dtype)
        unbiased = found.variance * nodes / (nodes - 1)
        norm.running_mean.mul_(keep**count).add_((weights * found.mean).sum())
        norm.running_var.mul_(keep**count).add_((weights * unbiased).sum())
        norm.num_batches_tracked.add_(count)


class SGRAFHead(nn.Module):
    """Similarity in (0, 1) of every image with every caption.

    State-dict names: `visual.*`, `textual.*` (self-attention), `local`, `glob` (projections of squared differences),
    `graph.K.{query,key,update}` (SGR) or `filtration.{score,norm}` (SAF), `output`; `models.published` reads published ones.
    """

    def __init__(self, kind: str, embed_dim: int, sim_dim: int, steps: int, regions: int, dropout: float) -> None:
        super().__init__()
        self.visual = VisualSelfAttention(embed_dim, regions, dropout)
        self.textual = TextSelfAttention(embed_dim, dropout)
        self.local = xavier_linear(embed_dim, sim_dim)
        self.glob = xavier_linear(embed_dim, sim_dim)
        self.graph = nn.ModuleList(GraphReasoning(sim_dim) for _ in range(steps if kind == "sgr" else 0))
        self.filtration = AttentionFiltration(sim_dim) if kind == "saf" else None
        self.output = xavier_linear(sim_dim, 1)

    def head_parameters(self, regions: Tensor, words: Tensor, lengths: Tensor) -> SgrParameters | SafParameters:
        """The head as the op takes it, for images (B, R, d) and captions (C, L, d); dropout is drawn here, once."""
        fields = {"images": self.visual(regions), "captions": self.textual(words, lengths)}
        for name, layer in (("local", self.local), ("glob", self.glob)):
            fields |= {f"{name}_weight": layer.weight, f"{name}_bias": layer.bias}
        fields |= {"output_weight": self.output.weight.squeeze(0), "output_bias": self.output.bias.squeeze(0)}
        if self.filtration is not None:
            return SafParameters(**fields, **self.filtration.fields())
        for name in ("query", "key", "update"):
            layers = [getattr(step, name) for step in self.graph]
            fields[f"{name}_weight"] = torch.stack([layer.weight for layer in layers])
            fields[f"{name}_bias"] = torch.stack([layer.bias for layer in layers])
        return SgrParameters(**fields)

    def scores(self, regions: Tensor, texts: TextFeatures) -> BatchScores:
        """Scores of (B, R, d) with C captions, not computed yet but for SAF in training, whose BatchNorm sees all pairs.

        Under autocast, matrix products are of bfloat16 numbers.
        """
        (regions, words), lengths = of_one_dtype(regions, texts.words), texts.lengths
        head, precision = self.head_parameters(regions, words, lengths), autocast_precision(regions)
        if self.filtration is None or not self.training or not isinstance(head, SafParameters):
            return HeadScores(regions, words, lengths, head, precision)
        found = filtration_similarity(regions, words, lengths, head, precision=precision)
        self.filtration.remember(found, len(regions) * (1 + lengths))
        return found.scores

    def forward(self, regions: Tensor, texts: TextFeatures) -> Tensor:
        """`scores` as a matrix (B, C)."""
        return score_matrix_of(self.scores(regions, texts))
