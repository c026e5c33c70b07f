"""What all tests share: how hypothesis draws, one thread, and a tiny planted data set on disk in both layouts.

HYPOTHESIS_PROFILE=deep draws many more examples, new ones each time; the default `ci` draws the same few every time.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from pcsr_fast.data.pairs import Dataset
from pcsr_fast.data.synthetic import synthetic_dataset
from pcsr_fast.data.write import write_captions, write_manifest, write_precomp

# The first call of an operator is slow, which says nothing about the property.
settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", parent=settings.get_profile("ci"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Several test processes share the cores."""
    torch.set_num_threads(1)


def write_pairs(dataset: Dataset, folder: Path) -> None:
    """The package's own layout, float32, without thumbnails."""
    folder.mkdir()
    for pairs in (dataset.train, dataset.dev, dataset.test):
        np.save(folder / f"{pairs.name}_regions.npy", pairs.regions.take(np.arange(pairs.num_images)))
        captions = list(zip(pairs.image_of_caption.tolist(), pairs.captions, strict=True))
        write_captions(folder, pairs.name, captions, pairs.image_names or [])
    write_manifest(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the sets `precomp` and `pairs`: 48 + 10 + 10 planted pictures, five captions each, not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    dataset = synthetic_dataset(48, regions=4, dim=16, topics=12, seed=3)
    write_precomp(dataset, folder / "precomp")
    write_pairs(dataset, folder / "pairs")
    return folder
