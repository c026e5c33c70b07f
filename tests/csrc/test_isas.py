"""Every instruction set of this machine, each in a process of its own, and that a new native op cannot be left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pcsr_fast import backends, native

ROOT = Path(__file__).resolve().parents[2]
CHECK = Path(__file__).with_name("isa_check.py")
ISAS = native.load().supported_isas()


def run_check(isa: str) -> subprocess.CompletedProcess[str]:
    """The self-check on `isa`."""
    settings = {"PCSR_FAST_ISA": isa, "PCSR_FAST_BACKEND": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(CHECK)]
    return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("isa", ISAS)
def test_every_native_op_follows_float64(isa):
    done = run_check(isa)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == isa


def test_native_ops_are_there():
    """Where the core is built, nothing may fall back to PyTorch unnoticed."""
    expected = {
        "triplet_loss",
        "hardest_negatives",
        "contrastive_loss",
        "pair_losses",
        "retrieval_ranks",
        "fit_mixture",
        "gru_states",
        "gru_gradient",
    }
    assert expected <= {op for op in backends.registered_ops() if "cpu" in backends._REGISTRY[op]}


def test_an_unknown_instruction_set_is_refused():
    done = run_check("sse9")
    assert done.returncode != 0
    assert "PCSR_FAST_ISA=sse9: not supported by this machine; expected one of scalar" in done.stderr
