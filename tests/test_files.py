"""Atomic writes: the old file or the whole new one, and nothing beside it."""

from __future__ import annotations

import hashlib
import json
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcsr_fast.errors import UserError
from pcsr_fast.files import atomic_write, exclusive, make_folder, sha256_of, write_json, write_text

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(old=st.none() | st.binary(), new=st.binary(), cut=st.integers(0, 20), fails=st.booleans())
def test_old_or_new(folder: Path, old: bytes | None, new: bytes, cut: int, fails: bool) -> None:
    target = folder / "some.bin"
    target.unlink(missing_ok=True)
    if old is not None:
        target.write_bytes(old)
    try:
        with atomic_write(target) as temporary:
            assert temporary.parent == folder
            assert (target.read_bytes() if target.exists() else None) == old
            if fails:
                temporary.write_bytes(new[:cut])
                raise KeyError("inside")
            temporary.write_bytes(new)
    except KeyError:
        assert fails
    assert (target.read_bytes() if target.exists() else None) == (old if fails else new)
    assert set(names(folder)) <= {"some.bin"}


def test_interrupt_inside_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_made_folders_and_ordinary_rights(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "file.txt"
    write_text(target, "Grüße\n")
    assert target.read_bytes() == "Grüße\n".encode()
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


@pytest.mark.parametrize("name", ["a/b/c", "a"])
def test_places_that_cannot_be_written(name: str, tmp_path: Path) -> None:
    """`a` is a file in the way of a folder, or a folder in the way of a file."""
    if name == "a":
        (tmp_path / "a").mkdir()
    else:
        (tmp_path / "a").write_text("a file")
    with pytest.raises(UserError, match=r"cannot (write here|be written) \(.+\); expected"):
        write_text(tmp_path / name, "x")
    assert names(tmp_path) == ["a"]


def test_full_disk_is_one_line_and_keeps_the_old_file(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk; it is for good, hence another process."""
    write_text(tmp_path / "a", "old")
    script = (
        "import resource, sys; from pathlib import Path; from pcsr_fast.errors import UserError; from pcsr_fast import files\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: files.write_text(Path(sys.argv[1]), 'x' * 5000)\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "a"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / 'a'}: cannot be written (File too large); expected a file, and room\n"
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


@given(value=values)
def test_json_round_trip(folder: Path, value: Any) -> None:
    write_json(folder / "value.json", value)
    assert json.loads((folder / "value.json").read_text()) == json.loads(json.dumps(value))


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": object()}])
def test_json_that_cannot_be_written_leaves_the_old_file(value: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", value)
    assert (tmp_path / "a.json").read_text() == "1\n"


@given(content=st.binary(max_size=200))
def test_sha256(folder: Path, content: bytes) -> None:
    (folder / "some.bin").write_bytes(content)
    assert sha256_of(folder / "some.bin") == hashlib.sha256(content).hexdigest()


def test_make_folder(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b").is_dir()
    write_text(tmp_path / "file", "")
    with pytest.raises(UserError, match=r"file: cannot write here \(File exists\); expected a writable folder"):
        make_folder(tmp_path / "file")


def test_exclusive_removes_what_killed_writes_left(tmp_path: Path) -> None:
    left = [tmp_path / ".a.json.x.part", tmp_path / "sub" / ".b.y.part"]
    kept = [tmp_path / "a.part", tmp_path / ".part.txt", tmp_path / "other" / ".b.y.part", tmp_path / "sub" / "b"]
    for path in [*left, *kept]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    with exclusive(tmp_path, "sub"):
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in kept)


def test_exclusive_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "a", "sub"),
        pytest.raises(UserError, match="a: another process is writing here; expected a folder of its own"),
        exclusive(tmp_path / "a", "sub"),
    ):
        pass
    with exclusive(tmp_path / "a", "sub"), exclusive(tmp_path / "b", "sub"):
        pass


def test_exclusive_ends_with_a_killed_process(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pcsr_fast.files import exclusive\n"
        "with exclusive(sys.argv[1], 'sub'): os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, tmp_path], check=False).returncode == -signal.SIGKILL
    with exclusive(tmp_path, "sub"):
        pass


def test_exclusive_needs_a_writable_folder(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    (tmp_path / "b" / ".lock").mkdir(parents=True)
    for place in (tmp_path / "file" / "below", tmp_path / "b"):
        with (
            pytest.raises(UserError, match=r"cannot write here \(.+\); expected a writable folder"),
            exclusive(place, "s"),
        ):
            pass
