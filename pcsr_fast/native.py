"""The native core `pcsr_fast._native`: imported at first use, optional, and explained where it is missing."""

from __future__ import annotations

import functools
import importlib
import json
from types import ModuleType

from pcsr_fast.errors import BackendError, ConfigError
from pcsr_fast.resources import PACKAGE, checkout_folder

# Written by setup.py: beside the package in a wheel, in the ignored build folder of a checkout.
RECORD = (checkout_folder("build") or PACKAGE) / "native_build.json"


@functools.cache
def _import() -> tuple[ModuleType | None, str]:
    """The extension module, or None and why it cannot be used."""
    importlib.import_module("torch")  # first, so that both share torch's OpenMP runtime
    try:
        return importlib.import_module("pcsr_fast._native"), ""
    except ModuleNotFoundError:
        return None, why_missing("native")
    except ImportError as error:
        return None, f"it does not load: {error}"


def why_missing(part: str) -> str:
    """What the build recorded of a `part` that cannot be imported: "native", the core, or "cuda", its CUDA kernels."""
    try:
        record = json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "it was never built: this is a checkout that is not installed (pip install -e .)"
    if part not in record:
        return "the version that was installed here did not have it; install pcsr-fast again"
    if record[part]:
        return "it was built for another Python or removed since; install pcsr-fast again"
    return f"it was left out at install: {record['reason' if part == 'native' else f'{part}_reason']}"


def load() -> ModuleType:
    """The extension module, with its instruction set checked.

    Raises:
        BackendError: the native core is not available.
        ConfigError: `PCSR_FAST_ISA` names an instruction set that this machine does not support.
    """
    module, reason = _import()
    if module is None:
        raise BackendError(f"the native core is not available: {reason}")
    try:
        module.isa()
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return module


def isa() -> str:
    """Instruction set of the CPU kernels: `scalar`, `avx2`, `avx512`, `avx512_bf16` or `amx`. Raises as `load`."""
    return str(load().isa())


def status() -> tuple[bool, str]:
    """Whether the native core can be used, and why (instruction set and compiler) or why not.

    Raises:
        ConfigError: `PCSR_FAST_ISA` names an instruction set that this machine does not support: a silent fallback
            would hide the typo.
    """
    module, reason = _import()
    if module is None:
        return False, reason
    build = module.build_info()
    openmp = f"OpenMP {build['openmp']}" if build["openmp"] else "no OpenMP"
    sanitizer = f", sanitizer {build['sanitizer']}" if build["sanitizer"] else ""
    return True, f"{isa()}, {build['compiler']}, {openmp}{sanitizer}"
