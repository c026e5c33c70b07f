"""Switches of TSVC as reconstructed (METHODS 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class TsvcConfig:
    """TSVC, a reconstruction from the abstract.

    Attributes:
        mi: estimate of the mutual information of two vectors: `gaussian` (from their correlation) or `binned`.
        bins: bins a coordinate of `binned`.
        scale: s of the label exp(-(R_P + |R_I - R_T|) / s).
        min_label: the Assistant selects noisy pairs whose label is above this.
        ema: weight of the Coordinator's past at each step of the Master after the warm-up.
        spread_ema: weight of the past in the running spread of score gaps, which the margins are measured by.
    """

    mi: Literal["gaussian", "binned"] = "gaussian"
    bins: int = 16
    scale: float = 1.0
    min_label: float = 0.5
    ema: float = 0.999
    spread_ema: float = 0.9
