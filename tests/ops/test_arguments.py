"""Bad arguments of every op: one line that names op, argument, what was got and what is expected."""

from __future__ import annotations

import pytest
import torch

from pcsr_fast import ops
from pcsr_fast.errors import BackendError

X = torch.randn(4, 3)
Y = torch.randn(4, 3)
S = torch.randn(4, 4)
IDS = torch.arange(4)
TRIPLET, SCORES = ops.triplet_loss, ops.triplet_loss_from_scores
CONTRASTIVE, RANKS = ops.contrastive_loss, ops.retrieval_ranks

CASES = [
    (TRIPLET, ([[1.0]], Y), {}, TypeError, "triplet_loss: x: got list, expected a torch.Tensor"),
    (TRIPLET, (X.long(), Y), {}, TypeError, "triplet_loss: x: got dtype torch.int64, expected float64"),
    (TRIPLET, (X[0], Y), {}, ValueError, r"triplet_loss: x: got shape \(3,\), expected two dimensions"),
    (
        TRIPLET,
        (X[:0], Y),
        {},
        ValueError,
        r"triplet_loss: x: got shape \(0, 3\), expected two dimensions",
    ),
    (TRIPLET, (X, Y.double()), {}, TypeError, "y: got dtype torch.float64, expected torch.float32 as x has"),
    (TRIPLET, (X, Y.to("meta")), {}, ValueError, "y: got device meta, expected cpu"),
    (TRIPLET, (X, Y[:, :2]), {}, ValueError, r"y: got shape \(4, 2\) with x \(4, 3\), expected the shape of x"),
    (TRIPLET, (X, Y[:3]), {}, ValueError, r"y: got shape \(3, 3\) with x \(4, 3\), expected the shape of x"),
    (TRIPLET, (X, Y), {"margin": "0.2"}, TypeError, "margin: got str, expected a number or a torch.Tensor"),
    (TRIPLET, (X, Y), {"margin": True}, TypeError, "margin: got bool, expected a number"),
    (TRIPLET, (X, Y), {"margin": IDS}, TypeError, "margin: got dtype torch.int64, expected a floating one"),
    (
        TRIPLET,
        (X, Y),
        {"margin": torch.ones(4, 1)},
        ValueError,
        r"got shape \(4, 1\), expected a number or \(4,\)",
    ),
    (TRIPLET, (X, Y), {"margin": torch.ones(4, 4)}, ValueError, "for margin_mode='anchor'"),
    (TRIPLET, (X, Y), {"margin": torch.ones(4), "margin_mode": "scalar"}, ValueError, "expected a number for"),
    (TRIPLET, (X, Y), {"margin": torch.ones(4), "margin_mode": "matrix"}, ValueError, r"a number or \(4, 4\)"),
    (TRIPLET, (X, Y), {"margin": torch.ones(4).to("meta")}, ValueError, "margin: got device meta"),
    (TRIPLET, (X, Y), {"margin_mode": "both"}, ValueError, "margin_mode: got 'both', expected one of scalar, anchor"),
    (TRIPLET, (X, Y), {"negatives": "hard"}, ValueError, "triplet_loss: negatives: got 'hard', expected hardest, mean"),
    (TRIPLET, (X, Y), {"negatives": "topk:0"}, ValueError, "negatives: got 'topk:0'"),
    (TRIPLET, (X, Y), {"negatives": "topk:x"}, ValueError, "negatives: got 'topk:x'"),
    (TRIPLET, (X, Y), {"reduction": "avg"}, ValueError, "reduction: got 'avg', expected one of none, mean, sum"),
    (TRIPLET, (X, Y), {"groups": IDS[:2]}, ValueError, r"groups: got shape \(2,\), expected \(4,\)"),
    (TRIPLET, (X, Y), {"groups": IDS.float()}, TypeError, "groups: got dtype torch.float32, expected integers"),
    (TRIPLET, (X, Y), {"groups": [0, 1, 2, 3]}, TypeError, "groups: got list, expected an integer torch.Tensor"),
    (TRIPLET, (X, Y), {"groups": IDS.to("meta")}, ValueError, "groups: got device meta"),
    (TRIPLET, (X, Y), {"backend": "triton"}, BackendError, "triplet_loss: backend 'triton' cannot run these inputs"),
    (TRIPLET, (X, Y), {"backend": "fast"}, BackendError, "backend: got 'fast', expected auto, triton, cuda"),
    (SCORES, (S[:3],), {}, ValueError, r"triplet_loss_from_scores: S: got shape \(3, 4\), expected a square matrix"),
    (CONTRASTIVE, (X, Y), {"kind": "clip"}, ValueError, "contrastive_loss: kind: got 'clip', expected one of infonce"),
    (
        CONTRASTIVE,
        (X, Y),
        {"kind": "tal", "temperature": 0.0},
        ValueError,
        "temperature: got 0.0, expected a num",
    ),
    (CONTRASTIVE, (X, Y), {"kind": "ccl_gce", "q": 0.0}, ValueError, "q: got 0.0, expected 0 < q <= 1"),
    (CONTRASTIVE, (X, Y), {"kind": "rce", "groups": IDS[:1]}, ValueError, "contrastive_loss: groups: got shape"),
    (ops.contrastive_loss_from_scores, (S[:2],), {"kind": "rce"}, ValueError, "expected a square matrix"),
    (ops.evidential_loss_from_scores, (S[:2],), {}, ValueError, "evidential_loss_from_scores: S: got shape"),
    (ops.evidential_loss_from_scores, (S,), {"labels": IDS}, TypeError, "labels: got torch.int64, expected a floating"),
    (ops.evidential_loss_from_scores, (S,), {"labels": [1.0] * 4}, TypeError, "labels: got list, expected a floating"),
    (ops.evidential_loss_from_scores, (S,), {"labels": S}, ValueError, r"labels: got shape \(4, 4\), expected \(4,\)"),
    (ops.evidential_loss_from_scores, (S,), {"labels": S[0].to("meta")}, ValueError, "labels: got device meta"),
    (
        ops.evidential_loss_from_scores,
        (S,),
        {"temperature": 0},
        ValueError,
        "temperature: got 0, expected a number > 0",
    ),
    (ops.evidential_loss_from_scores, (S,), {"kl_weight": -1}, ValueError, "kl_weight: got -1, expected a number >= 0"),
    (ops.evidential_loss_from_scores, (S,), {"reduction": "avg"}, ValueError, "reduction: got 'avg', expected one of"),
    (ops.evidential_agreement, (S,), {"groups": IDS[:2]}, ValueError, r"groups: got shape \(2,\), expected \(4,\)"),
    (
        ops.labelled_loss_from_scores,
        (S, S[0]),
        {"kind": "rce"},
        ValueError,
        "kind: got 'rce', expected one of soft_inf",
    ),
    (ops.hardest_negatives, (X, Y[:3]), {}, ValueError, "groups: got None for 4 x 3, expected a pair"),
    (ops.hardest_negatives, (X, Y[:3], IDS), {}, ValueError, "groups: got one vector for 4 x 3, expected a pair"),
    (ops.hardest_negatives, (X, Y, (IDS,)), {}, ValueError, "groups: got 1 tensors, expected a pair"),
    (ops.hardest_negatives, (X, Y[:3], (IDS, IDS)), {}, ValueError, r"groups\[1\]: got shape \(4,\), expected \(3,\)"),
    (ops.hardest_negatives, (X, Y[:, :2]), {}, ValueError, "expected as many columns as x"),
    (RANKS, (X, Y, IDS + 1), {}, ValueError, "retrieval_ranks: image_of_text: got 4 at index 3, expected 0 to 3"),
    (RANKS, (X, Y, IDS - 1), {}, ValueError, "image_of_text: got -1 at index 0"),
    (RANKS, (X, Y, IDS[:3]), {}, ValueError, r"image_of_text: got shape \(3,\), expected \(4,\)"),
    (RANKS, (X, Y, IDS.float()), {}, TypeError, "image_of_text: got dtype torch.float32, expected integers"),
    (RANKS, (X, Y, IDS, "fair"), {}, ValueError, "ties: got 'fair', expected one of pessimistic"),
    (ops.retrieval_ranks_from_scores, (S, IDS + 1), {}, ValueError, "from_scores: image_of_text: got 4 at index 3"),
    (ops.prediction_oscillation, (X, Y[:2]), {}, ValueError, r"bank: got shape \(2, 3\), expected \(4, 3\) as now has"),
    (ops.match_texts, (X, Y[:, :2]), {}, ValueError, "p_clean: got shape .* expected 3 columns as p_noisy has"),
    (ops.match_texts, (X, Y[:0]), {}, ValueError, r"match_texts: p_clean: got shape \(0, 3\)"),
    (ops.match_texts, (X, Y.double()), {}, TypeError, "p_clean: got dtype torch.float64"),
    (ops.vote_consistency, (X,), {}, TypeError, "vote_consistency: counts: got torch.float32, expected integers"),
    (ops.vote_consistency, (IDS,), {}, ValueError, r"counts: got shape \(4,\), expected \(N, K\)"),
    (ops.vote_consistency, (IDS[None], "best"), {}, ValueError, "score: got 'best', expected one of gap"),
    (ops.similarity, (X, Y[:, :2]), {}, ValueError, "similarity: y: got shape"),
    (ops.pair_losses, (X, Y[:2]), {}, ValueError, "pair_losses: y: got shape"),
    (ops.pair_losses, (X, Y), {"batch_size": 1}, ValueError, "batch_size: got 1, expected at least 2 or None"),
    (ops.pair_losses, (X, Y), {"chunk": 0}, ValueError, "chunk: got 0, expected at least 1"),
    (ops.pair_losses, (X, Y), {"order": IDS}, ValueError, "order: given without batch_size"),
    (
        ops.pair_losses,
        (X, Y),
        {"order": IDS * 0, "batch_size": 2},
        ValueError,
        "order: expected a permutation of 0",
    ),
    (ops.pair_losses, (X, Y), {"groups": IDS[:2]}, ValueError, "pair_losses: groups: got shape"),
    (
        ops.pair_losses,
        (X, Y),
        {"margin": torch.ones(4)},
        TypeError,
        "pair_losses: margin: got Tensor, expected",
    ),
    (ops.fit_mixture, ([0.1, 0.2],), {}, TypeError, "fit_mixture: values: got list, expected a floating"),
    (ops.fit_mixture, (IDS,), {}, TypeError, "fit_mixture: values: got torch.int64, expected a floating"),
    (ops.fit_mixture, (X,), {"backend": "triton"}, BackendError, "fit_mixture: backend 'triton' cannot run"),
]


@pytest.mark.parametrize(("op", "args", "options", "error", "message"), CASES)
def test_is_named_in_one_line(op, args, options, error, message):
    with pytest.raises(error, match=message) as caught:
        op(*args, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("mode", "shape"), [("anchor", ()), ("matrix", (4, 4)), ("row", (4,)), ("scalar", ())])
def test_margins_of_the_right_shape_pass(mode, shape):
    ops.triplet_loss(X, Y, margin=torch.full(shape, 0.1), margin_mode=mode)
    ops.triplet_loss(X, Y, margin=1, margin_mode=mode)
