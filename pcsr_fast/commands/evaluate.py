"""`pcsr-fast evaluate RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from pcsr_fast.commands.finished import finished_run
from pcsr_fast.commands.options import parse_options
from pcsr_fast.errors import ConfigError
from pcsr_fast.files import write_json
from pcsr_fast.report.tables import retrieval_table
from pcsr_fast.training.observers import PassBar
from pcsr_fast.training.run import enough_memory


@dataclass
class EvaluateOptions:
    """Retrieval metrics of the best checkpoint of a run.

    Attributes:
        run: folder of the run.
        split: split to rank.
        folds: blocks of consecutive pictures whose metrics are averaged (COCO 1K: 5).
        test_split: which test files of a precomputed set: `test`, or `testall` (COCO 5K).
        output: JSON file to write the metrics to.
        device: where to encode, whatever the run was trained on.
    """

    run: str
    split: Literal["dev", "test"] = "test"
    folds: int = 1
    test_split: Literal["test", "testall"] | None = None
    output: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"


@enough_memory()
def main(argv: Sequence[str]) -> None:
    """Load, rank, print."""
    options = parse_options(EvaluateOptions, "evaluate", argv, positional=["run"])
    bar = PassBar(Console(stderr=True))
    trainer = finished_run(options.run, "evaluate", options.device, bar, options.test_split)
    dataset = trainer.dataset
    pairs = dataset.test if options.split == "test" else dataset.dev
    if not 1 <= options.folds <= pairs.num_images:
        raise ConfigError(
            f"--folds: got {options.folds}, expected 1 to {pairs.num_images}, the pictures of {pairs.name}"
        )
    try:
        result = trainer.evaluate(pairs, options.folds)
    finally:
        bar.close()
    Console().print(retrieval_table(result, f"{options.split}, best checkpoint of {options.run}"))
    if options.output:
        write_json(options.output, result)
