"""K4: similarity heads SGR and SCAN on encoded pictures and captions, 36 regions, captions of 10 to 20 words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.harness import Case, Implementation, Workload
from benchmarks.registered import by_backend
from benchmarks.steps import checker
from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.scan import SCANHead
from pcsr_fast.models.sgraf import SGRAFHead
from pcsr_fast.ops import cross_attention_similarity, triplet_loss_from_scores
from pcsr_fast.ops.scores import HeadScores, triplet_loss_of
from pcsr_fast.reference import ScanParameters

TITLE = "Similarity heads (K4)"
AXIS = "batch size B"
OP = "cross_attention_similarity"
# "" is what models ask for: products as exact as float32, of bfloat16 halves where AMX is.
SCREENS: dict[str, dict[str, Any]] = {
    "": {"screen": "auto"},
    "exact": {"screen": "exact"},
    "bf16 screen": {"screen": "bf16"},
}
BATCHES = {"tiny": (4,), "small": (8, 16, 32), "full": (16, 32, 64, 128, 256), "gpu": (32, 64, 128, 256)}
LARGE = 128
HALF = 2e-2  # largest difference of losses and scores under bfloat16
EXACT = 1e-5
EVALUATED = {"tiny": (4, 20), "small": (20, 100), "full": (40, 200), "gpu": (200, 1000)}
WHOLE = (1000, 5000)
REGIONS, LONGEST = 36, 20


class Sizes(NamedTuple):
    """Joint size d, similarity size s and steps of the graph."""

    width: int
    similarity: int
    steps: int


def sizes(size: str) -> Sizes:
    """The papers', or small ones for tests."""
    return Sizes(32, 16, 2) if size == "tiny" else Sizes(1024, 256, 3)


class Inputs(NamedTuple):
    """Encoded pictures (B, R, d) and captions, and a head with random but fixed weights."""

    regions: Tensor
    texts: TextFeatures
    head: SGRAFHead | SCANHead

    def leaves(self) -> list[Tensor]:
        """What a step needs gradients of."""
        return [self.regions, self.texts.values, *self.head.parameters()]


def word_counts(captions: int) -> Tensor:
    """(C,) from 10 to 20, the same for every caller."""
    draw = torch.Generator("cpu").manual_seed(0)
    counts = torch.randint(10, LONGEST + 1, (captions,), generator=draw, device="cpu")
    counts[0] = LONGEST
    return counts.to(torch.get_default_device())


def inputs(kind: str, images: int, captions: int, size: Sizes, backward: bool) -> Inputs:
    """Unit vectors; caption i holds picture i's regions in part, so that pairs are told apart."""
    draw, where = torch.Generator("cpu").manual_seed(1), torch.get_default_device()
    regions = normalize(torch.randn(images, REGIONS, size.width, generator=draw, device="cpu"), dim=2).to(where)
    words = torch.randn(captions, LONGEST, size.width, generator=draw, device="cpu").to(where) / size.width**0.5
    own = torch.arange(captions) * images // captions
    texts = TextFeatures(normalize(words + 0.3 * regions[own, :LONGEST], dim=2), word_counts(captions))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        head = SCANHead() if kind == "scan" else SGRAFHead(kind, *size, REGIONS, dropout=0.4)
    regions.requires_grad_(backward)
    texts.values.requires_grad_(backward)
    return Inputs(regions, texts, head.train(backward))


def hardest(given: Inputs, *, backend: str, screen: str = "exact") -> tuple[Tensor, ...]:
    """The loss of B pairs and its gradients, dropout drawn anew from one seed."""
    torch.manual_seed(3)
    scores = given.head.scores(given.regions, given.texts)
    assert isinstance(scores, HeadScores)
    loss = triplet_loss_of(scores._replace(precision=screen), margin=0.2, backend=backend)
    return loss.detach(), *torch.autograd.grad(loss, given.leaves())


def _dense(given: Inputs, precision: str = "exact") -> tuple[Tensor, ...]:
    """The batched form with all pairs' gradients, by autocast where `precision` is bf16."""
    torch.manual_seed(3)
    with torch.autocast(torch.get_default_device().type, torch.bfloat16, enabled=precision == "bf16"):
        S = _scores(given, backend="torch", precision=precision)
        loss = triplet_loss_from_scores(S, margin=0.2)
    return loss.detach(), *torch.autograd.grad(loss, given.leaves())


def _scores(given: Inputs, **options: Any) -> Tensor:
    """(B, C) by one backend."""
    scores = given.head.scores(given.regions, given.texts)
    assert isinstance(scores, HeadScores)
    return cross_attention_similarity(*scores[:4], **options)


