"""Atomic writes: a file is either the old one or the whole new one, also after kill -9 or a power cut."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pcsr_fast.errors import InUse, UserError

_PART = ".part"


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and its parents where they are missing.

    Raises:
        UserError: it cannot be made, or a file is in the way.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot write here ({error.strerror}); expected a writable folder") from error
    return folder


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without an error.

    Raises:
        UserError: the folder cannot be created or written, or the disk is full.
    """
    target = Path(path)
    make_folder(target.parent)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=_PART, dir=target.parent)
    except OSError as error:
        raise UserError(f"{target}: cannot write here ({error.strerror}); expected a writable folder") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror or error}); expected a file, and room"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(folder: str | os.PathLike[str], subfolder: str) -> Iterator[None]:
    """Hold `folder` (made if missing) for this process until the block or the process ends.

    What killed writes have left behind in it and in its `subfolder` is removed.

    Raises:
        InUse: another process holds it.
        UserError: it cannot be written.
    """
    path = make_folder(folder)
    try:
        lock = (path / ".lock").open("a")
    except OSError as error:
        raise UserError(f"{path}: cannot write here ({error.strerror}); expected a writable folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUse(f"{path}: another process is writing here; expected a folder of its own") from error
        except OSError:
            # A network disk without locks: two runs in one folder then go unnoticed.
            pass
        for left in (*path.glob(f".*{_PART}"), *path.glob(f"{subfolder}/.*{_PART}")):
            left.unlink(missing_ok=True)
        yield


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
