"""Environments that see this one's packages, into which the tests install a copy of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HIDDEN = (".git", ".venv", ".*_cache", ".hypothesis")
BUILT = ("build", "dist", "runs", "*.egg-info", "*.so", "__pycache__")
UNOPTIMISED = {"CMAKE_BUILD_TYPE": "Debug", "CXXFLAGS": "-g0", "CUDAFLAGS": "-Xcicc -O0 -Xptxas -O0"}


@dataclass
class Environment:
    """A virtual environment without pip; requirements come from the one that runs the tests."""

    python: Path

    @property
    def script(self) -> Path:
        """The installed command."""
        return self.python.with_name("pcsr-fast")

    def run(self, *command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the caller's own switches of this project taken out and `variables` put in.

        The native core is not optimised, and CUDA kernels are left out unless they ask for them: both take minutes.
        """
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PCSR_", "PYTHONPATH"))}
        command_line, settings = (
            [str(part) for part in command],
            inherited | UNOPTIMISED | {"PCSR_CUDA": "0"} | variables,
        )
        return subprocess.run(
            command_line, cwd=cwd, env=settings, capture_output=True, text=True, check=False, timeout=900
        )

    def install(self, *arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """`pip install` from local files only."""
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", "install"]
        return self.run(*pip, "-v", "--no-index", "--no-deps", "--no-build-isolation", *arguments, cwd=cwd, **variables)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An empty environment of its own."""
    return make_environment(tmp_path / "environment")


def make_environment(folder: Path) -> Environment:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([str(python), "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    # A folder named by a .pth file is searched, but .pth files in it are not read: an editable install stays out.
    (Path(own) / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n" + sysconfig.get_path("platlib") + "\n")
    return Environment(python)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout that builds may write to."""
    copy = tmp_path_factory.mktemp("packaging") / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*HIDDEN, *BUILT))
    return copy


@pytest.fixture(scope="session")
def distributions(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the source distribution and the wheel, built while importing torch is an error."""
    folder = tmp_path_factory.mktemp("distributions")
    (folder / "torch.py").write_text("raise RuntimeError('the build imported torch')\n")
    builder = make_environment(folder / "environment")
    command = [builder.python, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", folder, checkout]
    done = builder.run(*command, cwd=folder, PYTHONPATH=str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
