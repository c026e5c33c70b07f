"""Ops of the backends "triton" and "cuda" on a GPU: against float64, twice to the bit, in graphs and streams, in memory.

`python -m pytest -m gpu` runs these. NEVER RUN YET: they were written on a machine without a GPU, where they are collected
and left out. A backend that is not there fails them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from pcsr_fast import backends, ops, reference
from pcsr_fast.reference.contrastive_terms import KINDS
from pcsr_fast.reference.hinge import MARGIN_MODES
from pcsr_fast.reference.ranks import TIES
from tests.kernels.cuda.problems import score_bound
from tests.ops import contrasts, cross_attentions, mixtures, searches, triplets
from tests.ops.tools import FORWARD, LAYOUTS, assert_as_good, group_ids, make_pairs, rows_of

NAMES = ("triton", "cuda")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SIZES = (1, 2, 63, 100, 127, 130, 257)
PRECISIONS = ("auto", "exact", "bf16")
MEGABYTE = 2**20
# What a backend has no kernel for is in no list of its own here.
CONTRASTIVE = ("triton",)
FROM_SCORES = ("triton",)
COVERED = {
    *("hardest_negatives", "retrieval_ranks", "retrieval_ranks_from_scores", "pair_losses"),
    *("triplet_loss", "hardest_gradient", "triplet_gradient", "triplet_loss_from_scores", "triplet_score_gradient"),
    *("contrastive_loss", "contrastive_gradient", "contrastive_loss_from_scores", "fit_mixture", "mixture_posterior"),
    *("cross_attention_similarity", "cross_attention_pairs", "cross_attention_gradient"),
}


def test_no_op_with_a_kernel_is_left_out() -> None:
    """Runs everywhere."""
    assert {op for op in backends.registered_ops() if set(NAMES) & set(backends.implemented(op))} == COVERED


def on_gpu(value: Any) -> Any:
    """Tensors, also inside a tuple, on the GPU; a problem is drawn by a generator of the CPU."""
    if isinstance(value, Tensor):
        return value.cuda()
    if isinstance(value, tuple):
        parts = [on_gpu(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


@pytest.fixture
def gpu() -> Iterator[None]:
    """New tensors go to the GPU, for the checks that are written without a device."""
    with torch.device("cuda"):
        yield


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ops take this backend or raise."""
    monkeypatch.setenv("PCSR_FAST_BACKEND", request.param)
    return str(request.param)


def drawn(make: Callable[..., Any], *arguments: Any) -> Any:
    """A problem made on the CPU and moved."""
    with torch.device("cpu"):
        problem = make(*arguments)
    return on_gpu(problem)


