"""Noisy correspondence: which picture each caption holds, injected, loaded or saved (METHODS 1.2)."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pcsr_fast.data.arrays import open_array
from pcsr_fast.errors import ConfigError, DataError
from pcsr_fast.files import atomic_write, write_json


@dataclass
class NoiseConfig:
    """Wrong pairs put into the training split.

    Args:
        ratio: share of captions (or pictures) whose partner is shuffled, 0 to 1; a few get their own one back.
        level: "caption" shuffles single captions (NCR, BiCro, PC2, PCSR), "image" moves all captions of a picture
            together (RCL, DECL, L2RM).
        seed: seed of the shuffle, independent of the training seed.
        file: a published or saved noise file (.npy) that is used in place of ratio, level and seed.
    """

    ratio: float = 0.0
    level: Literal["caption", "image"] = "caption"
    seed: int = 0
    file: str | None = None


def inject_noise(image_of_caption: np.ndarray, *, ratio: float, level: str = "caption", seed: int = 0) -> np.ndarray:
    """Picture row each caption holds after a share of the pairs was shuffled.

    Args:
        image_of_caption: (N,) int64, the true picture row of each caption.
        ratio: share in 0..1; int(ratio * N) captions, or int(ratio * n) pictures, take part in the shuffle.
        level: "caption": the picture rows held by the chosen captions are shuffled among them (NCR convention).
            "image": the chosen picture rows are permuted, and all captions of a picture move together (RCL convention).
        seed: of a generator of its own, PCG64(seed).

    Returns:
        held: (N,) int64; a pair is true where held equals image_of_caption.

    Raises:
        ConfigError: ratio outside 0..1, unknown level or negative seed.
    """
    if not 0.0 <= ratio <= 1.0:
        raise ConfigError(f"noise.ratio: {ratio}; expected a number from 0 to 1")
    if level not in ("caption", "image"):
        raise ConfigError(f"noise.level: {level!r}; expected 'caption' or 'image'")
    if seed < 0:
        raise ConfigError(f"noise.seed: {seed}; expected an integer >= 0")
    generator = np.random.Generator(np.random.PCG64(seed))
    true = np.asarray(image_of_caption, dtype=np.int64)
    if level == "caption":
        return _shuffle_share(true, ratio, generator)
    pictures, position = np.unique(true, return_inverse=True)
    return _shuffle_share(pictures, ratio, generator)[position]


def _shuffle_share(values: np.ndarray, ratio: float, generator: np.random.Generator) -> np.ndarray:
    """A copy of `values` in which int(ratio * len) randomly chosen entries are shuffled among themselves."""
    chosen = generator.permutation(len(values))[: int(ratio * len(values))]
    moved = values[chosen]
    generator.shuffle(moved)
    result = values.copy()
    result[chosen] = moved
    return result


def load_noise_file(path: str | os.PathLike[str], image_of_caption: np.ndarray, num_images: int) -> np.ndarray:
    """Held picture rows from a noise file of any published convention.

    Args:
        path: .npy of integers. Length N (captions): the picture row of each caption (NCR, BiCro, PC2; L2RM's expanded
            image-level files). Length n (pictures): a permutation of picture rows (RCL, DECL); caption j then holds
            permutation[image_of_caption[j]].
        image_of_caption: (N,) true picture rows.
        num_images: n.

    Returns:
        held: (N,) int64.

    Raises:
        DataError: missing, pickled or truncated file, other dtype, length or range, or no permutation.
    """
    true = np.asarray(image_of_caption, dtype=np.int64)
    expected = f"one integer a caption ({len(true)}) or a picture ({num_images}), each in 0..{num_images - 1}"
    values = np.asarray(open_array(path, ndim=1, kinds="iu", expected=expected)).astype(np.int64)
    if len(values) not in (len(true), num_images):
        raise DataError(f"{path}: has {len(values)} entries; expected {expected}")
    outside = np.flatnonzero((values < 0) | (values >= num_images))
    if outside.size:
        raise DataError(f"{path}: entry {outside[0]} is {values[outside[0]]}; expected {expected}")
    if len(values) == len(true):
        return values
    if len(np.unique(values)) != num_images:
        raise DataError(
            f"{path}: has one entry a picture but repeats some; expected a permutation of 0..{num_images - 1}"
        )
    return values[true]


def held_images(
    config: NoiseConfig, image_of_caption: np.ndarray, num_images: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """What `config` asks for: (held (N,) int64, facts for noise.json)."""
    if config.file is not None:
        held = load_noise_file(config.file, image_of_caption, num_images)
        source, ratio, level, seed = str(config.file), None, None, None
    else:
        held = inject_noise(image_of_caption, ratio=config.ratio, level=config.level, seed=config.seed)
        source, ratio, level, seed = "generated", config.ratio, config.level, config.seed
    wrong = float(np.mean(held != image_of_caption)) if len(held) else 0.0
    return held, {"ratio": ratio, "level": level, "seed": seed, "source": source, "wrong_share": wrong}


def digest(held: np.ndarray) -> str:
    """SHA-256 of the values as little-endian int64 bytes, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(held, dtype="<i8").tobytes()).hexdigest()


def save_noise(folder: str | os.PathLike[str], held: np.ndarray, meta: dict[str, Any]) -> None:
    """Write noise.npy (int64) and noise.json (`meta` and the SHA-256 of the values) into `folder`, each atomically."""
    values = np.ascontiguousarray(held, dtype=np.int64)
    with atomic_write(Path(folder) / "noise.npy") as temporary, temporary.open("wb") as stream:
        np.save(stream, values, allow_pickle=False)
    write_json(Path(folder) / "noise.json", {**meta, "sha256": digest(values)})


def verify(folder: str | os.PathLike[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """(held, facts) that `save_noise` wrote.

    Raises:
        DataError: a file is missing or broken, or the values do not match their SHA-256.
    """
    array_path, json_path = Path(folder) / "noise.npy", Path(folder) / "noise.json"
    held = np.array(open_array(array_path, ndim=1, kinds="i", expected="one int64 a caption"), dtype=np.int64)
    try:
        meta = json.loads(json_path.read_text(encoding="utf-8"))
        stored = meta["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{json_path}: cannot be read; expected a JSON object with sha256") from error
    if stored != digest(held):
        raise DataError(f"{array_path}: its values do not match the SHA-256 in {json_path.name}; expected {stored}")
    return held, meta
