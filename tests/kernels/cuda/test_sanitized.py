"""The tests of all ops over emulated kernels that were compiled with sanitizers, in a process where those are loaded.

Outputs are tensors of torch, whose allocator the address sanitizer watches. A part of the tests: each op, small sizes.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.csrc.sanitize import ROOT, SANITIZERS, library

CHOSEN = {
    "test_triplet.py": "value_and_gradient and row or hub",
    "test_mixture.py": "test_gaussian and 1000 and quantile or test_beta and 1000",
    "test_ranks.py": "test_ranks and 100-257 and pessimistic",
    "test_search.py": "value_and_choice and 130-257-33",
    "test_wide.py": "value_and_choice and 257",
}


@pytest.mark.kernels
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("variant", ["address", "thread"])
@pytest.mark.parametrize("file", CHOSEN)
def test_nothing_is_reported(file: str, variant: str) -> None:
    sanitizer = SANITIZERS[variant]
    preload = " ".join(library(name) for name in sanitizer.libraries)
    wanted = ["-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--timeout=0", "-k", CHOSEN[file]]
    command = [*sanitizer.wrapper, "env", f"LD_PRELOAD={preload}", f"PCSR_EMULATION_VARIANT={variant}", sys.executable]
    done = subprocess.run(
        [*command, *wanted, f"tests/kernels/cuda/{file}"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", **sanitizer.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert " passed" in done.stdout
