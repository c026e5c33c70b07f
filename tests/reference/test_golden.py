"""Every value of golden.json (METHODS 8.1) in float64 to 6 decimals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pcsr_fast import ops, reference

GOLDEN = json.loads((Path(__file__).parents[1] / "golden.json").read_text(encoding="utf-8"))
HALF_A_DIGIT = 5.1e-7


def array(value: object) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


S = array(GOLDEN["S"])
Y = array(GOLDEN["y"])
IMAGE_LOGITS = array(GOLDEN["head"]["img_logits"])
TEXT_LOGITS = array(GOLDEN["head"]["txt_logits"])


def check(got: Tensor | float, expected: object, tolerance: float = HALF_A_DIGIT) -> None:
    torch.testing.assert_close(torch.as_tensor(got, dtype=torch.float64), array(expected), rtol=0, atol=tolerance)


def test_every_golden_key_has_a_test():
    used = {"S", "y", "alpha", "soft_margin_exp", "eval_loss", "warmup_mean_sum", "hard_scalar", "hard_row_mode"}
    used |= {"hard_col_mode", "hard_anchor_mode", "grad_hard_anchor", "grad_hard_scalar", "ncr_predict", "head"}
    used |= {"infonce_tau0.05", "rce_tau0.05", "ccl_log_tau0.05", "ccl_tan_tau0.05", "ccl_gce_q0.5_tau0.05"}
    used |= {"tal_per_sample_tau0.015_m0.1", "replace", "kl_bank", "gmm", "pcs"}
    assert set(GOLDEN) == used


def test_soft_margin():
    check(reference.soft_margin(Y, GOLDEN["alpha"]), GOLDEN["soft_margin_exp"])


@pytest.mark.parametrize("module", [reference, ops])
class TestTriplet:
    def test_pair_losses(self, module):
        check(module.triplet_loss_from_scores(S, negatives="mean", reduction="none"), GOLDEN["eval_loss"])

    def test_mean_of_negatives(self, module):
        check(module.triplet_loss_from_scores(S, negatives="mean", reduction="sum"), GOLDEN["warmup_mean_sum"])

    def test_scalar_margin(self, module):
        check(module.triplet_loss_from_scores(S, margin=0.2, reduction="sum"), GOLDEN["hard_scalar"])

    @pytest.mark.parametrize("mode", ["anchor", "row", "col"])
    def test_margin_modes(self, module, mode):
        margin = reference.soft_margin(Y)
        loss = module.triplet_loss_from_scores(S, margin=margin, margin_mode=mode, reduction="sum")
        check(loss, GOLDEN[f"hard_{mode}_mode"])

    @pytest.mark.parametrize(("mode", "key"), [("scalar", "grad_hard_scalar"), ("anchor", "grad_hard_anchor")])
    def test_gradients(self, module, mode, key):
        scores = S.clone().requires_grad_()
        margin = reference.soft_margin(Y) if mode == "anchor" else 0.2
        module.triplet_loss_from_scores(scores, margin=margin, margin_mode=mode, reduction="sum").backward()
        check(scores.grad, GOLDEN[key])


def test_ncr_predict():
    losses = reference.triplet_loss_from_scores(S, negatives="mean", reduction="none")
    check(reference.ncr_predict(losses, GOLDEN["alpha"]), GOLDEN["ncr_predict"])


@pytest.mark.parametrize("module", [reference, ops])
@pytest.mark.parametrize(
    ("kind", "q", "key"),
    [
        ("infonce", None, "infonce_tau0.05"),
        ("rce", None, "rce_tau0.05"),
        ("ccl_log", None, "ccl_log_tau0.05"),
        ("ccl_tan", None, "ccl_tan_tau0.05"),
        ("ccl_gce", 0.5, "ccl_gce_q0.5_tau0.05"),
    ],
)
def test_contrastive(module, kind, q, key):
    check(module.contrastive_loss_from_scores(S, kind=kind, temperature=0.05, q=q), GOLDEN[key])


@pytest.mark.parametrize("module", [reference, ops])
def test_tal(module):
    losses = module.contrastive_loss_from_scores(S, kind="tal", temperature=0.015, margin=0.1, reduction="none")
    check(losses, GOLDEN["tal_per_sample_tau0.015_m0.1"])


def test_head_losses():
    targets = TEXT_LOGITS.argmax(1)
    check(reference.gce(IMAGE_LOGITS, targets, q=0.7), GOLDEN["head"]["gce_q0.7"])
    check(reference.gce(IMAGE_LOGITS, targets, q=0.0), GOLDEN["head"]["ce"])
    check(reference.entropy(IMAGE_LOGITS, "per_sample"), GOLDEN["head"]["H_mean_per_sample"])
    check(reference.entropy(IMAGE_LOGITS, "batch_mean"), GOLDEN["head"]["H_of_batch_mean_img"])


@pytest.mark.parametrize("module", [reference, ops])
def test_text_replacement(module):
    noisy, clean = IMAGE_LOGITS.softmax(1), TEXT_LOGITS.softmax(1)
    check(ops.similarity(noisy, clean), GOLDEN["replace"]["cos"])
    index, cosine = module.match_texts(noisy, clean)
    assert index.tolist() == GOLDEN["replace"]["j"]
    check(cosine, array(GOLDEN["replace"]["cos"]).amax(1).tolist())


@pytest.mark.parametrize("module", [reference, ops])
def test_prediction_oscillation(module):
    bank = GOLDEN["kl_bank"]
    exact_now, exact_bank = IMAGE_LOGITS.softmax(1)[:1], TEXT_LOGITS.softmax(1)[:1]
    check(exact_now[0], bank["now"])
    check(exact_bank[0], bank["bank"])
    check(module.prediction_oscillation(exact_now, exact_bank)[0], bank["o"])


@pytest.mark.parametrize("init", ["quantile", "kmeans"])
def test_mixture(init):
    golden = GOLDEN["gmm"]
    raw = array([0.02, 0.05, 0.03, 0.08, 0.04, 0.06, 0.60, 0.72, 0.55, 0.81, 0.67, 0.10])
    values = reference.minmax(raw)
    check(values, golden["x_minmax"])
    mixture = ops.fit_mixture(values, init=init)
    check(mixture.means, golden["means"])
    check(mixture.variances, golden["vars"])
    check(mixture.weights, golden["weights"])
    assert mixture.n_iter == golden["n_iter"]
    assert mixture.converged
    check(mixture.posterior(), golden["w_clean"])


def counts_of(votes: dict[str, int]) -> Tensor:
    counts = torch.zeros(1, 10, dtype=torch.int16)
    for name, count in votes.items():
        counts[0, int(name)] = count
    return counts


@pytest.mark.parametrize("module", [reference, ops])
def test_pseudo_label_consistency(module):
    golden = GOLDEN["pcs"]
    check(module.vote_consistency(counts_of(golden["votes"]), "gap")[0], golden["gap"])
    check(module.vote_consistency(counts_of(golden["votes"]), "gap_ratio")[0], golden["gap_ratio"])
    check(module.vote_consistency(counts_of(golden["single"]), "gap")[0], golden["single_gap"])
    check(module.vote_consistency(counts_of({}), "gap")[0], golden["none_gap"])
