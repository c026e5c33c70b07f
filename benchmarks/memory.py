"""Peak extra memory of one call, each in a process of its own: python -m benchmarks.memory MODULE SIZE CASE NAME...

A fresh process makes the inputs and forks once an implementation, before autograd has started any thread. There the call
is made once to warm up, the kernel's high-water mark of resident memory is reset, and the call repeated. `extra` is that
mark less the memory before and less what the call returns; `retained` is what the warm-up left behind in anonymous memory
(caches, compiled code), so that a cache cannot hide a workspace.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree

from benchmarks.comparison import ROOT
from benchmarks.harness import give_back

# Freed blocks go back to the system at once, so that a call cannot reuse what making the inputs left.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def _status(key: str) -> int:
    """Bytes of an entry of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def _settle() -> None:
    """Give back what is free and set the high-water mark to what is left."""
    give_back()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _bytes(output: Any) -> int:
    """Bytes of all tensors and arrays in `output`."""
    return sum(leaf.nbytes for leaf in _pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor | np.ndarray))


def peak(run: Callable[[], Any]) -> dict[str, int]:
    """Extra, returned and retained bytes of a call, in this process."""
    _settle()
    anonymous = _status("RssAnon")
    run()
    _settle()
    retained = _status("RssAnon") - anonymous
    before = _status("VmHWM")
    output = run()
    extra, returned = _status("VmHWM") - before, _bytes(output)
    return {"extra": max(0, extra - returned), "returned": returned, "retained": max(0, retained)}


def _forked(run: Callable[[], Any]) -> dict[str, Any]:
    """`peak` of a call in a forked process, or `error` where it failed or died."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer: dict[str, Any] = dict(peak(run))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as stream:
        text = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found: dict[str, Any] = json.loads(text) if text else {"error": f"exit status {status}"}
    return found


def extra_memory(module: str, size: str, case: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`peak` of implementations of a case of `module`; `error` instead where one died."""
    words = [sys.executable, "-m", "benchmarks.memory", module, size, case, *names]
    environment = {**os.environ, **_ENVIRONMENT}
    done = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main(module: str, size: str, case: str, *names: str) -> None:
    """Print the answer of `extra_memory` as JSON."""
    torch.set_num_threads(1)
    found = next(one for one in importlib.import_module(module).cases(size) if one.name == case)
    implementations = found.workload().implementations
    print(json.dumps({name: _forked(implementations[name].run) for name in names}))


if __name__ == "__main__":
    main(*sys.argv[1:])
