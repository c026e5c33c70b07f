"""Interpreter of the PTX that nvcc and Triton emit for sm_80, with the checks of compute-sanitizer, for machines without a GPU.

    module = ptx.parse(text)
    report = ptx.launch(module["kernel"], grid=(4,), block=(128,), args=[x, out, 1000], shared_bytes=4096)
    assert report.clean, report

What is checked: addresses outside of buffers, alignment, reads of memory that nobody wrote (memcheck, initcheck); accesses to
shared and global memory that no barrier orders (racecheck; also between blocks, atomics excepted); barriers and collectives
that not everyone reaches (synccheck); cp.async that is used before it is waited for.

What is not modelled: speed; weak memory (stores are seen at once, fences do nothing, so blocks that hand data to each other by
fences are reported as hazards, unless the buffer is given as `HandedOver`); approximate instructions (they are exact here); the
order of sums inside mma; caches; calls through pointers; textures; wgmma, TMA and mbarrier of later architectures.
"""

from .buffers import HandedOver, Struct, Uninitialised
from .kernel import Kernel, Module
from .launch import launch
from .mutate import KINDS, Mutant, mutate
from .parser import parse
from .report import Finding, PTXError, Report

__all__ = [
    "KINDS",
    "Finding",
    "HandedOver",
    "Kernel",
    "Module",
    "Mutant",
    "PTXError",
    "Report",
    "Struct",
    "Uninitialised",
    "launch",
    "mutate",
    "parse",
]
