"""Plans of Triton's kernels and choices of backends by what a GPU takes for them: `python -m benchmarks tune`.

From the plan of the committed table, one number after the other is changed and the fastest kept, until no change helps.
What is found goes to kernels/triton/tuned/, under the name of the architecture, and comes before the table from then on.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from benchmarks.clock import settle
from benchmarks.record import circumstances, run_op
from benchmarks.tune_subjects import Subject, head_subjects, matrix_subjects
from pcsr_fast.errors import ConfigError
from pcsr_fast.files import write_json
from pcsr_fast.kernels.triton.tuned import BACKENDS, HEADS, PLANS, kind_of, path_of, tuned

ALTERNATIVES: dict[str, tuple[Any, ...]] = {
    "schedule": ("fused", "chunked"),
    "block_m": (32, 64, 128, 256),
    "block_n": (32, 64, 128, 256),
    "rows": (64, 128),
    "columns": (64, 128, 256),
    "block_k": (16, 32, 64, 128),
    "warps": (4, 8),
    "stages": (1, 2, 3, 4),
    "group": (4, 8, 16),
    "waves": (1, 2, 4, 8),
    "chunk": (2048, 4096, 8192),
}
GAIN = 0.97  # a change has to bring so much, or it is noise
REPEATS = 7
TUNED_OPS = ("triplet", "pair_losses", "mixture", "ranks", "hardest")  # those that CUDA C++ has too


def seconds_of(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Median of the seconds until the device is done, after one call that compiles."""
    call()
    taken = []
    for _ in range(repeats):
        settle()
        start = time.perf_counter()
        call()
        settle()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def same(found: Any, expected: Any) -> bool:
    """Whether numbers agree as sums in another order do; whole numbers, such as the choice among equals, are not compared."""
    pairs = zip(_pytree.tree_leaves(found), _pytree.tree_leaves(expected), strict=True)
    floats = [(one, other) for one, other in pairs if isinstance(one, Tensor) and one.is_floating_point()]
    return all(torch.allclose(one, other, rtol=1e-2, atol=1e-3, equal_nan=True) for one, other in floats)


def descend(start: Any, seconds: Callable[[Any], float]) -> tuple[Any, float]:
    """The fastest plan that changes of single numbers lead to from `start`, and its seconds."""
    known = {start: seconds(start)}
    best, before = start, None
    while best != before:
        before = best
        for field, values in ALTERNATIVES.items():
            for value in values if field in start._fields else ():
                plan = best._replace(**{field: value})
                if plan not in known:
                    known[plan] = seconds(plan)
                if known[plan] < GAIN * known[best]:
                    best = plan
    return best, known[best]


def tune(subject: Subject, clock: Callable[[Callable[[], Any]], float] = seconds_of) -> tuple[Any, float]:
    """The fastest plan found for a subject, and its seconds; one that fails or answers otherwise is none."""
    expected = subject.run(subject.start)

    def seconds(plan: Any) -> float:
        try:
            if not same(subject.run(plan), expected):
                return math.inf
            return clock(lambda: subject.run(plan))
        except Exception as error:  # more shared memory or registers than there are, or what the compiler cannot do
            print(f"  {plan}: {type(error).__name__}", file=sys.stderr)
            return math.inf

    return descend(subject.start, seconds)


def faster_backends(results: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """By op and dtype the backend, "triton" or "cuda", that takes less time over all cases of benchmarks that both ran."""
    logs: dict[tuple[str, str], list[float]] = {}
    for case in (case for result in results for case in result["cases"]):
        taken = {row["name"]: row["wall"]["median"] for row in case["rows"] if "wall" in row}
        for name in taken:
            other = name.replace("triton", "cuda", 1)
            if name.startswith("triton") and other in taken:
                logs.setdefault((case["op"], case["dtype"]), []).append(math.log(taken[other] / taken[name]))
    chosen: dict[str, dict[str, str]] = {}
    for (op, dtype), ratios in logs.items():
        chosen.setdefault(op, {})[dtype] = "cuda" if statistics.mean(ratios) < math.log(GAIN) else "triton"
    return chosen


def found(subjects: Iterator[Subject], clock: Callable[[Callable[[], Any]], float] = seconds_of) -> dict[str, Any]:
    """What is to be kept of tuned plans: by table, name and dtype."""
    kept: dict[str, Any] = {PLANS: {}, HEADS: {}}
    for subject in subjects:
        plan, seconds = tune(subject, clock)
        print(f"{subject.name}, {subject.dtype}: {1e3 * seconds:.3f} ms by {plan}", file=sys.stderr, flush=True)
        kept[subject.table].setdefault(subject.name, {})[subject.dtype] = dict(plan._asdict())
    return kept


def keep(path: Path, plans: Mapping[str, Any], backends: Mapping[str, Any]) -> Path:
    """Write what was found, with where and when."""
    write_json(path, {"kind": "tuned", **circumstances(), **plans, BACKENDS: backends})
    tuned.cache_clear()
    return path


def run(rows: int = 16_384, width: int = 768, batch: int = 128, repeats: int = REPEATS) -> Path:
    """Tune everything on this machine's GPU; returns the file that was written.

    Raises:
        ConfigError: torch finds no GPU.
    """
    if not torch.cuda.is_available():
        raise ConfigError("tune: torch finds no GPU; expected one to measure on")
    device = torch.device("cuda", torch.cuda.current_device())
    path = path_of(kind_of(device))
    with torch.device(device):
        plans = found(matrix_subjects(rows, width, device))
        heads = found(head_subjects(batch, 1024, device))
    kept = {PLANS: plans[PLANS], HEADS: heads[HEADS]}
    keep(path, kept, {})  # so that the backends are compared with these plans
    backends = faster_backends([run_op(op, "gpu", repeats, "cuda") for op in TUNED_OPS])
    return keep(path, kept, backends)