def _near(expected: Callable[[], tuple[Tensor, ...]]) -> Callable[[str, Any], str | None]:
    """A check of losses and of a gradient a picture and caption; of bfloat16, which may choose others, of losses alone."""

    def by_item(got: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return got[0], *(value.flatten(1) for value in got[1:3])

    expected = cache(expected)
    exact = checker(lambda: by_item(expected()))

    def check(name: str, got: tuple[Tensor, ...]) -> str | None:
        if "bf16" not in name:
            return exact(name, by_item(got))
        loss = expected()[0]
        wrong = not torch.allclose(got[0], loss, rtol=0, atol=HALF)
        return f"loss {float(got[0])!r}, expected {float(loss)!r}" if wrong else None

    return check


def build_hardest(kind: str, count: int, size: Sizes) -> Workload:
    """B pairs with gradients; "reference" is the loop over captions of the published codes."""
    given = inputs(kind, count, count, size, backward=True)
    plain = {
        "batched": Implementation(partial(_dense, given)),
        "batched, bf16 autocast": Implementation(partial(_dense, given, "bf16")),
    }
    arguments = (given.regions, given.texts.values, given.texts.lengths, ScanParameters())
    ours = by_backend(OP, arguments, partial(hardest, given), SCREENS)
    truth = partial(hardest, given, backend="torch" if count > LARGE else "reference")
    return Workload(ours | plain, _near(truth))


def build_scores(kind: str, images: int, captions: int, size: Sizes, scale: float) -> Workload:
    """Scores alone, as passes and evaluation need them; a piece of the work that stands for `scale` as much."""
    given = inputs(kind, images, captions, size, backward=False)
    kept: list[Tensor] = []

    def run(**options: Any) -> Tensor:
        with torch.no_grad():
            return _scores(given, **options)

    def check(name: str, got: Tensor) -> str | None:
        kept[:] = kept or [run(backend="torch")]
        off = float((got - kept[0]).abs().max())
        allowed = HALF if "bf16" in name else EXACT
        return None if off <= allowed else f"off by {off:.1e}, expected at most {allowed}"

    precisions = {"": {"precision": "auto"}, "exact": {"precision": "exact"}, "bf16": {"precision": "bf16"}}
    arguments = (given.regions, given.texts.values, given.texts.lengths, ScanParameters())
    found = by_backend(OP, arguments, run, precisions)
    found["batched, bf16 autocast"] = Implementation(partial(run, backend="torch", precision="bf16"))
    return Workload({name: replace(one, scale=scale) for name, one in found.items()}, check)


def shapes(kind: str, images: int, captions: int, size: Sizes) -> tuple[tuple[int, ...], ...]:
    """What `estimate` counts: regions, words, captions and the weights of SGR."""
    words = int(word_counts(captions).sum())
    found = ((images, REGIONS, size.width), (words, size.width), (captions, size.width))
    if kind == "scan":
        return found
    return (*found, (size.similarity, size.width), (size.steps, size.similarity, size.similarity))


def _hardest_case(kind: str, count: int, size: str, **more: Any) -> Case:
    minutes = dict.fromkeys(("reference", "batched", "batched, bf16 autocast"), "not run: minutes a call")
    return Case(
        name=f"{kind.upper()}, hardest negatives, forward + backward, B={count}",
        op=OP,
        shapes=shapes(kind, count, count, sizes(size)),
        build=partial(build_hardest, kind, count, sizes(size)),
        usual="torch backend" if count > LARGE else "reference",
        size=count,
        series=f"{kind.upper()}, hardest negatives, forward + backward",
        backward=True,
        repeats=3,
        not_run=minutes if count > LARGE else {},
        **more,
    )


def _scores_case(kind: str, images: int, captions: int, size: str, name: str, whole: tuple[int, int]) -> Case:
    scale = whole[0] * whole[1] / (images * captions)
    return Case(
        name=f"{kind.upper()}, {name}",
        op=OP,
        shapes=shapes(kind, *whole, sizes(size)),
        build=partial(build_scores, kind, images, captions, sizes(size), scale),
        usual="reference",
        size=whole[1],
        series=f"{kind.upper()}, {name}",
        headline=True,
        repeats=3,
    )


def cases(size: str) -> list[Case]:
    """The loss over B, then SCAN, scores of a batch, and an evaluation extrapolated from a piece of it."""
    largest = min(LARGE, BATCHES[size][-1])
    images, captions = EVALUATED[size]
    evaluation = f"evaluation {WHOLE[0]} x {WHOLE[1]} (extrapolated)"
    return [
        *(_hardest_case("sgr", count, size, headline=count == largest) for count in BATCHES[size]),
        _hardest_case("scan", largest, size, headline=True),
        _scores_case("sgr", largest, largest, size, f"scores of a batch, B={largest}", (largest, largest)),
        _scores_case("sgr", images, captions, size, evaluation, WHOLE),
    ]
