"""Checkpoints come back as they were written, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from pcsr_fast.errors import CheckpointError, UserError
from pcsr_fast.training.checkpoint import (
    FORMAT,
    digest,
    load_checkpoint,
    load_optimizer,
    optimizer_tensors,
    save_checkpoint,
    strip_prefix,
    with_prefix,
)
from tests.training.tools import plain

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
)  # fmt: skip

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda name: name != "__metadata__"
)
facts = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any bytes of any type and shape, 0-d and empty ones included, contiguous or not."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    count = int(np.prod(shape, dtype=int)) * torch.empty(0, dtype=dtype).element_size()
    content = draw(st.binary(min_size=count, max_size=count))
    if dtype == torch.bool:
        content = bytes(byte & 1 for byte in content)
    tensor = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
    tensor = tensor.reshape(shape)
    return tensor.transpose(0, -1) if tensor.dim() > 1 and draw(st.booleans()) else tensor


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoint") / "some.safetensors"


@given(values=st.dictionaries(names, tensors(), max_size=5), known=facts)
def test_round_trip(path: Path, values: dict[str, Tensor], known: dict[str, Any]) -> None:
    save_checkpoint(path, values, known)
    loaded, read = load_checkpoint(path)
    assert {name: plain(tensor.contiguous()) for name, tensor in values.items()} == {
        name: plain(tensor) for name, tensor in loaded.items()
    }
    assert read == json.loads(json.dumps(known))


@given(value=tensors(), other=tensors())
def test_digest_tells_tensors_apart(value: Tensor, other: Tensor) -> None:
    same = plain(value.contiguous()) == plain(other.contiguous())
    assert (digest({"a": value}, "") == digest({"a": other}, "")) == same
    assert digest({"a": value}, "") != digest({"b": value}, "")
    assert digest({"a": value}, "") != digest({"a": value}, "{}")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A checkpoint and its bytes."""
    target = tmp_path_factory.mktemp("written") / "whole.safetensors"
    values = {"net0.w": torch.arange(6.0).reshape(2, 3), "method.n": torch.tensor(3), "empty": torch.zeros(0, 4)}
    save_checkpoint(target, values, {"epoch": 12, "best": {"rsum": 301.25}})
    return target, target.read_bytes()


@given(data=st.data())
def test_no_changed_byte_goes_unnoticed(written: tuple[Path, bytes], data: st.DataObject) -> None:
    whole, content = written
    tensors, known = load_checkpoint(whole)
    place = data.draw(st.integers(0, len(content) - 1))
    value = data.draw(st.integers(0, 255))
    damaged = whole.with_name("damaged.safetensors")
    damaged.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
    try:
        found, read = load_checkpoint(damaged)
    except CheckpointError as error:
        assert str(damaged) in str(error)
        assert "expected" in str(error)
    else:
        assert read == known
        assert {name: plain(one) for name, one in found.items()} == {name: plain(one) for name, one in tensors.items()}


@given(data=st.data())
def test_no_shortened_file_is_loaded(written: tuple[Path, bytes], data: st.DataObject) -> None:
    whole, content = written
    short = whole.with_name("short.safetensors")
    short.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_checkpoint(short)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "format is None, expected 'pcsr_fast checkpoint 1'"),
        ({"format": "pt"}, "format is 'pt', expected"),
        ({"format": FORMAT}, "checksum does not match"),
        ({"format": FORMAT, "sha256": "0" * 64, "facts": "{}"}, "checksum does not match"),
    ],
)
def test_foreign_safetensors(tmp_path: Path, metadata: dict[str, str] | None, message: str) -> None:
    save_file({"w": torch.ones(3)}, tmp_path / "x.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "x.safetensors")


def test_missing_file_and_folder_in_its_place(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match="no such file; expected a checkpoint written by pcsr-fast train"):
            load_checkpoint(path)


def test_loaded_tensors_do_not_hang_on_the_file(tmp_path: Path) -> None:
    target = tmp_path / "x.safetensors"
    save_checkpoint(target, {"w": torch.arange(4096)}, {})
    loaded, _ = load_checkpoint(target)
    with target.open("r+b") as stream:
        stream.seek(0)
        stream.write(bytes(target.stat().st_size))
    assert torch.equal(loaded["w"], torch.arange(4096))


def test_failed_save_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.safetensors"
    save_checkpoint(target, {"w": torch.ones(2)}, {})

    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pcsr_fast.training.checkpoint.save_file", full)
    with pytest.raises(UserError, match=r"x.safetensors: cannot be written \(No space left on device\)"):
        save_checkpoint(target, {"w": torch.zeros(2)}, {})
    assert torch.equal(load_checkpoint(target)[0]["w"], torch.ones(2))
    assert [one.name for one in tmp_path.iterdir()] == ["x.safetensors"]


def test_facts_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        save_checkpoint(tmp_path / "x.safetensors", {}, {"loss": float("nan")})
    assert not (tmp_path / "x.safetensors").exists()


@given(values=st.dictionaries(st.sampled_from(["a", "b.c", "net0.x"]), tensors()), prefix=st.text(max_size=4))
def test_prefixes(values: dict[str, Tensor], prefix: str) -> None:
    assert strip_prefix(prefix, with_prefix(prefix, values)) == values


def test_optimiser_goes_on_to_the_bit(tmp_path: Path) -> None:
    def fresh() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        return model, torch.optim.Adam(model.parameters(), lr=0.1)

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()

    model, optimizer = fresh()
    for _ in range(3):
        step(model, optimizer)
    tensors = {**with_prefix("m.", model.state_dict()), **with_prefix("o.", optimizer_tensors(optimizer))}
    save_checkpoint(tmp_path / "x.safetensors", tensors, {})
    step(model, optimizer)
    loaded, _ = load_checkpoint(tmp_path / "x.safetensors")
    again, its = fresh()
    again.load_state_dict(strip_prefix("m.", loaded))
    load_optimizer(its, strip_prefix("o.", loaded))
    step(again, its)
    for mine, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, other)
    load_optimizer(its, {})
    assert its.state_dict()["state"] == {}
