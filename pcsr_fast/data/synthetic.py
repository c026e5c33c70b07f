"""Planted image-text sets of any size: pictures and captions drawn from shared latent topics, so the truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pcsr_fast.data.pairs import Dataset, PairSet, Regions
from pcsr_fast.data.vocabulary import Vocabulary
from pcsr_fast.errors import ConfigError

_FILLERS = ("a", "the", "with", "and", "near", "of")
_WORDS_A_TOPIC = 5


def _pairs(
    name: str,
    num_images: int,
    captions_per_image: int,
    shape: tuple[int, int],
    prototypes: np.ndarray,
    topics_per_image: int,
    noise: float,
    rng: np.random.Generator,
) -> PairSet:
    """A split whose captions are not encoded yet."""
    regions, dim = shape
    topics = np.stack([rng.choice(len(prototypes), topics_per_image, replace=False) for _ in range(num_images)])
    seen = rng.integers(topics_per_image, size=(num_images, regions))
    features = prototypes[np.take_along_axis(topics, seen, axis=1)]
    features = features + noise * rng.standard_normal((num_images, regions, dim), dtype=np.float32)
    captions = []
    for image in range(num_images):
        for _ in range(captions_per_image):
            words = [f"t{topic}w{rng.integers(_WORDS_A_TOPIC)}" for topic in rng.permutation(topics[image])]
            captions.append(" ".join(f"{rng.choice(_FILLERS)} {word}" for word in words))
    return PairSet(
        name=name,
        regions=Regions(features.astype(np.float32)),
        captions=captions,
        tokens=[],
        image_of_caption=np.repeat(np.arange(num_images), captions_per_image),
        image_names=[f"{name}/{image:06d}" for image in range(num_images)],
    )


def synthetic_dataset(
    num_images: int = 300,
    captions_per_image: int = 5,
    regions: int = 36,
    dim: int = 64,
    topics: int = 30,
    seed: int = 0,
    *,
    num_dev: int | None = None,
    num_test: int | None = None,
    topics_per_image: int = 3,
    noise: float = 0.5,
) -> Dataset:
    """A planted set: picture i and its captions share `topics_per_image` of `topics` latent topics.

    A region shows one of its picture's topics, a unit prototype (dim,) plus Gaussian noise; a caption names every topic
    of its picture by one of that topic's five words, in any order, between filler words.

    Args:
        num_images: training pictures.
        captions_per_image: captions a picture, in every split.
        regions: regions a picture, R.
        dim: feature dimension, D.
        topics: number of latent topics.
        seed: of everything drawn.
        num_dev: dev pictures; a fifth of num_images, at least 10, if None.
        num_test: test pictures; as num_dev if None.
        topics_per_image: topics of a picture.
        noise: standard deviation of the noise on each feature, times 1 / sqrt(dim).

    Returns:
        Dataset with float32 features in memory; image_of_caption is the truth.

    Raises:
        ConfigError: a count below 1, or more topics a picture than topics.
    """
    num_dev = max(10, num_images // 5) if num_dev is None else num_dev
    num_test = num_dev if num_test is None else num_test
    counts = {
        "num_images": num_images,
        "num_dev": num_dev,
        "num_test": num_test,
        "captions_per_image": captions_per_image,
        "regions": regions,
        "dim": dim,
        "topics_per_image": topics_per_image,
    }
    for key, value in counts.items():
        if value < 1:
            raise ConfigError(f"synthetic_dataset: {key} is {value}; expected an integer >= 1")
    if topics < topics_per_image:
        raise ConfigError(
            f"synthetic_dataset: topics is {topics}; expected at least topics_per_image, {topics_per_image}"
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    prototypes = rng.standard_normal((topics, dim), dtype=np.float32)
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    scale = noise / np.sqrt(dim)
    sizes = {"train": num_images, "dev": num_dev, "test": num_test}
    parts = [
        _pairs(name, size, captions_per_image, (regions, dim), prototypes, topics_per_image, scale, rng)
        for name, size in sizes.items()
    ]
    vocabulary = Vocabulary.from_captions([*parts[0].captions, *parts[1].captions], min_count=1)
    train, dev, test = (replace(part, tokens=vocabulary.encode_all(part.captions)) for part in parts)
    return Dataset(name="synthetic", train=train, dev=dev, test=test, vocabulary=vocabulary)
