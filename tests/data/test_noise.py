from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcsr_fast.data.noise import (
    NoiseConfig,
    digest,
    held_images,
    inject_noise,
    load_noise_file,
    save_noise,
    verify,
)
from pcsr_fast.errors import ConfigError, DataError

PINNED = {
    "caption": [0, 3, 1, 1, 0, 2, 5, 3, 4, 4, 2, 5],
    "image": [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5],
}
LEVELS = st.sampled_from(["caption", "image"])
RATIOS = st.floats(0, 1)
SEEDS = st.integers(0, 2**32)


@st.composite
def truths(draw: st.DrawFn) -> np.ndarray:
    """image_of_caption of sets in which every picture has 1 to 6 captions, in any order."""
    counts = draw(st.lists(st.integers(1, 6), min_size=1, max_size=30))
    return np.array(draw(st.permutations(np.repeat(np.arange(len(counts)), counts).tolist())), dtype=np.int64)


@given(truths(), RATIOS, LEVELS, SEEDS)
def test_same_seed_same_noise_and_input_untouched(true: np.ndarray, ratio: float, level: str, seed: int) -> None:
    before = true.copy()
    first = inject_noise(true, ratio=ratio, level=level, seed=seed)
    np.testing.assert_array_equal(first, inject_noise(true, ratio=ratio, level=level, seed=seed))
    np.testing.assert_array_equal(true, before)
    assert first.dtype == np.int64


@given(truths(), RATIOS, SEEDS)
def test_caption_level_moves_at_most_its_share_and_keeps_the_multiset(
    true: np.ndarray, ratio: float, seed: int
) -> None:
    held = inject_noise(true, ratio=ratio, level="caption", seed=seed)
    assert np.count_nonzero(held != true) <= int(ratio * len(true))
    np.testing.assert_array_equal(np.sort(held), np.sort(true))


@given(truths(), RATIOS, SEEDS)
def test_image_level_moves_all_captions_of_a_picture_together(true: np.ndarray, ratio: float, seed: int) -> None:
    held = inject_noise(true, ratio=ratio, level="image", seed=seed)
    images = np.unique(true)
    moved_to = np.array([np.unique(held[true == image]) for image in images])
    assert moved_to.shape == (len(images), 1)
    np.testing.assert_array_equal(np.sort(moved_to[:, 0]), images)
    assert np.count_nonzero(moved_to[:, 0] != images) <= int(ratio * len(images))


@pytest.mark.parametrize("level", ["caption", "image"])
@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_share_of_wrong_pairs_is_the_ratio(level: str, ratio: float) -> None:
    true = np.repeat(np.arange(2000), 5)
    wrong = np.mean(inject_noise(true, ratio=ratio, level=level, seed=3) != true)
    # A shuffled entry keeps its value with chance 5/N or 1/n: at most a few of thousands.
    assert ratio - 0.003 <= wrong <= ratio


def test_levels_differ_in_how_many_pictures_lose_every_caption() -> None:
    true = np.repeat(np.arange(2000), 5)
    all_wrong = {
        level: np.mean((inject_noise(true, ratio=0.4, level=level, seed=0) != true).reshape(-1, 5).all(axis=1))
        for level in ("caption", "image")
    }
    # METHODS 1.2: 1.0 % against 40 %.
    assert 0.004 < all_wrong["caption"] < 0.02
    assert 0.39 < all_wrong["image"] <= 0.4


def test_other_seed_other_noise() -> None:
    true = np.arange(500)
    first, second = (inject_noise(true, ratio=0.5, seed=seed) for seed in (0, 1))
    assert (first != second).any()


