"""A finished run as the commands that look at it want it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pcsr_fast.errors import ConfigError
from pcsr_fast.training.observers import Observer
from pcsr_fast.training.parse import parse_config
from pcsr_fast.training.run import prepare
from pcsr_fast.training.trainer import Trainer


def finished_run(
    run: str,
    command: str,
    device: Literal["auto", "cpu", "cuda"],
    observer: Observer,
    test_split: Literal["test", "testall"] | None = None,
) -> Trainer:
    """The trainer of the run in folder `run`, with the weights of its best checkpoint, on its data.

    Raises:
        UserError: no run, a lost or damaged checkpoint, or other data.
    """
    folder = Path(run)
    written = folder / "config.yaml"
    if not written.is_file():
        raise ConfigError(f"{written}: no such file; expected the folder of a training run")
    config, _ = parse_config(["--config", str(written), "--output", str(folder)], command)
    config.train.device = device
    if test_split:
        config.data.test_split = test_split
    dataset, held, _ = prepare(config)
    trainer = Trainer(config, dataset, held, folder, observer)
    trainer.load_best()
    return trainer
