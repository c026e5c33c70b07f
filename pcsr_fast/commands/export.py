"""`pcsr-fast export --run RUN --output FOLDER`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pcsr_fast.commands.finished import finished_run
from pcsr_fast.commands.options import parse_options
from pcsr_fast.errors import ConfigError
from pcsr_fast.training.export import best_net, export_model, read_metrics
from pcsr_fast.training.observers import Observer
from pcsr_fast.training.run import enough_memory


@dataclass
class ExportOptions:
    """A net of a run's best checkpoint as a folder: config.json, model.safetensors, vocabulary or tokenizer, model card.

    Attributes:
        run: folder of the run.
        output: folder to make; it must not exist or be empty.
        net: 1 or 2; 0 takes the net that is better on dev.
    """

    run: str
    output: str
    net: int = 0


@enough_memory()
def main(argv: Sequence[str]) -> None:
    """Load, write, say how to load it."""
    options = parse_options(ExportOptions, "export", argv)
    output = Path(options.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"--output: {output} exists and is not empty; expected a new folder")
    metrics = read_metrics(Path(options.run))
    trainer = finished_run(options.run, "export", "cpu", Observer())
    if not 0 <= options.net <= len(trainer.nets):
        raise ConfigError(f"--net: got {options.net}, expected 0 to {len(trainer.nets)}, the nets of {options.run}")
    net = options.net - 1 if options.net else best_net(metrics)
    export_model(trainer, metrics, net, output)
    console = Console()
    console.print(f"{output}: net {net + 1} of {options.run}", highlight=False, markup=False, soft_wrap=True)
    console.print(f'load it: RetrievalModel.from_pretrained("{output}")', highlight=False, markup=False, soft_wrap=True)
