"""The models once more from METHODS 2.1 and 6: one picture, one caption, one word at a time, from a state dict."""

from __future__ import annotations

import math

import torch
from torch import Tensor

State = dict[str, Tensor]
BN_EPSILON = 1e-5


def unit(x: Tensor) -> Tensor:
    """x / (|x| + 1e-8) of one vector."""
    return x / (math.sqrt(sum(float(v) ** 2 for v in x)) + 1e-8)


def linear(state: State, name: str, x: Tensor) -> Tensor:
    """W x + b of one vector."""
    return state[f"{name}.weight"] @ x + state[f"{name}.bias"]


def _norm(state: State, name: str, channel: int, values: list[Tensor], training: bool) -> list[Tensor]:
    """BatchNorm of one channel, whose values are spread over the batch."""
    if training:
        everything = torch.cat([v.flatten() for v in values])
        mean, variance = everything.mean(), ((everything - everything.mean()) ** 2).mean()
    else:
        mean, variance = state[f"{name}.running_mean"][channel], state[f"{name}.running_var"][channel]
    scale, shift = state[f"{name}.weight"][channel], state[f"{name}.bias"][channel]
    return [(v - mean) / torch.sqrt(variance + BN_EPSILON) * scale + shift for v in values]


def image_globals(state: State, images: list[Tensor], training: bool) -> list[Tensor]:
    """v_glo of each picture (R, d); the local BatchNorm has a channel a region, the other one a dimension."""
    count, regions, size = len(images), *images[0].shape
    local = [torch.stack([linear(state, "visual.local.0", v) for v in one]) for one in images]
    for r in range(regions):
        for i, row in enumerate(_norm(state, "visual.local.1", r, [one[r] for one in local], training)):
            local[i] = torch.cat([local[i][:r], row[None], local[i][r + 1 :]])
    means = torch.stack([linear(state, "visual.mean.0", one.mean(0)) for one in images])
    columns = [_norm(state, "visual.mean.1", k, list(means[:, k]), training) for k in range(size)]
    result = []
    for i in range(count):
        g = torch.tanh(torch.stack([column[i] for column in columns]))
        scores = torch.stack([linear(state, "visual.weight", torch.tanh(row) * g)[0] for row in local[i]])
        w = scores.exp() / scores.exp().sum()
        result.append(unit(sum(w[r] * images[i][r] for r in range(regions))))
    return result


def text_global(state: State, words: Tensor) -> Tensor:
    """t_glo of one caption (n, d)."""
    g = torch.tanh(linear(state, "textual.mean.0", words.mean(0)))
    scores = [linear(state, "textual.weight", torch.tanh(linear(state, "textual.local.0", t)) * g)[0] for t in words]
    w = torch.stack(scores).exp()
    w = w / w.sum()
    return unit(sum(w[n] * words[n] for n in range(len(words))))


def nodes(state: State, image: Tensor, image_global: Tensor, words: Tensor) -> list[Tensor]:
    """[s_0; s_1 .. s_n] of one picture (R, d) and one caption (n, d)."""
    regions, length = len(image), len(words)
    agreement = torch.stack([torch.stack([v @ t for t in words]) for v in image])
    agreement = torch.where(agreement >= 0, agreement, 0.1 * agreement)
    agreement = torch.stack([unit(row) for row in agreement])
    result = [unit(linear(state, "glob", (image_global - text_global(state, words)) ** 2))]
    for n in range(length):
        w = (9.0 * agreement[:, n]).exp()
        w = w / w.sum()
        context = unit(sum(w[r] * image[r] for r in range(regions)))
        result.append(unit(linear(state, "local", (context - words[n]) ** 2)))
    return result


