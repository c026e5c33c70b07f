"""Time and memory where the tensors are: the default device of torch, which `--device` sets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils import _pytree


def on_device() -> bool:
    """Whether tensors are made on a device beside the CPU."""
    return torch.get_default_device().type != "cpu"


def settle() -> None:
    """Wait until the device has done all that was queued."""
    if on_device():
        torch.accelerator.synchronize()


def busy() -> float:
    """Seconds of the processor so far; of a device, whose work no processor's clock sees, seconds that went by."""
    return time.perf_counter() if on_device() else time.process_time()


def extra_on_device(runs: Mapping[str, Callable[[], Any]]) -> dict[str, dict[str, Any]]:
    """Extra and returned bytes of each call on the device, as its allocator counts them, after a first to warm up."""
    found: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():
        run()
        settle()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        leaves = _pytree.tree_leaves(run())
        settle()
        returned = sum(leaf.nbytes for leaf in leaves if isinstance(leaf, torch.Tensor))
        extra = torch.cuda.max_memory_allocated() - before - returned
        found[name] = {"extra": max(0, extra), "returned": returned}
        del leaves
    return found
