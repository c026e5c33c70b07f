"""A whole SGR training step and a batch of the per-sample-loss pass: encoders, self-attention, head and loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from benchmarks.harness import Case, Workload
from benchmarks.ops.heads import BATCHES, EXACT, HALF, LARGE, OP, REGIONS, Sizes, shapes, sizes, word_counts
from benchmarks.registered import by_backend
from pcsr_fast.models import encoders
from pcsr_fast.models.config import ModelConfig
from pcsr_fast.models.retrieval import RetrievalModel, seeded_model
from pcsr_fast.ops import triplet_loss_from_scores
from pcsr_fast.reference import ScanParameters

TITLE = "SGR training step (K4)"
AXIS = "batch size B"
WAYS: dict[str, dict[str, Any]] = {"fp32": {"half": False}, "bf16": {"half": True}}
FEATURES, VOCABULARY = 2048, 8000


class Batch(NamedTuple):
    """Region features (B, R, F), word ids (B, L), their counts (B,), and the model."""

    regions: Tensor
    words: Tensor
    lengths: Tensor
    model: RetrievalModel


def batch(count: int, size: Sizes, training: bool) -> Batch:
    """Random features and words; the published sizes but for tests."""
    draw, where = torch.Generator("cpu").manual_seed(1), torch.get_default_device()
    features = FEATURES if size.width > 100 else size.width
    config = ModelConfig(head="sgr", embed_dim=size.width, sim_dim=size.similarity, sgr_steps=size.steps)
    options: dict[str, Any] = {"feature_dim": features, "regions": REGIONS, "vocabulary_size": VOCABULARY}
    model = seeded_model(2, config=config, kind="sgr", **options).train(training)
    lengths = word_counts(count)
    words = torch.randint(1, VOCABULARY, (count, int(lengths.max())), generator=draw, device="cpu").to(where)
    regions = torch.randn(count, REGIONS, features, generator=draw, device="cpu").to(where)
    return Batch(regions, words, lengths, model)


def torch_gru(gru: nn.GRU, packed: PackedSequence) -> Tensor:
    """The encoder's recurrence by torch alone, as everywhere else."""
    return torch.stack(gru(packed)[0].data.chunk(2, dim=1)).mean(0)


def _encoded(given: Batch, backend: str) -> tuple[Tensor, encoders.TextFeatures]:
    gru = torch_gru if backend in ("reference", "torch") else encoders.bidirectional_gru
    with mock.patch.object(encoders, "bidirectional_gru", gru):
        return given.model.encode_images(given.regions), given.model.encode_texts(given.words, given.lengths)


def step(given: Batch, *, backend: str, half: bool = False) -> tuple[Tensor, ...]:
    """Loss and gradients of all weights, dropout drawn anew from one seed."""
    torch.manual_seed(3)
    with torch.autocast(torch.get_default_device().type, torch.bfloat16, enabled=half):
        images, texts = _encoded(given, backend)
        loss = given.model.hardest_triplet(images, texts, margin=0.2, backend=backend)
    return loss.detach(), *torch.autograd.grad(loss, list(given.model.parameters()))


def losses(given: Batch, *, backend: str, half: bool = False) -> tuple[Tensor, ...]:
    """Per-sample losses (B,): mean hinges over the batch, in evaluation mode."""
    with torch.no_grad(), torch.autocast(torch.get_default_device().type, torch.bfloat16, enabled=half):
        images, texts = _encoded(given, backend)
        with mock.patch.dict("os.environ", {"PCSR_FAST_BACKEND": backend}):
            S = given.model.similarity(images, texts)
        return (triplet_loss_from_scores(S, margin=0.2, negatives="mean", reduction="none"),)


def _check(expected: Callable[[], tuple[Tensor, ...]]) -> Callable[[str, Any], str | None]:
    """Losses must agree, and gradients be near in float32, finite in bfloat16: near-ties may choose other negatives."""
    kept: list[tuple[Tensor, ...]] = []

    def check(name: str, got: tuple[Tensor, ...]) -> str | None:
        kept[:] = kept or [expected()]
        if not torch.allclose(got[0], kept[0][0], rtol=0, atol=HALF if "bf16" in name else EXACT):
            return f"losses are off by {float((got[0] - kept[0][0]).abs().max()):.1e}"
        largest = max((float(true.norm()) for true in kept[0][1:]), default=0.0)
        for mine, true in zip(got[1:], kept[0][1:], strict=True):
            off = float((mine - true).norm())
            if not off <= (3 if "bf16" in name else 0.1) * largest:
                return f"a gradient is off by {off:.1e}, the largest is {largest:.1e}"
        return None

    return check


def build(count: int, size: Sizes, training: bool) -> Workload:
    """The step or the pass on a batch; "reference" is the loop over captions of the published codes."""
    given = batch(count, size, training)
    run = partial(step if training else losses, given)
    encoded = torch.empty(count, REGIONS, size.width)
    arguments = (encoded, encoded[:, :1], torch.ones(count, dtype=torch.int64), ScanParameters())
    truth = partial(run, backend="torch" if count > LARGE else "reference")
    return Workload(by_backend(OP, arguments, run, WAYS), _check(truth))


def _case(count: int, size: str, training: bool, **more: Any) -> Case:
    name = "training step" if training else "per-sample losses of a batch"
    slow = ("reference", "torch backend")
    return Case(
        name=f"SGR, {name}, B={count}",
        op=OP,
        shapes=shapes("sgr", count, count, sizes(size)),
        build=partial(build, count, sizes(size), training),
        usual="reference",
        size=count,
        series=name,
        backward=training,
        repeats=3,
        not_run=dict.fromkeys(slow[:1], "not run: minutes a call") if count > LARGE else {},
        **more,
    )


def cases(size: str) -> list[Case]:
    """Both over B."""
    headline = min(LARGE, BATCHES[size][-1])
    return [
        _case(count, size, training, headline=count == headline)
        for training in (False, True)
        for count in BATCHES[size]
    ]
