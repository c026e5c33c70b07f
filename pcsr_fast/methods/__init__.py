"""Methods for noisy correspondence, one file each, over the same models, data and trainer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.base import IdArray, Method
from pcsr_fast.methods.baseline import Baseline
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.pcsr import PCSR
from pcsr_fast.methods.tsvc import TSVC

METHODS = ("pcsr", "tsvc", "triplet", "infonce", "oracle")


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
    if name == "pcsr":
        return PCSR(config, images, num_nets, epochs)
    if name == "tsvc":
        return TSVC(config, images, num_nets)
    everything = np.arange(len(images), dtype=np.int64)
    if name in ("triplet", "infonce"):
        return Baseline(config, everything, name)
    if name == "oracle":
        return Baseline(config, np.flatnonzero(is_true), "triplet")
    raise ConfigError(f"method: got {name!r}, expected one of {', '.join(METHODS)}")
