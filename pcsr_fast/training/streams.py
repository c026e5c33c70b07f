"""Random streams that are named, so that what is drawn depends on the name alone."""

from __future__ import annotations

import hashlib


def stream_seed(*parts: int | str) -> int:
    """A 63-bit seed from anything that names a random stream, e.g. (seed, "train", epoch, net, step)."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
