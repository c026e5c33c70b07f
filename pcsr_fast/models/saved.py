"""Folders of finished models: config.json and model.safetensors, no pickle; what is damaged is named."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pcsr_fast.errors import CheckpointError
from pcsr_fast.files import atomic_write, make_folder, sha256_of, write_json
from pcsr_fast.models.config import ModelConfig, PromptConfig

FORMAT = "pcsr_fast model 1"
SETTINGS, WEIGHTS = "config.json", "model.safetensors"
_EXPECTED = "a folder that save_pretrained or pcsr-fast export wrote"


class SavedModel(nn.Module):
    """A module that can be built again from JSON: `arguments` are those of its constructor beside `config`."""

    arguments: dict[str, Any]
    config: ModelConfig

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json and model.safetensors; the same weights, buffers included, come back to the bit.

        Raises:
            UserError: the folder cannot be written.
        """
        path = make_folder(folder)
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.state_dict().items()}
        with atomic_write(path / WEIGHTS) as temporary:
            try:
                save_file(tensors, temporary, metadata={"format": "pt"})
            except SafetensorError as error:
                raise OSError(str(error)) from error
        settings = {
            "format": FORMAT,
            "model": dataclasses.asdict(self.config),
            "arguments": self.arguments,
            "sha256": sha256_of(path / WEIGHTS),
        }
        write_json(path / SETTINGS, settings)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Self:
        """The model of a folder that `save_pretrained` wrote, in evaluation mode, on the CPU.

        Raises:
            CheckpointError: a file is missing, damaged, or of another kind; it is named.
        """
        path = Path(folder)
        settings, weights = _settings(path / SETTINGS), path / WEIGHTS
        if not weights.is_file():
            raise CheckpointError(f"{weights}: no such file; expected {_EXPECTED}")
        if sha256_of(weights) != settings["sha256"]:
            raise CheckpointError(f"{weights}: does not match the SHA-256 in {SETTINGS}; expected an undamaged file")
        try:
            config = dict(settings["model"])
            config["prompt"] = PromptConfig(**config["prompt"])
            # What a constructor draws is overwritten: nobody's random stream moves.
            with torch.random.fork_rng(devices=[]):
                model = cls(ModelConfig(**config), **settings["arguments"])
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{path / SETTINGS}: describes no model ({error}); expected {_EXPECTED}") from error
        try:
            model.load_state_dict(load_file(weights))
        except (SafetensorError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise CheckpointError(f"{weights}: does not fit {SETTINGS} ({reason}); expected {_EXPECTED}") from error
        return model.eval()


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); expected {_EXPECTED}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: is no JSON; expected {_EXPECTED}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        given = found.get("format") if isinstance(found, dict) else None
        raise CheckpointError(f"{path}: format is {given!r}, expected {FORMAT!r}")
    missing = next((key for key in ("model", "arguments", "sha256") if key not in found), None)
    if missing is not None:
        raise CheckpointError(f"{path}: lacks {missing}; expected {_EXPECTED}")
    return found
