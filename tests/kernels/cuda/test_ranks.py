"""K5: ranks against the reference, exact where scores are, within the band of rounding elsewhere."""

from __future__ import annotations

import pytest
import torch

from pcsr_fast.ops import retrieval_ranks
from pcsr_fast.reference.ranks import TIES
from tests.kernels.cuda.problems import ARITHMETICS, ORDERS
from tests.ops.searches import Gallery, assert_equal_ranks, check_ranks
from tests.ops.tools import guarded_memory, rows_of


def gallery(device, images: int, texts: int, width: int, dtype: torch.dtype, kind: str, ties: str) -> Gallery:
    """Any number of captions an image, none included."""
    generator = torch.Generator().manual_seed(images + texts)
    x, y = (rows_of(kind, count, width, generator).to(dtype) for count in (images, texts))
    image_of_text = torch.randint(0, images, (texts,), generator=generator, device="cpu")
    return Gallery(x.to(device), y.to(device), image_of_text.to(device), ties, kind == "integers")


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize(("dtype", "precision"), ARITHMETICS)
@pytest.mark.parametrize(("images", "texts"), [(1, 1), (2, 63), (63, 2), (100, 257), (257, 130)])
def test_ranks(device, images, texts, dtype, precision, ties):
    for kind in ("unit", "integers"):
        problem = gallery(device, images, texts, 33, dtype, kind, ties)
        check_ranks(problem, problem.ranks("cuda", precision=precision))


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize(("dtype", "precision"), ARITHMETICS)
def test_equal_embeddings_are_equal_scores(device, dtype, precision, ties):
    problem = gallery(device, 100, 130, 33, dtype, "duplicates", ties)
    same = problem._replace(x=problem.x[:1].expand(100, -1), y=problem.y[:1].expand(130, -1))
    truth = retrieval_ranks(same.x.double(), same.y.double(), same.image_of_text, ties, backend="reference")
    assert_equal_ranks(same.ranks("cuda", precision=precision), truth)


@pytest.mark.parametrize("ties", TIES)
def test_nan_scores(device, ties):
    problem = gallery(device, 63, 100, 16, torch.float32, "integers", ties)
    problem.x[3, 0], problem.y[5, 1] = torch.nan, torch.nan
    assert_equal_ranks(problem.ranks("cuda"), problem.ranks("reference"))


def test_order_of_threads_and_blocks_and_borders(emulated, monkeypatch):
    problem = gallery(torch.device("cpu"), 257, 130, 33, torch.bfloat16, "unit", "stable")
    expected = problem.ranks("cuda")
    for order in ORDERS[1:]:
        monkeypatch.setenv("PCSR_EMULATION_ORDER", order)
        with guarded_memory() as blocks:
            guarded = problem.ranks("cuda")
        assert blocks
        assert_equal_ranks(guarded, expected)
