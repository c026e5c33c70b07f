"""`pcsr-fast split`: from embeddings of pairs to the pairs that look wrong."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from rich.console import Console

from pcsr_fast.commands.options import parse_options
from pcsr_fast.data.arrays import open_array
from pcsr_fast.errors import ConfigError, DataError
from pcsr_fast.files import atomic_write
from pcsr_fast.methods.config import SplitConfig
from pcsr_fast.methods.split import confidence
from pcsr_fast.ops import pair_losses


@dataclass
class SplitOptions:
    """Which pairs of a corpus look wrong, from embeddings of any image-text model.

    Attributes:
        images: npy file (N, D) of image embeddings.
        texts: npy file (N, D) of caption embeddings; row i of both is a pair.
        output: CSV file to write, the surest mismatch first.
        groups: npy file (N,) of integers; pairs with one id are no negatives of each other (captions of one picture).
        margin: margin of the per-sample loss.
        batch_size: pairs whose captions and images are each other's negatives; 0 takes the whole corpus.
        seed: seed of the batches.
        split: mixture and threshold.
    """

    images: str
    texts: str
    output: str = "suspects.csv"
    groups: str | None = None
    margin: float = 0.2
    batch_size: int = 1024
    seed: int = 0
    split: SplitConfig = field(default_factory=SplitConfig)


def main(argv: Sequence[str]) -> None:
    """Read, rank, write."""
    options = parse_options(SplitOptions, "split", argv)
    _check(options)
    x, y = _embeddings(options.images), _embeddings(options.texts)
    if x.shape != y.shape:
        raise DataError(f"{options.texts}: shape {tuple(y.shape)}, expected that of {options.images}, {tuple(x.shape)}")
    if len(x) < 2:
        raise DataError(f"{options.images}: has {len(x)} rows, expected at least 2")
    groups = None if options.groups is None else _groups(options.groups, len(x))
    order = torch.from_numpy(np.random.Generator(np.random.PCG64(options.seed)).permutation(len(x)))
    blocks = {"batch_size": options.batch_size, "order": order} if options.batch_size else {}
    result = pair_losses(x, y, margin=options.margin, groups=groups, **blocks)  # type: ignore[arg-type]
    sure = confidence(result.losses.float().numpy(), options.split)
    _write(options.output, sure.posterior, sure.losses, sure.clean)
    wrong = int((~sure.clean).sum())
    text = f"{wrong} of {len(x)} pairs look wrong; {options.output}"
    Console().print(text, highlight=False, markup=False, soft_wrap=True)


def _check(options: SplitOptions) -> None:
    if options.batch_size == 1 or options.batch_size < 0:
        raise ConfigError(f"--batch_size: got {options.batch_size}, expected 0 or at least 2")
    if not 0 <= options.margin < math.inf:
        raise ConfigError(f"--margin: got {options.margin}, expected a number >= 0")
    if options.seed < 0:
        raise ConfigError(f"--seed: got {options.seed}, expected an integer >= 0")
    for name in ("p_threshold", "min_noisy_frac"):
        if not 0 <= getattr(options.split, name) <= 1:
            raise ConfigError(f"--split.{name}: got {getattr(options.split, name)}, expected a number from 0 to 1")


def _embeddings(path: str) -> torch.Tensor:
    array = open_array(path, ndim=2, kinds="f", expected="a float array (N, D)")
    with np.errstate(over="ignore"):
        narrow = np.array(array, dtype=np.float32)
    wrong = np.argwhere(~np.isfinite(narrow))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"{path}: row {row}, dimension {column} is {array[row, column]}; expected finite float32 values"
        )
    values = torch.from_numpy(narrow)
    return values / values.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _groups(path: str, count: int) -> torch.Tensor:
    array = open_array(path, ndim=1, kinds="iu", expected=f"an integer array ({count},)")
    if len(array) != count:
        raise DataError(f"{path}: has {len(array)} entries, expected {count}, one a pair")
    return torch.from_numpy(np.array(array, dtype=np.int64))


def _write(path: str, posterior: np.ndarray, losses: np.ndarray, clean: np.ndarray) -> None:
    order = np.lexsort((-losses, posterior))
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["pair", "p_clean", "loss"])
        for pair in order[~clean[order]]:
            writer.writerow([int(pair), f"{posterior[pair]:.6f}", f"{losses[pair]:.6f}"])
