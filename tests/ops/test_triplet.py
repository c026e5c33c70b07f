"""Triplet losses at chosen points: value, gradient, edges, determinism, torch.library; random ones are beside this."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pcsr_fast import reference
from pcsr_fast.ops import triplet_loss, triplet_loss_from_scores
from pcsr_fast.reference.hinge import MARGIN_MODES
from tests.ops.tools import (
    DTYPES,
    LAYOUTS,
    ODD_SIZES,
    STEADY,
    arguments,
    assert_same,
    assert_same_bits,
    guarded_memory,
    runnable,
    threads,
)
from tests.ops.triplets import NEGATIVES, check_against_float64, evaluated, make_triplets, settled

X = torch.zeros(2, 2)
BACKENDS = runnable("triplet_loss", X, X)
CASES = [
    (mode, negatives, backend)
    for mode in MARGIN_MODES
    for negatives in NEGATIVES
    for backend in runnable("triplet_loss", X, X, margin_mode=mode, negatives=negatives)
    if negatives == "hardest" or mode in ("anchor", "matrix")
]


def upstream_of(losses: Tensor) -> Tensor:
    return torch.linspace(-1, 2, losses.shape[0], dtype=losses.dtype)


def gradients(losses: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Gradients under a per-sample upstream that is not uniform."""
    return torch.autograd.grad(losses @ upstream_of(losses), inputs, retain_graph=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MARGIN_MODES)
@pytest.mark.parametrize("negatives", NEGATIVES)
def test_precision_against_float64(dtype, mode, negatives):
    problem = make_triplets(7, 63, 40, dtype, mode, negatives)
    assert settled(problem).mean() > 0.9
    check_against_float64(problem)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "width"), [*((size, 33) for size in ODD_SIZES), (40, 1537), (1, 1), (2, 4000)])
