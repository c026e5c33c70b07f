"""The CUDA kernels on the CPU, emulated, and on a GPU where there is one: the same tests by the same wrappers."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from pcsr_fast import native_cuda
from tests.tools.cuda_emulation.build import build_module


@pytest.fixture(scope="session")
def emulated_module() -> ModuleType:
    variant = os.environ.get("PCSR_EMULATION_VARIANT", "plain")
    spec = importlib.util.spec_from_file_location("_native_cuda", build_module(variant))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def emulated(emulated_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The emulated kernels in the place of the built ones, and the backend "cuda" asked for."""
    monkeypatch.setattr(native_cuda, "_import", lambda: (emulated_module, ""))
    monkeypatch.setenv("PCSR_FAST_BACKEND", "cuda")
    return emulated_module


@pytest.fixture(params=["emulated", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Where tensors go, as torch's default device, for the kernels under test."""
    if request.param == "emulated":
        request.getfixturevalue("emulated")
    monkeypatch.setenv("PCSR_FAST_BACKEND", "cuda")
    with torch.device("cpu" if request.param == "emulated" else "cuda") as where:
        yield where
