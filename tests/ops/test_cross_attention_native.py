"""SGR and SCAN on the native core: every precision against float64, and what a score must not depend on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast import native, reference
from pcsr_fast.ops.cpu.cross_attention import cross_attention_similarity, scan_scores, sgr_scores, supports
from pcsr_fast.reference import ScanParameters, SgrParameters
from tests.ops.cross_attentions import RAGGED, TOLERANCE, Heads, check, learnable, make_head, mapped, native_problems
from tests.ops.tools import guarded_memory, threads

BOTH = pytest.mark.parametrize("kind", ["sgr", "scan"])
EVERY = pytest.mark.parametrize("precision", list(TOLERANCE))


# Not bf16: a caption of one word weighs each region by the sign of its score alone, which rounding may turn.
@given(native_problems(), st.sampled_from(("exact", "auto")))
@settings(max_examples=60)
def test_scores_follow_float64(made: Heads, precision: str):
    check(made, precision)


@BOTH
@EVERY
def test_scores_of_a_batch_as_large_as_in_training(kind: str, precision: str):
    lengths = tuple(8 + 5 * n % 17 for n in range(24))
    made = learnable(0, kind, images=25, lengths=lengths, regions=36, size=200, similarity=64)
    errors, truth = check(made, precision)
    assert errors.amax() < (0.2 if precision == "bf16" else 2e-3) * truth.std()


@BOTH
def test_each_precision_has_the_arithmetic_of_the_machine(kind: str):
    """Split products need AMX, bfloat16's AMX or AVX512-BF16; what a machine lacks is float32 to the bit."""
    made = learnable(1, kind, images=25, lengths=(12,) * 24, regions=36, size=200, similarity=64)
    truth = reference.cross_attention_similarity(*made.to(torch.float64))
    scores = {name: cross_attention_similarity(*made, name) for name in TOLERANCE}
    error = {name: (one - truth).abs().amax() for name, one in scores.items()}
    splits, rounds = native.isa() == "amx", native.isa() in ("amx", "avx512_bf16")
    assert error["exact"] < error["auto"] if splits else torch.equal(scores["exact"], scores["auto"])
    assert error["auto"] < error["bf16"] if rounds else torch.equal(scores["exact"], scores["bf16"])


@BOTH
@EVERY
def test_a_score_is_the_same_bits_in_any_company(kind: str, precision: str):
    made = learnable(2, kind, images=9, lengths=RAGGED, regions=7, size=40, similarity=17)
    whole = cross_attention_similarity(*made, precision)
    for rows, captions in (
        (torch.arange(8, -1, -1), torch.arange(9, -1, -1)),
        (torch.tensor([4]), torch.tensor([7])),
        (torch.tensor([2, 2, 5]), torch.tensor([6, 1, 1, 0])),
    ):
        assert torch.equal(
            cross_attention_similarity(*made.select(rows, captions), precision), whole[rows][:, captions]
        )


@BOTH
def test_padding_changes_nothing_and_is_not_read(kind: str):
    made = learnable(3, kind, images=4, lengths=RAGGED, regions=6, size=33, similarity=9)
    padded = torch.full((len(RAGGED), 50, 33), torch.inf)
    padded[:, :33] = made.words
    scores = cross_attention_similarity(*made)
    assert scores.isfinite().all()
    assert torch.equal(cross_attention_similarity(*made._replace(words=padded)), scores)


@BOTH
@EVERY
def test_the_number_of_threads_changes_nothing(kind: str, precision: str):
    made = learnable(4, kind, images=19, lengths=RAGGED * 3, regions=36, size=150, similarity=32)
    found = []
    for count in (1, 2, 3):
        with threads(count):
            found.append(cross_attention_similarity(*made, precision))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@BOTH
@EVERY
def test_nothing_is_written_beside_the_scores(kind: str, precision: str):
    made = learnable(5, kind, images=3, lengths=(5, 1), regions=5, size=13, similarity=7)
    with guarded_memory() as blocks:
        cross_attention_similarity(*made, precision)
    assert blocks


def across(value: Tensor) -> Tensor:
    """The same values with the last two dimensions changed places in memory."""
    return value.transpose(-1, -2).contiguous().transpose(-1, -2)


@BOTH
def test_layouts_and_types_of_the_inputs(kind: str):
    made = learnable(6, kind, images=4, lengths=(3, 5), regions=6, size=10, similarity=7)
    scores = cross_attention_similarity(*made)
    head = mapped(made.head, lambda value: across(value) if value.ndim > 1 else value)
    other = Heads(across(made.regions), across(made.words), made.lengths.to(torch.int32), head)
    assert torch.equal(cross_attention_similarity(*other), scores)


@BOTH
@EVERY
def test_regions_and_words_that_are_zero(kind: str, precision: str):
    made = learnable(7, kind, images=4, lengths=(3, 5, 1), regions=6, size=10, similarity=7)
    made.regions[1] = 0
    made.regions[2, :3] = 0
    made.words[0, 1] = 0
    made.words[2, 0] = 0
    check(made, precision)


def test_one_nan_stays_with_its_pairs():
    made = learnable(8, "sgr", images=5, lengths=RAGGED, regions=6, size=20, similarity=9)
    plain = sgr_scores(*made)
    made.words[3, 2, 5] = torch.nan
    made.regions[1, 0, 0] = torch.nan
    struck = torch.zeros(5, len(RAGGED), dtype=torch.bool)
    struck[1] = struck[:, 3] = True
    scores = sgr_scores(*made)
    assert scores[struck].isnan().all()
    assert torch.equal(scores[~struck], plain[~struck])


def test_sharpness_that_overflows_without_its_largest_score():
    made = learnable(9, "scan", images=3, lengths=(4, 2), regions=5, size=8)
    check(made._replace(head=ScanParameters(200.0)), "exact")
    plain = scan_scores(*made[:3])
    assert torch.equal(plain, scan_scores(*made[:3], ScanParameters(9.0)))


def test_what_it_does_not_support():
    made = learnable(0, "sgr")
    saf = make_head(0, "saf").to(torch.float32)
    no_steps = SgrParameters(*made.head[:6], *(value[:0] for value in made.head[6:12]), *made.head[12:])
    assert supports(*made) is None
    assert "float64" in supports(*made.to(torch.float64))
    assert "SAF" in supports(*saf)
    assert "without steps" in supports(*made._replace(head=no_steps))
