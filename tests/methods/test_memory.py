"""Memories against plain Python containers."""

from __future__ import annotations

from collections import Counter, deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pcsr_fast.methods.memory import CaptionQueue, PredictionBank, VoteMemory

PAIRS, CLASSES = 5, 4
ROUNDS = st.lists(
    st.tuples(st.dictionaries(st.integers(0, PAIRS - 1), st.integers(0, CLASSES - 1), min_size=1), st.integers(1, 3)),
    max_size=12,
)


@settings(deadline=None)
@given(ROUNDS, st.integers(0, 4))
def test_votes_count_like_a_dictionary(rounds: list[tuple[dict[int, int], int]], window: int):
    memory = VoteMemory(PAIRS, CLASSES, window)
    plain: list[deque[tuple[int, int]]] = [deque(maxlen=window or None) for _ in range(PAIRS)]
    for votes, weight in rounds:
        memory.add(torch.tensor(list(votes)), torch.tensor(list(votes.values())), weight)
        for pair, choice in votes.items():
            plain[pair].append((choice, weight))
    for pair in range(PAIRS):
        expected: Counter[int] = Counter()
        for choice, weight in plain[pair]:
            expected[choice] += weight
        assert memory.counts[pair].tolist() == [expected[k] for k in range(CLASSES)]


@settings(deadline=None, max_examples=30)
@given(ROUNDS, ROUNDS, st.integers(0, 3))
def test_votes_go_on_after_a_checkpoint(before: list, after: list, window: int):
    memory = VoteMemory(PAIRS, CLASSES, window)
    for votes, weight in before:
        memory.add(torch.tensor(list(votes)), torch.tensor(list(votes.values())), weight)
    restored = VoteMemory(PAIRS, CLASSES, window)
    restored.load_state({name: value.clone() for name, value in memory.state().items()})
    for one in (memory, restored):
        for votes, weight in after:
            one.add(torch.tensor(list(votes)), torch.tensor(list(votes.values())), weight)
    for name, value in memory.state().items():
        assert torch.equal(value, restored.state()[name]), name


def test_bank_is_uniform_until_written():
    bank = PredictionBank(4, 5)
    torch.testing.assert_close(bank.probabilities, torch.full((4, 5), 0.2))
    p = torch.tensor([[0.1, 0.2, 0.3, 0.2, 0.2], [1.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    bank.write(torch.tensor([2, 0]), p)
    torch.testing.assert_close(bank.probabilities[2], p[0].detach().float())
    torch.testing.assert_close(bank.probabilities[0], p[1].detach().float())
    torch.testing.assert_close(bank.probabilities[[1, 3]], torch.full((2, 5), 0.2))
    assert not bank.probabilities.requires_grad


def captions(first: int, count: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Captions `first`.. whose words, lengths and keys tell their id."""
    ids = torch.arange(first, first + count)
    words = ids[:, None] * 10 + torch.arange(width)
    return words, torch.full((count,), width), ids, torch.stack([ids.float(), -ids.float()], dim=1)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), min_size=1, max_size=6))
def test_queue_keeps_the_newest_in_order(capacity: int, pushes: list[tuple[int, int]]):
    queue, first, widths = CaptionQueue(capacity), 0, []
    for count, width in pushes:
        queue.push(*captions(first, count, width))
        first += count
        widths += [width] * count
    kept = list(range(first))[-capacity:]
    assert len(queue) == len(kept)
    assert queue.ids.tolist() == kept
    for place, pair in enumerate(kept):
        width = widths[pair]
        assert int(queue.lengths[place]) == width
        assert queue.words[place, :width].tolist() == [pair * 10 + n for n in range(width)]
        assert not queue.words[place, width:].any()
        assert queue.keys[place].tolist() == [pair, -pair]


def test_queue_keeps_no_graph():
    queue = CaptionQueue(3)
    words, lengths, ids, keys = captions(0, 2, 3)
    queue.push(words, lengths, ids, keys.double().requires_grad_())
    assert not queue.keys.requires_grad
    assert queue.keys.dtype == torch.float32


@pytest.mark.parametrize("pushes", [0, 1, 3])
def test_queue_goes_on_after_a_checkpoint(pushes: int):
    queue, restored = CaptionQueue(4), CaptionQueue(4)
    for n in range(pushes):
        queue.push(*captions(3 * n, 3, n + 1))
    restored.load_state({name: value.clone() for name, value in queue.state().items()})
    for one in (queue, restored):
        one.push(*captions(100, 2, 2))
    for name, value in queue.state().items():
        assert torch.equal(value, restored.state()[name]), name
