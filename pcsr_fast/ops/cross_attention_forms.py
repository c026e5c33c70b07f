"""Cross-attention heads on blocks of pairs of one caption length, exact and without padding (KERNELS 1, K4).

A block holds b images and, for each, c captions of n words: the same ones for all images, words (1, c, n, d), or each
image's own, (b, c, n, d). What does not depend on the pair is computed once beforehand, with a graph: SCAN's Gram
matrices of the regions, SGR's products of query and key weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pcsr_fast.reference.attention import EPSILON, LEAKY_SLOPE, SHARPNESS
from pcsr_fast.reference.cross_attention import HeadParameters
from pcsr_fast.reference.saf import NORM_EPSILON, SafParameters
from pcsr_fast.reference.scan import ScanParameters


class Operands(NamedTuple):
    """What blocks are cut from: `images` has a row an image, `captions` one a caption, `shared` belongs to all pairs."""

    regions: Tensor
    words: Tensor
    images: Tensor
    captions: Tensor
    shared: tuple[Tensor, ...]

    def flat(self) -> tuple[Tensor, ...]:
        """All of them, the shared ones last."""
        return self.regions, self.words, self.images, self.captions, *self.shared

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Operands:
        """`change` of each."""
        regions, words, images, captions, *shared = map(change, self.flat())
        return Operands(regions, words, images, captions, tuple(shared))


# (regions, words, images, captions, *shared) of a block -> scores (b, c), then statistics (c,) if there are any.
Evaluate = Callable[..., tuple[Tensor, ...]]


def inverse_norm(values: Tensor) -> Tensor:
    """1 / (|x| + 1e-8) along the last dimension, kept; 0 for x = 0, so that its gradient is 0 as the reference's."""
    wide = torch.promote_types(values.dtype, torch.float32)
    norm = torch.linalg.vector_norm(values, dim=-1, keepdim=True, dtype=wide)
    return torch.where(norm == 0, 0, 1 / (norm + EPSILON))


def unit(values: Tensor) -> Tensor:
    """l2norm of the last dimension."""
    return values * inverse_norm(values)