def make_sides(rows: int, columns: int, width: int, dtype: torch.dtype, kind: str, grouping: str) -> searches.Sides:
    generator = torch.Generator().manual_seed(rows)
    x, y = (rows_of(kind, count, width, generator).to(dtype) for count in (rows, columns))
    ids = [group_ids(grouping, count, generator) for count in (rows, columns)]
    filled = tuple(torch.arange(n) if side is None else side for side, n in zip(ids, (rows, columns), strict=True))
    return searches.Sides(x, y, filled, kind == "integers")


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
class TestAgainstFloat64:
    @pytest.mark.parametrize("precision", PRECISIONS)
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("kind", ["unit", "integers", "duplicates"])
    def test_hardest_negatives(self, backend, kind, dtype, precision):
        for rows, columns, width in ((1, 1, 1), (1, 257, 33), (130, 63, 70), (257, 127, 128), (100, 1000, 65)):
            for grouping in ("none", "pairs", "some", "one"):
                problem = drawn(make_sides, rows, columns, width, dtype, kind, grouping)
                assert problem.backends(precision=precision) == [backend]
                rounded = problem._replace(x=problem.x.bfloat16(), y=problem.y.bfloat16())
                compared = rounded if precision == "bf16" else problem
                found = problem.search(backend, precision=precision)
                searches.check_choices(compared, found, score_bound(problem))

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_strides(self, backend, layout):
        plain = drawn(make_sides, 130, 100, 33, torch.float16, "unit", "pairs")
        laid = plain._replace(x=layout(plain.x), y=layout(plain.y))
        for ours, other in zip(laid.search(backend), plain.search(backend), strict=True):
            assert torch.equal(ours, other)

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("mode", MARGIN_MODES)
    @pytest.mark.parametrize("negatives", ["hardest", "mean", "sum"])
    def test_triplet_losses(self, backend, negatives, mode, dtype):
        for size in SIZES:
            problem = drawn(triplets.make_triplets, size, size, 33, dtype, mode, negatives)
            assert problem.backends() == [backend]
            triplets.check_against_float64(problem)

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("kind", KINDS)
    def test_contrastive_losses(self, kind, dtype):
        for size in SIZES:
            for name in CONTRASTIVE:
                contrasts.check_against_float64(drawn(contrasts.make_contrasts, 7, size, 40, dtype, kind), [name])

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("batch_size", [None, 30])
    def test_pair_losses(self, backend, dtype, batch_size):
        for size in SIZES:
            made = drawn(make_pairs, size, size, 33, dtype, "unit", "pairs")
            options = {"batch_size": batch_size, "groups": made.groups, "margin": 0.3}
            truth = reference.pair_losses(made.x.double(), made.y.double(), **options)
            theirs, ours = reference.pair_losses(made.x, made.y, **options), ops.pair_losses(made.x, made.y, **options)
            assert_as_good(ours.losses, theirs.losses, truth.losses, FORWARD[dtype])

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("ties", TIES)
    def test_ranks(self, backend, ties, dtype):
        for images, texts in ((1, 1), (63, 2), (100, 257), (257, 130)):
            for kind in ("unit", "integers"):
                problem = drawn(searches.make_gallery, images, texts, 70, dtype, kind, ties)
                assert problem.backends() == [backend]
                searches.check_ranks(problem, problem.ranks(backend))
            same = problem._replace(x=problem.x[:1].expand_as(problem.x), y=problem.y[:1].expand_as(problem.y))
            flat = reference.retrieval_ranks(same.x.double(), same.y.double(), same.image_of_text, ties)
            searches.assert_equal_ranks(same.ranks(backend), flat)

    @pytest.mark.parametrize("dtype", [*DTYPES, torch.float64], ids=str)
    @pytest.mark.parametrize("count", [2, 63, 1000, 70_001])
    @pytest.mark.filterwarnings("ignore::pcsr_fast.ops.MixtureWarning")
    def test_mixtures(self, backend, count, dtype):
        values = drawn(mixtures.drawn, count, count, "bimodal", dtype)
        for kind, init in (("gaussian", "quantile"), ("gaussian", "kmeans"), ("beta", "quantile")):
            options = {"kind": kind, "init": init, "max_iter": 8}
            ours, truth = (ops.fit_mixture(values, backend=name, **options) for name in (backend, "reference"))
            mixtures.assert_same_fit(ours, truth, 1e-6)
            torch.testing.assert_close(ours.posterior(), truth.posterior(), rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("name", FROM_SCORES)
    @pytest.mark.parametrize("negatives", ["hardest", "mean"])
    def test_ready_made_scores(self, name, negatives):
        for size in SIZES:
            S = torch.randn(size, size).T
            pair = [value.clone().requires_grad_() for value in (S, S.double())]
            for kind in (None, *KINDS):
                if kind is None:
                    options = {"negatives": negatives, "reduction": "none"}
                    ours = ops.triplet_loss_from_scores(pair[0], **options, backend=name)
                    truth = reference.triplet_loss_from_scores(pair[1], **options)
                    found, expected = (
                        torch.autograd.grad(v.sum(), p)[0] for v, p in zip((ours, truth), pair, strict=True)
                    )
                    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
                else:
                    options = {"kind": kind, "temperature": 0.5, "reduction": "none"}
                    ours = ops.contrastive_loss_from_scores(S, **options, backend=name)
                    truth = reference.contrastive_loss_from_scores(S.double(), **options)
                torch.testing.assert_close(ours.double(), truth, rtol=1e-4, atol=1e-4)
            images = torch.arange(size)
            for ties in TIES:
                ranks = ops.retrieval_ranks_from_scores(S, images, ties, backend=name)
                searches.assert_equal_ranks(ranks, reference.retrieval_ranks_from_scores(S, images, ties))

    @pytest.mark.parametrize("precision", PRECISIONS)
    @pytest.mark.parametrize("kind", ["scan", "sgr"])
    def test_heads(self, kind, precision):
        sizes = {"images": 7, "lengths": cross_attentions.RAGGED, "regions": 36, "size": 96, "similarity": 40}
        problem = drawn(partial(cross_attentions.make_head, 0, kind, **sizes))
        truth = reference.cross_attention_similarity(*problem)
        ours = ops.cross_attention_similarity(*problem.to(torch.float32), precision=precision, backend="triton")
        allowed = cross_attentions.TOLERANCE[precision]
        torch.testing.assert_close(ours.double(), truth, rtol=allowed, atol=allowed)

    @pytest.mark.parametrize("kind", ["scan", "sgr"])
    def test_hardest_negatives_of_heads(self, kind):
        lengths = cross_attentions.RAGGED[:8]
        problem = drawn(partial(cross_attentions.make_head, 1, kind, images=8, lengths=lengths)).to(torch.float32)
        steps = []
        for name in ("triton", "torch"):
            (regions, words, counts, head), leaves = problem.leaves()
            loss = ops.hardest_triplet_of_head(head, regions, words, counts, margin=0.2, backend=name)
            steps.append((loss.detach(), *torch.autograd.grad(loss, leaves, allow_unused=True)))
        for ours, other in zip(*steps, strict=True):
            torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)

    def test_no_rows_are_refused(self, backend):
        for x in (torch.zeros(0, 4), torch.zeros(4, 0)):
            with pytest.raises(ValueError, match="none of them 0"):
                ops.triplet_loss(x, x)


