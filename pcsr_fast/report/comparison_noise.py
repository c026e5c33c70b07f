"""Which pairs were wrong in a comparison: the same for every method at one ratio and seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

HEADS = ("noise", "convention", "seed", "wrong pairs", "SHA-256 of the indices", "file")


def noise_cells(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A list a ratio and seed, as HEADS says; the file is one of those that hold the same indices."""
    found: dict[tuple[float, int], list[str]] = {}
    for row in rows:
        for run in row["runs"]:
            noise = run["noise"]
            convention = f"{noise['level']} level" if noise["level"] else f"from {noise['source']}"
            cells = [f"{100 * row['noise']:g} %", convention, str(run["seed"]), f"{100 * noise['wrong_share']:.2f} %"]
            found.setdefault((row["noise"], run["seed"]), [*cells, noise["sha256"], run["noise_file"]])
    return [found[key] for key in sorted(found)]


def noise_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The same as lines for a terminal."""
    return [
        f"noise {share} at {convention}, seed {seed}: {wrong} of the pairs wrong, noise.npy SHA-256 {digest[:16]}"
        for share, convention, seed, wrong, digest, _ in noise_cells(rows)
    ]
