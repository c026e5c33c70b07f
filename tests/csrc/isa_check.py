"""Checks every native op against float64 on the instruction set that PCSR_FAST_ISA names; prints the ops it checked.

Run as a script, a process for each instruction set: the choice is made once a process. PCSR_FAST_BACKEND=cpu leaves the
other backends out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from pcsr_fast import backends, native, ops, reference
from pcsr_fast.reference.contrastive_terms import KINDS
from pcsr_fast.reference.hinge import MARGIN_MODES
from pcsr_fast.reference.ranks import TIES
from tests.ops import contrasts, triplets
from tests.ops.cross_attentions import cross_attention_errors, cross_attention_gradient_errors
from tests.ops.gru import problem as gru_problem
from tests.ops.gru import single_precision_errors
from tests.ops.searches import (
    ADVERSARIES,
    Gallery,
    check_choices,
    check_ranks,
    check_screened,
    make_adversaries,
)
from tests.ops.tools import FORWARD, Pairs, assert_as_good, dot_bound, make_pairs

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
SIZES = ((17, 65), (63, 33), (129, 20), (40, 1537))  # pairs and widths about the edges of every tile


def problems() -> Iterator[Pairs]:
    """Pairs of every size and type in small groups; those with many equal scores in one type."""
    for size, width in SIZES:
        yield make_pairs(size, size, width, torch.float32, "integers", "pairs")
        for dtype in DTYPES:
            yield make_pairs(size, size, width, dtype, "unit", "pairs")


def check_triplet_loss() -> None:
    choices = [*((mode, "hardest") for mode in MARGIN_MODES), ("anchor", "mean"), ("row", "sum"), ("matrix", "topk:3")]
    for pairs, (mode, negatives) in itertools.product(problems(), choices):
        triplets.check_against_float64(triplets.with_margin(pairs, mode, negatives))


def check_triplet_loss_from_scores() -> None:
    for pairs, mode, negatives in itertools.product(problems(), ("anchor", "matrix"), ("hardest", "sum", "topk:3")):
        problem = triplets.with_margin(pairs, mode, negatives)
        S, margin = (problem.x.double() @ problem.y.double().T).to(pairs.x.dtype), problem.options["margin"]
        results = []
        for compute, dtype in (
            (ops.triplet_loss_from_scores, S.dtype),
            (reference.triplet_loss_from_scores, S.double().dtype),
        ):
            inputs = tuple(value.to(S.dtype).to(dtype).detach().requires_grad_() for value in (S, margin))
            loss = compute(inputs[0], **(problem.options | {"margin": inputs[1], "reduction": "none"}))
            upstream = torch.linspace(-1, 2, len(S), dtype=loss.dtype)
            results.append((loss.double(), *(g.double() for g in torch.autograd.grad(loss @ upstream, inputs))))
        # The same scores are compared, so the same negatives are found: only sums are rounded.
        tolerance = 1e-11 if S.dtype == torch.float64 else 2e-2 if S.dtype == torch.bfloat16 else 1e-4
        torch.testing.assert_close(results[0], results[1], rtol=tolerance, atol=tolerance)


def check_contrastive_loss() -> None:
    for pairs, kind in itertools.product(problems(), KINDS):
        if not pairs.exact:
            contrasts.check_against_float64(contrasts.Contrasts(pairs.x, pairs.y, kind, pairs.groups))


def check_pair_losses() -> None:
    for pairs, batch_size in itertools.product(problems(), (None, 16)):
        options = {"groups": pairs.groups, "batch_size": batch_size}
        truth, theirs, ours = (
            compute(*sides, **options).losses
            for compute, sides in (
                (reference.pair_losses, (pairs.x.double(), pairs.y.double())),
                (reference.pair_losses, pairs[:2]),
                (ops.pair_losses, pairs[:2]),
            )
        )
        assert_as_good(ours, theirs, truth, FORWARD[pairs.x.dtype])


def check_hardest_negatives() -> None:
    for seed, kinds in enumerate(itertools.product(ADVERSARIES, ADVERSARIES)):
        problem = make_adversaries(kinds, 37, 53, 65 if seed % 2 else 12, seed)
        check_choices(problem, ops.hardest_negatives(*problem[:3]), dot_bound(*problem[:2]))
        check_screened(problem)
    for dtype, precision in itertools.product((torch.float64, torch.bfloat16, torch.float32), ("exact", "bf16")):
        x, y, _, _ = make_pairs(3, 129, 40, dtype)
        rounding = 2.0**-7 + 2.0**-15 if precision == "bf16" else 0.0
        bound = dot_bound(x, y) + rounding * (x.double().abs() @ y.double().abs().T)
        problem = make_adversaries(("few", "few"), 129, 129, 40, 0)._replace(x=x, y=y)
        check_choices(problem, ops.hardest_negatives(*problem[:3], precision=precision), bound)


def check_retrieval_ranks() -> None:
    for pairs, ties in itertools.product(problems(), TIES):
        size = pairs.x.shape[0]
        problem = Gallery(pairs.x, pairs.y, torch.arange(size) * 7 % size // 2, ties, pairs.exact)
        for precision in ("exact", "screened"):
            for backend in problem.backends(precision=precision):
                check_ranks(problem, problem.ranks(backend, precision=precision))


def check_fit_mixture() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(1003, generator=generator, dtype=torch.float64)
    values = torch.where(torch.arange(1003) % 3 > 0, 0.25 + 0.05 * draws, 0.7 + 0.1 * draws).clamp(0.01, 0.99)
    for dtype, (kind, init) in itertools.product(
        (torch.float32, torch.float64), (("gaussian", "quantile"), ("gaussian", "kmeans"), ("beta", "quantile"))
    ):
        sample = values.to(dtype)
        ours, truth = (ops.fit_mixture(sample, kind, init=init, backend=name) for name in (None, "reference"))
        torch.testing.assert_close(ours.posterior(), truth.posterior(), rtol=0, atol=1e-9)


def check_cross_attention() -> None:
    found = cross_attention_errors() + cross_attention_gradient_errors()
    assert all(error <= tolerance for error, tolerance in found)


def check_gru() -> None:
    for lengths, size in (([1], 1), ([9, 4, 4, 1], 33), ([3] * 29, 20), (list(range(1, 20)), 100)):
        for ours, theirs, tolerance in single_precision_errors(*gru_problem(size, lengths, 17, size, 2)):
            assert ours <= theirs + tolerance


# Each check with the ops it goes through.
CHECKS = {
    check_triplet_loss: ("triplet_loss", "triplet_gradient", "hardest_gradient"),
    check_triplet_loss_from_scores: ("triplet_loss_from_scores", "triplet_score_gradient"),
    check_contrastive_loss: ("contrastive_loss", "contrastive_gradient"),
    check_pair_losses: ("pair_losses",),
    check_hardest_negatives: ("hardest_negatives",),
    check_retrieval_ranks: ("retrieval_ranks",),
    check_fit_mixture: ("fit_mixture", "mixture_posterior"),
    check_gru: ("gru_states", "gru_gradient"),
    check_cross_attention: ("cross_attention_similarity", "cross_attention_pairs", "cross_attention_gradient"),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    native_ops = {op for op, implementations in backends._REGISTRY.items() if "cpu" in implementations}
    for check, covered in CHECKS.items():
        if native_ops & set(covered):
            check()
            native_ops -= set(covered)
    assert not native_ops, f"native, but without a check: {native_ops}"
    print(native.isa())
