"""Compiles the Triton kernels that standard input names (a list of `TritonJob` as JSON) for sm_80; prints a list of results."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


def find(module: str, name: str) -> Any:
    if not module.endswith(".py"):
        return getattr(importlib.import_module(module), name)
    spec = importlib.util.spec_from_file_location("kernels_under_test", module)
    if spec is None or spec.loader is None:
        raise ImportError(module)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return getattr(loaded, name)


def compiled(job: dict[str, Any]) -> dict[str, Any]:
    kernel = find(job["module"], job["kernel"])
    places = {name: index for index, name in enumerate(kernel.arg_names)}
    constants = {(places[name],): value for name, value in job["constants"].items()}
    signature = {name: "constexpr" if name in job["constants"] else job["signature"][name] for name in places}
    attributes = {(places[name],): [["tt.divisibility", 16]] for name in job["divisible"]}
    source = ASTSource(kernel, signature, constants, attributes)
    result = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=dict(job["options"]))
    data = result.metadata
    return {"ptx": result.asm["ptx"], "shared": data.shared, "warps": data.num_warps, "name": data.name}


print(json.dumps([compiled(job) for job in json.load(sys.stdin)]))
