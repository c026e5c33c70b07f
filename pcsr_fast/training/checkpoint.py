"""Checkpoints: one safetensors file each, with JSON in its header, replaced atomically and verified on load.

A file holds tensors under `net{i}.*` (weights), `optimizer{i}.*`, `method.*`, `partition{i}.*`, and in its header the
run's position, history and configuration, and the SHA-256 of all that. There is no pickle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pcsr_fast.errors import CheckpointError
from pcsr_fast.files import atomic_write

FORMAT = "pcsr_fast checkpoint 1"


def digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    """SHA-256 over the facts, then names, types, shapes and bytes of the tensors, in order of name."""
    total = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write `tensors` and the JSON-able `facts` to `path`; the old file stays until the new one is whole."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(facts, allow_nan=False)
    header = {"format": FORMAT, "sha256": digest(plain, text), "facts": text}
    with atomic_write(path) as temporary:
        try:
            save_file(plain, temporary, metadata=header)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read and verify a checkpoint.

    Raises:
        CheckpointError: the file is missing, is no checkpoint of this library, is cut short, or a byte has changed.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a checkpoint written by pcsr-fast train")
    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata() or {}
            # Copies, because the library's tensors are views of the mapped file.
            tensors = {name: stream.get_tensor(name).clone() for name in stream.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as safetensors ({error}); expected a whole checkpoint"
        ) from error
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format is {header.get('format')!r}, expected {FORMAT!r}")
    text = header.get("facts", "")
    if header.get("sha256") != digest(tensors, text):
        raise CheckpointError(f"{path}: checksum does not match its contents; expected an undamaged file")
    facts: dict[str, Any] = json.loads(text)
    return tensors, facts


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors renamed to `prefix` + name."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's state as named tensors: `{parameter index}.{name}`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": torch.as_tensor(value) for index, one in state.items() for name, value in one.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned; no tensors means a fresh optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
