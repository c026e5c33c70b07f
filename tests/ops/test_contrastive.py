"""Contrastive losses at chosen points: value, gradient, edges, determinism, torch.library; random ones are beside this."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import contrastive_loss, contrastive_loss_from_scores
from pcsr_fast.reference.contrastive_terms import KINDS, contrastive_settings
from tests.ops.contrasts import Contrasts, check_against_float64, make_contrasts
from tests.ops.tools import (
    DTYPES,
    ODD_SIZES,
    STEADY,
    arguments,
    assert_same_bits,
    guarded_memory,
    make_pairs,
    runnable,
    strided,
    threads,
)

X = torch.zeros(2, 2)
BACKENDS = runnable("contrastive_loss", X, X, **contrastive_settings("infonce")._asdict(), groups=None)
SCORE_BACKENDS = runnable("contrastive_loss_from_scores", X, **contrastive_settings("infonce")._asdict(), groups=None)


def gradients(losses: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradients under a per-sample upstream that is not uniform."""
    upstream = torch.linspace(-1, 2, losses.shape[0], dtype=losses.dtype)
    return torch.autograd.grad(losses @ upstream, inputs, retain_graph=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_precision_against_float64(dtype, kind):
    check_against_float64(make_contrasts(7, 63, 40, dtype, kind))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("size", "width"), [*((size, 33) for size in ODD_SIZES), (40, 1537), (1, 1), (2, 4000)])
