"""The module of the CUDA kernels: found, explained where it is missing, its errors as exceptions with CUDA's message."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pcsr_fast import backends, doctor, native, native_cuda
from pcsr_fast.errors import BackendError, DeviceError
from pcsr_fast.ops import hardest_negatives, triplet_loss

X = torch.randn(4, 3)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_cuda, "_import", lambda: (None, "it was left out at install: no nvcc"))


def test_missing_kernels_are_explained(missing: None) -> None:
    assert native_cuda.status() == (False, "it was left out at install: no nvcc")
    with pytest.raises(BackendError, match=r"the CUDA kernels are not available: .* no nvcc"):
        native_cuda.load()
    assert backends.explain("triplet_loss", X, X).reasons["cuda"] == "it was left out at install: no nvcc"
    assert doctor.report()["cuda kernels"]["status"] == "no: it was left out at install: no nvcc"
    assert "the CUDA kernels" in doctor.report()["backends"]["cuda"]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ('{"native": true, "reason": "", "cuda": false, "cuda_reason": "nvcc was not found"}', "nvcc was not found"),
        ('{"native": true, "reason": "", "cuda": true, "cuda_reason": ""}', "another Python"),
        ('{"native": true, "reason": ""}', "did not have it"),
    ],
)
def test_the_record_of_the_build_says_why(record, said, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(native, "RECORD", tmp_path / "native_build.json")
    native.RECORD.write_text(record)
    assert said in native.why_missing("cuda")


def test_built_kernels_say_for_what_and_why_they_cannot_run() -> None:
    known, reason = native_cuda.built()
    able, message = native_cuda.status()
    assert message.startswith(reason)
    assert able == (known and torch.cuda.is_available())
    assert not known or (reason.startswith("built for ") and " by nvcc " in reason)


def test_tensors_elsewhere_and_other_types_are_refused(emulated) -> None:
    refused = backends.explain("triplet_loss", X.double(), X.double()).reasons["cuda"]
    assert refused == "got torch.float64, expected float32, bfloat16 or float16"
    meta = X.to("meta")
    assert backends.explain("triplet_loss", meta, meta).reasons["cuda"] == "tensors are on meta"
    top = backends.explain("triplet_loss", X, X, negatives="topk:2").reasons["cuda"]
    assert top == "negatives='topk:2': only hardest, mean or sum"
    assert backends.explain("triplet_loss", X, X).chosen == "cuda"


def test_a_failed_launch_is_an_exception_with_the_message_of_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(
        hardest=lambda *_: 719,
        message={719: "unspecified launch failure"}.get,
        device_type="cpu",
        architectures="",
        compiler="",
    )
    monkeypatch.setattr(native_cuda, "_import", lambda: (module, ""))
    with pytest.raises(DeviceError, match="hardest: CUDA error 719: unspecified launch failure"):
        hardest_negatives(X, X, backend="cuda")


def test_stream_and_device_of_the_tensors_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    module = SimpleNamespace(name=lambda queue, *_: seen.append(queue) or 0)
    monkeypatch.setattr(native_cuda, "_import", lambda: (module, ""))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(device_index=3, cuda_stream=77))
    native_cuda.call("name", torch.device("cuda", 3))
    native_cuda.call("name", torch.device("cpu"))
    assert seen == [(3, 77), (0, 0)]


def test_a_compiled_step_runs_it(emulated) -> None:
    x, y = torch.randn(20, 6, requires_grad=True), torch.randn(20, 6, requires_grad=True)
    compiled = torch.compile(lambda *xy: triplet_loss(*xy, backend="cuda"), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, y), triplet_loss(x, y, backend="reference"))
