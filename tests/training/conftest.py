"""Commands in real processes, for signals and kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class ForkServer:
    """Starts `pcsr-fast` commands; see fork_server.py."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log.txt"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "training" / "fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def _ask(self, **request: Any) -> dict[str, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, int] = json.loads(self.process.stdout.readline())
        return answer

    def start(self, argv: Sequence[str], crash: dict[str, Any] | None = None) -> int:
        """Start a command with a new log; returns its process id."""
        self.log.write_text("")
        return self._ask(argv=list(argv), log=str(self.log), crash=crash)["pid"]

    def wait(self, pid: int) -> int:
        """Exit code, or minus the signal that ended it."""
        return self._ask(wait=pid)["code"]

    def run(self, argv: Sequence[str], crash: dict[str, Any] | None = None) -> int:
        """Start and wait."""
        return self.wait(self.start(argv, crash))

    def close(self) -> None:
        """End the server."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    server = ForkServer(tmp_path_factory.mktemp("forked"))
    yield server
    server.close()
