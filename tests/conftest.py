"""What all tests share: how hypothesis draws, one thread, and a tiny planted data set on disk in both layouts.

`pytest --hypothesis-profile=deep` draws very many examples, new ones each time, without a time limit; `sanitize` a few,
for instrumented builds; the default `ci` draws the same ones every time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from pcsr_fast.data.pairs import Dataset
from pcsr_fast.data.synthetic import synthetic_dataset
from pcsr_fast.data.write import write_captions, write_manifest, write_precomp
from tests.tiny_encoders import write_album, write_encoders

# The first call of an operator is slow, which says nothing about the property.
settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=200, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", parent=settings.get_profile("ci"), derandomize=False, max_examples=20_000)
settings.register_profile("sanitize", parent=settings.get_profile("ci"), max_examples=12)
settings.load_profile("ci")  # read before pytest's options: --hypothesis-profile comes later and wins


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests for a GPU run where they are asked for; 20,000 examples take longer than a hanging test should be given."""
    if "gpu" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    if config.getoption("--hypothesis-profile") == "deep":
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


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


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny Hugging Face folders clip, vit, swin and bert, not to be changed."""
    folder = tmp_path_factory.mktemp("encoders")
    write_encoders(folder)
    return folder


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of raw pictures with captions.csv, not to be changed."""
    folder = tmp_path_factory.mktemp("raw") / "album"
    write_album(folder)
    return folder
