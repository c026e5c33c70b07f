"""Every way to install the package works from any working directory, with and without a compiler."""

from __future__ import annotations

import json
import shutil
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from pcsr_fast.version import __version__
from tests.packaging.conftest import Environment

# Each install compiles the native core, for minutes on busy cores.
pytestmark = [pytest.mark.xdist_group("packaging"), pytest.mark.timeout(1800)]

FACTS = """
import importlib.metadata, json, pathlib
import pcsr_fast, pcsr_fast.kernels.triton
from pcsr_fast import native, native_cuda, resources
from pcsr_fast.version import __version__
available, reason = native.status()
command = importlib.metadata.entry_points(group="console_scripts")["pcsr-fast"].load()
print(json.dumps({
    "package": pcsr_fast.__file__, "version": __version__, "metadata": importlib.metadata.version("pcsr-fast"),
    "configs": [str(resources.config_path(name)) for name in ("demo", "demo.yaml")],
    "clipart": sorted(path.name for path in (resources.PACKAGE / "data" / "clipart").iterdir()),
    "kernels": pcsr_fast.kernels.triton.__file__, "native": available, "reason": reason, "cuda": native_cuda.built(),
    "command": callable(command),
}))
"""


def facts(environment: Environment, cwd: Path, **variables: str) -> dict:
    done = environment.run(environment.python, "-c", FACTS, cwd=cwd, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def install(environment: Environment, kind: str, checkout: Path, distributions: Path, cwd: Path) -> None:
    wheel = next(distributions.glob("*.whl"))
    arguments = {"wheel": [wheel], "folder": [checkout], "editable": ["-e", checkout]}[kind]
    done = environment.install(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["wheel", "folder", "editable"])
def test_install_is_complete(
    kind: str, environment: Environment, checkout: Path, distributions: Path, tmp_path: Path
) -> None:
    install(environment, kind, checkout, distributions, tmp_path)
    found = facts(environment, tmp_path)
    home = checkout if kind == "editable" else environment.python.parents[1]
    for path in (found["package"], found["kernels"], *found["configs"]):
        assert Path(path).is_relative_to(home), path
        assert Path(path).is_file(), path
    assert found["version"] == found["metadata"] == __version__
    assert found["clipart"] == sorted(path.name for path in (checkout / "pcsr_fast/data/clipart").iterdir())
    assert found["native"], found["reason"]
    assert found["cuda"] == [False, "it was left out at install: PCSR_CUDA=0 was set"]
    assert found["command"]
    doctor = environment.run(environment.script, "doctor", cwd=tmp_path)
    assert doctor.returncode == 0, doctor.stderr
    assert "native core" in doctor.stdout


def shipped(checkout: Path) -> set[str]:
    """Names in a wheel of the files that the package needs."""
    patterns = ["**/*.py", "py.typed", "data/clipart/*", "report/templates/*"]
    names = {str(path.relative_to(checkout)) for pattern in patterns for path in checkout.glob(f"pcsr_fast/{pattern}")}
    names |= {f"pcsr_fast/configs/{path.name}" for path in checkout.glob("configs/*.yaml")}
    return names | {f"pcsr_fast/kernels/triton/{path.name}" for path in checkout.glob("kernels/triton/*.py")}


def test_wheel_holds_every_file_and_no_more(checkout: Path, distributions: Path) -> None:
    wheel = next(distributions.glob("*.whl"))
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    built = {name for name in names if name.startswith("pcsr_fast/_native.") and name.endswith(".so")}
    assert len(built) == 1
    assert names - built == shipped(checkout) | {"pcsr_fast/native_build.json"}


def test_source_distribution_holds_what_a_build_needs(checkout: Path, distributions: Path) -> None:
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {str(path.relative_to(checkout)) for path in checkout.glob("csrc/**/*") if path.is_file()}
    sources |= {str(path.relative_to(checkout)) for path in checkout.glob("kernels/cuda/*")}
    sources |= {"CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml", "setup.py", "kernels/README.md"}
    assert sources <= names
    assert not [name for name in names if name.endswith((".so", ".pyc", "native_build.json"))]


def test_source_distribution_installs_as_pure_python_without_a_compiler(
    environment: Environment, distributions: Path, tmp_path: Path
) -> None:
    done = environment.install(next(distributions.glob("*.tar.gz")), cwd=tmp_path, CXX="/nonexistent")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "installing pure Python" in done.stdout + done.stderr
    found = facts(environment, tmp_path)
    assert not found["native"]
    assert "/nonexistent" in found["reason"]


@pytest.mark.slow
def test_cuda_kernels_are_built_and_load_without_a_driver_where_nvcc_is(
    environment: Environment, checkout: Path, tmp_path: Path
) -> None:
    done = environment.install(checkout, cwd=tmp_path, PCSR_CUDA="auto", PCSR_CUDA_ARCHITECTURES="80-real")
    assert done.returncode == 0, done.stdout + done.stderr
    built, reason = facts(environment, tmp_path)["cuda"]
    assert built == (shutil.which("nvcc") is not None)
    assert ("built for 80-real by nvcc" if built else "nvcc was not found") in reason


def test_native_core_is_left_out_on_request_and_one_built_before_is_removed(
    environment: Environment, checkout: Path, tmp_path: Path
) -> None:
    stale = checkout / "pcsr_fast" / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    stale.touch()
    done = environment.install("-e", checkout, cwd=tmp_path, PCSR_NATIVE="0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not stale.exists()
    found = facts(environment, tmp_path)
    assert not found["native"]
    assert "PCSR_NATIVE=0" in found["reason"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PCSR_NATIVE": "1", "CXX": "/nonexistent"}, "PCSR_NATIVE=1, but cmake could not configure"),
        ({"PCSR_NATIVE": "yes"}, "PCSR_NATIVE=yes: expected auto, 0 or 1"),
        ({"PCSR_NATIVE": "1", "PCSR_SANITIZE": "memory"}, "PCSR_SANITIZE=memory: expected"),
        ({"PCSR_CUDA": "yes"}, "PCSR_CUDA=yes: expected auto, 0 or 1"),
        ({"PCSR_CUDA": "1", "CUDACXX": "/nonexistent"}, "PCSR_CUDA=1, but nvcc was not found"),
    ],
    ids=["demanded_without_compiler", "unknown_value", "unknown_sanitizer", "unknown_cuda", "cuda_without_nvcc"],
)
def test_install_refuses(
    variables: dict[str, str], said: str, environment: Environment, checkout: Path, tmp_path: Path
) -> None:
    done = environment.install(checkout, cwd=tmp_path, **variables)
    assert done.returncode != 0
    assert said in " ".join((done.stdout + done.stderr).split())


def test_bare_checkout_runs_from_its_root_and_shadows_no_kernels_package(
    environment: Environment, checkout: Path, tmp_path: Path
) -> None:
    hugging_face = tmp_path / "site" / "kernels"
    hugging_face.mkdir(parents=True)
    (hugging_face / "__init__.py").touch()
    code = (
        "import kernels, pcsr_fast.kernels.triton as ours; from pcsr_fast.resources import config_path\n"
        "print(kernels.__file__, ours.__file__, config_path('demo'), sep='\\n')"
    )
    # The empty entry puts the working directory first, as `python -c` and `python -m` do.
    done = environment.run(environment.python, "-c", code, cwd=checkout, PYTHONPATH=str(tmp_path / "site"))
    expected = [hugging_face / "__init__.py", checkout / "kernels/triton/__init__.py", checkout / "configs/demo.yaml"]
    assert done.stdout.split() == [str(path) for path in expected], done.stderr
