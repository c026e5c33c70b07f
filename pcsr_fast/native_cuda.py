"""The CUDA kernels `pcsr_fast._native_cuda`: imported at first use, optional, and explained where they are missing.

The module loads on machines without a driver; what it lacks shows at the first launch, or in `status`.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

import torch

from pcsr_fast.errors import BackendError, DeviceError
from pcsr_fast.native import why_missing


@functools.cache
def _import() -> tuple[ModuleType | None, str]:
    """The extension module, or None and why it cannot be used."""
    try:
        return importlib.import_module("pcsr_fast._native_cuda"), ""
    except ModuleNotFoundError:
        return None, why_missing("cuda")
    except ImportError as error:
        return None, f"it does not load: {error}"


def load() -> ModuleType:
    """The extension module. Raises BackendError: it is not available."""
    module, reason = _import()
    if module is None:
        raise BackendError(f"the CUDA kernels are not available: {reason}")
    return module


def built() -> tuple[bool, str]:
    """Whether the kernels are built, and for which architectures, or why not. Asks no driver."""
    module, reason = _import()
    return (False, reason) if module is None else (True, f"built for {module.architectures} by {module.compiler}")


def status() -> tuple[bool, str]:
    """Whether the kernels can run here, and why or why not. Starts CUDA in this process."""
    known, reason = built()
    if not known:
        return False, reason
    count, message = load().devices()
    return count > 0, f"{reason}; {f'{count} devices' if count else message or 'no device'}"


def queue_of(device: torch.device) -> tuple[int, int]:
    """Number and current stream of a device; zeros for the emulated kernels, which read the CPU's memory."""
    if device.type != "cuda":
        return 0, 0
    stream = torch.cuda.current_stream(device)
    return stream.device_index, stream.cuda_stream


def call(name: str, device: torch.device, *arguments: Any) -> None:
    """Queue the kernel `name` on the current stream of `device`, without waiting for it.

    Raises:
        BackendError: the kernels are not available.
        DeviceError: CUDA refuses the launch, or reports an earlier failure; the message is CUDA's.
    """
    module = load()
    error = getattr(module, name)(queue_of(device), *arguments)
    if error:
        raise DeviceError(f"{name}: CUDA error {error}: {module.message(error)}")
