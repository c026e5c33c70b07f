"""How much the meaning of a pair varies from that of a clean pair: TSVC's labels and margins, reconstructed (METHODS 5).

The formulas of the paper (AAAI 2025) are not public; these are a reconstruction from its abstract.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pcsr_fast.reference.margins import soft_margin

MI_KINDS = ("gaussian", "binned")
MI_FLOOR = 1e-6
_SCALE_LOW, _SCALE_HIGH = 0.5, 2.0


def mutual_information(u: Tensor, v: Tensor, kind: str = "gaussian", bins: int = 16) -> Tensor:
    """Mutual information in nats (B,), float64, of each row of u (B, d) with that row of v, a sample a coordinate.

        gaussian: max(0, -log(1 - rho^2 + 1e-6) / 2) with the correlation rho; a constant row has rho = 0
        binned:   sum p log(p / (p_u p_v)) over a joint histogram of `bins` x `bins` equal cells from the smallest to the
                  largest coordinate of each; with few coordinates it is far above 0 for independent rows too

    float64, because 1 - rho^2 of similar rows has no digits left in float32.

    Raises:
        ValueError: shapes differ, `kind` is neither, or fewer than 2 bins.
    """
    if u.ndim != 2 or u.shape != v.shape:
        raise ValueError(
            f"mutual_information: v: got shape {tuple(v.shape)}, expected (B, d) as u has, {tuple(u.shape)}"
        )
    if kind == "gaussian":
        return -0.5 * (1 - correlation(u, v).square() + MI_FLOOR).clamp(max=1.0).log()
    if kind != "binned":
        raise ValueError(f"mutual_information: kind: got {kind!r}, expected one of {', '.join(MI_KINDS)}")
    if bins < 2:
        raise ValueError(f"mutual_information: bins: got {bins}, expected a number >= 2")
    cells = _cells(u, bins) * bins + _cells(v, bins)
    counts = torch.zeros(len(u), bins * bins, dtype=torch.float64, device=u.device)
    joint = counts.scatter_add_(1, cells, torch.ones_like(cells, dtype=torch.float64)) / u.shape[1]
    joint = joint.view(len(u), bins, bins)
    product = joint.sum(2, keepdim=True) * joint.sum(1, keepdim=True)
    ratio = torch.where(joint > 0, joint / product.clamp(min=torch.finfo(torch.float64).tiny), 1.0)
    return (joint * ratio.log()).sum((1, 2)).clamp(min=0.0)


def correlation(u: Tensor, v: Tensor) -> Tensor:
    """Correlation (B,) over the coordinates of rows (B, d), float64, 0 where a row is constant."""
    u, v = (one.double() - one.double().mean(1, keepdim=True) for one in (u, v))
    scale = torch.linalg.vector_norm(u, dim=1) * torch.linalg.vector_norm(v, dim=1)
    return torch.where(scale > 0, (u * v).sum(1) / scale.clamp(min=torch.finfo(torch.float64).tiny), 0.0).clamp(-1, 1)


def _cells(values: Tensor, bins: int) -> Tensor:
    """Bin 0..bins-1 of each coordinate (B, d), int64, between the smallest and the largest of its row."""
    values = values.double()
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    width = torch.where(high > low, high - low, 1.0)
    return ((values - low) / width * bins).long().clamp(max=bins - 1)


def variation_rates(
    v_b: Tensor, t_b: Tensor, v_a: Tensor, t_a: Tensor, kind: str = "gaussian", bins: int = 16
) -> tuple[Tensor, Tensor, Tensor]:
    """Change rates (R_P, R_I, R_T), each (B,) float64 >= 0, of pairs (v_b, t_b) against anchors (v_a, t_a), all (B, d).

    With I_a = I(v_a, t_a): R_P = |I(v_b, t_b) - I_a| / (I_a + 1e-6) of the pair, R_I = |I(v_b, t_a) - I_a| / (..) of the
    image alone and R_T = |I(v_a, t_b) - I_a| / (..) of the text alone. Source: METHODS 5, step 2.
    """
    anchor = mutual_information(v_a, t_a, kind, bins)
    changed = (mutual_information(v, t, kind, bins) for v, t in ((v_b, t_b), (v_b, t_a), (v_a, t_b)))
    pair, image, text = ((one - anchor).abs() / (anchor + MI_FLOOR) for one in changed)
    return pair, image, text


def variation_label(pair: Tensor, image: Tensor, text: Tensor, scale: float = 1.0) -> Tensor:
    """y = exp(-(R_P + |R_I - R_T|) / scale) in (0, 1], of change rates (B,): 1 where nothing varies (METHODS 5, step 3)."""
    label = torch.exp(-(pair + (image - text).abs()) / scale)
    return label.clamp(min=torch.finfo(torch.float32).tiny)


def positive_gaps(S: Tensor, groups: Tensor | None = None) -> Tensor:
    """S_ii less the hardest negative of image i, then of caption i: (<= 2B,), without those that have no negative.

    Args:
        S: (B, B) scores.
        groups: (B,) ids; pairs of one id are no negatives of each other.
    """
    same = torch.eye(len(S), dtype=torch.bool, device=S.device)
    if groups is not None:
        same |= groups[:, None] == groups[None, :]
    negatives = S.masked_fill(same, -torch.inf)
    hardest = torch.cat([negatives.amax(1), negatives.amax(0)])
    gaps = S.diagonal().repeat(2) - hardest
    return gaps[hardest > -torch.inf]


def adaptive_margin(y: Tensor, alpha: float, kind: str, spread: float, usual: float) -> Tensor:
    """DASM margin m(y) clip(spread / usual, 0.5, 2) of labels y, any shape; m(y) where `usual` is 0 (METHODS 5, step 5).

    Args:
        y, alpha, kind: as in `soft_margin`.
        spread: standard deviation of the batch's `positive_gaps`.
        usual: its running mean.
    """
    scale = min(max(spread / usual, _SCALE_LOW), _SCALE_HIGH) if usual > 0 else 1.0
    return soft_margin(y, alpha, kind) * scale
