"""SGRAF similarity heads, readable form: SGR (graph reasoning) and SAF (attention filtration).

Source: Diao et al., "Similarity Reasoning and Filtration for Image-Text Matching", AAAI 2021; equations in METHODS 2.1.
Shapes: B images of R regions, C captions of up to L words, joint size d, similarity size s.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.layers import EPSILON, l2norm, xavier_linear

ATTENTION_SHARPNESS = 9.0
LEAKY_SLOPE = 0.1


class VisualSelfAttention(nn.Module):
    """Global image vector: regions weighted by their agreement with the mean region; BatchNorm over regions and over d."""

    def __init__(self, embed_dim: int, regions: int, dropout: float) -> None:
        super().__init__()
        self.local = nn.Sequential(
            xavier_linear(embed_dim, embed_dim), nn.BatchNorm1d(regions), nn.Tanh(), nn.Dropout(dropout)
        )
        self.mean = nn.Sequential(
            xavier_linear(embed_dim, embed_dim), nn.BatchNorm1d(embed_dim), nn.Tanh(), nn.Dropout(dropout)
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
        self.local = nn.Sequential(xavier_linear(embed_dim, embed_dim), nn.Tanh(), nn.Dropout(dropout))
        self.mean = nn.Sequential(xavier_linear(embed_dim, embed_dim), nn.Tanh(), nn.Dropout(dropout))
        self.weight = xavier_linear(embed_dim, 1)

    def forward(self, words: Tensor) -> Tensor:
        """One caption (n, d) -> (d,)."""
        agreement = self.local(words) * self.mean(words.mean(0))
        weights = torch.softmax(self.weight(agreement).squeeze(-1), dim=0)
        return l2norm((weights.unsqueeze(-1) * words).sum(0))


def attended_regions(regions: Tensor, words: Tensor) -> Tensor:
    """Context of each word in each image: (B, R, d), (n, d) -> (B, n, d)."""
    scores = F.leaky_relu(regions @ words.T, LEAKY_SLOPE)
    attention = torch.softmax(ATTENTION_SHARPNESS * l2norm(scores, dim=2), dim=1)
    return l2norm(attention.transpose(1, 2) @ regions)


class GraphReasoning(nn.Module):
    """One SGR step: E <- relu(W_s(softmax(W_q E (W_k E)^T) E)), without a 1/sqrt(d) scale."""

    def __init__(self, sim_dim: int) -> None:
        super().__init__()
        self.query = xavier_linear(sim_dim, sim_dim)
        self.key = xavier_linear(sim_dim, sim_dim)
        self.update = xavier_linear(sim_dim, sim_dim)

    def forward(self, nodes: Tensor) -> Tensor:
        """(B, 1 + n, s) -> (B, 1 + n, s)."""
        edges = torch.softmax(self.query(nodes) @ self.key(nodes).transpose(1, 2), dim=-1)
        return F.relu(self.update(edges @ nodes))


class AttentionFiltration(nn.Module):
    """SAF: nodes weighted by l1norm(sigmoid(BN(W_a E))), summed, l2-normalised. Its BatchNorm runs over all pairs and nodes."""

    def __init__(self, sim_dim: int) -> None:
        super().__init__()
        self.score = xavier_linear(sim_dim, 1)
        self.norm = nn.BatchNorm1d(1)

    def forward(self, nodes: Tensor) -> Tensor:
        """(B, 1 + n, s) -> (B, s)."""
        gates = torch.sigmoid(self.norm(self.score(nodes).transpose(1, 2)))
        weights = gates / (gates.abs().sum(-1, keepdim=True) + EPSILON)
        return l2norm((weights @ nodes).squeeze(1))


class SGRAFHead(nn.Module):
    """Similarity in (0, 1) of every image with every caption, captions one at a time as published.

    State-dict names: `visual.*`, `textual.*` (self-attention), `local`, `glob` (projections of squared differences),
    `graph.K.{query,key,update}` (SGR) or `filtration.{score,norm}` (SAF), `output`.
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

    def alignment_nodes(self, regions: Tensor, image_global: Tensor, words: Tensor) -> Tensor:
        """Nodes [global; local of each word] of one caption (n, d) with all images: (B, 1 + n, s)."""
        local = l2norm(self.local((attended_regions(regions, words) - words).square()))
        glob = l2norm(self.glob((image_global - self.textual(words)).square()))
        return torch.cat([glob.unsqueeze(1), local], dim=1)

    def forward(self, regions: Tensor, texts: TextFeatures) -> Tensor:
        """(B, R, d), C captions -> (B, C)."""
        image_global = self.visual(regions)
        columns = []
        for words, length in zip(texts.values, texts.lengths.tolist(), strict=True):
            nodes = self.alignment_nodes(regions, image_global, words[:length])
            for step in self.graph:
                nodes = step(nodes)
            vector = self.filtration(nodes) if self.filtration is not None else nodes[:, 0]
            columns.append(torch.sigmoid(self.output(vector)).squeeze(-1))
        return torch.stack(columns, dim=1)
