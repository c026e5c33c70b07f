"""Watches kernels in Triton's interpreter: lanes out of bounds, races between programs, reads of memory never written.

    with sanitized() as faults:
        launch(...)
    assert not faults

An argument allows its own elements alone: of a view, not what lies between its rows. Programs of a launch may run in any
order, so two that touch one element are a race unless both read it or both update it atomically.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from triton.runtime import interpreter

POISON = 0xA5
NOBODY, SEVERAL = -1, -2


class Fault(NamedTuple):
    """What one program did wrong, to how many lanes, and to which argument first."""

    kernel: str
    program: tuple[int, int, int]
    what: str
    lanes: int
    argument: str


class Memory:
    """The storage of some arguments during a launch: which bytes they allow, and which programs touched an element."""

    def __init__(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        self.base, self.size = storage.data_ptr(), storage.nbytes()
        self.item = tensor.element_size()
        self.allowed = np.zeros(self.size, dtype=bool)
        self.names: list[str] = []
        self.touched = {kind: np.full(self.size // self.item, NOBODY) for kind in ("read", "write", "update")}

    def allow(self, name: str, tensor: torch.Tensor) -> None:
        """Let a kernel touch the elements of an argument, where each begins."""
        reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        inside = torch.zeros(reach, dtype=torch.bool)
        inside.as_strided(tensor.shape, tensor.stride()).fill_(True)
        first = tensor.data_ptr() - self.base
        self.allowed[first : first + reach * self.item : self.item] |= inside.numpy()
        self.names.append(name)

    def conflicts(self, kind: str, places: np.ndarray, program: int) -> np.ndarray:
        """Which elements another program touched in a way that does not go with `kind`; remembers this touch."""
        harmless = {"read": ("read",), "write": (), "update": ("update",)}[kind]
        clash = np.zeros(places.shape, dtype=bool)
        for other, owners in self.touched.items():
            if other not in harmless:
                clash |= (owners[places] != NOBODY) & (owners[places] != program)
        owners = self.touched[kind]
        owners[places] = np.where((owners[places] == NOBODY) | (owners[places] == program), program, SEVERAL)
        return clash


class Sanitizer:
    """Faults found so far, and the launch that is watched."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.kernel = ""
        self.memories: list[Memory] = []
        self.bases = np.zeros(0, dtype=np.int64)
        self.fresh: dict[int, torch.UntypedStorage] = {}

    def begin(self, kernel: str, arguments: dict[str, Any]) -> None:
        """A launch with these arguments."""
        memories: dict[int, Memory] = {}
        for name, value in arguments.items():
            if isinstance(value, torch.Tensor) and value.numel():
                memory = memories.setdefault(value.untyped_storage().data_ptr(), Memory(value))
                assert memory.item == value.element_size(), f"{kernel}: {name}: another element size in one storage"
                memory.allow(name, value)
        self.kernel = kernel
        self.memories = [memories[base] for base in sorted(memories)]
        self.bases = np.array([memory.base for memory in self.memories], dtype=np.int64)

    def _report(self, what: str, lanes: np.ndarray, argument: str) -> None:
        if lanes.any():
            program = tuple(int(index) for index in interpreter.interpreter_builder.grid_idx)
            self.faults.append(Fault(self.kernel, program, what, int(lanes.sum()), argument))

    def touch(self, kind: str, pointers: Any, mask: Any) -> None:
        """Check one access before it happens."""
        addresses = np.asarray(pointers.data)
        active = np.broadcast_to(np.asarray(mask.data), addresses.shape).astype(bool)
        here = addresses[active].astype(np.int64)
        x, y, z = interpreter.interpreter_builder.grid_idx
        _, height, depth = interpreter.interpreter_builder.grid_dim
        program = int((x * height + y) * depth + z)
        owner = np.searchsorted(self.bases, here, side="right") - 1
        self._report(f"{kind} outside every argument", owner < 0, "")
        for number, memory in enumerate(self.memories):
            offsets = here[owner == number] - memory.base
            inside = offsets < memory.size
            inside[inside] = memory.allowed[offsets[inside]]
            names = " or ".join(memory.names)
            self._report(f"{kind} out of bounds", ~inside, names)
            places = offsets[inside] // memory.item
            self._report(f"{kind} races with another program", memory.conflicts(kind, places, program), names)
            if kind == "write" and np.unique(places).size < places.size:
                self._report("several lanes write one element", np.ones(places.size - np.unique(places).size), names)

    def check_values(self, pointers: Any, mask: Any, values: Any) -> None:
        """Of what was just read, report elements of fresh memory that still hold the poison."""
        addresses = np.asarray(pointers.data)
        active = np.broadcast_to(np.asarray(mask.data), addresses.shape).astype(bool)
        loaded = np.ascontiguousarray(np.broadcast_to(np.asarray(values.data), addresses.shape)[active])
        poisoned = (loaded.view(np.uint8).reshape(loaded.size, loaded.itemsize) == POISON).all(axis=1)
        owner = np.searchsorted(self.bases, addresses[active].astype(np.int64), side="right") - 1
        for number, memory in enumerate(self.memories):
            if memory.base in self.fresh:
                self._report("read of memory never written", poisoned & (owner == number), " or ".join(memory.names))

    def poison(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor whose memory counts as never written."""
        storage = tensor.untyped_storage()
        self.fresh[storage.data_ptr()] = storage
        if storage.nbytes():
            torch.tensor([], dtype=torch.uint8).set_(storage).fill_(POISON)
        return tensor


def _patch(patch: pytest.MonkeyPatch, watch: Sanitizer) -> None:
    builder, executor = interpreter.InterpreterBuilder, interpreter.GridExecutor
    load, store, begin = builder.create_masked_load, builder.create_masked_store, executor._init_args_hst

    def watched_load(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        watch.touch("read", pointers, mask)
        values = load(self, pointers, mask, *rest)
        watch.check_values(pointers, mask, values)
        return values

    def watched_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        watch.touch("write", pointers, mask)
        return store(self, pointers, value, mask, *rest)

    def watched_update(make: Callable[..., Any], mask_at: int | None) -> Callable[..., Any]:
        def watched(self: Any, *operands: Any) -> Any:
            pointers = next(value for value in operands if isinstance(value, interpreter.TensorHandle))
            everywhere = interpreter.TensorHandle(np.ones(np.shape(pointers.data), dtype=bool), interpreter.tl.int1)
            watch.touch("update", pointers, everywhere if mask_at is None else operands[mask_at])
            return make(self, *operands)

        return watched

    def watched_begin(self: Any, arguments: Any, options: Any) -> Any:
        names = self.arg_names
        watch.begin(self.fn.__name__, dict(zip(names, arguments, strict=False)) | options)
        return begin(self, arguments, options)

    patch.setattr(builder, "create_masked_load", watched_load)
    patch.setattr(builder, "create_masked_store", watched_store)
    patch.setattr(builder, "create_atomic_rmw", watched_update(builder.create_atomic_rmw, 3))
    patch.setattr(builder, "create_atomic_cas", watched_update(builder.create_atomic_cas, None))
    patch.setattr(executor, "_init_args_hst", watched_begin)


@contextmanager
def sanitized() -> Iterator[list[Fault]]:
    """Watch every launch inside; yields the list that faults are added to. Memory of torch.empty counts as unwritten."""
    watch, empty, empty_like, new_empty = Sanitizer(), torch.empty, torch.empty_like, torch.Tensor.new_empty
    with pytest.MonkeyPatch.context() as patch:
        _patch(patch, watch)
        for owner, name, make in (
            (torch, "empty", empty),
            (torch, "empty_like", empty_like),
            (torch.Tensor, "new_empty", new_empty),
        ):
            patch.setattr(owner, name, lambda *sizes, _make=make, **options: watch.poison(_make(*sizes, **options)))
        yield watch.faults
