"""Checking a folder against its manifest.json."""

from __future__ import annotations

import json
from pathlib import Path

from pcsr_fast.data.write import MANIFEST
from pcsr_fast.errors import DataError
from pcsr_fast.files import sha256_of


def verify_manifest(folder: Path) -> list[str]:
    """Compare every file of `folder` that manifest.json names with its SHA-256.

    Returns:
        The names that were checked.

    Raises:
        DataError: no manifest, or the first file that is missing or whose bytes differ.
    """
    path = folder / MANIFEST
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        wanted = {str(name): str(entry["sha256"]) for name, entry in files.items()}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; expected a manifest with the SHA-256 of each file") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read; expected JSON of {{files: {{name: {{sha256}}}}}}") from error
    for name, expected in wanted.items():
        if Path(name).name != name:
            raise DataError(f"{path}: names {name!r}; expected plain file names")
        if not (folder / name).is_file():
            raise DataError(f"{folder / name}: no such file; expected SHA-256 {expected}")
        found = sha256_of(folder / name)
        if found != expected:
            raise DataError(f"{folder / name}: has SHA-256 {found}; expected {expected}")
    return list(wanted)
