"""Small data sets in every layout, made once a session and copied where a test breaks them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pcsr_fast.data.load import DataConfig, load_dataset
from pcsr_fast.data.pairs import Dataset, PairSet
from pcsr_fast.data.synthetic import synthetic_dataset
from pcsr_fast.data.write import new_array, write_captions, write_manifest, write_precomp, write_thumbnails


def _write_pairs(dataset: Dataset, folder: Path) -> None:
    scale = np.full(dataset.train.regions.shape[2], 0.01, dtype=np.float32)
    folder.mkdir()
    np.save(folder / "regions_scale.npy", scale)
    for pairs in (dataset.train, dataset.dev, dataset.test):
        features = pairs.regions.take(np.arange(pairs.num_images))
        with new_array(folder / f"{pairs.name}_regions.npy", features.shape, "|i1") as array:
            array[:] = np.clip(np.rint(features / scale), -127, 127)
        captions = list(zip(pairs.image_of_caption.tolist(), pairs.captions, strict=True))
        write_captions(folder, pairs.name, captions, pairs.image_names or [])
        write_thumbnails(folder, pairs.name, [f"{pairs.name} {i}".encode() for i in range(pairs.num_images)])
    write_manifest(folder)


@pytest.fixture(scope="session")
def five() -> Dataset:
    """12 + 10 + 10 pictures, five captions each."""
    return synthetic_dataset(12, regions=4, dim=6, topics=8, seed=1)


@pytest.fixture(scope="session")
def single() -> Dataset:
    """15 + 10 + 10 pictures, one caption each."""
    return synthetic_dataset(15, captions_per_image=1, regions=4, dim=6, topics=8, seed=2)


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory, five: Dataset, single: Dataset) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    _write_pairs(five, folder / "pairs")
    write_precomp(five, folder / "f30k", style="f30k")
    write_precomp(single, folder / "cc152k", style="cc152k")
    write_precomp(single, folder / "now", style="now")
    return folder


@pytest.fixture
def copy_of(originals: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A fresh copy of one of the layouts "pairs", "f30k", "cc152k", "now", to be broken."""

    def copy(layout: str) -> Path:
        return Path(shutil.copytree(originals / layout, tmp_path / layout))

    return copy


@pytest.fixture(scope="session")
def same_pairs() -> Callable[[PairSet, PairSet], None]:
    """Assert that two splits hold the same pictures, captions and truth, in the same order."""

    def check(found: PairSet, expected: PairSet) -> None:
        rows = np.arange(expected.num_images)
        assert found.captions == expected.captions
        np.testing.assert_array_equal(found.image_of_caption, expected.image_of_caption)
        np.testing.assert_array_equal(found.regions.take(rows), expected.regions.take(rows))
        for mine, theirs in zip(found.tokens, expected.tokens, strict=True):
            np.testing.assert_array_equal(mine, theirs)

    return check


@pytest.fixture(scope="session")
def demo() -> Dataset:
    """The demo set of the package."""
    return load_dataset(DataConfig())
