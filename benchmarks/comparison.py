"""From a finished `pcsr-fast compare` to a committed result: rows, machine, versions, commit and settings."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from pcsr_fast.errors import DataError
from pcsr_fast.files import atomic_write, write_json
from pcsr_fast.training.parse import flat

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def commit() -> str:
    """Short hash of the checkout, with a mark where it has uncommitted changes."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _take_shared(configs: list[dict[str, Any]]) -> dict[str, Any]:
    """The keys that are the same everywhere, taken out of each."""
    first = configs[0].items()
    shared = {key: value for key, value in first if all(key in one and one[key] == value for one in configs)}
    for config in configs:
        for key in shared:
            del config[key]
    return shared


def collect(folder: Path, name: str) -> Path:
    """Write benchmarks/results/NAME.json, and NAME.png of every rSum, from the runs in `folder`.

    Raises:
        DataError: the folder holds no finished comparison.
    """
    table, picture = folder / "comparison.json", folder / "plots" / "rsum-dots.png"
    for path in (table, picture):
        if not path.is_file():
            raise DataError(f"{path}: no such file; expected the output folder of a finished `pcsr-fast compare`")
    runs: dict[str, Any] = {}
    for path in sorted(folder.glob("*/metrics.json")):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        kept = ("method", "profile", "noise", "seed", "best", "dev", "test", "seconds", "date", "machine")
        runs[path.parent.name] = {key: metrics[key] for key in kept}
        config = dict(flat(yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))))
        config.pop("output")
        runs[path.parent.name]["config"] = config
    rows = json.loads(table.read_text(encoding="utf-8"))
    for row in rows:
        del row["runs"]  # they stand below, in full
    result = {
        "commit": commit(),
        "machine": next(iter(runs.values()))["machine"],
        "config": _take_shared([run["config"] for run in runs.values()]),
        "rows": rows,
        "runs": runs,
    }
    target = RESULTS / f"{name}.json"
    write_json(target, result)
    with atomic_write(target.with_suffix(".png")) as temporary:
        shutil.copyfile(picture, temporary)
    return target
