"""What has run on a GPU, and what has not: benchmarks/results/gpu/STATUS.md, made from the records beside it.

`make test-gpu`, `bench-gpu` and `sanitize-gpu` leave a record when they end well, with machine, versions and commit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import circumstances
from benchmarks.tables import table
from pcsr_fast.errors import ConfigError
from pcsr_fast.files import write_json

# Records by name: what leaves them.
CHECKS = {"tests": "make test-gpu", "benchmarks": "make bench-gpu", "sanitizers": "make sanitize-gpu"}
NOT_RUN = "NOT RUN"


def keep(folder: Path, check: str) -> Path:
    """Write the record of a check that has just ended well, on this machine.

    Raises:
        ConfigError: an unknown check, or no GPU here.
    """
    if check not in CHECKS:
        raise ConfigError(f"gpu-ran: got {check!r}, expected one of {', '.join(CHECKS)}")
    if not torch.cuda.is_available():
        raise ConfigError("gpu-ran: torch finds no GPU; nothing can have run on one")
    path = folder / f"ran_{check}.json"
    write_json(path, {"kind": "ran", "check": check, **circumstances()})
    return path


def faults(path: Path) -> str:
    """What became of the faults put into the PTX of the real kernels, from the committed results; a paragraph."""
    kept = json.loads(path.read_text(encoding="utf-8"))["total"]
    noticed, tried = sum(kept["noticed"].values()), kept["tried"]
    return (
        f"Of {kept['mutants']:,} faults in the PTX of {kept['kernels']} kernels (a barrier, wait, commit, guard or branch "
        f"gone), {tried:,} were tried:\n{noticed:,} are noticed, {kept['explained']} change nothing for a reason that is "
        f"written down (`tests/kernels/ptx/redundant.toml`),\n{kept['survived']} are neither: "
        f"{100 * kept['noticed or explained']:.1f} %. `{'/'.join(path.parts[-4:])}`.\n"
    )


def _state(record: Path) -> str:
    if not record.is_file():
        return NOT_RUN
    found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return (
        f"{found['machine']['gpu']}, torch {found['machine']['torch']}, {found['date'][:10]}, commit {found['commit']}"
    )


def status(folder: Path) -> str:
    """The text of STATUS.md."""
    lines = [["check", "command", "last ended well on"]]
    lines += [[name, f"`{command}`", _state(folder / f"ran_{name}.json")] for name, command in CHECKS.items()]
    return (
        "# What has run on a GPU\n\nMade by `python -m benchmarks report` from the records in this folder. What is known\n"
        f"without a GPU stands in [kernels/README.md](../../../kernels/README.md).\n\n{table(lines, 3)}"
    )
