from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcsr_fast.data.pairs import Dataset, PairSet, Regions, Thumbnails
from pcsr_fast.data.write import write_thumbnails
from pcsr_fast.errors import DataError

ROWS = st.lists(st.integers(0, 6), max_size=12).map(lambda rows: np.array(rows, dtype=np.int64))
STORED = np.random.default_rng(0).integers(-127, 128, size=(7, 3, 4)).astype(np.int8)
SCALE = np.array([0.5, 1.0, 2.0, 0.25], dtype=np.float32)


@given(ROWS)
def test_take_gives_float32_rows_in_the_order_asked_for(rows: np.ndarray) -> None:
    taken = Regions(STORED, SCALE).take(rows)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, STORED[rows].astype(np.float32) * SCALE)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_take_from_a_memory_map_of_any_float(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", STORED.astype(dtype))
    regions = Regions(np.load(tmp_path / "a.npy", mmap_mode="r"))
    assert regions.shape == (7, 3, 4)
    assert len(regions) == 7
    np.testing.assert_array_equal(regions.take(np.array([6, 0, 6])), STORED[[6, 0, 6]].astype(np.float32))


def test_take_returns_a_copy() -> None:
    source = STORED.astype(np.float32)
    Regions(source).take(np.array([0]))[:] = 99
    np.testing.assert_array_equal(source, STORED)


@pytest.mark.parametrize("rows", [[7], [-1], [0, 9]])
def test_take_outside_the_pictures(rows: list[int]) -> None:
    with pytest.raises(IndexError, match=r"expected 0\.\.6"):
        Regions(STORED, SCALE).take(np.array(rows))


def test_views_of_views_compose() -> None:
    view = Regions(STORED, SCALE).subset(np.array([5, 1, 3])).subset(np.array([2, 0]))
    assert view.shape == (2, 3, 4)
    np.testing.assert_array_equal(view.take(np.array([1, 0])), STORED[[5, 3]] * SCALE)


@settings(max_examples=30)
@given(st.permutations(range(12)), st.integers(1, 12))
def test_subset_keeps_the_pictures_with_exactly_their_captions(order: list[int], count: int) -> None:
    pairs = _numbered()
    rows = np.array(order[:count])
    subset = pairs.subset_images(rows)
    expected = [j for j, image in enumerate(pairs.image_of_caption) if image in rows]
    assert subset.captions == [pairs.captions[j] for j in expected]
    assert [ids.tolist() for ids in subset.tokens] == [[j] for j in expected]
    np.testing.assert_array_equal(rows[subset.image_of_caption], pairs.image_of_caption[expected])
    np.testing.assert_array_equal(subset.regions.take(np.arange(count))[:, 0, 0], rows)
    assert subset.image_names == [f"p{row}" for row in rows]
    assert (subset.num_images, subset.num_captions) == (count, len(expected))


def _numbered() -> PairSet:
    images = np.array([3, 0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 0, 3, 3])
    return PairSet(
        name="train",
        regions=Regions(np.arange(12, dtype=np.float32).reshape(12, 1, 1)),
        captions=[f"c{j}" for j in range(len(images))],
        tokens=[np.array([j]) for j in range(len(images))],
        image_of_caption=images,
        image_names=[f"p{row}" for row in range(12)],
    )


@pytest.mark.parametrize(("rows", "message"), [([0, 0], "stands twice"), ([12], "expected 0..11"), ([-1], "0..11")])
def test_subset_refuses_repeated_and_unknown_rows(rows: list[int], message: str) -> None:
    with pytest.raises(DataError) as caught:
        _numbered().subset_images(np.array(rows))
    assert message in str(caught.value)


def test_thumbnails_are_read_by_row_also_through_a_subset(tmp_path: Path) -> None:
    write_thumbnails(tmp_path, "train", [b"zero", b"", b"two" * 400])
    thumbnails = Thumbnails(tmp_path / "train_thumbnails.tar")
    assert [thumbnails.read(row) for row in (2, 0, 1)] == [b"two" * 400, b"zero", b""]
    assert thumbnails.subset(np.array([2, 0])).subset(np.array([1])).read(0) == b"zero"
    with pytest.raises(DataError, match=r"holds no 00003\.webp"):
        thumbnails.read(3)


def test_demo_thumbnails_follow_their_picture(demo: Dataset) -> None:
    last = demo.dev.num_images - 1
    subset = demo.dev.subset_images(np.array([last]))
    assert subset.thumbnails is not None
    assert demo.dev.thumbnails is not None
    assert subset.thumbnails.read(0) == demo.dev.thumbnails.read(last)
    assert subset.thumbnails.read(0)[8:12] == b"WEBP"
