"""The score of the PTX interpreter on the real kernels: faults put in one at a time, and by what each is noticed.

`python -m tests.tools.ptx_mutations [--jobs N] [--copies N] [case ...]` runs the cases (all, or those whose names begin so)
and writes benchmarks/results/gpu/mutations.json; what is not noticed must be explained in tests/kernels/ptx/redundant.toml.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.kernels.ptx.machine import Launch
from tests.kernels.ptx.problems import CASES, launches_of
from tests.tools import ptx

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "gpu" / "mutations.json"
TABLE = ROOT / "tests" / "kernels" / "ptx" / "redundant.toml"
COPIES = 2  # tried of the copies of one line of source that unrolled loops make: the first and the last
NOTICED = {
    "memory": "out of bounds",
    "uninitialised": "read of nothing",
    "barrier": "divergence",
    "collective": "divergence",
    "async": "copy not waited for",
    "steps": "does not end",
}


@dataclass(frozen=True)
class Trial:
    """kernel and mutant by name; source: where it comes from; reached: by any launch; by: what noticed it, or ""."""

    kernel: str
    mutant: str
    kind: str
    source: str
    reached: bool
    by: str


def noticed(report: ptx.Report, memory: list[bytes], expected: list[bytes]) -> str:
    """What tells a run from the right one."""
    if report.errors:
        return NOTICED[report.errors[0].kind]
    if report.hazards:
        return "hazard"
    return "wrong result" if memory != expected else ""


def chosen(kernel: ptx.Kernel, kinds: Collection[str], copies: int) -> Iterator[ptx.Mutant]:
    """The mutants of a kernel, of each line of source and instruction at most `copies`, the last among them."""
    groups: dict[tuple[str, str, str], list[ptx.Mutant]] = {}
    for mutant in ptx.mutate(kernel, kinds):
        code = kernel.code[mutant.at]
        groups.setdefault((mutant.kind, code.source, code.opcode), []).append(mutant)
    for group in groups.values():
        yield from group if len(group) <= copies else (*group[: copies - 1], group[-1])


def trials(
    name: str, launches: Sequence[Launch], kinds: Collection[str] = ptx.KINDS, copies: int = COPIES
) -> Iterator[Trial]:
    """Every chosen mutant of a kernel in every launch that comes to it, until one shows it."""
    kernel = launches[0].program.kernel
    right = [launch.run() for launch in launches]
    for mutant in chosen(kernel, kinds, copies):
        by = ""
        for launch, (report, expected) in zip(launches, right, strict=True):
            if not by and mutant.at in report.reached:
                by = noticed(*launch.run(mutant.kernel, max_steps=3 * report.steps + 1000), expected)
        reached = any(mutant.at in report.reached for report, _ in right)
        yield Trial(name, mutant.name, mutant.kind, kernel.code[mutant.at].source, reached, by)


def explanations() -> list[dict[str, Any]]:
    """The table: each entry names kernels by a pattern, mutants by patterns, and says why they change nothing."""
    entries: list[dict[str, Any]] = tomllib.loads(TABLE.read_text())["redundant"]
    return entries


def explained(trial: Trial, table: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The entry of the table for a mutant: by its name, or by its kind and the source line it comes from."""
    names = (trial.mutant, f"{trial.kind} {source_line(trial.source)}")
    for entry in table:
        if _fits(entry["kernel"], trial.kernel) and any(_fits(one, name) for one in entry["mutants"] for name in names):
            return entry
    return None


@functools.cache
def source_line(place: str) -> str:
    """ "file: text" of "file:line", the same wherever the line moves."""
    name, _, number = place.partition(":")
    files = [path for folder in ("kernels/cuda", "kernels/triton") for path in (ROOT / folder).glob(name or "-")]
    return f"{name}: {files[0].read_text().splitlines()[int(number) - 1].strip()}" if files else name


def _fits(pattern: str, name: str) -> bool:
    """`*` stands for anything; brackets, which addresses have, for themselves."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name) is not None


def summary(found: Sequence[Trial], mutants: int) -> dict[str, Any]:
    """Counts of one kernel; what was neither noticed nor explained by name."""
    table = explanations()
    missed = [trial for trial in found if not trial.by]
    survived = [
        f"{trial.mutant} ({trial.source}{'' if trial.reached else ', never reached'})"
        for trial in missed
        if explained(trial, table) is None
    ]
    return {
        "mutants": mutants,
        "tried": len(found),
        "noticed": dict(sorted(Counter(trial.by for trial in found if trial.by).items())),
        "kinds": dict(sorted(Counter(trial.kind for trial in found).items())),
        "explained": len(missed) - len(survived),
        "survived": survived,
    }


def run(case: str, copies: int = COPIES) -> dict[str, dict[str, Any]]:
    """Summaries of a case's kernels by "case: kernel"."""
    torch.set_num_threads(1)
    results = {}
    for kernel, launches in launches_of(case).items():
        mutants = sum(1 for _ in ptx.mutate(launches[0].program.kernel))
        results[f"{case}: {kernel}"] = summary(list(trials(kernel, launches, copies=copies)), mutants)
    return results


def _run(given: tuple[str, int]) -> tuple[str, dict[str, dict[str, Any]]]:
    return given[0], run(*given)


def total(kernels: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All kernels together."""
    noticed_by: Counter[str] = sum((Counter(row["noticed"]) for row in kernels.values()), Counter())
    kinds: Counter[str] = sum((Counter(row["kinds"]) for row in kernels.values()), Counter())
    sums = {key: sum(row[key] for row in kernels.values()) for key in ("mutants", "tried", "explained")}
    survived = sum(len(row["survived"]) for row in kernels.values())
    good = (sums["tried"] - survived) / max(sums["tried"], 1)
    counts = {"noticed": dict(sorted(noticed_by.items())), "kinds": dict(sorted(kinds.items()))}
    return {"kernels": len(kernels), **sums, **counts, "survived": survived, "noticed or explained": round(good, 4)}


def write(case: str, rows: dict[str, dict[str, Any]], copies: int) -> None:
    """Put a case's rows into the results in the place of its former ones."""
    old = json.loads(RESULTS.read_text())["kernels"] if RESULTS.exists() else {}
    kernels = {name: row for name, row in old.items() if name.split(":")[0] in CASES and name.split(":")[0] != case}
    kernels = dict(sorted((kernels | rows).items()))
    text = json.dumps({"copies": copies, "total": total(kernels), "kernels": kernels}, indent=1)
    RESULTS.write_text(text + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="beginnings of names, all by default")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--copies", type=int, default=COPIES)
    options = parser.parse_args(arguments)
    cases = [name for name in CASES if not options.cases or name.startswith(tuple(options.cases))]
    tasks = [(case, options.copies) for case in cases]
    if options.jobs == 1:
        show(map(_run, tasks), options.copies)
        return
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        show(pool.imap_unordered(_run, tasks, chunksize=1), options.copies)


def show(done: Iterable[tuple[str, dict[str, dict[str, Any]]]], copies: int) -> None:
    """Write and print cases as they end."""
    for case, rows in done:
        write(case, rows, copies)
        for name, row in rows.items():
            print(name, {key: value for key, value in row.items() if key != "survived"}, flush=True)
            print("".join(f"    survived: {one}\n" for one in row["survived"]), end="", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