def test_precision_where_sizes_straddle_tiles(dtype, size, width):
    check_against_float64(make_triplets(size, size, width, dtype, "anchor", "hardest"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_ties_go_to_the_lowest_index(backend):
    x = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    y = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
    triplet_loss(x, y, reduction="none", backend=backend)[2].backward()
    assert x.grad[:, 0].tolist() == [1.0, 0.0, -1.0, 0.0]
    assert y.grad[:, 0].tolist() == [1.0, 0.0, -1.0, 0.0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_hub_collects_every_gradient(backend):
    """Caption 2 is the hardest negative of images 0 and 1, and image 0 is caption 2's own."""
    x, y = torch.eye(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    y[2] = 4.0
    triplet_loss(x, y.requires_grad_(), reduction="sum", backend=backend).backward()
    torch.testing.assert_close(y.grad[2], 2 * x[0] + x[1] - x[2])


@pytest.mark.parametrize(("mode", "negatives", "backend"), CASES)
def test_one_pair_and_one_group_have_no_loss(mode, negatives, backend):
    for size, groups in ((1, None), (5, torch.zeros(5, dtype=torch.int32))):
        problem = make_triplets(0, size, 3, torch.float32, mode, negatives)
        inputs = tuple(value.requires_grad_() for value in (problem.x, problem.y, problem.margin))
        losses = problem._replace(groups=groups).losses(backend)
        assert losses.tolist() == [0.0] * size
        assert not any(gradient.any() for gradient in gradients(losses, inputs))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [2, *ODD_SIZES])
def test_strided_inputs_are_the_contiguous_ones(backend, size):
    problem = make_triplets(1, size, 16, torch.float64, "anchor", "hardest")
    plain = (problem.x.clone().requires_grad_(), problem.y.clone().requires_grad_())
    expected = problem._replace(x=plain[0], y=plain[1]).losses(backend)
    for layout in LAYOUTS:
        laid = tuple(layout(value).requires_grad_() for value in (problem.x, problem.y))
        losses = problem._replace(x=laid[0], y=laid[1]).losses(backend)
        assert_same(losses, expected, bits=backend in STEADY, dtype=torch.float64)
        torch.testing.assert_close(gradients(losses, laid), gradients(expected, plain))


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_row_seen_many_times(backend):
    """Every row is the same memory: all scores are equal, and each loss is two margins."""
    x, y = torch.ones(1, 6).expand(17, 6), torch.full((1, 1), 0.5).expand(17, 6)
    losses = triplet_loss(x, y, margin=0.25, reduction="none", backend=backend)
    assert losses.tolist() == [0.5] * 17


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_tensor_on_both_sides(backend):
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    (ours,) = gradients(triplet_loss(x, x, reduction="none", backend=backend), (x,))
    (truth,) = gradients(reference.triplet_loss(x, x, reduction="none"), (x,))
    torch.testing.assert_close(ours, truth)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("side", ["x", "y", "margin"])
def test_a_gradient_for_one_input_alone(backend, side):
    problem = make_triplets(6, 33, 8, torch.float64, "anchor", "hardest")
    value = getattr(problem, side).requires_grad_()
    (alone,) = gradients(problem.losses(backend), (value,))
    upstream = torch.linspace(-1, 2, 33, dtype=torch.float64)
    truth = evaluated(reference.triplet_loss, problem, upstream, torch.float64)
    torch.testing.assert_close(alone, truth[("x", "y", "margin").index(side) + 1])


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize(("mode", "negatives", "backend"), CASES)
def test_a_gradient_of_one_part_alone(mode, negatives, backend, part):
    """That of both parts, less what the other part alone has; negatives have no gradient."""
    problem = make_triplets(5, 33, 8, torch.float64, mode, negatives)
    inputs = [getattr(problem, name).requires_grad_() for name in ("x", "y", "margin")]
    op = torch.ops.pcsr_fast.triplet.default
    parts = op(*arguments(op, **problem.options | {"x": problem.x, "y": problem.y}, backend=backend))
    assert [value.requires_grad for value in parts] == [True, True, False, False]
    one, other, both = (gradients(losses, inputs) for losses in (parts[part], parts[1 - part], parts[0] + parts[1]))
    for alone, rest, together in zip(one, other, both, strict=True):
        torch.testing.assert_close(alone, together - rest)


@pytest.mark.parametrize(("mode", "negatives", "backend"), CASES)
def test_repeats_to_the_bit_on_any_number_of_threads(mode, negatives, backend):
    problem = make_triplets(3, 300, 64, torch.float32, mode, negatives)
    results = []
    for count in (1, 1, 3) if backend in STEADY else (1, 1, 1):
        with threads(count):
            inputs = tuple(value.detach().requires_grad_() for value in (problem.x, problem.y, problem.margin))
            losses = problem._replace(x=inputs[0], y=inputs[1], margin=inputs[2]).losses(backend)
            results.append((losses, *gradients(losses, inputs)))
    for other in results[1:]:
        for value, expected in zip(other, results[0], strict=True):
            assert_same_bits(value, expected)


@pytest.mark.parametrize(("mode", "negatives", "backend"), CASES)
def test_writes_stay_inside_its_own_memory(mode, negatives, backend):
    problem = make_triplets(3, 100, 33, torch.float32, mode, negatives)
    inputs = tuple(value.requires_grad_() for value in (problem.x, problem.y, problem.margin))
    expected = problem.losses(backend)
    with guarded_memory() as blocks:
        guarded = problem.losses(backend)
        gradients(guarded, inputs)
    assert blocks or backend == "reference"
    assert_same_bits(guarded, expected)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reductions(reduction):
    problem = make_triplets(5, 8, 4, torch.float64, "anchor", "hardest")
    each = triplet_loss(problem.x, problem.y, **problem.options, reduction="none")
    expected = each.mean() if reduction == "mean" else each.sum()
    torch.testing.assert_close(triplet_loss(problem.x, problem.y, **problem.options, reduction=reduction), expected)
    scores = problem.x @ problem.y.T
    torch.testing.assert_close(triplet_loss_from_scores(scores, **problem.options, reduction=reduction), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_does_not_lower_the_precision(backend):
    problem = make_triplets(6, 40, 64, torch.float32, "scalar", "hardest")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = problem.losses(backend)
    assert_same_bits(inside, problem.losses(backend))


OPCHECKED = [case for case in CASES if case[0] == "anchor" or case[:2] == ("matrix", "hardest")]


@pytest.mark.parametrize(("mode", "negatives", "backend"), OPCHECKED)
def test_opcheck(mode, negatives, backend):
    problem = make_triplets(2, 6, 4, torch.float32, mode, negatives)
    inputs = {name: getattr(problem, name).requires_grad_() for name in ("x", "y", "margin")}
    op = torch.ops.pcsr_fast.triplet.default
    torch.library.opcheck(op, arguments(op, **problem.options | inputs, backend=backend))


@pytest.mark.parametrize("backend", runnable("triplet_loss_from_scores", torch.zeros(2, 2)))
@pytest.mark.parametrize("mode", ["anchor", "matrix"])
def test_opcheck_from_scores(mode, backend):
    problem = make_triplets(2, 6, 4, torch.float32, mode, "hardest")
    inputs = {"scores": (problem.x @ problem.y.T).requires_grad_(), "margin": problem.margin.requires_grad_()}
    op = torch.ops.pcsr_fast.triplet_from_scores.default
    torch.library.opcheck(op, arguments(op, **problem.options | inputs, backend=backend))


def test_compiles_without_a_break():
    def total_loss(x: Tensor, y: Tensor, margin: Tensor, groups: Tensor) -> Tensor:
        total = triplet_loss(x, y, margin=margin, groups=groups)
        for negatives in NEGATIVES:
            total = total + triplet_loss_from_scores(x @ y.T, margin=0.1, negatives=negatives, reduction="sum")
        return total

    compiled = torch.compile(total_loss, fullgraph=True, backend="aot_eager")
    for size in (6, 9):
        problem = make_triplets(8, size, 4, torch.float64, "anchor", "hardest")
        inputs = tuple(value.requires_grad_() for value in (problem.x, problem.y, problem.margin))
        ours, truth = compiled(*inputs, problem.groups), total_loss(*inputs, problem.groups)
        torch.testing.assert_close(ours, truth)
        torch.testing.assert_close(torch.autograd.grad(ours, inputs), torch.autograd.grad(truth, inputs))


def sgd_steps(images: Tensor, captions: Tensor, *, compiled: bool, backend: str) -> list[Tensor]:
    """Three steps of plain SGD on two linear encoders, as one function each: the losses, then the weights."""
    torch.manual_seed(3)
    encoders = [torch.nn.Linear(side.shape[1], 5) for side in (images, captions)]
    weights = [weight for encoder in encoders for weight in encoder.parameters()]

    def step(a: Tensor, b: Tensor) -> Tensor:
        x, y = (torch.nn.functional.normalize(encode(side)) for encode, side in zip(encoders, (a, b), strict=True))
        loss = triplet_loss(x, y, backend=backend)
        with torch.no_grad():
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.sub_(0.1 * gradient)
        return loss.detach()

    with torch._dynamo.config.patch(trace_autograd_ops=True):
        run = torch.compile(step, fullgraph=True, backend="aot_eager") if compiled else step
        return [*(run(images, captions) for _ in range(3)), *weights]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_whole_training_step_compiles_without_a_break(backend):
    images, captions = torch.randn(9, 6), torch.randn(9, 4)
    plain = sgd_steps(images, captions, compiled=False, backend=backend)
    assert plain[2] < plain[0]
    torch.testing.assert_close(sgd_steps(images, captions, compiled=True, backend=backend), plain)
