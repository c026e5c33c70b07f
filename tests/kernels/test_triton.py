"""Runs each file of tests/kernels/triton in a process whose Triton interprets kernels on the CPU.

By hand: TRITON_INTERPRET=1 python -m pytest tests/kernels/triton -k ties
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATHS = sorted(Path(__file__).with_name("triton").glob("test_*.py"))
FILES = [path.name for path in PATHS]
LONG = [path.name for path in PATHS if "mark.kernels" in path.read_text()]


def interpreted(file: str, which: str) -> subprocess.CompletedProcess[str]:
    """The tests of a file that a marker expression leaves, in a process of their own."""
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", which]
    command = [sys.executable, "-m", "pytest", *options, f"tests/kernels/triton/{file}"]
    settings = {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PCSR_FAST_"))}
    return subprocess.run(command, cwd=ROOT, env=kept | settings, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", FILES)
def test_a_part_interpreted(file: str) -> None:
    done = interpreted(file, "not kernels")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.kernels
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("file", LONG)
def test_the_rest_interpreted(file: str) -> None:
    done = interpreted(file, "kernels")
    assert done.returncode == 0, done.stdout + done.stderr