def _attention(regions: Tensor, words: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
    """Products v_r . t_w and the weights of the regions, both (b, R, c, n)."""
    flat = words.flatten(1, 2)
    products = F.linear(regions, flat[0]) if len(flat) == 1 else regions @ flat.transpose(1, 2)
    products = products.view(*products.shape[:2], *words.shape[1:3])
    return products, torch.softmax(sharpness * unit(F.leaky_relu(products, LEAKY_SLOPE)), dim=1)


def _scan(regions: Tensor, words: Tensor, gram: Tensor, _: Tensor, *, sharpness: float) -> tuple[Tensor, ...]:
    """With a the weights and G = V V^T: c . t = sum_r a_r (v_r . t) and |c|^2 = a^T G a, without the context c."""
    products, weights = _attention(regions, words, sharpness)
    dots = (weights * products).sum(1)
    flat = weights.flatten(2)
    squares = (flat * (gram @ flat)).sum(1).view_as(dots) * words.square().sum(3)
    return ((dots / squares.clamp(min=EPSILON**2).sqrt()).mean(2),)


def _nodes(regions: Tensor, words: Tensor, images: Tensor, captions: Tensor, *projections: Tensor) -> Tensor:
    """[s_0; s_1 .. s_n] of every pair: (b, c, 1 + n, s)."""
    local_weight, local_bias, glob_weight, glob_bias = projections
    _, weights = _attention(regions, words, SHARPNESS)
    contexts = (weights.flatten(2).transpose(1, 2) @ regions).view(len(regions), *words.shape[1:])
    differences = torch.addcmul(-words, contexts, inverse_norm(contexts))
    local = unit(F.linear(differences.square(), local_weight, local_bias))
    glob = unit(F.linear((images.unsqueeze(1) - captions).square(), glob_weight, glob_bias))
    return torch.cat([glob.unsqueeze(2), local], dim=2)


def _product(vectors: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """w . x + b along the last dimension; no matrix product, which autocast would round to bfloat16."""
    return (vectors * weight).sum(-1) + bias


def _sgr(regions: Tensor, words: Tensor, images: Tensor, captions: Tensor, *shared: Tensor) -> tuple[Tensor, ...]:
    """Logits (e_i M + u) . e_j with M = Wq^T Wk, u = Wk^T bq: what else Q K^T has cancels in the softmax over j.

    The last step is done for node 0 alone, the only one that is read.
    """
    edge_weight, edge_bias, update_weight, update_bias, output_weight, output_bias = shared[4:]
    every = _nodes(regions, words, images, captions, *shared[:4])
    nodes = every.flatten(0, 1)
    steps = len(edge_weight)
    for step in range(steps):
        asking = nodes[:, :1] if step == steps - 1 else nodes
        logits = F.linear(asking, edge_weight[step], edge_bias[step]) @ nodes.transpose(1, 2)
        mixed = torch.softmax(logits, dim=-1) @ nodes
        nodes = F.relu(F.linear(mixed, update_weight[step], update_bias[step]))
    return (torch.sigmoid(_product(nodes[:, 0], output_weight, output_bias)).view(every.shape[:2]),)


def _saf(regions: Tensor, words: Tensor, images: Tensor, captions: Tensor, *shared: Tensor) -> tuple[Tensor, ...]:
    """The last two of 12 shared tensors are the mean and variance to normalise with; of 10, it is the block's own."""
    score_weight, score_bias, norm_weight, norm_bias, output_weight, output_bias, *given = shared[4:]
    nodes = _nodes(regions, words, images, captions, *shared[:4])
    raw = _product(nodes, score_weight, score_bias)
    if given:
        mean, variance = given
    else:
        variance, mean = torch.var_mean(raw, dim=(0, 2), correction=0, keepdim=True)
    gates = torch.sigmoid((raw - mean) / (variance + NORM_EPSILON).sqrt() * norm_weight + norm_bias)
    weights = gates / (gates.sum(2, keepdim=True) + EPSILON)
    vectors = unit((weights.unsqueeze(2) @ nodes).squeeze(2))
    scores = torch.sigmoid(_product(vectors, output_weight, output_bias))
    return (scores,) if given else (scores, mean.flatten(), variance.flatten())


def evaluation(head: HeadParameters, precision: str) -> Evaluate:
    """The head's form; under bf16, matrix products are of bfloat16 numbers."""
    form: Evaluate = _sgr
    if isinstance(head, ScanParameters):
        form = partial(_scan, sharpness=head.sharpness)
    elif isinstance(head, SafParameters):
        form = _saf
    if precision != "bf16":
        return form

    def in_bfloat16(*tensors: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(tensors[0].device.type, torch.bfloat16):
            return form(*tensors)

    return in_bfloat16


def prepare(regions: Tensor, words: Tensor, head: HeadParameters) -> Operands:
    """What the head's form works on, computed from the public arguments."""
    if isinstance(head, ScanParameters):
        gram = regions @ regions.transpose(1, 2)
        return Operands(regions, words, gram, words.new_empty(len(words), 0), ())
    if isinstance(head, SafParameters):
        shared = tuple(value for value in head[2:] if value is not None)
        return Operands(regions, words, head.images, head.captions, shared)
    key_transposed = head.key_weight.transpose(1, 2)
    edge_weight = key_transposed @ head.query_weight
    edge_bias = (key_transposed @ head.query_bias.unsqueeze(2)).squeeze(2)
    shared = (*head[2:6], edge_weight, edge_bias, *head[10:])
    return Operands(regions, words, head.images, head.captions, shared)


def uses_batch_statistics(head: HeadParameters) -> bool:
    """Whether a pair's score depends on the other pairs of its caption: SAF in training."""
    return isinstance(head, SafParameters) and head.norm_mean is None
