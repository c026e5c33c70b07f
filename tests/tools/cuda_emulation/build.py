"""Compiles the CUDA sources for the CPU: as a Python module of the same interface, or as the program of program.cpp.

Objects are kept by the hash of what the preprocessor makes of them, so that only what has changed is compiled again.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import pybind11

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CACHE = ROOT / "build" / "cuda-emulation"
RUNTIME = ("emulation.cpp", "operations.cpp", "fibers.cpp", "fragments.cpp", "phases.cpp")


class Variant(NamedTuple):
    """Flags of the kernels, and of the runtime, which sanitizers learn about by calls and do not look into."""

    kernels: tuple[str, ...]
    runtime: tuple[str, ...] = ()


VARIANTS = {
    "plain": Variant(("-O1",)),
    "address": Variant(
        ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"), ("-DPCSR_EMULATION_ASAN",)
    ),
    "thread": Variant(("-O1", "-g", "-fsanitize=thread"), ("-DPCSR_EMULATION_TSAN",)),
}


def launchers(sources: Path = ROOT) -> list[Path]:
    """The .cu files."""
    return sorted((sources / "csrc" / "cuda").glob("*.cu"))


def _object(source: Path, flags: list[str]) -> Path:
    """The compiled `source`."""
    command = ["g++", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unknown-pragmas", *flags]
    file = ["-x", "c++", str(source)]
    text = subprocess.run([*command, "-E", "-P", *file], check=True, capture_output=True).stdout
    meaning = [word for word in command if not word.startswith("-I")]
    made = CACHE / f"{source.stem}-{hashlib.sha256(repr(meaning).encode() + text).hexdigest()[:24]}.o"
    if not made.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(f".{os.getpid()}.part")
        subprocess.run([*command, "-c", *file, "-o", str(part)], check=True)
        part.replace(made)  # whole or not at all: other processes may look
    return made


def _objects(files: list[Path], variant: str, sources: Path, extra: tuple[str, ...] = ()) -> list[str]:
    """The runtime and `files`, with the kernels of the tree `sources`."""
    parts = (HERE, sources / "kernels" / "cuda", sources / "csrc" / "cuda", sources / "csrc")
    include = [f"-I{folder}" for folder in parts]
    kernels, runtime = VARIANTS[variant]
    made = [_object(HERE / name, [*include, "-O2", *runtime]) for name in RUNTIME]
    made += [_object(file, [*include, *kernels, *extra]) for file in files]
    return [str(path) for path in made]


def _linked(objects: list[str], name: str, suffix: str, flags: list[str]) -> Path:
    """What the linker makes of `objects`, in a folder of its own."""
    key = hashlib.sha256(repr((objects, flags)).encode()).hexdigest()[:24]
    made = CACHE / key / f"{name}{suffix}"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(f".{os.getpid()}.part")
        subprocess.run(["g++", *objects, *flags, "-o", str(part)], check=True)
        part.replace(made)
    return made


def _sanitizer_flags(variant: str) -> list[str]:
    return [flag for flag in VARIANTS[variant].kernels if flag.startswith("-fsanitize")]


def build_module(variant: str = "plain") -> Path:
    """The emulated `_native_cuda`; one with a sanitizer loads where its library is preloaded."""
    include = (f"-I{pybind11.get_include()}", f"-I{sysconfig.get_paths()['include']}")
    names = ('-DPCSR_CUDA_ARCHITECTURES="emulation"', '-DPCSR_CUDA_COMPILER="g++"')
    *_, binding = _objects([ROOT / "csrc" / "bind_cuda.cpp"], "plain", ROOT, (*include, *names))
    objects = [binding, *_objects(launchers(), variant, ROOT)]
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return _linked(objects, "_native_cuda", suffix, ["-shared", *_sanitizer_flags(variant)])


def build_program(name: str, variant: str, sources: Path = ROOT, kernels: tuple[str, ...] = ()) -> Path:
    """The program `name`.cpp of this folder with the launchers `kernels` of the tree `sources`."""
    files = [HERE / f"{name}.cpp", *(sources / "csrc" / "cuda" / f"{kernel}.cu" for kernel in kernels)]
    return _linked(_objects(files, variant, sources), name, "", _sanitizer_flags(variant))


if __name__ == "__main__":
    print(build_module(*sys.argv[1:]), file=sys.stdout)
