"""`pcsr-fast doctor`: what is installed, what this machine offers, which backends can run and what the others lack.

Nothing here raises: a part that cannot be read says so in its own row.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pcsr_fast.machine import cpu_model
from pcsr_fast.version import __version__

Rows = dict[str, str]

VARIABLES = {
    "PCSR_FAST_BACKEND": "backend of every op: auto, reference, torch, cpu, triton, cuda",
    "PCSR_FAST_DISABLE": "1 leaves only the reference backend",
    "PCSR_FAST_ISA": "instruction set of the CPU kernels: scalar, avx2, avx512, avx512_bf16, amx",
    "PCSR_NATIVE": "at install: auto builds the native core where it can, 1 demands it, 0 leaves it out",
    "PCSR_CUDA": "at install: auto builds the CUDA kernels where nvcc is found, 1 demands them, 0 leaves them out",
    "PCSR_CUDA_ARCHITECTURES": "at install: GPUs to build for, as CMake's CUDA_ARCHITECTURES (80;90a-real;100-real)",
    "PCSR_SANITIZE": "at install: sanitizers of the native core, 'address,undefined' or 'thread'",
    "CUDA_VISIBLE_DEVICES": "GPUs that torch may use",
    "OMP_NUM_THREADS": "CPU threads of torch and the native core",
    "MKL_NUM_THREADS": "CPU threads of torch's matrix products",
    "OMP_WAIT_POLICY": "passive: idle threads sleep, which helps on a shared machine",
    "TRITON_INTERPRET": "1 runs Triton kernels on the CPU, slowly, for tests",
}


def _requirements() -> Iterator[tuple[str, str]]:
    """(package, extra or "") of every requirement in the installed metadata; nothing in a checkout not installed."""
    try:
        declared = importlib.metadata.requires("pcsr-fast") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for requirement in declared:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        if name:
            yield name[0], extra[1] if extra else ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _versions() -> Rows:
    installed = _version("pcsr-fast") != "not installed"
    own = __version__ if installed else f"{__version__} (checkout, not installed)"
    rows = {"pcsr-fast": own, "python": platform.python_version()}
    packages = [name for name, extra in _requirements() if not extra] or ["torch", "triton", "numpy"]
    return rows | {name: _version(name) for name in packages}


def _machine() -> Rows:
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "system": platform.platform(),
        "processor": cpu_model(),
        "cores": f"{os.cpu_count()}, of which {usable} usable",
        "torch threads": str(torch.get_num_threads()),
        "memory": f"{gibibytes:.0f} GiB",
    }


def _native() -> Rows:
    from pcsr_fast import native

    available, reason = native.status()
    rows = {"status": f"{'yes' if available else 'no'}: {reason}"}
    if available:
        rows["instruction sets"] = ", ".join(native.load().supported_isas())
    return rows


def _cuda_kernels() -> Rows:
    from pcsr_fast import native_cuda

    available, reason = native_cuda.status()
    return {"status": f"{'yes' if available else 'no'}: {reason}"}


def _gpu() -> Rows:
    import torch

    if torch.cuda.is_available():
        properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return {
            f"cuda:{index}": f"{gpu.name}, sm_{gpu.major}{gpu.minor}, {gpu.total_memory / 2**30:.0f} GiB"
            for index, gpu in enumerate(properties)
        }
    if torch.version.cuda is None and torch.version.hip is None:
        return {"devices": "none: this torch is a CPU build"}
    return {"devices": "none: torch finds no device or no driver"}


def _lacks(backend: str) -> Iterator[str]:
    """What this machine or installation lacks for `backend`, whatever the op."""
    import torch

    from pcsr_fast import native, native_cuda

    if backend == "cuda" and not native_cuda.built()[0]:
        yield "the CUDA kernels"
    if backend == "cpu" and not native.status()[0]:
        yield "the native core"
    if backend == "triton" and _version("triton") == "not installed":
        yield "the package triton"
    if backend in ("triton", "cuda") and not torch.cuda.is_available():
        yield "a GPU that torch can use"


def _backends() -> Rows:
    from pcsr_fast import backends

    importlib.import_module("pcsr_fast.ops")  # ops register their backends when imported
    ops = backends.registered_ops()
    rows = {"requested": backends.requested_backend()}
    for backend in backends.ORDER:
        missing = [op for op in ops if backend not in backends._REGISTRY[op]]
        lacks = list(_lacks(backend))
        if len(missing) == len(ops):
            lacks.append("kernels: none is built in this version")
        elif missing:
            lacks.append(f"a form of {', '.join(missing)}")
        have = f"{len(ops) - len(missing)} of {len(ops)} ops"
        rows[backend] = f"{have}; lacks {'; '.join(lacks)}" if lacks else f"{have}, ready"
    return rows


def _extras() -> Rows:
    extras: dict[str, list[str]] = {}
    for package, extra in _requirements():
        if extra:
            extras.setdefault(extra, []).append(package)
    rows: Rows = {}
    for extra, packages in extras.items():
        missing = [package for package in packages if _version(package) == "not installed"]
        rows[extra] = f"lacks {', '.join(missing)} (pip install pcsr-fast[{extra}])" if missing else "installed"
    return rows or {"all": "unknown: pcsr-fast is not installed"}


def _environment() -> Rows:
    rows = {name: f"{os.environ[name]} ({meaning})" for name, meaning in VARIABLES.items() if name in os.environ}
    for name in sorted(os.environ):
        if name.startswith("PCSR_") and name not in VARIABLES:
            rows[name] = "no such variable: a typo?"
    return rows or {"variables": "none set"}


SECTIONS: dict[str, Callable[[], Rows]] = {
    "versions": _versions,
    "machine": _machine,
    "native core": _native,
    "cuda kernels": _cuda_kernels,
    "gpu": _gpu,
    "backends": _backends,
    "extras": _extras,
    "environment": _environment,
}


def report() -> dict[str, Rows]:
    """Every section as rows of text, fit for JSON. A section that fails holds one row, `error`. Never raises."""
    sections: dict[str, Rows] = {}
    for title, read in SECTIONS.items():
        try:
            sections[title] = read()
        except Exception as error:
            sections[title] = {"error": f"{type(error).__name__}: {error}"}
    return sections


def show(console: Console | None = None) -> None:
    """Print `report()` as a table."""
    table = Table(show_header=False, title="pcsr-fast doctor", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, rows in report().items():
        table.add_section()
        table.add_row(title, "", style="cyan")
        for name, value in rows.items():
            table.add_row(f"  {name}", Text(value))  # as Text: the brackets of pcsr-fast[extract] are no markup
    (console or Console()).print(table)
