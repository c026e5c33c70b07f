"""Builds the native core with sanitizers and runs its tests on that build; `make sanitize` (Linux, gcc).

Tests find the build as a mirror of the package: links to its files, the instrumented module in the place of the usual one,
first on Python's path. ThreadSanitizer gets OpenMP from gomp_threads.cpp, which it can see through.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pybind11

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WITHOUT_TORCH_COMPILE = "not compiles and not opcheck"
WITH_THREADS = "threads or crowd"
ISAS = "from pcsr_fast import native; print(*native.load().supported_isas())"
VERIFY = """
from pcsr_fast import native
core = native.load()
assert core.__file__.startswith("{tree}"), core.__file__
assert core.build_info()["sanitizer"] == "{option}", core.build_info()
"""


class Sanitizer(NamedTuple):
    """A build: its CMake option, what is preloaded, the environment, and the options of a command before python."""

    option: str
    libraries: tuple[str, ...]
    environment: dict[str, str]
    wrapper: tuple[str, ...] = ()


SANITIZERS = {
    "address": Sanitizer(
        "address,undefined",
        ("libasan.so", "libubsan.so", "libstdc++.so"),
        {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"},
    ),
    # Without random addresses, which older runtimes of it do not bear.
    "thread": Sanitizer(
        "thread", ("libtsan.so",), {"TSAN_OPTIONS": "halt_on_error=1"}, ("setarch", platform.machine(), "-R")
    ),
}


def run(*command: str | Path, **options: object) -> None:
    """Run a command; where it fails, leave with its status."""
    print("+", *command, flush=True)
    status = subprocess.run([str(word) for word in command], check=False, cwd=ROOT, **options).returncode
    if status:
        raise SystemExit(status)


def cmake_command() -> str:
    """PyPI's cmake where it is installed, as setup.py does, else the system's."""
    try:
        import cmake

        return str(Path(cmake.CMAKE_BIN_DIR) / "cmake")
    except ImportError:
        return "cmake"


def built(name: str) -> Path:
    """The mirror of the package with the module built for sanitizer `name`."""
    folder = ROOT / "build" / f"sanitize-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    options = [f"-DPCSR_SANITIZE={SANITIZERS[name].option}", f"-DPython_EXECUTABLE={sys.executable}", "-DPCSR_CUDA=0"]
    options += [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
    if name == "thread":
        threads = folder / "gomp_threads.o"
        compile_it = ["g++", "-std=c++17", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-fsanitize=thread"]
        run(*compile_it, "-c", HERE / "gomp_threads.cpp", "-o", threads)
        options += [f"-DCMAKE_MODULE_LINKER_FLAGS={threads}"]
    run(cmake_command(), "-S", ROOT, "-B", folder, *options)
    run(cmake_command(), "--build", folder, "-j", str(os.cpu_count() or 1))
    return mirror(folder)


def mirror(folder: Path) -> Path:
    """A tree of links to the package in which the native module is the one built in `folder`."""
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    without = shutil.ignore_patterns("_native*.so", "__pycache__")
    shutil.copytree(ROOT / "pcsr_fast", tree / "pcsr_fast", copy_function=os.symlink, ignore=without)
    (module,) = folder.glob("_native*.so")
    shutil.copy2(module, tree / "pcsr_fast" / module.name)
    return tree


def library(name: str) -> str:
    """Path of one of gcc's runtime libraries."""
    command = ["gcc", f"-print-file-name={name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main(name: str) -> None:
    """Build with sanitizer `name` and run the tests; leaves with the status of what fails first."""
    sanitizer, tree = SANITIZERS[name], built(name)
    preload = " ".join(library(runtime) for runtime in sanitizer.libraries)
    base = os.environ | {"PYTHONPATH": f"{tree}:{ROOT}", "OMP_NUM_THREADS": "1", **sanitizer.environment}

    def check(*command: str | Path, **settings: str) -> None:
        run(*sanitizer.wrapper, "env", f"LD_PRELOAD={preload}", sys.executable, "-P", *command, env=base | settings)

    check("-c", VERIFY.format(tree=tree, option=sanitizer.option))
    tests = ["-m", "pytest", "-o", f"pythonpath={tree} .", "-p", "no:cacheprovider", "--capture=no", "-q", "-n0"]
    tests += ["--hypothesis-profile=sanitize", "--timeout=0", "tests/ops", "-k"]
    if name == "thread":
        check(*tests, WITH_THREADS)
        return
    check(*tests, WITHOUT_TORCH_COMPILE)
    supported = subprocess.run([sys.executable, "-c", ISAS], check=True, capture_output=True, text=True, cwd=ROOT)
    for isa in supported.stdout.split():
        check(HERE / "isa_check.py", PCSR_FAST_ISA=isa, PCSR_FAST_BACKEND="cpu")


if __name__ == "__main__":
    for sanitizer_name in sys.argv[1:] or SANITIZERS:
        main(sanitizer_name)
