"""Tables of the READMEs, from the committed results: what stands between `<!-- table: NAME -->` and `<!-- end -->`.

NAME is a result's (with `_full`: all numbers of a comparison), or `speed` (headline cases of all ops), `benchmarks` (all
cases, with plots), `prediction` or `faults`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import gpu_status, plots
from benchmarks.comparison import ROOT
from benchmarks.end_to_end import end_to_end_table
from benchmarks.epoch import epoch_table
from benchmarks.methods import brief_table, full_table
from benchmarks.ops import OPS
from benchmarks.prediction.predictions import Tables, prediction_table
from benchmarks.profile import profile_table
from benchmarks.tables import op_table, summary_table
from pcsr_fast.errors import DataError
from pcsr_fast.files import write_text

_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
DOCUMENTS = ("README.md", "benchmarks/README.md")
RESULTS = "benchmarks/results"
STATUS = f"{RESULTS}/gpu/STATUS.md"
TABLES = {"end_to_end": end_to_end_table, "epoch": epoch_table, "profile": profile_table, "benchmark": op_table}
FULL = "_full"
SHOWN = "triplet"  # the one plot in the front README


def _read(root: Path, name: str) -> dict[str, Any]:
    path = root / RESULTS / f"{name}.json"
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a kept result, as a README's table names it")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def kept(root: Path) -> list[dict[str, Any]]:
    """Results of the ops that were measured, in their order."""
    return [_read(root, op) for op in OPS if (root / RESULTS / f"{op}.json").is_file()]


def _picture(result: dict[str, Any], folder: str) -> str:
    """The plot of an op as seen from a document, nothing where it has no curve."""
    if not plots.curves(result):
        return ""
    return f"![{result['title']}: time and memory over the {result['axis']}]({folder}/{result['op']}.png)\n\n"


def _block(root: Path, name: str) -> str:
    results = kept(root)
    if name == "speed":
        shown = "".join(_picture(result, RESULTS) for result in results if result["op"] == SHOWN)
        return f"{shown}{summary_table(results)}"
    if name == "benchmarks":
        sections = (f"## {one['title']}\n\n{_picture(one, Path(RESULTS).name)}{op_table(one)}" for one in results)
        return "\n".join(sections)
    if name == "prediction":
        return prediction_table(Tables.read(root))
    if name == "faults":
        return gpu_status.faults(root / RESULTS / "gpu" / "mutations.json")
    if name.endswith(FULL):
        return full_table(_read(root, name.removesuffix(FULL)))
    result = _read(root, name)
    return TABLES.get(result.get("kind", ""), brief_table)(result)


def _documents(root: Path) -> Iterator[tuple[Path, str, str]]:
    """Path, text as it is and as it should be."""
    for name in DOCUMENTS:
        path = root / name
        before = path.read_text(encoding="utf-8")
        yield path, before, _BLOCK.sub(lambda m: f"{m[1]}{_block(root, m[2])}{m[3]}", before)
    path = root / STATUS
    yield path, path.read_text(encoding="utf-8") if path.is_file() else "", gpu_status.status(path.parent)


def update(root: Path = ROOT, *, check: bool = False) -> bool:
    """Rewrite tables and plots; returns whether any differed. `check` writes nothing.

    Raises:
        DataError: a table names a result that is not there.
    """
    differed = False
    for path, before, after in _documents(root):
        differed |= after != before
        if after != before and not check:
            write_text(path, after)
    for result in kept(root):
        picture = root / RESULTS / f"{result['op']}.png"
        if plots.curves(result) and not plots.up_to_date(result, picture):
            differed = True
            if not check:
                plots.draw(result, picture)
    return differed
