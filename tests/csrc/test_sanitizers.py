"""That the sanitizers of `make sanitize` report what they should and nothing else, on faults made on purpose."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pcsr_fast import native
from tests.csrc.sanitize import SANITIZERS

HERE = Path(__file__).resolve().parent
COMPILE = ["g++", "-std=c++17", "-O1", "-g", "-fopenmp"]


def result_of(folder: Path, name: str, fault: str) -> subprocess.CompletedProcess[str]:
    """Build faults.cpp with sanitizer `name` and commit `fault`."""
    sources = [HERE / "faults.cpp", *([HERE / "gomp_threads.cpp"] if name == "thread" else [])]
    program = folder / name
    if not program.exists():
        flags = [f"-fsanitize={SANITIZERS[name].option}", "-fno-sanitize-recover=undefined"]
        subprocess.run([*COMPILE, *flags, *map(str, sources), "-o", str(program)], check=True)
    command = [*SANITIZERS[name].wrapper, str(program), fault]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.mark.parametrize(
    ("name", "fault", "report"),
    [
        ("address", "address", "heap-buffer-overflow"),
        ("address", "undefined", "signed integer overflow"),
        ("thread", "race", "data race"),
    ],
)
def test_a_fault_is_reported(folder, name, fault, report):
    done = result_of(folder, name, fault)
    assert done.returncode != 0
    assert report in done.stderr


@pytest.mark.parametrize("name", SANITIZERS)
def test_a_parallel_loop_without_a_fault_is_not(folder, name):
    done = result_of(folder, name, "none")
    assert (done.returncode, done.stderr) == (0, "")


def test_every_call_of_openmp_can_be_followed():
    """The native core calls nothing of libgomp that gomp_threads.cpp does not replace."""
    listing = ["nm", "-D", "--undefined-only", native.load().__file__]
    names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    called = set(re.findall(r"\b(GOMP_\w+|omp_\w+)@", names))
    replaced = set(re.findall(r"\b(GOMP_\w+|omp_\w+)\(", (HERE / "gomp_threads.cpp").read_text(encoding="utf-8")))
    assert called <= replaced
