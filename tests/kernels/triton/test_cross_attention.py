"""SCAN and SGR: scores against float64 over ragged captions, what they must not depend on, the loss from few pairs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import backends, reference
from pcsr_fast.errors import BackendError
from pcsr_fast.kernels.triton.attention_table import INTERPRETED, Plan
from pcsr_fast.kernels.triton.groups import Tile, grid_parts, pair_parts
from pcsr_fast.kernels.triton.scan import scan_scores
from pcsr_fast.kernels.triton.sgr import Sides, Tiles, sgr_scores
from pcsr_fast.ops import cross_attention_similarity, hardest_triplet_of_head
from pcsr_fast.ops._cross_attention_backends import flat_arguments
from pcsr_fast.ops._cross_attention_gradients import PAIRS
from pcsr_fast.ops.cross_attention import problem
from pcsr_fast.ops.triton import cross_attention as adapter
from pcsr_fast.reference import ScanParameters, SgrParameters
from tests.ops.cross_attentions import Heads, learnable, make_head, native_problems
from tests.tools.triton_sanitizer import sanitized

BOTH = pytest.mark.parametrize("kind", ["scan", "sgr"])
# One word, captions that fill a tile's slots with and without node 0, and one more; regions, sizes that fill no tile.
SMALL: dict[str, Any] = {"images": 2, "lengths": (1, 16, 5, 15), "regions": 5, "size": 20, "similarity": 18, "steps": 2}
WIDE: dict[str, Any] = {"images": 2, "lengths": (31, 2, 33, 64, 1, 70), "regions": 36, "size": 70, "similarity": 33}
TOLERANCE = {"exact": 1e-5, "auto": 1e-5, "bf16": 2e-2}


def error(made: Heads, scores: Tensor) -> float:
    """Largest distance from float64, relative to the largest score."""
    truth = reference.cross_attention_similarity(*made.to(torch.float64))
    assert scores.dtype == torch.float32
    assert scores.shape == truth.shape
    return float((scores.double() - truth).abs().amax() / truth.abs().amax())


@BOTH
@pytest.mark.parametrize("precision", list(TOLERANCE))
def test_scores_follow_float64(kind: str, precision: str) -> None:
    made = learnable(0, kind, **SMALL)
    assert error(made, cross_attention_similarity(*made, precision=precision)) < TOLERANCE[precision]


@BOTH
@pytest.mark.kernels
@pytest.mark.parametrize("precision", list(TOLERANCE))
def test_long_captions_and_as_many_regions_as_published(kind: str, precision: str) -> None:
    made = learnable(0, kind, **WIDE)
    assert error(made, cross_attention_similarity(*made, precision=precision)) < TOLERANCE[precision]


@BOTH
@pytest.mark.kernels
@given(made=native_problems(), precision=st.sampled_from(("exact", "auto")))
@settings(max_examples=15, deadline=None)
def test_scores_follow_float64_whatever_the_sizes(kind: str, made: Heads, precision: str) -> None:
    kinds = {"scan": ScanParameters, "sgr": SgrParameters}
    short = made.select(torch.arange(min(3, len(made.regions))), torch.arange(min(4, len(made.words))))
    if isinstance(short.head, kinds[kind]):
        assert error(short, cross_attention_similarity(*short, precision=precision)) < 1e-5


@BOTH
@pytest.mark.parametrize("lengths", [(1,), (3,)], ids=str)
def test_one_image_with_one_caption(kind: str, lengths: tuple[int, ...]) -> None:
    made = learnable(1, kind, images=1, lengths=lengths, regions=1, size=1, similarity=1, steps=1)
    assert error(made, cross_attention_similarity(*made)) < 1e-5


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kernels_multiply_half_precision(kind: str, dtype: torch.dtype) -> None:
    """The op widens such inputs; the kernels take them as they are."""
    made = learnable(2, kind, **SMALL).to(dtype)
    scores = torch.empty(2, 4)
    run(
        made,
        made.head,
        scores,
        list(grid_parts(made.lengths.tolist(), 2, 64, int(kind == "sgr"), 10**6, scores.device)),
    )
    assert error(made, scores) < (2e-3 if dtype == torch.float16 else 2e-2)


def run(made: Heads, head: Any, scores: Tensor, parts: Any) -> None:
    """The kernels themselves, on operands in the dtype of the problem."""
    lengths = made.lengths.int()
    if isinstance(head, ScanParameters):
        scan_scores(made.regions, made.words, lengths, 9.0, parts, INTERPRETED.scan, scores)
    else:
        graph = adapter._graph(head, made.regions, made.words, made.regions.dtype)
        sides = Sides(made.regions, made.words, head.images, head.captions, lengths)
        sgr_scores(sides, graph, 9.0, parts, INTERPRETED.sgr, scores)


@BOTH
def test_padding_changes_nothing_and_is_not_read(kind: str) -> None:
    """Words beyond a caption are NaN in all problems here; more of them, or infinite ones, give the same bits."""
    made = learnable(3, kind, **SMALL)
    scores = cross_attention_similarity(*made)
    padded = torch.full((4, 21, 20), torch.inf)
    padded[:, :16] = made.words
    assert scores.isfinite().all()
    assert torch.equal(cross_attention_similarity(*made._replace(words=padded)), scores)


@BOTH
def test_chunks_and_company_change_nothing(kind: str) -> None:
    made = learnable(4, kind, **SMALL)
    scores = cross_attention_similarity(*made)
    assert torch.equal(cross_attention_similarity(*made, chunk=1), scores)
    rows, captions = torch.tensor([1, 0]), torch.tensor([3, 0, 2])
    part = cross_attention_similarity(*made.select(rows, captions))
    torch.testing.assert_close(part, scores[rows][:, captions], rtol=1e-6, atol=1e-7)


@BOTH
def test_empty_regions_and_words_have_the_references_scores(kind: str) -> None:
    made = learnable(5, kind, **SMALL)
    made.regions[0], made.words[1], made.regions[1, 1] = 0, 0, 0
    assert error(made, cross_attention_similarity(*made)) < 1e-5


@BOTH
def test_listed_pairs_alone_are_scored(kind: str) -> None:
    made = learnable(6, kind, **SMALL)
    rows, captions = torch.tensor([1, 0, 1, 1]), torch.tensor([2, 1, 0, 3])
    asked, filled = problem("test", *made), torch.full((2, 4), 7.0)
    found = asked.run(PAIRS, "triton", asked, filled, rows, captions)
    whole = cross_attention_similarity(*made)
    torch.testing.assert_close(found[rows, captions], whole[rows, captions], rtol=1e-6, atol=1e-7)
    assert int((found == 7).sum()) == 4
    assert (filled == 7).all()


@BOTH
def test_captions_longer_than_a_tile_are_scored_too(kind: str) -> None:
    made = learnable(6, kind, **SMALL | {"lengths": (65, 2, 64)})
    assert error(made, cross_attention_similarity(*made)) < 1e-5
    asked, rows, captions = problem("test", *made), torch.tensor([1, 0]), torch.tensor([0, 1])
    found = asked.run(PAIRS, "triton", asked, torch.full((2, 3), 7.0), rows, captions)
    whole = cross_attention_similarity(*made)
    torch.testing.assert_close(found[rows, captions], whole[rows, captions], rtol=1e-6, atol=1e-7)
    assert int((found == 7).sum()) == 4


def test_pairs_of_one_image_share_tiles() -> None:
    device = torch.device("cpu")
    parts = list(pair_parts([3, 4, 5, 30, 32], ([1, 0, 1, 1, 0], [0, 2, 2, 3, 4]), 32, 1, 1000, device))
    assert [(part.slots, part.images.tolist(), part.captions.tolist()) for part in parts] == [
        (16, [0, 1], [[2, -1], [0, 2]]),
        (32, [1], [[3]]),
    ]


@BOTH
@pytest.mark.parametrize("screen", [None, "bf16"])
def test_the_sparse_loss_runs_through_the_kernels(monkeypatch: pytest.MonkeyPatch, kind: str, screen: str | None):
    """The screen and the scores of pairs by Triton, the gradient by the batched form: those of all pairs in float64."""
    monkeypatch.delenv("PCSR_FAST_BACKEND")
    sizes = SMALL | {"images": 4, "lengths": (3, 6, 2, 5)}
    made, results = learnable(7, kind, **sizes), []
    for dtype, options in ((torch.float32, {"screen": screen, "backend": "triton"}), (torch.float64, {})):
        leaves, inputs = made.to(dtype).leaves()
        options = {"margin": 0.5, "reduction": "sum"} | options
        loss = hardest_triplet_of_head(leaves.head, *leaves[:3], **options)
        results.append((loss, *torch.autograd.grad(loss, inputs)))
    for ours, truth in zip(*results, strict=True):
        largest = max(1.0, float(truth.detach().abs().max()))
        torch.testing.assert_close(ours.double(), truth, rtol=1e-4, atol=1e-4 * largest)


@BOTH
@pytest.mark.parametrize("tiles", ["one", "several"])
def test_memory_is_respected(monkeypatch: pytest.MonkeyPatch, kind: str, tiles: str) -> None:
    """Of every kernel: no lane out of bounds, no race between programs, no read of memory never written."""
    made = learnable(8, kind, **SMALL)
    if tiles == "several":
        tile = Tile(32, 16, columns=16)
        plan = Plan(tile, Tiles(tile, tile, tile, tile))
        monkeypatch.setattr("pcsr_fast.kernels.triton.attention_table.INTERPRETED", plan)
    asked = problem("test", *made)
    with sanitized() as faults:
        found = asked.run("cross_attention_similarity", "triton", *asked)
        asked.run(PAIRS, "triton", asked, found, torch.tensor([1, 0]), torch.tensor([2, 1]))
    assert not faults
    assert error(made, found) < 1e-5


@BOTH
@pytest.mark.kernels
def test_opcheck(kind: str) -> None:
    made, _ = learnable(9, kind, **SMALL).leaves()
    first, last = flat_arguments(problem("test", *made), "triton")
    torch.library.opcheck(torch.ops.pcsr_fast.cross_attention.default, (*first, *last))


def reason(made: Heads, **options: Any) -> str:
    return backends.explain("cross_attention_similarity", *made, **options).reasons["triton"]


def test_reasons() -> None:
    made = make_head(0, "sgr").to(torch.float32)
    assert reason(made) == reason(made.to(torch.float16)) == "can run"
    assert reason(made.to(torch.float64)) == "no kernel for float64"
    assert reason(make_head(0, "saf").to(torch.float32)) == "it has no kernel of SAF"
    none = made._replace(head=SgrParameters(*(one[:0] if one.ndim == 3 else one for one in made.head)))
    assert reason(none) == "it has no kernel of SGR without steps"
    assert reason(make_head(0, "scan", regions=65).to(torch.float32)) == "65 regions an image, expected at most 64"
    with pytest.raises(BackendError, match="triton: it has no kernel of SAF"):
        cross_attention_similarity(*make_head(0, "saf").to(torch.float32))
