"""Methods for noisy correspondence, one file each, over the same models, data and trainer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.base import IdArray, Method
from pcsr_fast.methods.baseline import Baseline
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.d2s import D2S
from pcsr_fast.methods.decl import DECL
from pcsr_fast.methods.ncr import NCR
from pcsr_fast.methods.pc2 import PC2
from pcsr_fast.methods.pcsr import PCSR
from pcsr_fast.methods.tsvc import TSVC

METHODS = ("pcsr", "pc2", "ncr", "bicro", "cream", "tsvc", "d2s", "triplet", "infonce", "rcl", "decl", "rde", "oracle")
_BASELINES = {"triplet": "triplet", "infonce": "infonce", "rcl": "ccl_log", "rde": "tal"}
_NCR_FAMILY = {"ncr": "triplet", "bicro": "triplet", "cream": "soft_infonce"}


def needs_head(name: str, config: MethodConfig) -> bool:
    """Whether the nets of the method `name` carry a pseudo-classifier."""
    return name in ("pcsr", "pc2") and config.head.enabled


def needs_dense(name: str) -> bool:
    """Whether the method `name` asks for dense texts in its batches and for nets with a prompt learner."""
    return name == "d2s"


def create_method(
    name: str, config: MethodConfig, *, images: IdArray, is_true: npt.NDArray[np.bool_], num_nets: int, epochs: int
) -> Method:
    """The method `name` for N pairs.

    Args:
        name: one of METHODS.
        config: switches.
        images: (N,) rows of the pictures that the captions hold.
        is_true: (N,) which pairs are right as far as anybody knows; the oracle trains on these alone.
        num_nets: nets trained side by side.
        epochs: training epochs after the warm-up.

    Raises:
        ConfigError: an unknown name, or switches that contradict each other.
    """
    if name in ("pcsr", "pc2"):
        return (PC2 if name == "pc2" else PCSR)(config, images, num_nets, epochs)
    if name in _NCR_FAMILY:
        return NCR(config, len(images), num_nets, epochs, _NCR_FAMILY[name])
    if name == "tsvc":
        return TSVC(config, images, num_nets)
    everything = np.arange(len(images), dtype=np.int64)
    if name in _BASELINES:
        return Baseline(config, everything, _BASELINES[name])
    if name == "decl":
        return DECL(config, everything, num_nets)
    if name == "d2s":
        return D2S(config, everything, num_nets)
    if name == "oracle":
        return Baseline(config, np.flatnonzero(is_true), "triplet")
    raise ConfigError(f"method: got {name!r}, expected one of {', '.join(METHODS)}")
