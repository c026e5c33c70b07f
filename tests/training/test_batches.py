"""Batches depend on their position alone, and cover their subset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pcsr_fast.data.load import DataConfig, load_dataset
from pcsr_fast.data.pairs import PairSet
from pcsr_fast.methods.base import Partition, whole_partition
from pcsr_fast.training.batches import BatchSource, num_batches, padded, stream_seed

CPU = torch.device("cpu")
streams = st.lists(st.integers(0, 99) | st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def pairs(tiny: Path) -> PairSet:
    return load_dataset(DataConfig(path=str(tiny / "precomp"), min_word_count=1)).train


@given(one=streams, other=streams)
def test_streams_are_apart_and_stay_what_they_are(one: list[int | str], other: list[int | str]) -> None:
    same = "/".join(map(str, one)) == "/".join(map(str, other))
    assert (stream_seed(*one) == stream_seed(*other)) == same
    assert 0 <= stream_seed(*one) < 2**63


def test_a_stream_has_this_seed_for_good() -> None:
    """Resuming with another version must find the same order."""
    assert stream_seed(0, "weights", 1) == 5674882788697248348


@given(count=st.integers(0, 200), size=st.integers(2, 50))
def test_number_of_batches(count: int, size: int) -> None:
    lengths = [len(range(start, min(start + size, count))) for start in range(0, count, size)]
    assert num_batches(count, size) == sum(length > 1 for length in lengths)


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=5))
def test_padding(captions: list[list[int]]) -> None:
    words, lengths = padded([np.array(ids) for ids in captions])
    assert lengths.tolist() == [len(ids) for ids in captions]
    assert words.shape == (len(captions), max(map(len, captions)))
    for row, ids in zip(words.tolist(), captions, strict=True):
        assert row == ids + [0] * (words.shape[1] - len(ids))


def source(pairs: PairSet, held: np.ndarray, size: int = 7, stream: int = 0) -> BatchSource:
    return BatchSource(pairs, held, batch_size=size, device=CPU, stream=stream)


def test_a_batch_is_what_its_pairs_hold(pairs: PairSet) -> None:
    count = pairs.num_captions
    held = np.roll(pairs.image_of_caption, 3)
    target = np.linspace(0, 1, count, dtype=np.float32)
    partition = Partition(np.zeros(count, np.uint8), target, target)
    ids = np.array([200, 3, 77])
    batch = source(pairs, held).batch(ids, np.array([2, 0, 1]), partition)
    assert batch.ids.tolist() == [200, 3, 77]
    assert batch.local.tolist() == [2, 0, 1]
    assert batch.images.tolist() == held[ids].tolist()
    assert torch.equal(batch.regions, torch.from_numpy(pairs.regions.take(held[ids])))
    assert torch.equal(batch.target, torch.from_numpy(target[ids]))
    for row, pair in enumerate(ids):
        assert batch.words[row, : batch.lengths[row]].tolist() == pairs.tokens[pair].tolist()
    assert batch.new_words is None


def test_a_batch_brings_the_captions_that_replace_its_own(pairs: PairSet) -> None:
    count = pairs.num_captions
    partition = whole_partition(np.arange(count), count)
    partition.replacement = np.full(count, -1)
    partition.similarity = np.linspace(0, 1, count, dtype=np.float32)
    partition.replacement[[4, 9]] = [100, 50]
    own = source(pairs, pairs.image_of_caption)
    batch = own.batch(np.array([9, 4]), np.array([0, 1]), partition)
    assert batch.replacement is not None
    assert batch.new_words is not None
    assert batch.new_lengths is not None
    assert batch.similarity is not None
    assert batch.replacement.tolist() == [50, 100]
    assert batch.new_words[1, : batch.new_lengths[1]].tolist() == pairs.tokens[100].tolist()
    assert batch.similarity.tolist() == partition.similarity[[9, 4]].tolist()
    assert own.batch(np.array([9, 5]), np.array([0, 1]), partition).replacement is None


def test_a_subset_is_cycled_each_time_in_a_new_order(pairs: PairSet) -> None:
    ids = np.arange(5, 25)
    own, partition = source(pairs, pairs.image_of_caption), whole_partition(ids, pairs.num_captions)
    batches = [own.nth(partition, "clean", ids, index, "train", 0, 1) for index in range(6)]
    cycles = [[i for batch in batches[start : start + 3] if batch for i in batch.ids.tolist()] for start in (0, 3)]
    assert [len(batch) for batch in batches if batch is not None] == [7, 7, 6, 7, 7, 6]
    assert all(sorted(cycle) == ids.tolist() for cycle in cycles)
    assert cycles[0] != cycles[1]
    for batch in batches:
        assert batch is not None
        assert torch.equal(torch.from_numpy(ids)[batch.local], batch.ids)


def test_a_batch_depends_on_its_position_alone(pairs: PairSet) -> None:
    ids = np.arange(240)
    partition = whole_partition(ids, 240)

    def drawn(index: int, *stream: int | str, seed: int = 0, subset: str = "clean") -> list[int]:
        batch = source(pairs, pairs.image_of_caption, stream=seed).nth(partition, subset, ids, index, *stream)
        assert batch is not None
        return batch.ids.tolist()

    torch.manual_seed(1)
    np.random.seed(1)
    first = drawn(4, "train", 0, 1)
    np.random.seed(2)
    assert drawn(4, "train", 0, 1) == first
    others = [
        drawn(5, "train", 0, 1), drawn(4, "train", 1, 1), drawn(4, "train", 0, 0), drawn(4, "warmup", 0, 1),
        drawn(4, "train", 0, 1, seed=1), drawn(4, "train", 0, 1, subset="ambiguous"),
    ]  # fmt: skip
    assert first not in others


@pytest.mark.parametrize(("count", "found"), [(0, False), (1, False), (2, True)])
def test_a_subset_without_negatives_has_no_batch(count: int, found: bool, pairs: PairSet) -> None:
    ids = np.arange(count)
    batch = source(pairs, pairs.image_of_caption).nth(whole_partition(ids, 240), "clean", ids, 3, 0)
    assert (batch is not None) == found
