"""Argument checks of the cross-attention ops: one line naming op, argument, what was got and what is expected."""

from __future__ import annotations

from torch import Tensor

from pcsr_fast.ops import _checks
from pcsr_fast.reference.cross_attention import HeadParameters
from pcsr_fast.reference.saf import SafParameters
from pcsr_fast.reference.scan import ScanParameters
from pcsr_fast.reference.sgr import SgrParameters

PRECISIONS = ("auto", "exact", "bf16")


def _check_sequences(op: str, name: str, value: Tensor) -> None:
    """A floating tensor of three dimensions, none of them 0."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}: {name}: got {type(value).__name__}, expected a torch.Tensor")
    if value.dtype not in _checks.FLOATING:
        raise TypeError(f"{op}: {name}: got dtype {value.dtype}, expected float64, float32, bfloat16 or float16")
    if value.ndim != 3 or 0 in value.shape:
        raise ValueError(f"{op}: {name}: got shape {tuple(value.shape)}, expected three dimensions, none of them 0")


def check_word_counts(op: str, lengths: Tensor, words: Tensor) -> None:
    """ValueError unless `lengths` (C,) are from 1 to L."""
    outside = (lengths < 1) | (lengths > words.shape[1])
    if bool(outside.any()):
        first = int(outside.nonzero()[0, 0])
        got = int(lengths[first])
        raise ValueError(f"{op}: lengths: got {got} at index {first}, expected 1 to {words.shape[1]}")


def _expected_shapes(regions: Tensor, words: Tensor, head: SgrParameters | SafParameters) -> dict[str, tuple[int, ...]]:
    """Shape of each field of the head, as its `local_bias` and `update_bias` say."""
    size, similarity = regions.shape[2], head.local_bias.shape[-1]
    shapes: dict[str, tuple[int, ...]] = {"images": (regions.shape[0], size), "captions": (words.shape[0], size)}
    for name in ("local", "glob"):
        shapes |= {f"{name}_weight": (similarity, size), f"{name}_bias": (similarity,)}
    if isinstance(head, SgrParameters):
        steps = head.update_bias.shape[0]
        for name in ("query", "key", "update"):
            shapes |= {f"{name}_weight": (steps, similarity, similarity), f"{name}_bias": (steps, similarity)}
    else:
        shapes |= {"score_weight": (similarity,), "score_bias": (), "norm_weight": (), "norm_bias": ()}
        shapes |= {"norm_mean": (), "norm_variance": ()}
    return shapes | {"output_weight": (similarity,), "output_bias": ()}


def _check_head(op: str, regions: Tensor, words: Tensor, head: HeadParameters) -> None:
    """Parameters of one of the three heads, whose tensors fit the regions and words."""
    if isinstance(head, ScanParameters):
        return
    if not isinstance(head, SgrParameters | SafParameters):
        raise TypeError(
            f"{op}: head: got {type(head).__name__}, expected ScanParameters, SgrParameters or SafParameters"
        )
    if isinstance(head, SafParameters) and (head.norm_mean is None) != (head.norm_variance is None):
        raise ValueError(f"{op}: head: got one of norm_mean and norm_variance, expected both or none")
    for name, shape in _expected_shapes(regions, words, head).items():
        value = getattr(head, name)
        if value is None:
            continue
        if tuple(value.shape) != shape:
            raise ValueError(f"{op}: head.{name}: got shape {tuple(value.shape)}, expected {shape}")
        _checks.check_device(op, f"head.{name}", value, regions)


def check_cross_attention(
    op: str, regions: Tensor, words: Tensor, lengths: Tensor, head: HeadParameters, precision: str, chunk: int | None
) -> None:
    """TypeError or ValueError unless the arguments are as `cross_attention_similarity` documents them."""
    _check_sequences(op, "regions", regions)
    _check_sequences(op, "words", words)
    _checks.check_same_kind(op, "words", words, "regions", regions)
    if words.shape[2] != regions.shape[2]:
        got = f"{tuple(words.shape)} with regions {tuple(regions.shape)}"
        raise ValueError(f"{op}: words: got shape {got}, expected vectors of one size")
    _checks.check_integers(op, "lengths", lengths, words.shape[0], words)
    _check_head(op, regions, words, head)
    _checks.check_choice(op, "precision", precision, PRECISIONS)
    if chunk is not None and chunk < 1:
        raise ValueError(f"{op}: chunk: got {chunk}, expected at least 1 or None")
