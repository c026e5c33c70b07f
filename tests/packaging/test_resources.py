"""Packaged files, and the wrapper of the native core."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pcsr_fast import native, resources
from pcsr_fast.errors import BackendError, ConfigError


@pytest.mark.parametrize("name", ["demo", "demo.yaml"])
def test_config_path_takes_a_name_with_and_without_suffix(name: str) -> None:
    assert resources.config_path(name).name == "demo.yaml"


@pytest.mark.parametrize("name", ["demmo", "../configs/demo", "", "/etc/passwd"])
def test_unknown_configuration_is_named_with_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no such configuration; expected one of .*demo"):
        resources.config_path(name)


def test_site_packages_is_not_taken_for_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pcsr_fast" / "configs").mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "pcsr_fast")
    assert resources.config_folder() == tmp_path / "pcsr_fast" / "configs"


def test_native_core_is_there_and_follows_the_threads_of_torch() -> None:
    import torch

    available, reason = native.status()
    assert available, reason
    module = native.load()
    assert native.isa() == module.supported_isas()[-1] or native.isa() == os.environ.get("PCSR_FAST_ISA")
    assert module.supported_isas()[0] == "scalar"
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert module.threads() == (threads if module.build_info()["openmp"] else 1)
    finally:
        torch.set_num_threads(before)


STATUS = """
from pcsr_fast import native
try:
    print(native.status())
except ValueError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("scalar", "(True, 'scalar, "),
        ("avx9000", "ConfigError PCSR_FAST_ISA=avx9000: not supported by this machine; expected one of scalar"),
    ],
)
def test_instruction_set_can_be_overridden_and_a_wrong_one_is_an_error(wanted: str, said: str) -> None:
    environment = os.environ | {"PCSR_FAST_ISA": wanted}
    done = subprocess.run([sys.executable, "-c", STATUS], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(said)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "never built"),
        ('{"native": true, "reason": ""}', "another Python"),
        ('{"native": false, "reason": "cmake was not found"}', "left out at install: cmake was not found"),
        ("{", "never built"),
    ],
)
def test_missing_native_core_says_why(
    record: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "RECORD", tmp_path / "native_build.json")
    if record is not None:
        native.RECORD.write_text(record)
    monkeypatch.setitem(sys.modules, "pcsr_fast._native", None)
    native._import.cache_clear()
    available, reason = native.status()
    with pytest.raises(BackendError, match="native core is not available"):
        native.load()
    native._import.cache_clear()
    assert not available
    assert said in reason
