"""An op file for tests: a call that allocates 64 MiB, one that only returns them, and some that cannot run."""

from __future__ import annotations

import torch

from benchmarks.harness import Case, Implementation, Workload

TITLE = "Tiny"
AXIS = "rows"
MIB_64 = 16 * 2**20


def _fail() -> None:
    raise RuntimeError("no compiler\nand more")


def build(rows: int) -> Workload:
    """Implementations that all return ones, whole or summed."""
    implementations = {
        "allocate": Implementation(lambda: torch.ones(MIB_64).sum() / MIB_64),
        "return": Implementation(lambda: torch.ones(MIB_64)),
        "piece": Implementation(lambda: torch.ones(8), scale=10.0),
        "cpu": Implementation(lambda: torch.ones(rows), ours=True),
        "broken": Implementation(_fail),
        "cuda": Implementation(None, "no GPU", ours=True),
        "slow": Implementation(_fail),
    }
    return Workload(implementations, lambda name, got: None if bool((got == 1).all()) else "not one")


def cases(size: str) -> list[Case]:
    """Two points of one curve."""
    return [
        Case(
            name=f"R={rows}",
            op="triplet_loss",
            shapes=((rows, 8), (rows, 8)),
            build=lambda rows=rows: build(rows),
            usual="allocate",
            size=rows,
            series="forward",
            headline=rows == 16,
            repeats=2,
            not_run={"slow": "not run: slow"},
        )
        for rows in (8, 16)
    ]
