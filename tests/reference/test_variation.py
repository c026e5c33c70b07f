"""TSVC's labels and margins as reconstructed, against numpy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcsr_fast import reference

SEEDS = st.integers(0, 2**31 - 1)
RATES = st.floats(0, 1e3, allow_subnormal=False).map(lambda rate: 0.0 if rate < 1e-9 else rate)


def vectors(seed: int, rows: int, size: int, count: int) -> list[torch.Tensor]:
    """`count` sets of unit rows, float32, that are partly alike."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((rows, size))
    sets = [common * rng.uniform(0, 2) + rng.standard_normal((rows, size)) for _ in range(count)]
    return [torch.from_numpy((one / np.linalg.norm(one, axis=1, keepdims=True)).astype(np.float32)) for one in sets]


def gaussian(u: np.ndarray, v: np.ndarray) -> float:
    rho = np.corrcoef(u.astype(np.float64), v.astype(np.float64))[0, 1]
    return max(0.0, -0.5 * math.log(1 - rho**2 + 1e-6))


def binned(u: np.ndarray, v: np.ndarray, bins: int) -> float:
    joint = np.histogram2d(u.astype(np.float64), v.astype(np.float64), bins=bins)[0] / len(u)
    total = 0.0
    for i in range(bins):
        for j in range(bins):
            if joint[i, j]:
                total += joint[i, j] * math.log(joint[i, j] / (joint[i].sum() * joint[:, j].sum()))
    return total


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 6), st.integers(3, 40), st.sampled_from(["gaussian", "binned"]))
def test_mutual_information_is_that_of_numpy(seed: int, rows: int, size: int, kind: str) -> None:
    u, v = vectors(seed, rows, size, 2)
    found = reference.mutual_information(u, v, kind, 7)
    assert found.dtype == torch.float64
    pairs = list(zip(u.numpy(), v.numpy(), strict=True))
    expected = [gaussian(*pair) if kind == "gaussian" else binned(*pair, 7) for pair in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert (found >= 0).all()
    torch.testing.assert_close(reference.mutual_information(v, u, kind, 7), found)


def test_mutual_information_of_equal_and_of_constant_vectors() -> None:
    u = torch.tensor([[1.0, 2.0, 4.0, 9.0], [0.5, 0.5, 0.5, 0.5]])
    same = reference.mutual_information(u, u)
    assert same.tolist() == pytest.approx([-0.5 * math.log(1e-6), 0.0], abs=1e-12)
    assert reference.mutual_information(u, -u)[0] == same[0]
    np.testing.assert_allclose(
        reference.mutual_information(u, u, "binned", 4), [0.5 * math.log(2) + math.log(4) / 2, 0]
    )


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 5), st.sampled_from(["gaussian", "binned"]))
def test_rates_follow_their_definition(seed: int, rows: int, kind: str) -> None:
    v_b, t_b, v_a, t_a = vectors(seed, rows, 24, 4)
    found = reference.variation_rates(v_b, t_b, v_a, t_a, kind, 6)
    for i in range(rows):
        of = (lambda u, v: gaussian(u, v)) if kind == "gaussian" else (lambda u, v: binned(u, v, 6))
        a = of(v_a[i].numpy(), t_a[i].numpy())
        others = [of(v[i].numpy(), t[i].numpy()) for v, t in ((v_b, t_b), (v_b, t_a), (v_a, t_b))]
        expected = [abs(one - a) / (a + 1e-6) for one in others]
        np.testing.assert_allclose([rate[i] for rate in found], expected, rtol=1e-6, atol=1e-9)


@given(RATES, RATES, RATES, st.sampled_from([0.5, 1.0, 3.0]))
def test_a_label_is_one_exactly_where_nothing_varies(pair: float, image: float, text: float, scale: float) -> None:
    rates = (torch.tensor([one], dtype=torch.float64) for one in (pair, image, text))
    label = reference.variation_label(*rates, scale)
    assert 0 < label <= 1
    steady = pair + abs(image - text) < 1e-15
    assert (label == 1) == steady
    expected = math.exp(-(pair + abs(image - text)) / scale)
    assert label.item() == pytest.approx(max(expected, torch.finfo(torch.float32).tiny), rel=1e-12)


def test_the_anchor_itself_does_not_vary() -> None:
    v, t = vectors(4, 8, 24, 2)
    for kind in ("gaussian", "binned"):
        assert reference.variation_label(*reference.variation_rates(v, t, v, t, kind)).tolist() == [1.0] * 8


def test_gaps_of_both_directions_without_those_that_have_no_negative() -> None:
    S = torch.tensor([[0.9, 0.3, 0.5], [0.2, 0.6, 0.7], [0.1, 0.4, 0.8]])
    torch.testing.assert_close(reference.positive_gaps(S), torch.tensor([0.4, -0.1, 0.4, 0.7, 0.2, 0.1]))
    grouped = reference.positive_gaps(S, torch.tensor([5, 7, 7]))
    torch.testing.assert_close(grouped, torch.tensor([0.4, 0.4, 0.7, 0.7, 0.3, 0.3]))
    assert len(reference.positive_gaps(S, torch.tensor([5, 5, 5]))) == 0


@pytest.mark.parametrize(("spread", "usual", "scale"), [(0.3, 0.2, 1.5), (9, 1, 2), (0.01, 1, 0.5), (0.3, 0, 1)])
def test_margins_follow_the_spread(spread: float, usual: float, scale: float) -> None:
    y = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    expected = [0.2 * (10**one - 1) / 9 * scale for one in y.tolist()]
    np.testing.assert_allclose(reference.adaptive_margin(y, 0.2, "exponential", spread, usual), expected)


def test_bad_arguments() -> None:
    u = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"v: got shape \(2, 4\), expected \(B, d\) as u has, \(2, 3\)"):
        reference.mutual_information(u, torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"kind: got 'mine', expected one of gaussian, binned"):
        reference.mutual_information(u, u, "mine")
    with pytest.raises(ValueError, match="bins: got 1, expected a number >= 2"):
        reference.mutual_information(u, u, "binned", 1)
