"""One co-trained PCSR epoch with SGR on a planted set, by the loop of the published codes and by our kernels.

The loop takes hours on the whole set, so it trains on `PART` of the pictures, as ours does for the ratio; ours trains on
all of them too. CPU seconds are shared out to what ran, the innermost first: `python -m benchmarks epoch`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.comparison import ROOT
from benchmarks.ops.step import torch_gru
from benchmarks.record import THREADS, circumstances
from benchmarks.tables import duration, machine_text, table
from pcsr_fast.data.synthetic import synthetic_dataset
from pcsr_fast.data.write import write_precomp
from pcsr_fast.models import encoders
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.models.sgraf import SGRAFHead
from pcsr_fast.ops import scores
from pcsr_fast.training.parse import parse_config
from pcsr_fast.training.run import train
from pcsr_fast.training.trainer import Trainer

IMAGES, PART, CAPTIONS, FEATURES, REGIONS = 1000, 0.1, 5, 2048, 36
# Twelve words a caption and the two that mark its ends.
TOPICS_PER_IMAGE = 6
CONFIG = "configs/flickr30k_pcsr.yaml"
# All three kinds of pairs from the first epoch on; nothing has trained the pseudo-classifier that would choose captions.
SCHEDULE = {
    "warmup.epochs": 0,
    "train.epochs": 1,
    "apo.refinable.start_epoch": 0,
    "apo.ambiguous.start_epoch": 0,
    "replace.by": "similarity",
}
# Runs by name: the share of the pictures, whether every op is the reference, the precision.
RUNS: dict[str, tuple[float, bool, str]] = {
    "loop": (PART, True, "fp32"),
    "ours, fp32": (PART, False, "fp32"),
    "ours, bf16": (PART, False, "bf16"),
    "ours, fp32, all": (1.0, False, "fp32"),
    "ours, bf16, all": (1.0, False, "bf16"),
}


class Phases:
    """CPU seconds by phase; time inside an inner phase is not its outer one's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open = ["everything else"]
        self._since = time.process_time()

    def _charge(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge what runs inside to `name`."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Charge every call of a method to `name`."""
        call: Callable[..., Any] = getattr(owner, method)

        @wraps(call)
        def timed(*args: Any, **options: Any) -> Any:
            with self.phase(name):
                return call(*args, **options)

        setattr(owner, method, timed)


def watched() -> Phases:
    """The phases of a training run, from here on."""
    phases = Phases()
    for method in ("encode_images", "encode_texts"):
        phases.watch(RetrievalModel, method, "encoders, forward")
    phases.watch(SGRAFHead, "head_parameters", "self-attention, forward")
    for name in ("cross_attention_similarity", "hardest_triplet_of_head", "best_captions_of_head"):
        phases.watch(scores, name, "cross-attention, forward")
    phases.watch(torch.Tensor, "backward", "backward of both")
    phases.watch(torch.optim.Adam, "step", "optimiser")
    phases.watch(Trainer, "evaluate", "validation, but for encoders and head")
    return phases


def planted_set(folder: Path, images: int, features: int) -> None:
    """Write the planted set in the precomputed layout."""
    options: dict[str, Any] = {"captions_per_image": CAPTIONS, "num_dev": 10, "topics_per_image": TOPICS_PER_IMAGE}
    write_precomp(synthetic_dataset(images, regions=REGIONS, dim=features, **options), folder)


def epoch(
    share: float, precision: str, images: int, words: Sequence[str] = (), features: int = FEATURES
) -> dict[str, Any]:
    """Train one epoch on one thread: CPU seconds, those of each phase, and the pictures seen.

    Args:
        share: of `images` that are trained on. words: further options of `pcsr-fast train`.
    """
    count = max(1, round(share * images))
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as nowhere:
        planted_set(Path(folder) / "data", count, features)
        options = {"data.path": f"{folder}/data", "data.name": "planted", "output": f"{folder}/run", **SCHEDULE}
        options |= {"train.threads": THREADS, "train.precision": precision}
        given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        config, _ = parse_config(["--config", str(ROOT / CONFIG), *given, *words], "train")
        phases, start = watched(), time.process_time()
        with phases.phase("everything else"):
            train(config, console=Console(file=nowhere))
        return {"cpu": time.process_time() - start, "phases": phases.seconds, "images": count}


def _in_a_process(name: str, images: int) -> dict[str, Any]:
    environment = os.environ | {"PCSR_FAST_DISABLE": "1" if RUNS[name][1] else "0"}
    command = [sys.executable, "-m", "benchmarks.epoch", name, str(images)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run(images: int = IMAGES) -> dict[str, Any]:
    """All runs, one after the other, each in a process of its own."""
    start = circumstances()
    return {
        "kind": "epoch",
        **start,
        "captions": CAPTIONS,
        "runs": {name: _in_a_process(name, images) for name in RUNS},
    }


def epoch_table(result: dict[str, Any]) -> str:
    """CPU time of each run, its ratio to the loop on as many pictures, and where the time went."""
    runs = result["runs"]
    phases = list(dict.fromkeys(phase for one in runs.values() for phase in one["phases"]))
    lines = [["one PCSR epoch, two SGR nets", "pictures", "CPU time", "faster than the loop", *phases]]
    for name, one in runs.items():
        same = one["images"] == runs["loop"]["images"]
        shares = [f"{100 * one['phases'].get(phase, 0.0) / one['cpu']:.0f} %" for phase in phases]
        ratio = f"{runs['loop']['cpu'] / one['cpu']:.1f}x" if same else "-"
        lines.append([name, str(one["images"]), duration(one["cpu"]), ratio, *shares])
    return f"{table(lines, 1)}\n{result['captions']} captions a picture. {machine_text(result)}, commit {result['commit']}.\n"


def main(name: str, images: str) -> None:
    """Print the answer of a run as JSON."""
    torch.set_num_threads(THREADS)
    share, loop, precision = RUNS[name]
    if loop:
        encoders.bidirectional_gru = torch_gru
    print(json.dumps(epoch(share, precision, int(images))))


if __name__ == "__main__":
    main(*sys.argv[1:])
