"""Similarity by cross-attention: every backend against the reference, gradients, and what a score must not depend on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcsr_fast import backends, native, reference
from pcsr_fast.errors import BackendError
from pcsr_fast.ops import cross_attention_similarity, filtration_similarity
from pcsr_fast.ops._cross_attention_backends import flat_arguments
from pcsr_fast.ops.cross_attention import problem
from pcsr_fast.ops.cross_attention_blocks import grid_blocks
from pcsr_fast.ops.cross_attention_forms import prepare
from pcsr_fast.reference.attention import l2norm
from tests.ops.cross_attentions import KINDS, Heads, heads, make_head, mapped
from tests.ops.tools import assert_as_good, runnable

EVERY = pytest.mark.parametrize("kind", KINDS)
# One pair's score in a batch of other shape: matrix products may sum in another order.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def truth(made: Heads) -> torch.Tensor:
    return reference.cross_attention_similarity(*made.to(torch.float64))


@given(heads(), st.sampled_from((torch.float64, torch.float32)), st.sampled_from((None, 1, 7, 10_000)))
@settings(max_examples=100)
def test_every_backend_gives_the_references_scores(made: Heads, dtype: torch.dtype, chunk: int | None):
    made = made.to(dtype)
    for backend in runnable("cross_attention_similarity", *made):
        scores = cross_attention_similarity(*made, chunk=chunk, backend=backend)
        plain = reference.cross_attention_similarity(*made)
        assert scores.dtype == dtype
        assert_as_good(scores, plain, truth(made), 1e-11 if dtype == torch.float64 else 1e-5)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_before_anything_is_computed(kind: str, dtype: torch.dtype):
    made = make_head(0, kind).to(dtype)
    scores = cross_attention_similarity(*made)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), truth(made), rtol=1e-4, atol=1e-5)


@EVERY
def test_bfloat16_products_stay_near(kind: str):
    made = make_head(1, kind, images=9, lengths=(5, 2, 7, 5, 1), regions=11, size=32, similarity=16).to(torch.float32)
    for backend in runnable("cross_attention_similarity", *made, precision="bf16"):
        scores = cross_attention_similarity(*made, precision="bf16", backend=backend)
        torch.testing.assert_close(scores.double(), truth(made), rtol=0, atol=0.1)
        # The native core has such products where the machine has; elsewhere it keeps to float32.
        rounds = backend != "cpu" or native.isa() in ("amx", "avx512_bf16")
        assert torch.equal(scores, cross_attention_similarity(*made, precision="exact", backend=backend)) != rounds


@pytest.mark.parametrize("kind", ["scan", "sgr", "saf"])
def test_autocast_around_a_call_changes_nothing(kind: str):
    made = make_head(1, kind).to(torch.float32)
    plain = cross_attention_similarity(*made)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cross_attention_similarity(*made), plain)


@given(heads())
@settings(max_examples=40)
def test_gradients_are_the_references(made: Heads):
    mine, inputs = made.leaves()
    theirs, expected_inputs = made.leaves()
    upstream = torch.randn(len(made.regions), len(made.words), dtype=torch.float64)
    (cross_attention_similarity(*mine, backend="torch", chunk=9) * upstream).sum().backward()
    (cross_attention_similarity(*theirs, backend="reference") * upstream).sum().backward()
    for ours, truth_ in zip(inputs, expected_inputs, strict=True):
        torch.testing.assert_close(ours.grad, truth_.grad, rtol=1e-7, atol=1e-9)


@EVERY
def test_gradients_are_those_of_finite_differences(kind: str):
    made = make_head(2, kind, images=3, lengths=(2, 3), regions=3, size=3, similarity=2, steps=2)
    made = made._replace(words=made.words.nan_to_num(0.5))
    inputs = made.leaves()[1]

    def scores(regions, words, *rest):
        given_ = iter(rest)
        head = mapped(made.head, lambda _: next(given_))
        return cross_attention_similarity(regions, words, made.lengths, head, backend="torch")

    assert torch.autograd.gradcheck(scores, inputs)


@pytest.mark.parametrize("asked", ["regions", "words", "head"])
def test_only_what_asks_gets_a_gradient(asked: str):
    made = make_head(3, "sgr")
    leaves = made.leaves()[0]
    wanted = {name: getattr(leaves if name == asked else made, name) for name in ("regions", "words", "head")}
    cross_attention_similarity(wanted["regions"], wanted["words"], made.lengths, wanted["head"]).sum().backward()
    found = wanted[asked].query_weight if asked == "head" else wanted[asked]
    assert found.grad.abs().sum() > 0
    assert made.regions.grad is None
    assert made.words.grad is None


def test_gradient_of_words_beyond_a_caption_is_zero():
    made, _ = make_head(4, "scan", width=6).leaves()
    cross_attention_similarity(*made).sum().backward()
    beyond = torch.arange(6) >= made.lengths[:, None]
    assert not made.words.grad[beyond].any()
    assert made.words.grad[~beyond].all()


@given(heads(("scan", "sgr", "saf")), st.data())
@settings(max_examples=40)
def test_a_score_depends_on_its_pair_alone(made: Heads, data: st.DataObject):
    rows = data.draw(st.lists(st.integers(0, len(made.regions) - 1), min_size=1))
    captions = data.draw(st.lists(st.integers(0, len(made.words) - 1), min_size=1))
    rows, captions = torch.tensor(rows), torch.tensor(captions)
    scores = cross_attention_similarity(*made)
    torch.testing.assert_close(
        cross_attention_similarity(*made.select(rows, captions)), scores[rows][:, captions], **CLOSE
    )


@EVERY
def test_padding_changes_nothing(kind: str):
    narrow, wide = make_head(5, kind), make_head(5, kind)
    more = torch.full((4, 3, 6), torch.nan, dtype=torch.float64)
    wide = wide._replace(words=torch.cat([wide.words, more], dim=1))
    for backend in runnable("cross_attention_similarity", *narrow):
        scores = cross_attention_similarity(*narrow, backend=backend)
        assert torch.equal(cross_attention_similarity(*wide, backend=backend), scores)


@EVERY
def test_empty_regions_and_words_have_finite_scores_and_gradients(kind: str):
    made = make_head(6, kind)
    made.regions[0], made.words[1], made.regions[2, 1] = 0, 0, 0
    results = []
    for backend in ("torch", "reference"):
        leaves, inputs = made.leaves()
        scores = cross_attention_similarity(*leaves, backend=backend)
        scores.sum().backward()
        results.append((scores.detach(), *(value.grad for value in inputs)))
    for ours, theirs in zip(*results, strict=True):
        assert ours.isfinite().all()
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@given(heads(), st.integers(1, 40), st.booleans())
@settings(max_examples=60)
def test_blocks_hold_every_pair_once_and_no_more_rows_than_asked_for(made: Heads, chunk: int, whole_columns: bool):
    operands = prepare(*made[:2], made.head)
    count = torch.zeros(len(made.regions), len(made.words))
    for block in grid_blocks(operands, made.lengths, chunk, whole_columns):
        count[block.rows, block.captions] += 1
        assert (made.lengths[block.captions] == block.length).all()
        images = block.rows.stop - block.rows.start
        rows = images * len(block.captions) * block.length
        assert rows <= chunk or (len(block.captions) == 1 and (whole_columns or images == 1))
    assert (count == 1).all()


@given(heads(("saf_training",)))
@settings(max_examples=40)
def test_filtration_gives_the_statistics_it_normalised_with(made: Heads):
    found, expected = filtration_similarity(*made), filtration_similarity(*made, backend="reference")
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    fixed = made.head._replace(norm_mean=found.mean[0], norm_variance=found.variance[0])
    again = cross_attention_similarity(made.regions, made.words, made.lengths, fixed)
    torch.testing.assert_close(again[:, 0], found.scores[:, 0], rtol=1e-9, atol=1e-9)


@EVERY
def test_strided_tensors_and_other_integers(kind: str):
    made = make_head(7, kind)
    regions, words = (torch.stack([value, value + 1], dim=-1)[..., 0] for value in made[:2])
    head = mapped(made.head, lambda value: torch.stack([value, value], dim=-1)[..., 0])
    other = Heads(regions, words, made.lengths.to(torch.uint8), head)
    for backend in runnable("cross_attention_similarity", *other):
        scores = cross_attention_similarity(*other, backend=backend)
        torch.testing.assert_close(scores.double(), truth(made), **CLOSE)


def test_reference_alone_is_left_by_the_kill_switch(monkeypatch: pytest.MonkeyPatch):
    made, inputs = make_head(8, "sgr").leaves()
    monkeypatch.setenv("PCSR_FAST_DISABLE", "1")
    chosen = backends.select("cross_attention_similarity", "torch", *made)
    assert chosen is backends._REGISTRY["cross_attention_similarity"]["reference"].run
    cross_attention_similarity(*made).sum().backward()
    assert all(value.grad is not None for value in inputs)


def test_l2norm_of_the_reference_is_the_formula():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(l2norm(x)[0], x[0] / (5 + 1e-8))
    assert not l2norm(x)[1].any()


SGR, SCAN, SAF = (make_head(9, kind) for kind in ("sgr", "scan", "saf"))


@EVERY
@pytest.mark.parametrize("precision", ["exact", "bf16"])
def test_opcheck(kind: str, precision: str):
    made, _ = make_head(12, kind).to(torch.float32).leaves()
    first, last = flat_arguments(problem("test", *made, precision), None)
    torch.library.opcheck(torch.ops.pcsr_fast.cross_attention.default, (*first, *last))
    pairs = (torch.tensor([0, 2]), torch.tensor([1, 0])) if kind != "saf_training" else (None, None)
    upstream = torch.randn(len(made.regions), len(made.words))
    with torch.no_grad():
        arguments = (upstream, *first, *pairs, *last)
        torch.library.opcheck(torch.ops.pcsr_fast.cross_attention_gradient.default, arguments)


@EVERY
def test_compiles_without_a_break(kind: str):
    made, inputs = make_head(13, kind).to(torch.float32).leaves()
    compiled = torch.compile(cross_attention_similarity, fullgraph=True, backend="aot_eager")
    scores = [form(*made) for form in (compiled, cross_attention_similarity)]
    assert torch.equal(*scores)
    for ours, theirs in zip(*(torch.autograd.grad(one.sum(), inputs) for one in scores), strict=True):
        assert torch.equal(ours, theirs)


V, T, N = SGR[:3]
CASES = [
    (
        (V[0], T, N, SCAN.head),
        {},
        ValueError,
        r"regions: got shape \(5, 6\), expected three dimensions, none of them 0",
    ),
    ((V[:0], T, N, SCAN.head), {}, ValueError, r"regions: got shape \(0, 5, 6\)"),
    ((V.long(), T, N, SCAN.head), {}, TypeError, "regions: got dtype torch.int64, expected float64"),
    (([1], T, N, SCAN.head), {}, TypeError, "regions: got list, expected a torch.Tensor"),
    ((V, T.float(), N, SCAN.head), {}, TypeError, "words: got dtype torch.float32, expected torch.float64 as regions"),
    ((V, T[:, :, :3], N, SCAN.head), {}, ValueError, r"words: got shape \(4, 4, 3\) with regions \(4, 5, 6\)"),
    ((V, T, N[:2], SCAN.head), {}, ValueError, r"lengths: got shape \(2,\), expected \(4,\)"),
    ((V, T, N.float(), SCAN.head), {}, TypeError, "lengths: got dtype torch.float32, expected integers"),
    ((V, T, N * 0, SCAN.head), {}, ValueError, "lengths: got 0 at index 0, expected 1 to 4"),
    ((V, T, N + 1, SCAN.head), {}, ValueError, "lengths: got 5 at index 2, expected 1 to 4"),
    ((V, T, N, "sgr"), {}, TypeError, "head: got str, expected ScanParameters, SgrParameters or SafParameters"),
    ((V[:2], T, N, SGR.head), {}, ValueError, r"head.images: got shape \(4, 6\), expected \(2, 6\)"),
    (
        (V, T, N, SGR.head._replace(key_weight=V)),
        {},
        ValueError,
        r"head.key_weight: got shape \(4, 5, 6\), expected \(3, 4, 4\)",
    ),
    (
        (V, T, N, SAF.head._replace(norm_bias=V[0, 0])),
        {},
        ValueError,
        r"head.norm_bias: got shape \(6,\), expected \(\)",
    ),
    ((V, T, N, SAF.head._replace(norm_mean=None)), {}, ValueError, "head: got one of norm_mean and norm_variance"),
    (
        (V, T, N, SGR.head),
        {"precision": "screened"},
        ValueError,
        "precision: got 'screened', expected one of auto, exact",
    ),
    ((V, T, N, SGR.head), {"chunk": 0}, ValueError, "chunk: got 0, expected at least 1 or None"),
    ((V, T, N, SGR.head), {"backend": "cuda"}, BackendError, "cross_attention_similarity: backend 'cuda' cannot run"),
]


@pytest.mark.parametrize(("args", "options", "error", "message"), CASES)
def test_bad_arguments_are_named_in_one_line(args, options, error, message):
    with pytest.raises(error, match=message) as caught:
        cross_attention_similarity(*args, **options)
    assert "\n" not in str(caught.value)


def test_filtration_needs_a_batch_to_take_statistics_of():
    with pytest.raises(ValueError, match="got SafParameters with statistics, expected SafParameters without"):
        filtration_similarity(*SAF)