def test_precision_where_sizes_straddle_tiles(dtype, size, width):
    for kind in ("infonce", "ccl_gce", "tal"):
        check_against_float64(make_contrasts(size, size, width, dtype, kind))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_pair_and_one_group_have_no_loss(kind, backend):
    for size, groups in ((1, None), (5, torch.zeros(5, dtype=torch.int32))):
        made = make_pairs(0, size, 3, torch.float64)
        inputs = (made.x.requires_grad_(), made.y.requires_grad_())
        losses = contrastive_loss(*inputs, kind=kind, groups=groups, reduction="none", backend=backend)
        torch.testing.assert_close(losses, torch.zeros_like(losses))
        for gradient in gradients(losses, inputs):
            torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_strided_inputs_are_the_contiguous_ones(kind, backend):
    made = make_pairs(1, 63, 16, torch.float64, grouping="pairs")
    plain = (made.x.clone().requires_grad_(), made.y.clone().requires_grad_())
    laid = tuple(strided(value).requires_grad_() for value in (made.x, made.y))
    options = {"kind": kind, "groups": made.groups, "reduction": "none", "backend": backend}
    losses, expected = contrastive_loss(*laid, **options), contrastive_loss(*plain, **options)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradients(losses, laid), gradients(expected, plain), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", SCORE_BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_certain_mistakes_have_finite_gradients_in_float32(kind, backend):
    scores = torch.zeros(3, 3)
    scores[0, 1] = 40.0
    scores.requires_grad_()
    options = {"kind": kind, "temperature": 0.05, "reduction": "none"}
    losses = contrastive_loss_from_scores(scores, **options, backend=backend)
    wide = scores.detach().double().requires_grad_()
    truth = reference.contrastive_loss_from_scores(wide, **options)
    torch.testing.assert_close(losses.double(), truth, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        gradients(losses, (scores,))[0].double(), gradients(truth, (wide,))[0], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_certain_mistakes_from_embeddings(kind, backend):
    """One caption that scores far above every other, for all images: softmax weights of 1 and of 0."""
    x, y = torch.ones(65, 4), torch.zeros(65, 4)
    y[40], y[41] = 10.0, 9.75
    check_against_float64(Contrasts(x, y, kind, None), backends=[backend])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_repeats_to_the_bit_on_any_number_of_threads(kind, backend):
    made = make_pairs(3, 300, 64, torch.float32, grouping="pairs")
    results = []
    for count in (1, 1, 3) if backend in STEADY else (1, 1, 1):
        with threads(count):
            inputs = (made.x.clone().requires_grad_(), made.y.clone().requires_grad_())
            losses = contrastive_loss(*inputs, kind=kind, groups=made.groups, reduction="none", backend=backend)
            results.append((losses, *gradients(losses, inputs)))
    for other in results[1:]:
        for value, expected in zip(other, results[0], strict=True):
            assert_same_bits(value, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_writes_stay_inside_its_own_memory(kind, backend):
    made = make_pairs(3, 100, 33, torch.float32, grouping="pairs")
    inputs = (made.x.requires_grad_(), made.y.requires_grad_())
    options = {"kind": kind, "groups": made.groups, "reduction": "none", "backend": backend}
    expected = contrastive_loss(*inputs, **options)
    with guarded_memory() as blocks:
        guarded = contrastive_loss(*inputs, **options)
        gradients(guarded, inputs)
    assert blocks or backend == "reference"
    assert_same_bits(guarded, expected)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reductions(reduction):
    made = make_pairs(5, 8, 4, torch.float64)
    each = contrastive_loss(made.x, made.y, kind="infonce", reduction="none")
    expected = each.mean() if reduction == "mean" else each.sum()
    torch.testing.assert_close(contrastive_loss(made.x, made.y, kind="infonce", reduction=reduction), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_infonce_is_two_cross_entropies(backend):
    made = make_pairs(6, 12, 8, torch.float64)
    z, target = made.x @ made.y.T / 0.07, torch.arange(12)
    expected = (torch.nn.functional.cross_entropy(z, target) + torch.nn.functional.cross_entropy(z.T, target)) / 2
    loss = contrastive_loss(made.x, made.y, kind="infonce", temperature=0.07, backend=backend)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_learned_temperature_scales_the_scores(backend):
    x, y, _, _ = make_pairs(6, 12, 8, torch.float64)
    scale = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    loss = contrastive_loss(scale * x, y, kind="infonce", temperature=1.0, backend=backend)
    torch.testing.assert_close(loss, contrastive_loss(x, y, kind="infonce", temperature=0.05, backend=backend))
    (gradient,) = torch.autograd.grad(loss, scale)
    truth = reference.contrastive_loss(scale * x, y, kind="infonce", temperature=1.0)
    torch.testing.assert_close(gradient, torch.autograd.grad(truth, scale)[0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["infonce", "ccl_gce"])
def test_opcheck(kind, backend):
    made = make_pairs(2, 6, 4, torch.float32, grouping="pairs")
    inputs = {"x": made.x.requires_grad_(), "y": made.y.requires_grad_(), "groups": made.groups}
    op = torch.ops.pcsr_fast.contrastive.default
    values = arguments(op, **contrastive_settings(kind, 0.1)._asdict(), **inputs, backend=backend)
    torch.library.opcheck(op, values)


@pytest.mark.parametrize("backend", SCORE_BACKENDS)
def test_opcheck_from_scores(backend):
    inputs = {"scores": torch.randn(6, 6).requires_grad_(), "groups": torch.arange(6) // 2}
    op = torch.ops.pcsr_fast.contrastive_from_scores.default
    values = arguments(op, **contrastive_settings("infonce", 0.1)._asdict(), **inputs, backend=backend)
    torch.library.opcheck(op, values)


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiles_without_a_break(backend):
    def total_loss(x: Tensor, y: Tensor, groups: Tensor) -> Tensor:
        total = x.new_zeros(())
        for kind in KINDS:
            total = total + contrastive_loss(x, y, kind=kind, groups=groups, backend=backend)
        return total + contrastive_loss_from_scores(x @ y.T, kind="infonce")

    compiled = torch.compile(total_loss, fullgraph=True, backend="aot_eager")
    made = make_pairs(8, 7, 4, torch.float64, grouping="pairs")
    inputs = (made.x.requires_grad_(), made.y.requires_grad_())
    ours, truth = compiled(*inputs, made.groups), total_loss(*inputs, made.groups)
    torch.testing.assert_close(ours, truth)
    torch.testing.assert_close(torch.autograd.grad(ours, inputs), torch.autograd.grad(truth, inputs))
