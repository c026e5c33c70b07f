"""Image-text retrieval trained on partly wrong pairs, with its kernels usable on their own (see `pcsr_fast.ops`)."""

from __future__ import annotations

import importlib
from typing import Any

from pcsr_fast.version import __version__

# Resolved on first use: importing torch takes seconds, which `pcsr-fast --help` need not.
_WHERE = {
    "explain": "backends",
    "Explanation": "backends",
    "estimate": "floors",
    "Estimate": "floors",
    "GaussianMixture1D": "estimator",
}

__all__ = ["Estimate", "Explanation", "GaussianMixture1D", "__version__", "estimate", "explain"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'pcsr_fast' has no attribute {name!r}")
    importlib.import_module("pcsr_fast.ops")  # registers the ops
    return getattr(importlib.import_module(f"pcsr_fast.{_WHERE[name]}"), name)
