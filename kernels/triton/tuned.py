"""What `python -m benchmarks tune` has measured on a GPU: plans and choices of backends that come before the tables here.

One JSON file for each kind of GPU in tuned/, none for those that nobody has measured.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).with_name("tuned")
PLANS, HEADS, BACKENDS = "plans", "heads", "backends"


def kind_of(device: torch.device) -> str:
    """Name of a GPU's architecture, sm_90 or gfx942, that its measurements are kept under."""
    if torch.version.hip is not None:
        return str(torch.cuda.get_device_properties(device).gcnArchName).partition(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def path_of(kind: str) -> Path:
    """Where the measurements of an architecture are kept."""
    return FOLDER / f"{kind}.json"


@functools.cache
def tuned(kind: str) -> dict[str, Any]:
    """All that was measured on an architecture: plans by work and dtype, heads by dtype, backends by op and dtype."""
    path = path_of(kind)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def measured(device: torch.device, table: str, name: str, dtype: str) -> Any:
    """What was measured for a name and dtype (None: nothing); `table` is PLANS, HEADS or BACKENDS."""
    return tuned(kind_of(device)).get(table, {}).get(name, {}).get(dtype)
