"""SGR and SAF against a pair-by-pair recomputation of METHODS 2.1, and what their scores must not depend on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.layers import l2norm
from pcsr_fast.models.sgraf import SGRAFHead
from pcsr_fast.ops import triplet_loss_from_scores
from pcsr_fast.ops.scores import triplet_loss_of
from pcsr_fast.reference.attention import attended_regions
from pcsr_fast.reference.sgr import Alignment, alignment_nodes
from tests.models import naive
from tests.models.conftest import unsettle

LENGTHS = [4, 1, 3, 2]
KINDS = pytest.mark.parametrize("kind", ["sgr", "saf"])
MODES = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


def head(kind: str, *, d: int = 6, s: int = 4, steps: int = 3, regions: int = 5, dropout: float = 0.0) -> SGRAFHead:
    built = SGRAFHead(kind, d, s, steps, regions, dropout)
    unsettle(built, seed=7)
    return built


def data(
    images: int, regions: int, d: int, lengths: list[int], width: int, seed: int = 0
) -> tuple[Tensor, TextFeatures]:
    generator = torch.Generator().manual_seed(seed)
    V = l2norm(torch.randn(images, regions, d, generator=generator, dtype=torch.float64))
    T = l2norm(torch.randn(len(lengths), width, d, generator=generator, dtype=torch.float64))
    counts = torch.tensor(lengths)
    return V, TextFeatures(T * (torch.arange(width) < counts[:, None])[..., None], counts)


@KINDS
@MODES
def test_scores_are_those_of_the_equations(kind: str, training: bool):
    model = head(kind).train(training)
    V, texts = data(3, 5, 6, LENGTHS, width=4)
    words = [t[:n] for t, n in zip(texts.values, LENGTHS, strict=True)]
    # Before the call: a training forward moves the running statistics, which evaluation would read.
    expected = naive.similarity(model.state_dict(), kind, 3, list(V), words, training)
    S = model(V, texts).detach()
    torch.testing.assert_close(S, expected, rtol=0, atol=1e-10)
    assert float(S.std()) > 1e-3
    assert 0 < float(S.min()) < float(S.max()) < 1


@KINDS
@MODES
def test_gradients_in_regions_words_and_parameters(kind: str, training: bool):
    model = head(kind, d=3, s=2, steps=2, regions=3).train(training)
    V, texts = data(3, 3, 3, [2, 3], width=3, seed=1)
    names = [name for name, _ in model.named_parameters()]

    def scores(regions: Tensor, words: Tensor, *parameters: Tensor) -> Tensor:
        given = dict(zip(names, parameters, strict=True))
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        return functional_call(model, {**given, **buffers}, (regions, TextFeatures(words, texts.lengths)))

    inputs = [V, texts.values, *(p.detach() for p in model.parameters())]
    assert torch.autograd.gradcheck(scores, [x.clone().requires_grad_() for x in inputs])


@KINDS
@MODES
def test_padding_changes_nothing(kind: str, training: bool):
    model = head(kind).train(training)
    V, texts = data(3, 5, 6, LENGTHS, width=4)
    wide = torch.cat([texts.values, torch.full((4, 3, 6), 9.0, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(model(V, TextFeatures(wide, texts.lengths)), model(V, texts), rtol=0, atol=0)


@KINDS
def test_permuting_items_permutes_scores(kind: str):
    model = head(kind).eval()
    V, texts = data(3, 5, 6, LENGTHS, width=4)
    S = model(V, texts)
    rows, columns = torch.tensor([2, 0, 1]), torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(model(V[rows], texts.select(columns)), S[rows][:, columns], rtol=0, atol=1e-14)
    torch.testing.assert_close(model(V[1:2], texts.select(columns[:1])), S[1:2, 3:4], rtol=0, atol=1e-14)


@KINDS
def test_regions_are_weighed_by_the_head_but_words_attend_to_them_as_a_set(kind: str):
    V, texts = data(2, 5, 6, [4], width=4)
    order = torch.tensor([4, 2, 0, 1, 3])
    context = attended_regions(V, texts.values[0])
    torch.testing.assert_close(attended_regions(V[:, order], texts.values[0]), context, rtol=0, atol=1e-14)
    model = head(kind).eval()
    assert not torch.equal(model(V[:, order], texts), model(V, texts))


@KINDS
def test_dropout_acts_in_training_alone(kind: str):
    model = head(kind, dropout=0.5)
    V, texts = data(3, 5, 6, LENGTHS, width=4)
    assert not torch.equal(model.train()(V, texts), model(V, texts))
    assert torch.equal(model.eval()(V, texts), model(V, texts))


def test_state_dict_names():
    attention = {f"{m}.{p}" for m in ("local.0", "mean.0", "weight") for p in ("weight", "bias")}
    norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    shared = {f"visual.{name}" for name in attention} | {f"textual.{name}" for name in attention}
    shared |= {f"visual.{m}.1.{p}" for m in ("local", "mean") for p in norm}
    shared |= {f"{m}.{p}" for m in ("local", "glob", "output") for p in ("weight", "bias")}
    graph = {f"graph.{k}.{m}.{p}" for k in range(3) for m in ("query", "key", "update") for p in ("weight", "bias")}
    saf = {f"filtration.score.{p}" for p in ("weight", "bias")} | {f"filtration.norm.{p}" for p in norm}
    assert set(head("sgr").state_dict()) == shared | graph
    assert set(head("saf").state_dict()) == shared | saf


def test_running_statistics_move_as_if_captions_came_one_by_one():
    model = head("saf").train()
    V, texts = data(3, 5, 6, LENGTHS, width=4)
    expected = torch.nn.BatchNorm1d(1).double().train()
    expected.load_state_dict(model.filtration.norm.state_dict())
    with torch.no_grad():
        parameters = model.head_parameters(V, texts.values, texts.lengths)
        for j, (words, length) in enumerate(zip(texts.values, LENGTHS, strict=True)):
            nodes = alignment_nodes(V, words[:length], parameters.captions[j], Alignment(*parameters[:6]))
            expected((nodes @ parameters.score_weight + parameters.score_bias).unsqueeze(1))
    model(V, texts)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(model.filtration.norm.state_dict()[name], value, rtol=1e-12, atol=1e-12)
    triplet_loss_of(model.scores(V, texts.select(torch.tensor([0, 1, 2]))))
    assert int(model.filtration.norm.num_batches_tracked) == int(expected.num_batches_tracked) + 3


@KINDS
@MODES
def test_sparse_loss_shares_one_draw_of_dropout(kind: str, training: bool):
    """Losses and gradients of the sparse form, dropout and batch statistics included, are those of all scores."""
    model = head(kind, dropout=0.5).train(training)
    V, texts = data(4, 5, 6, LENGTHS, width=4)
    upstream = torch.tensor([0.3, -1.0, 2.0, 0.7], dtype=torch.float64)
    margin = torch.tensor([0.2, 0.1, 0.4, 0.3], dtype=torch.float64)
    state, results = {name: value.clone() for name, value in model.state_dict().items()}, []
    for sparse in (True, False):
        model.load_state_dict(state)
        torch.manual_seed(3)
        regions = V.clone().requires_grad_()
        options = {"margin": margin, "reduction": "none"}
        if sparse:
            losses = triplet_loss_of(model.scores(regions, texts), **options)
        else:
            losses = triplet_loss_from_scores(model(regions, texts), **options)
        gradients = torch.autograd.grad((losses * upstream).sum(), [regions, *model.parameters()])
        results.append((losses.detach(), *gradients))
    assert float(results[0][0].max()) > 0
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@KINDS
def test_autocast_rounds_products_to_bfloat16(kind: str):
    model = head(kind).eval()
    V, texts = data(3, 5, 6, LENGTHS, width=4)
    model.float()
    texts = TextFeatures(texts.values.float(), texts.lengths)
    plain = model(V.float(), texts)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(V.float(), texts)
        loss = triplet_loss_of(model.scores(V.float()[[0, 1, 2, 0]], texts))
    assert rounded.dtype == loss.dtype == torch.float32
    assert not torch.equal(rounded, plain)
    torch.testing.assert_close(rounded, plain, rtol=0, atol=0.05)
