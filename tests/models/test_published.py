"""Published checkpoints: every name is found in ours, and the scores are those of the published names' meaning."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pcsr_fast.errors import CheckpointError
from pcsr_fast.models.published import from_published
from pcsr_fast.models.retrieval import RetrievalModel

Build = Callable[..., RetrievalModel]
LINEAR = ("weight", "bias")
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
D, S, WORD, FEATURE, VOCABULARY, REGIONS = 6, 4, 5, 8, 11, 3


def layer(name: str, out: int, size: int) -> dict[str, Tensor]:
    return {f"{name}.weight": torch.randn(out, size).double(), f"{name}.bias": torch.randn(out).double()}


def norm(name: str, size: int) -> dict[str, Tensor]:
    values = {part: torch.rand(size).double() for part in NORM[:4]} | {"num_batches_tracked": torch.tensor(7)}
    return {f"{name}.{part}": value for part, value in values.items()}


def published(kind: str, gru: str = "cap_rnn") -> list[dict[str, Tensor]]:
    """The three parts as the published code names them."""
    text = {"embed.weight": torch.randn(VOCABULARY, WORD).double()}
    for suffix in ("", "_reverse"):
        for gate, size in (("ih", WORD), ("hh", D)):
            text[f"{gru}.weight_{gate}_l0{suffix}"] = torch.randn(3 * D, size).double()
            text[f"{gru}.bias_{gate}_l0{suffix}"] = torch.randn(3 * D).double()
    head = {}
    for part in ("v_global_w", "t_global_w"):
        for end in ("local", "global"):
            head |= layer(f"{part}.embedding_{end}.0", D, D)
        head |= layer(f"{part}.embedding_common.0", 1, D)
    head |= norm("v_global_w.embedding_local.1", REGIONS) | norm("v_global_w.embedding_global.1", D)
    head |= layer("sim_tranloc_w", S, D) | layer("sim_tranglo_w", S, D) | layer("sim_eval_w", 1, S)
    if kind == "sgr":
        for step in range(2):
            for name in ("graph_query_w", "graph_key_w", "sim_graph_w"):
                head |= layer(f"SGR_module.{step}.{name}", S, S)
    else:
        head |= layer("SAF_module.attn_sim_w", 1, S) | norm("SAF_module.bn", 1)
    return [layer("fc", D, FEATURE), text, head]


@pytest.mark.parametrize("kind", ["sgr", "saf"])
@pytest.mark.parametrize("gru", ["cap_rnn", "rnn"])
def test_fills_every_weight_of_the_model(build: Build, kind: str, gru: str):
    parts = published(kind, gru)
    model = build(kind, num_classes=0)
    model.load_state_dict(from_published(parts), strict=True)
    head = parts[2]
    assert torch.equal(model.head.visual.local[1].running_var, head["v_global_w.embedding_local.1.running_var"])
    assert torch.equal(model.head.visual.mean[0].weight, head["v_global_w.embedding_global.0.weight"])
    assert torch.equal(model.head.textual.local[0].bias, head["t_global_w.embedding_local.0.bias"])
    assert torch.equal(model.head.local.weight, head["sim_tranloc_w.weight"])
    assert torch.equal(model.head.glob.weight, head["sim_tranglo_w.weight"])
    if kind == "sgr":
        assert torch.equal(model.head.graph[1].update.weight, head["SGR_module.1.sim_graph_w.weight"])
        assert torch.equal(model.head.graph[1].key.weight, head["SGR_module.1.graph_key_w.weight"])
    else:
        assert int(model.head.filtration.norm.num_batches_tracked) == 7
    assert torch.equal(model.text_encoder.words.gru.bias_hh_l0_reverse, parts[1][f"{gru}.bias_hh_l0_reverse"])


def test_one_dict_and_wrapped_modules():
    parts = published("sgr")
    names = ("img_enc", "txt_enc.module", "sim_enc")
    flat = {f"{part}.{name}": value for part, one in zip(names, parts, strict=True) for name, value in one.items()}
    ours, expected = from_published(flat), from_published(parts)
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in ours)


def test_what_is_not_of_the_network_is_named():
    parts = published("sgr")
    with pytest.raises(CheckpointError, match="got 2 state dicts, expected 3: img_enc, txt_enc, sim_enc"):
        from_published(parts[:2])
    with pytest.raises(CheckpointError, match=r"img_enc.fc2.weight: not a name of the SGRAF network"):
        from_published([{"fc2.weight": torch.zeros(1)}, *parts[1:]])
    both = {**parts[1], **published("sgr", "rnn")[1]}
    with pytest.raises(CheckpointError, match=r"a second value of text_encoder.words.gru.weight_ih_l0, expected one"):
        from_published([parts[0], both, parts[2]])