Step = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


def with_gradients(loss: Callable[..., Tensor], **options: Any) -> Step:
    """Per-sample losses and gradients of both sides."""

    def step(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        inputs = [side.detach().requires_grad_() for side in (x, y)]
        losses = loss(*inputs, **options, reduction="none")
        return losses.detach(), *torch.autograd.grad(losses.float().sum(), inputs)

    return step


def ranked(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Without the op's check of the images, which asks the device."""
    images = torch.arange(y.shape[0], device=y.device) % x.shape[0]
    run = backends.select("retrieval_ranks", None, x, y, ties="stable", precision="auto")
    return tuple(run(x, y, images, "stable", "auto"))


def searched(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return tuple(ops.hardest_negatives(x, y))


def of_pairs(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return (ops.pair_losses(x, y).losses,)


STEPS: dict[str, Step] = {
    "search": searched,
    "ranks": ranked,
    "pairs": of_pairs,
    "hardest": with_gradients(ops.triplet_loss),
    "mean": with_gradients(ops.triplet_loss, negatives="mean"),
}
ALL_STEPS = [("triton", name) for name in (*STEPS, *KINDS)] + [("cuda", name) for name in STEPS]


@pytest.fixture(params=ALL_STEPS, ids=lambda pair: "-".join(pair))
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Step:
    name, what = request.param
    monkeypatch.setenv("PCSR_FAST_BACKEND", name)
    return STEPS.get(what) or with_gradients(ops.contrastive_loss, kind=what)


def embeddings(size: int, width: int, dtype: torch.dtype, seed: int = 0, device: str = "cuda") -> tuple[Tensor, Tensor]:
    generator = torch.Generator(device).manual_seed(seed)
    sides = (torch.randn(size, width, generator=generator, device=device) for _ in range(2))
    x, y = (torch.nn.functional.normalize(side, dim=1).to(dtype) for side in sides)
    return x, y


@pytest.mark.gpu
class TestOnADevice:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_two_runs_are_equal_to_the_bit(self, step, dtype):
        x, y = embeddings(3001, 200, dtype)
        first = [value.clone() for value in step(x, y)]
        for _ in range(3):
            assert all(torch.equal(ours, other) for ours, other in zip(step(x, y), first, strict=True))

    def test_a_graph_captures_it(self, step):
        """One recorded step, replayed on other numbers in the same memory."""
        x, y = embeddings(1030, 64, torch.bfloat16)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step(x, y)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            recorded = step(x, y)
        for seed in (1, 2):
            for place, value in zip((x, y), embeddings(1030, 64, torch.bfloat16, seed), strict=True):
                place.copy_(value)
            graph.replay()
            torch.cuda.synchronize()
            assert all(torch.equal(ours, other) for ours, other in zip(recorded, step(x, y), strict=True))

    def test_it_waits_for_its_own_stream(self, step):
        x, y = embeddings(700, 64, torch.bfloat16)
        expected, late = step(x, y), [torch.zeros_like(x), torch.zeros_like(y)]
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(100_000_000)
            for place, value in zip(late, (x, y), strict=True):
                place.copy_(value)
            found = step(*late)
        stream.synchronize()
        assert all(torch.equal(ours, other) for ours, other in zip(found, expected, strict=True))

    def test_it_runs_where_its_tensors_are(self, step):
        """On the last device, while the first is current."""
        last = f"cuda:{torch.cuda.device_count() - 1}"
        with torch.cuda.device(0):
            found = step(*embeddings(130, 33, torch.float32, device=last))
        assert {value.device for value in found} == {torch.device(last)}


def extra_memory(run: Callable[[], Any]) -> int:
    """Bytes that a run needs at its peak beside what it returns."""
    run()  # compiles, and fills caches of constants
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = run()
    torch.cuda.synchronize()
    peak, after = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
    del kept
    return peak - max(before, after)


@pytest.mark.gpu
class TestMemory:
    """KERNELS 1: nothing of the size of the score matrix."""

    def test_a_hardest_step_of_65536_pairs(self, backend):
        x, y = embeddings(65_536, 768, torch.bfloat16)
        assert extra_memory(lambda: STEPS["hardest"](x, y)) < 4_000_000

    def test_searches(self, backend):
        x, y = embeddings(65_536, 64, torch.bfloat16)
        for name in ("search", "ranks"):
            assert extra_memory(lambda name=name: STEPS[name](x, y)) < 8 * MEGABYTE

    @pytest.mark.parametrize("kind", ["infonce", "ccl_log", "tal"])
    def test_contrastive_losses_keep_a_chunk(self, kind, monkeypatch):
        """Scores of 4,096 rows, those before them, their slopes, and float32 gradients."""
        monkeypatch.setenv("PCSR_FAST_BACKEND", "triton")
        x, y = embeddings(16_384, 256, torch.bfloat16)
        chunk = 4096 * 16_384 * 4
        step = with_gradients(ops.contrastive_loss, kind=kind)
        assert extra_memory(lambda: step(x, y)) < 3 * chunk + 8 * x.nbytes

    def test_a_mixture_keeps_sums_alone(self, backend):
        """Beside the copies in float64 that the start sorts."""
        values = torch.rand(10_000_000, device="cuda")
        fit = {"kind": "beta", "max_iter": 3}
        assert extra_memory(lambda: ops.fit_mixture(values, **fit)) < values.nbytes + 16 * MEGABYTE


@pytest.mark.gpu
def test_iterations_of_a_mixture_are_captured() -> None:
    """Once started, EM asks the device for nothing: a graph of ten steps ends where ten queued steps do."""
    from pcsr_fast.kernels.triton.mixture import NUMBERS, Passes
    from pcsr_fast.ops.device_mixture import ITERATE, START

    values = drawn(mixtures.drawn, 3, 50_001, "bimodal", torch.float32)
    passes = Passes(values, "gaussian", 1e-9, 5e-4)
    start = torch.zeros(NUMBERS, dtype=torch.float64, device="cuda")
    start[10], start[13] = -torch.inf, torch.inf
    passes.step(start, START, (values > 0.4).to(torch.uint8))
    queued, captured = start.clone(), start.clone()
    for _ in range(10):
        passes.step(queued, ITERATE)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(10):
            passes.step(captured, ITERATE)
    captured.copy_(start)
    graph.replay()
    assert torch.equal(captured, queued)
