"""What the custom ops of cross-attention run: the arguments of a call and its backends (METHODS 2.1; KERNELS 1, K4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from pcsr_fast import backends
from pcsr_fast.ops import _dispatch
from pcsr_fast.ops._dispatch import at_precision
from pcsr_fast.ops.cpu import cross_attention as cpu
from pcsr_fast.ops.cross_attention_blocks import grid_blocks, run_blocks
from pcsr_fast.ops.cross_attention_checks import check_word_counts
from pcsr_fast.ops.cross_attention_forms import evaluation, prepare, uses_batch_statistics
from pcsr_fast.ops.triton import cross_attention as triton
from pcsr_fast.reference import cross_attention as truth
from pcsr_fast.reference.cross_attention import HeadParameters
from pcsr_fast.reference.saf import FiltrationScores, SafParameters
from pcsr_fast.reference.saf import filtration_similarity as filtration_truth
from pcsr_fast.reference.scan import ScanParameters
from pcsr_fast.reference.sgr import SgrParameters

SIMILARITY, FILTRATION = "cross_attention_similarity", "filtration_similarity"
KINDS: dict[str, type[SgrParameters] | type[SafParameters]] = {"sgr": SgrParameters, "saf": SafParameters}


class Problem(NamedTuple):
    """Checked arguments of one call, in the precision that is computed in."""

    regions: Tensor
    words: Tensor
    lengths: Tensor
    head: HeadParameters
    precision: str = "auto"
    chunk: int | None = None

    @property
    def whole_columns(self) -> bool:
        """Whether a score depends on the other images of its caption."""
        return uses_batch_statistics(self.head)

    def run(self, op: str, backend: str, *raw: Any) -> Any:
        """Run `op` on `raw` by the backend that these arguments and `backend` ("" for none asked for) choose."""
        return _dispatch.run(op, backend, self[:4], {"precision": self.precision}, *raw)

    def scores(self, backend: str) -> tuple[Tensor, ...]:
        """Scores (B, C), and of SAF in training the statistics."""
        found = self.run(FILTRATION if self.whole_columns else SIMILARITY, backend, *self)
        return (found,) if isinstance(found, Tensor) else tuple(found)


def flat_arguments(given: Problem, backend: str | None) -> tuple[Any, ...]:
    """What every op below takes first, and what it takes last."""
    tensors = [value for value in given.head if isinstance(value, Tensor)]
    kind = next((name for name, made in KINDS.items() if isinstance(given.head, made)), "scan")
    sharpness = given.head.sharpness if isinstance(given.head, ScanParameters) else 0.0
    first = (given.regions, given.words, given.lengths, tensors)
    return first, (kind, sharpness, given.precision, given.chunk, backend or "")


def problem_of(
    regions: Tensor, words: Tensor, lengths: Tensor, head: Sequence[Tensor], last: Sequence[Any], op: str = SIMILARITY
) -> tuple[Problem, str]:
    """The problem of an op's arguments, and the backend asked for.

    Raises:
        ValueError: in the name of `op`, a word count out of range; here, as a compiled caller sees no values.
    """
    kind, sharpness, precision, chunk, backend = last
    check_word_counts(op, lengths, words)
    made = KINDS[kind](*head) if kind in KINDS else ScanParameters(sharpness)
    return Problem(regions, words, lengths, made, precision, chunk), backend


def _torch(*arguments: Any) -> tuple[Tensor, ...]:
    """Scores (B, C) by the batched form, and the statistics of SAF in training."""
    given = Problem(*arguments)
    operands = prepare(given.regions, given.words, given.head)
    blocks = grid_blocks(operands, given.lengths, given.chunk, given.whole_columns)
    evaluate = evaluation(given.head, given.precision)
    return run_blocks(evaluate, operands, blocks, given.regions.new_zeros(len(given.regions), len(given.words)))


def _reference(*arguments: Any) -> Tensor:
    given = Problem(*arguments)
    regions, words = (at_precision(value, given.precision) for value in given[:2])
    return truth.cross_attention_similarity(regions, words, given.lengths, given.head)


def _reference_filtration(*arguments: Any) -> FiltrationScores:
    given = Problem(*arguments)
    regions, words = (at_precision(value, given.precision) for value in given[:2])
    assert isinstance(given.head, SafParameters)
    return filtration_truth(regions, words, given.lengths, given.head)


# Each runs (regions, words, lengths, head, precision, chunk); `supports` gets the first four and precision by name.
backends.register(SIMILARITY, "cpu", cpu.cross_attention_similarity, cpu.supports)
backends.register(SIMILARITY, "reference", _reference)
backends.register(SIMILARITY, "torch", lambda *arguments: _torch(*arguments)[0])
backends.register(SIMILARITY, "triton", triton.cross_attention_similarity, triton.supports)
backends.register(FILTRATION, "reference", _reference_filtration)
backends.register(FILTRATION, "torch", _torch)