def test_noise_of_a_seed_never_changes() -> None:
    """Pinned values: a run of today must be repeatable after an update of NumPy or of this package."""
    true = np.repeat(np.arange(6), 2)
    assert inject_noise(true, ratio=0.5, seed=7).tolist() == PINNED["caption"]
    assert inject_noise(true, ratio=0.7, level="image", seed=7).tolist() == PINNED["image"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 1.5}, "noise.ratio: 1.5; expected a number from 0 to 1"),
        ({"ratio": float("nan")}, "noise.ratio: nan"),
        ({"ratio": 0.5, "level": "word"}, "noise.level: 'word'"),
        ({"ratio": 0.5, "seed": -1}, "noise.seed: -1"),
    ],
)
def test_bad_settings(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        inject_noise(np.arange(4), **arguments)
    assert message in str(caught.value)


TRUE = np.repeat(np.arange(4), 5)


def _saved(folder: Path, values: object) -> Path:
    np.save(folder / "n.npy", np.asarray(values))
    return folder / "n.npy"


def test_file_of_captions(tmp_path: Path) -> None:
    held = inject_noise(TRUE, ratio=0.6, seed=1)
    np.testing.assert_array_equal(load_noise_file(_saved(tmp_path, held), TRUE, 4), held)


def test_file_of_expanded_image_permutation(tmp_path: Path) -> None:
    expanded = np.repeat([2, 0, 1, 3], 5).astype(np.int32)
    np.testing.assert_array_equal(load_noise_file(_saved(tmp_path, expanded), TRUE, 4), expanded)


def test_file_of_image_permutation_moves_captions_together(tmp_path: Path) -> None:
    held = load_noise_file(_saved(tmp_path, [2, 0, 1, 3]), TRUE, 4)
    np.testing.assert_array_equal(held, np.repeat([2, 0, 1, 3], 5))


def test_file_for_one_caption_a_picture(tmp_path: Path) -> None:
    held = load_noise_file(_saved(tmp_path, [1, 1, 0, 3]), np.arange(4), 4)
    assert held.tolist() == [1, 1, 0, 3]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(19, dtype=np.int64), "has 19 entries; expected one integer a caption (20) or a picture (4)"),
        (np.full(20, 4), "entry 0 is 4; expected"),
        (np.r_[np.zeros(19, dtype=np.int64), -1], "entry 19 is -1"),
        (np.zeros(20), "dtype float64"),
        (np.zeros((20, 1), dtype=np.int64), "shape (20, 1)"),
        (np.array([0, 1, 1, 3]), "repeats some; expected a permutation of 0..3"),
        (np.zeros(0, dtype=np.int64), "holds nothing"),
    ],
)
def test_bad_noise_files(tmp_path: Path, values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=r"n\.npy") as caught:
        load_noise_file(_saved(tmp_path, values), TRUE, 4)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickled_noise_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.array([{"a": 1}] * 20, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="pickled Python objects"):
        load_noise_file(tmp_path / "n.npy", TRUE, 4)


def test_saved_noise_round_trips_with_its_digest(tmp_path: Path) -> None:
    held, facts = held_images(NoiseConfig(ratio=0.4, seed=5), TRUE, 4)
    save_noise(tmp_path, held, facts)
    loaded, meta = verify(tmp_path)
    np.testing.assert_array_equal(loaded, held)
    assert meta["sha256"] == digest(held)
    assert (meta["ratio"], meta["level"], meta["seed"], meta["source"]) == (0.4, "caption", 5, "generated")
    assert meta["wrong_share"] == np.mean(held != TRUE)


def test_digest_depends_on_values_not_on_storage() -> None:
    held = np.array([3, 1, 2])
    assert digest(held) == digest(held.astype(">i4")) != digest(held[::-1])


def test_saved_noise_can_be_loaded_as_a_noise_file(tmp_path: Path) -> None:
    held, facts = held_images(NoiseConfig(ratio=0.8, level="image", seed=2), TRUE, 4)
    save_noise(tmp_path, held, facts)
    again, meta = held_images(NoiseConfig(ratio=0.1, file=str(tmp_path / "noise.npy")), TRUE, 4)
    np.testing.assert_array_equal(again, held)
    assert meta["source"].endswith("noise.npy")
    assert meta["ratio"] is None


def test_changed_noise_values_are_noticed(tmp_path: Path) -> None:
    save_noise(tmp_path, TRUE, {})
    np.save(tmp_path / "noise.npy", TRUE[::-1])
    with pytest.raises(DataError, match=r"do not match the SHA-256 in noise\.json"):
        verify(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"ratio": 1})])
def test_broken_noise_json(tmp_path: Path, content: str) -> None:
    save_noise(tmp_path, TRUE, {})
    (tmp_path / "noise.json").write_text(content)
    with pytest.raises(DataError, match=r"noise\.json: cannot be read"):
        verify(tmp_path)
