"""One file an op: TITLE, AXIS (what its sizes count) and cases(size)."""

from __future__ import annotations

OPS = ("triplet", "contrastive", "pair_losses", "mixture", "ranks", "hardest", "heads", "step")
SIZES = ("tiny", "small", "full", "gpu")
