from __future__ import annotations

import numpy as np
import pytest

from pcsr_fast.data.pairs import Dataset, PairSet
from pcsr_fast.data.synthetic import synthetic_dataset
from pcsr_fast.errors import ConfigError


def _bags(pairs: PairSet, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean region (n, D) of each picture, and which words stand in each caption (N, size)."""
    words = np.zeros((pairs.num_captions, size))
    for row, ids in enumerate(pairs.tokens):
        words[row, ids[1:-1]] = 1
    return pairs.regions.take(np.arange(pairs.num_images)).mean(axis=1), words


def _recall_at_1(dataset: Dataset, image_of_caption: np.ndarray) -> float:
    """Text-to-image recall on test of a linear map from pictures to words, fitted on the held pairs."""
    size = len(dataset.vocabulary)
    pictures, words = _bags(dataset.train, size)
    weights = np.linalg.lstsq(pictures[image_of_caption], words - words.mean(axis=0), rcond=None)[0]
    pictures, words = _bags(dataset.test, size)
    predicted = pictures @ weights
    predicted /= np.linalg.norm(predicted, axis=1, keepdims=True)
    return float(np.mean((predicted @ words.T).argmax(axis=0) == dataset.test.image_of_caption))


def test_pictures_can_be_found_by_their_captions_and_not_by_chance() -> None:
    dataset = synthetic_dataset()
    true = dataset.train.image_of_caption
    assert _recall_at_1(dataset, true) > 0.3
    assert _recall_at_1(dataset, np.random.default_rng(0).permutation(true)) < 0.15


def test_sizes_and_truth() -> None:
    dataset = synthetic_dataset(7, 2, 5, 3, topics=4, num_dev=3, num_test=4)
    assert dataset.train.regions.shape == (7, 5, 3)
    assert dataset.train.image_of_caption.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    assert (dataset.dev.num_images, dataset.test.num_captions) == (3, 8)
    assert dataset.train.regions.take(np.array([0])).dtype == np.float32


def test_captions_of_a_picture_name_the_same_topics() -> None:
    train = synthetic_dataset(20, topics=10).train
    topics = [
        {word.split("w")[0] for word in caption.split() if word[0] == "t" and "w" in word} for caption in train.captions
    ]
    for first in range(0, len(topics), 5):
        assert all(named == topics[first] for named in topics[first : first + 5])


def test_same_seed_same_set() -> None:
    first, second, other = (synthetic_dataset(5, seed=seed) for seed in (3, 3, 4))
    rows = np.arange(5)
    assert first.train.captions == second.train.captions != other.train.captions
    np.testing.assert_array_equal(first.train.regions.take(rows), second.train.regions.take(rows))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": 0}, "num_images is 0"),
        ({"dim": 0}, "dim is 0"),
        ({"topics": 2}, "topics is 2; expected at least"),
    ],
)
def test_impossible_sizes(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        synthetic_dataset(**arguments)
