"""Searches as torch.library ops without gradients: hardest negatives, retrieval ranks (KERNELS 1, K1 and K5)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops import _checks, _dispatch, lean
from pcsr_fast.ops._dispatch import PRECISIONS, at_precision
from pcsr_fast.ops.cpu import ranks as cpu_ranks
from pcsr_fast.ops.cpu import search as cpu
from pcsr_fast.ops.cpu.arguments import supports
from pcsr_fast.ops.cuda import arguments as cuda_arguments
from pcsr_fast.ops.cuda import ranks as cuda_ranks
from pcsr_fast.ops.cuda import search as cuda
from pcsr_fast.ops.triton import arguments as triton_arguments
from pcsr_fast.ops.triton import search as triton
from pcsr_fast.reference import hardest, ranks
from pcsr_fast.reference.hardest import HardestNegatives
from pcsr_fast.reference.negatives import Groups, split_groups
from pcsr_fast.reference.ranks import TIES, RetrievalRanks
from pcsr_fast.reference.reduction import compute_dtype


def _reference_negatives(x: Tensor, y: Tensor, groups: Groups, precision: str) -> HardestNegatives:
    return hardest.hardest_negatives(at_precision(x, precision), at_precision(y, precision), groups)


backends.register("hardest_negatives", "reference", _reference_negatives)
backends.register("hardest_negatives", "torch", lean.hardest_negatives)
backends.register("hardest_negatives", "cpu", cpu.hardest_negatives, supports)
backends.register("hardest_negatives", "cuda", cuda.hardest_negatives, cuda_arguments.supports)
backends.register("hardest_negatives", "triton", triton.hardest_negatives, triton_arguments.supports)


def _reference_ranks(x: Tensor, y: Tensor, image_of_text: Tensor, ties: str, precision: str) -> RetrievalRanks:
    return ranks.retrieval_ranks(at_precision(x, precision), at_precision(y, precision), image_of_text, ties)


backends.register("retrieval_ranks", "reference", _reference_ranks)
backends.register("retrieval_ranks", "cpu", cpu_ranks.retrieval_ranks, supports)
backends.register("retrieval_ranks", "cuda", cuda_ranks.retrieval_ranks, cuda_arguments.supports)
backends.register("retrieval_ranks", "triton", triton.retrieval_ranks, triton_arguments.supports)
backends.register("retrieval_ranks_from_scores", "reference", ranks.retrieval_ranks_from_scores)
backends.register(
    "retrieval_ranks_from_scores", "triton", triton.retrieval_ranks_from_scores, triton_arguments.supports
)

Four = tuple[Tensor, Tensor, Tensor, Tensor]


def _check_range(op: str, image_of_text: Tensor, images: int) -> None:
    """ValueError if a caption names an image that is not there; in the op, as a compiled caller sees no values."""
    outside = (image_of_text < 0) | (image_of_text >= images)
    if bool(outside.any()):
        first = int(outside.nonzero()[0, 0])
        got = int(image_of_text[first])
        raise ValueError(f"{op}: image_of_text: got {got} at index {first}, expected 0 to {images - 1}")


@torch.library.custom_op(
    "pcsr_fast::hardest_negatives",
    mutates_args=(),
    schema="(Tensor x, Tensor y, Tensor? groups_x, Tensor? groups_y, str precision, str backend)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def _hardest_negatives(
    x: Tensor, y: Tensor, groups_x: Tensor | None, groups_y: Tensor | None, precision: str, backend: str
) -> Four:
    groups = None if groups_x is None or groups_y is None else (groups_x, groups_y)
    options = {"groups": groups, "precision": precision}
    return tuple(_dispatch.run("hardest_negatives", backend, (x, y), options, x, y, groups, precision))


@_hardest_negatives.register_fake
def _(x: Tensor, y: Tensor, *_: Any) -> Four:
    dtype = compute_dtype(x.dtype)
    values = x.new_empty((x.shape[0],), dtype=dtype), x.new_empty((y.shape[0],), dtype=dtype)
    indices = tuple(torch.empty_like(value, dtype=torch.int64) for value in values)
    return values[0], indices[0], values[1], indices[1]


@torch.library.custom_op(
    "pcsr_fast::retrieval_ranks",
    mutates_args=(),
    schema="(Tensor x, Tensor y, Tensor image_of_text, str ties, str precision, str backend) -> (Tensor i2t, Tensor t2i)",
)
def _retrieval_ranks(
    x: Tensor, y: Tensor, image_of_text: Tensor, ties: str, precision: str, backend: str
) -> tuple[Tensor, Tensor]:
    _check_range("retrieval_ranks", image_of_text, x.shape[0])
    options = {"ties": ties, "precision": precision}
    return tuple(_dispatch.run("retrieval_ranks", backend, (x, y), options, x, y, image_of_text, ties, precision))


@torch.library.custom_op(
    "pcsr_fast::retrieval_ranks_from_scores",
    mutates_args=(),
    schema="(Tensor scores, Tensor image_of_text, str ties, str backend) -> (Tensor i2t, Tensor t2i)",
)
def _ranks_from_scores(scores: Tensor, image_of_text: Tensor, ties: str, backend: str) -> tuple[Tensor, Tensor]:
    op = "retrieval_ranks_from_scores"
    _check_range(op, image_of_text, scores.shape[0])
    return tuple(_dispatch.run(op, backend, (scores,), {"ties": ties}, scores, image_of_text, ties))


@_retrieval_ranks.register_fake
def _(x: Tensor, y: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty((x.shape[0],), dtype=torch.int64), x.new_empty((y.shape[0],), dtype=torch.int64)


@_ranks_from_scores.register_fake
def _(scores: Tensor, image_of_text: Tensor, ties: str, backend: str) -> tuple[Tensor, Tensor]:
    rows, columns = scores.shape
    return scores.new_empty((rows,), dtype=torch.int64), scores.new_empty((columns,), dtype=torch.int64)


def hardest_negatives(
    x: Tensor, y: Tensor, groups: Groups = None, *, precision: str = "auto", backend: str | None = None
) -> HardestNegatives:
    """The largest score of another id per row and per column of S = x y^T, x (N, D), y (M, D).

    `groups`: ids (N,) of both sides where N = M, or a pair ((N,), (M,)) of integer tensors; None masks the diagonal and
    needs N = M. Values are at least float32, indices int64; -inf and -1 where there is no negative; among equals the
    lowest index. `precision` is as for `triplet_loss`. Not differentiable.

    Raises:
        TypeError, ValueError: an argument of the wrong kind. BackendError: `backend` cannot run it.

    Source: METHODS 8; KERNELS 1, K1.
    """
    _checks.check_embeddings("hardest_negatives", x, y, paired=False)
    _checks.check_groups("hardest_negatives", groups, x.shape[0], y.shape[0], x)
    _checks.check_choice("hardest_negatives", "precision", precision, PRECISIONS)
    pair = split_groups(groups) or (None, None)
    return HardestNegatives(*_hardest_negatives(x.detach(), y.detach(), *pair, precision, backend or ""))


def _check_images(op: str, image_of_text: Tensor, texts: int, like: Tensor, ties: str) -> Tensor:
    _checks.check_choice(op, "ties", ties, TIES)
    _checks.check_integers(op, "image_of_text", image_of_text, texts, like)
    return image_of_text.to(torch.int64)


def retrieval_ranks(
    x: Tensor,
    y: Tensor,
    image_of_text: Tensor,
    ties: str = "pessimistic",
    *,
    precision: str = "auto",
    backend: str | None = None,
) -> RetrievalRanks:
    """0-based retrieval ranks of S = x y^T in both directions, without holding S.

    Args:
        x, y: image (n_img, D) and caption (n_txt, D) embeddings of one floating dtype and device.
        image_of_text: (n_txt,) integers, the image of each caption.
        ties: pessimistic (equal others come first), optimistic (after) or stable (by index); under optimistic a model
            that scores everything alike looks perfect.
        precision: of the scores, as for `triplet_loss`.
        backend: see `pcsr_fast.backends`.

    Returns:
        i2t (n_img,) int64: how many captions of other images come before the image's best own one, -1 without one;
        t2i (n_txt,) int64: how many images come before the caption's own.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or an image out of range. BackendError.

    Source: METHODS 1.3; KERNELS 1, K5.
    """
    op = "retrieval_ranks"
    _checks.check_embeddings(op, x, y, paired=False)
    image_of_text = _check_images(op, image_of_text, y.shape[0], x, ties)
    _checks.check_choice(op, "precision", precision, PRECISIONS)
    return RetrievalRanks(*_retrieval_ranks(x.detach(), y.detach(), image_of_text, ties, precision, backend or ""))


def retrieval_ranks_from_scores(
    S: Tensor, image_of_text: Tensor, ties: str = "pessimistic", *, backend: str | None = None
) -> RetrievalRanks:
    """`retrieval_ranks` of a ready-made S (n_img, n_txt), e.g. the mean of two networks' scores."""
    op = "retrieval_ranks_from_scores"
    _checks.check_matrix(op, "S", S)
    image_of_text = _check_images(op, image_of_text, S.shape[1], S, ties)
    return RetrievalRanks(*_ranks_from_scores(S.detach(), image_of_text, ties, backend or ""))