def reason(state: State, step: int, graph: list[Tensor]) -> list[Tensor]:
    """One SGR step over the nodes of one pair."""
    query = [linear(state, f"graph.{step}.query", e) for e in graph]
    key = [linear(state, f"graph.{step}.key", e) for e in graph]
    result = []
    for q in query:
        w = torch.stack([q @ k for k in key]).exp()
        w = w / w.sum()
        mixed = sum(w[n] * graph[n] for n in range(len(graph)))
        result.append(linear(state, f"graph.{step}.update", mixed).clamp(min=0))
    return result


def filtered(state: State, graphs: list[list[Tensor]], training: bool) -> list[Tensor]:
    """SAF vectors of one caption's pairs: its BatchNorm sees the nodes of all pictures with this caption."""
    raw = [torch.stack([linear(state, "filtration.score", e)[0] for e in graph]) for graph in graphs]
    gates = [torch.sigmoid(v) for v in _norm(state, "filtration.norm", 0, raw, training)]
    weights = [g / (sum(abs(float(v)) for v in g) + 1e-8) for g in gates]
    return [unit(sum(w[n] * g[n] for n in range(len(g)))) for w, g in zip(weights, graphs, strict=True)]


def similarity(
    state: State, kind: str, steps: int, images: list[Tensor], texts: list[Tensor], training: bool
) -> Tensor:
    """S (B, C) of pictures (R, d) and captions (n, d) of their own lengths."""
    globals_ = image_globals(state, images, training)
    S = torch.zeros(len(images), len(texts), dtype=images[0].dtype)
    for j, words in enumerate(texts):
        graphs = [nodes(state, image, one, words) for image, one in zip(images, globals_, strict=True)]
        if kind == "sgr":
            for step in range(steps):
                graphs = [reason(state, step, graph) for graph in graphs]
            vectors = [graph[0] for graph in graphs]
        else:
            vectors = filtered(state, graphs, training)
        for i, vector in enumerate(vectors):
            S[i, j] = 1 / (1 + torch.exp(-linear(state, "output", vector)[0]))
    return S


def gru(state: State, prefix: str, sequence: Tensor, layer: int = 0) -> Tensor:
    """Mean of the two directions (n, hidden) of one layer of a GRU over one sequence (n, input), no padding."""
    both = []
    for suffix, order in (("", range(len(sequence))), ("_reverse", reversed(range(len(sequence))))):
        name = f"{prefix}.{{}}_l{layer}{suffix}"
        hidden = state[name.format("weight_hh")].shape[1]
        h, found = sequence.new_zeros(hidden), {}
        for n in order:
            from_x = state[name.format("weight_ih")] @ sequence[n] + state[name.format("bias_ih")]
            from_h = state[name.format("weight_hh")] @ h + state[name.format("bias_hh")]
            r, z = (torch.sigmoid(from_x + from_h)[k * hidden : (k + 1) * hidden] for k in range(2))
            new = torch.tanh(from_x[2 * hidden :] + r * from_h[2 * hidden :])
            h = (1 - z) * new + z * h
            found[n] = h
        both.append(torch.stack([found[n] for n in range(len(sequence))]))
    return (both[0] + both[1]) / 2


def gpo(state: State, features: Tensor, temperature: float = 0.1) -> Tensor:
    """Generalised pooling of one set (n, D): weights of the ranks from the set's size, ranks within each dimension."""
    size, position_dim = len(features), state["gru.weight_ih_l0"].shape[1]
    positions = torch.zeros(size, position_dim, dtype=features.dtype)
    for n in range(size):
        for k in range(0, position_dim, 2):
            angle = n / 10000 ** (k / position_dim)
            positions[n, k], positions[n, k + 1] = math.sin(angle), math.cos(angle)
    scores = torch.stack([state["score.weight"][0] @ h for h in gru(state, "gru", positions)]) / temperature
    weights = scores.exp() / scores.exp().sum()
    pooled = []
    for k in range(features.shape[1]):
        ranked = sorted((float(v) for v in features[:, k]), reverse=True)
        pooled.append(sum(float(w) * v for w, v in zip(weights, ranked, strict=True)))
    return torch.tensor(pooled, dtype=features.dtype)
