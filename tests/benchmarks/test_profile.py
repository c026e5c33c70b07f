"""Shares of functions, from what perf prints."""

from __future__ import annotations

import pytest

from benchmarks import profile
from benchmarks.profile import profile_table, shares, short
from pcsr_fast.errors import UserError

CORE = "_native.cpython-311-x86_64-linux-gnu.so"
REPORT = f"""# Samples: 45  of event 'cpu-clock:pppH'
#
# Overhead|Shared Object   |Symbol
 40.00% |{CORE}|[.] pcsr::amx::(anonymous namespace)::multiply
 20.00% |{CORE}|[.] pcsr::avx512::(anonymous namespace)::differ<unsigned short>
 10.50% |{CORE}|[.] pcsr::avx2::(anonymous namespace)::differ<float>(float const*)
 15.00% |libtorch_cpu.so |[.] mkl_blas_avx512_sgemm_kernel_0
 14.00%|[kernel.kallsyms]|[k] clear_page
  2.00% |[JIT] tid 1222 |[.] 0x00007f00
  0.30% |libc.so.6|[.] malloc
  0.20% |{CORE}|[.] pcsr::pack_rows
"""


def test_functions_of_the_core_and_libraries_are_summed():
    expected = {
        "multiply": 0.4,
        "differ": 0.305,
        "libtorch_cpu": 0.15,
        "kernel.kallsyms": 0.14,
        "compiled by oneDNN": 0.02,
        "others": 0.005,
    }
    assert shares(REPORT) == pytest.approx(expected)
    assert list(shares(REPORT))[:2] == ["multiply", "differ"]


def test_nothing_is_made_of_nothing():
    assert shares("# no samples\n") == {"others": 0}


def test_names_are_short():
    assert short(CORE, "pcsr::(anonymous namespace)::Attention<float>::run()::{lambda(int)#1}") == "Attention"
    assert short("libpython3.11.so.1.0", "_PyEval") == "libpython3.11"


def test_a_table_has_a_column_a_run():
    machine = {"cpu": "C", "isa": "amx", "torch": "2"}
    runs = {"a": {"multiply": 0.5, "others": 0.5}, "b": {"reason": 0.25, "others": 0.75}}
    result = {"runs": runs, "pairs": 128, "machine": machine, "threads": 1, "commit": "c"}
    lines = profile_table(result).splitlines()
    assert lines[2:5] == ["| multiply | 50 % |  |", "| reason |  | 25 % |", "| others | 50 % | 75 % |"]


def test_every_run_exists():
    for name in profile.RUNS:
        assert profile.implementation(name, 4, "tiny").ours


def test_without_perf_it_says_so(monkeypatch):
    monkeypatch.setattr(profile.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no perf"):
        profile.profile("step, fp32", 4, "tiny")
