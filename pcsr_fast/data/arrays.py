"""Opening `.npy` files so that every way they can be broken ends in one clear line, before any training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from pcsr_fast.errors import DataError

CHUNK_BYTES = 64 << 20


def _header(path: Path, expected: str) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, dtype and the offset of the data of a `.npy` file, without reading or unpickling the data."""
    with path.open("rb") as stream:
        start = stream.read(6)
        stream.seek(0)
        if start != b"\x93NUMPY":
            kind = {b"PK": "a zip archive (.npz?)", b"\x80": "a pickle"}
            found = next((name for mark, name in kind.items() if start.startswith(mark)), "not a .npy file")
            raise DataError(f"{path}: is {found}; expected {expected}")
        try:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
        except (ValueError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: its .npy header cannot be read; expected {expected}") from error
        return shape, dtype, stream.tell()


def open_array(path: str | os.PathLike[str], *, ndim: int, kinds: str, expected: str) -> np.ndarray:
    """Memory-map a `.npy` file read-only after checking that it is whole.

    Args:
        path: the file.
        ndim: number of dimensions it must have.
        kinds: NumPy dtype kinds that are allowed, such as "f" (floats), "i" (signed integers).
        expected: what the file should be, in words; it ends every error message.

    Raises:
        DataError: missing, empty, truncated, pickled, of another format, shape or dtype, or without any row.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected {expected}")
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: the file is empty; expected {expected}")
    shape, dtype, offset = _header(path, expected)
    if dtype.hasobject:
        raise DataError(f"{path}: holds pickled Python objects, which are never loaded; expected {expected}")
    if dtype.kind not in kinds:
        raise DataError(f"{path}: has dtype {dtype}; expected {expected}")
    if len(shape) != ndim:
        raise DataError(f"{path}: has shape {shape}; expected {expected}")
    if 0 in shape:
        raise DataError(f"{path}: has shape {shape}, so it holds nothing; expected {expected}")
    needed = offset + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size < needed:
        raise DataError(
            f"{path}: is truncated ({size} bytes of {needed} that its header promises); expected {expected}"
        )
    return np.load(path, mmap_mode="r", allow_pickle=False)


def row_chunks(array: np.ndarray) -> Iterator[tuple[int, int]]:
    """(start, stop) row ranges of about 64 MiB each, so that a memory-mapped file is walked in bounded memory."""
    row_bytes = max(1, array.itemsize * int(np.prod(array.shape[1:])))
    step = max(1, CHUNK_BYTES // row_bytes)
    for start in range(0, len(array), step):
        yield start, min(start + step, len(array))


def check_finite(array: np.ndarray, name: str) -> None:
    """Raise DataError naming the first row of an (n, R, D) array that holds NaN or infinity; integers pass unread."""
    if array.dtype.kind != "f":
        return
    for start, stop in row_chunks(array):
        good = np.isfinite(array[start:stop])
        if not good.all():
            row, region, column = np.argwhere(~good)[0]
            raise DataError(
                f"{name}: row {start + row}, region {region}, dimension {column} is "
                f"{array[start + row, region, column]}; expected finite features"
            )


def rows_equal(array: np.ndarray, rows: np.ndarray, others: np.ndarray) -> bool:
    """Whether array[rows[k]] equals array[others[k]] for every k; stops at the first chunk that differs."""
    row_bytes = max(1, array.itemsize * int(np.prod(array.shape[1:])))
    step = max(1, CHUNK_BYTES // row_bytes)
    head = 8
    edges = [0, *range(head, len(rows), step), len(rows)]
    return all(np.array_equal(array[rows[a:b]], array[others[a:b]]) for a, b in pairwise(edges))


def same_rows(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal, read a chunk at a time; stops at the first chunk that differs."""
    return a.shape == b.shape and all(np.array_equal(a[i:j], b[i:j]) for i, j in row_chunks(a))
