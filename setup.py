"""Build of the native core through CMake; everything else about the package stands in pyproject.toml.

PCSR_NATIVE=auto (default) builds it where cmake can configure a compiler and installs pure Python elsewhere,
=1 demands it, =0 leaves it out. PCSR_CUDA says the same of its CUDA kernels, for which nvcc is needed, and
PCSR_CUDA_ARCHITECTURES for which GPUs. PCSR_SANITIZE is passed to CMake. No GPU is looked for, and torch is not needed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
RECORD = "native_build.json"
NATIVE, CUDA = (os.environ.get(name, "auto") for name in ("PCSR_NATIVE", "PCSR_CUDA"))
for name, value in (("PCSR_NATIVE", NATIVE), ("PCSR_CUDA", CUDA)):
    if value not in ("auto", "0", "1"):
        raise SystemExit(f"{name}={value}: expected auto, 0 or 1")


class NativeUnavailableError(Exception):
    """This machine cannot build the native core; the message says what is missing."""


def write_record(built: Path, editable: bool, reason: str, cuda_reason: str) -> None:
    """Leave the outcome where `pcsr_fast.native` reads it, as pip hides what a build prints."""
    package = ROOT / "pcsr_fast" if editable else built
    folder = ROOT / "build" if editable else built
    folder.mkdir(parents=True, exist_ok=True)
    record = {"native": not reason, "reason": reason, "cuda": not cuda_reason, "cuda_reason": cuda_reason}
    (folder / RECORD).write_text(json.dumps(record) + "\n")
    for pattern, missing in (("_native.*so", reason), ("_native_cuda.*so", cuda_reason)):
        for stale in package.glob(pattern) if missing else ():
            stale.unlink()
    if reason:
        print(f"pcsr-fast: installing pure Python, without the native core: {reason}", file=sys.stderr)
    elif cuda_reason:
        print(f"pcsr-fast: installing without CUDA kernels: {cuda_reason}", file=sys.stderr)


def cmake_command() -> str:
    """Path of cmake: that of PyPI's package, whether or not its environment is activated, else the system's."""
    try:
        import cmake

        return str(Path(cmake.CMAKE_BIN_DIR) / "cmake")
    except ImportError:
        found = shutil.which("cmake")
    if found is None:
        raise NativeUnavailableError("cmake was not found")
    return found


def configure(cmake: str, folder: Path) -> None:
    """Run CMake's configure step from scratch: a cache would outlive a change of CXX or of the build environment."""
    import pybind11

    (folder / "CMakeCache.txt").unlink(missing_ok=True)
    for compiler_facts in folder.glob("CMakeFiles/[0-9]*"):
        shutil.rmtree(compiler_facts)
    command = [cmake, "-S", str(ROOT), "-B", str(folder), f"-DPython_EXECUTABLE={sys.executable}"]
    command += [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DPCSR_SANITIZE={os.environ.get('PCSR_SANITIZE', '')}"]
    command += [f"-DPCSR_CUDA={CUDA}"]
    if architectures := os.environ.get("PCSR_CUDA_ARCHITECTURES"):
        command += [f"-DPCSR_CUDA_ARCHITECTURES={architectures}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
    if done.returncode:
        _, _, error = done.stderr.partition("CMake Error")
        raise NativeUnavailableError(f"cmake could not configure: {' '.join(error.split())[:300]}")


class BuildPython(build_py):
    """Record a native core that was left out on purpose."""

    def run(self) -> None:
        super().run()
        if NATIVE == "0":
            reason = "PCSR_NATIVE=0 was set at install"
            write_record(Path(self.build_lib) / "pcsr_fast", self.editable_mode, reason, reason)


class BuildNative(build_ext):
    """Build the extensions with CMake and fall back to pure Python where no compiler is found."""

    def build_extension(self, ext: Extension) -> None:
        """All is built with the first extension; the second stands for the CUDA kernels, so that they are installed."""
        if ext.name != "pcsr_fast._native":
            return
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        folder = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        try:
            cmake = cmake_command()
            configure(cmake, folder)
        except NativeUnavailableError as missing:
            for name, value in (("PCSR_NATIVE", NATIVE), ("PCSR_CUDA", CUDA)):
                if value == "1":
                    raise SystemExit(f"{name}=1, but {missing}") from missing
            write_record(target.parent, self.editable_mode, str(missing), str(missing))
            return
        build = [cmake, "--build", str(folder), "-j", str(os.cpu_count() or 1), "--target"]
        if subprocess.run([*build, "_native"], check=False).returncode:
            raise SystemExit("the native core does not compile (see above); PCSR_NATIVE=0 installs without it")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / target.name, target)
        cuda_missing = (folder / "cuda_missing.txt").read_text()
        if not cuda_missing and subprocess.run([*build, "_native_cuda"], check=False).returncode:
            cuda_missing = "nvcc could not compile them; PCSR_CUDA=1 shows why"
            if CUDA == "1":
                raise SystemExit("the CUDA kernels do not compile (see above); PCSR_CUDA=0 installs without them")
        if not cuda_missing:
            name = target.name.replace("_native", "_native_cuda")
            shutil.copy2(folder / name, target.with_name(name))
        write_record(target.parent, self.editable_mode, "", cuda_missing)


setup(
    packages=[*find_packages(include=["pcsr_fast", "pcsr_fast.*"]), "pcsr_fast.kernels.triton", "pcsr_fast.configs"],
    package_dir={"pcsr_fast.kernels.triton": "kernels/triton", "pcsr_fast.configs": "configs"},
    package_data={
        "pcsr_fast": ["py.typed", "data/clipart/*", "report/templates/*"],
        "pcsr_fast.configs": ["*.yaml"],
        "pcsr_fast.kernels.triton": ["tuned/*.json"],
    },
    ext_modules=[
        Extension(f"pcsr_fast.{name}", sources=[], optional=True)
        for name in ("_native", "_native_cuda")
        if NATIVE != "0"
    ],
    cmdclass={"build_ext": BuildNative, "build_py": BuildPython},
)
