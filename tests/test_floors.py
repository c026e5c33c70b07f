"""Floors of the ops."""

from __future__ import annotations

import pytest
import torch

from pcsr_fast.floors import COSTS, DIMENSIONS, estimate, measured_peaks

PAIR = ((2048, 1024), (2048, 1024))
PEAKS = {"peak_flops": 1e12, "peak_bandwidth": 1e11}


def test_a_compute_bound_op_takes_its_products():
    floor = estimate("triplet_loss", PAIR, **PEAKS)
    assert floor.flops == 2 * 2048 * 2048 * 1024
    assert floor.bytes == 2 * 2048 * 1024 * 4 + 16 * 4096
    assert floor.seconds == pytest.approx(floor.flops / 1e12)
    assert floor.bound == "compute"


def test_a_memory_bound_op_takes_its_bytes():
    floor = estimate("fit_mixture", ((145000,),), torch.float32, peak_flops=1e15, peak_bandwidth=1e9)
    assert floor.bound == "memory"
    assert floor.seconds == pytest.approx(145000 * (11 * 4 + 8) / 1e9)


def test_half_precision_moves_less_and_backward_costs_more():
    for op in ("triplet_loss", "contrastive_loss"):
        narrow, wide = (estimate(op, PAIR, dtype, **PEAKS) for dtype in (torch.bfloat16, torch.float32))
        assert narrow.bytes < wide.bytes
        assert estimate(op, PAIR, backward=True, **PEAKS).flops > wide.flops


def test_the_hardest_negative_has_no_product_in_its_backward():
    forward, both = (estimate("triplet_loss", PAIR, backward=flag, **PEAKS).flops for flag in (False, True))
    assert both < 1.01 * forward


def test_blocks_shrink_the_pair_losses():
    assert estimate("pair_losses", PAIR, batch_size=128, **PEAKS).flops == 2 * 2048 * 128 * 1024


def test_a_graph_of_one_word_costs_its_products():
    shapes = ((1, 36, 1024), (1, 1024), (1, 1024))
    assert estimate("cross_attention_similarity", shapes, **PEAKS).flops == 2 * 36 * (1024 + 36)
    graph = ((256, 1024), (2, 256, 256))
    found = estimate("cross_attention_similarity", (*shapes, *graph), **PEAKS).flops
    nodes, first, last = 2 * 2 * 256 * 1024, 4 * 2 * 256 * (256 + 2), 4 * 256 * 256
    assert found == 4 * 36 * 1024 + nodes + first + last
    both = estimate("cross_attention_similarity", (*shapes, *graph), backward=True, **PEAKS).flops
    assert both == found * (1 + 3 * 3)


def test_peaks_are_measured_once():
    assert measured_peaks(torch.float32, "cpu") == measured_peaks(torch.float32, "cpu")
    floor = estimate("retrieval_ranks", ((100, 64), (500, 64)))
    assert floor.seconds > 0
    assert estimate("retrieval_ranks", ((100, 64), (500, 64)), peak_flops=1.0).seconds == floor.flops


@pytest.mark.parametrize(
    ("op", "shapes", "message"),
    [
        ("sort", PAIR, "op: got 'sort'"),
        ("fit_mixture", PAIR, r"dimensions \(1,\)"),
        ("pair_losses", ((4,), (4,)), r"dimensions \(2, 2\)"),
        ("cross_attention_similarity", PAIR, r"\(3, 2, 2\) or \(3, 2, 2, 2, 3\)"),
    ],
)
def test_bad_arguments(op, shapes, message):
    with pytest.raises(ValueError, match=message):
        estimate(op, shapes, **PEAKS)


def test_every_op_is_priced():
    for op in COSTS:
        for dimensions in DIMENSIONS[op]:
            assert estimate(op, [(4,) * count for count in dimensions], **PEAKS).seconds > 0
