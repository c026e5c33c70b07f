"""The compilers' output goes straight into the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tools import ptx
from tests.tools.ptx.compile import TritonJob, find_nvcc, nvcc, triton
from tests.tools.ptx_fixtures import write


@pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not installed: its part is covered by the committed PTX")
def test_cuda_from_text() -> None:
    source = """
    extern "C" __global__ void scale(const float* x, float* y, float by, int n) {
      int i = blockIdx.x * blockDim.x + threadIdx.x;
      if (i < n LIMIT) y[i] = x[i] * by;
    }"""
    x, y = torch.randn(100), torch.zeros(100)
    report = ptx.launch(ptx.parse(nvcc(source, "-DLIMIT="))["scale"], 2, 64, [x, y, 2.5, 100])
    assert report.clean, report
    assert torch.equal(y, x * 2.5)
    report = ptx.launch(ptx.parse(nvcc(source, "-DLIMIT=+1"))["scale"], 2, 64, [x, y, 2.5, 100])
    assert {finding.kind for finding in report.errors} == {"memory"}
    with pytest.raises(RuntimeError, match="nvcc failed"):
        nvcc("__global__ void broken( {}")


def test_triton_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also under the interpreter of Triton, which cannot compile."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    (job,) = [job for job in write.JOBS if job.kernel == "running"]
    (compiled,) = triton([job])
    x, y, z = torch.randn(64).half(), torch.empty(64).half(), torch.empty(128).double()
    report = compiled.launch(1, [x, ptx.Uninitialised(y), ptx.Uninitialised(z), 64])
    assert report.clean, report
    np.testing.assert_array_equal(z[:64], x.double().sort().values)
    with pytest.raises(RuntimeError, match="nothing_of_this_name"):
        triton([TritonJob(job.module, "nothing_of_this_name", {}, {})])
