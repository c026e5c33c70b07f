"""Smaller features: PCA fitted on training pictures, and symmetric int8, walking a memory-mapped file in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_CHUNK_PICTURES = 256
_QUANTILE_PICTURES = 2048
_QUANTILE = 0.9995


@dataclass(frozen=True)
class Projection:
    """x -> (x - mean) @ basis.

    Attributes:
        mean: (D,) float32.
        basis: (D, d) float32, orthonormal columns by falling variance.
        explained: share of the training variance that is kept.
    """

    mean: np.ndarray
    basis: np.ndarray
    explained: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(..., D) -> (..., d) float32."""
        return (features - self.mean) @ self.basis


def _chunks(features: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _CHUNK_PICTURES):
        yield features[rows[start : start + _CHUNK_PICTURES]].reshape(-1, features.shape[2])


def fit_projection(features: np.ndarray, rows: np.ndarray, dim: int) -> Projection:
    """PCA of all regions of the pictures `rows`: two exact passes, float64 sums.

    Args:
        features: float32 (n, R, D), possibly memory-mapped.
        rows: training pictures.
        dim: d <= D.
    """
    width = features.shape[2]
    count = len(rows) * features.shape[1]
    mean = sum((chunk.sum(axis=0, dtype=np.float64) for chunk in _chunks(features, rows)), np.zeros(width)) / count
    scatter = np.zeros((width, width))
    for chunk in _chunks(features, rows):
        centred = chunk - mean
        scatter += centred.T @ centred
    variances, vectors = np.linalg.eigh(scatter / count)
    basis = vectors[:, ::-1][:, :dim]
    # eigh leaves the sign open: fix it so that the same features give the same set on every machine.
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(dim)])
    explained = float(variances[::-1][:dim].sum() / max(variances.sum(), 1e-30))
    return Projection(mean.astype(np.float32), np.ascontiguousarray(basis, dtype=np.float32), explained)


def fit_scale(features: np.ndarray, rows: np.ndarray, projection: Projection | None) -> np.ndarray:
    """Step of a symmetric int8 code for each dimension, float32 (d,).

    127 steps reach the 99.95 % quantile of the magnitude over at most 2048 evenly chosen training pictures; the few
    values beyond it saturate, as in the demo set (0.06 % there).
    """
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _QUANTILE_PICTURES)).astype(np.int64))]
    values = np.concatenate([chunk if projection is None else projection(chunk) for chunk in _chunks(features, sample)])
    reach = np.quantile(np.abs(values), _QUANTILE, axis=0)
    return (np.where(reach > 0, reach, 1.0) / 127.0).astype(np.float32)


def quantise(features: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """int8 in -127..127; features are about `result * scale`."""
    return np.clip(np.rint(features / scale), -127, 127).astype(np.int8)
