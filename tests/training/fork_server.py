"""Runs `pcsr-fast` commands in processes forked from one that has imported everything, so that a start costs little.

Started as a script; a JSON request a line on stdin, a JSON answer a line on stdout:
    {"argv": words, "log": file, "crash": {"write": k, "how": "half" | "after"} or null} -> {"pid": number}
    {"wait": pid} -> {"code": exit code, or minus the signal}
`crash` ends the process by SIGKILL at its k-th atomic write (from 1): with half of the file written, or right after the
renaming.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import tensorboard.compat.proto.event_pb2  # noqa: F401 (imported before the fork, once for all runs)
import torch
import torch.utils.tensorboard

import pcsr_fast.commands.train  # noqa: F401
from pcsr_fast import cli, files


def crash(write: int, how: str) -> None:
    """Let the `write`-th atomic write of this process kill it."""
    rename, count = os.replace, 0

    def replace(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == write and how == "half":
            os.truncate(source, os.path.getsize(source) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)
        if count == write:
            os.kill(os.getpid(), signal.SIGKILL)

    files.os.replace = replace  # type: ignore[attr-defined]


def child(request: dict[str, Any]) -> int:
    """The command, with its output in the log."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if request["crash"]:
        crash(**request["crash"])
    code = cli.main(request["argv"])
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve() -> None:
    """Until stdin ends."""
    torch.set_num_threads(1)
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # Its first use imports a large part of torch.
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = {"code": os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])}
        else:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    code = child(request)
                finally:
                    os._exit(code)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
