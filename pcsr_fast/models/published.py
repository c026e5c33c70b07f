"""Weights of published SGRAF-family checkpoints (SGRAF, NCR, PC2, PCSR code) under the names of `RetrievalModel`.

There a model is saved as the list [image encoder, text encoder, similarity], each a state dict of the network of METHODS 2.1.
Ours, left, from theirs, right, `.weight` and `.bias` added where a layer has them:

    image_encoder.project            img_enc.fc
    text_encoder.words.embedding     txt_enc.embed
    text_encoder.words.gru.*         txt_enc.{cap_rnn,rnn}.*
    head.visual.{local,mean}.{0,1}   sim_enc.v_global_w.embedding_{local,global}.{0,1}    weight: embedding_common.0
    head.textual.{local,mean}.0      sim_enc.t_global_w.embedding_{local,global}.0        weight: embedding_common.0
    head.{local,glob,output}         sim_enc.{sim_tranloc_w,sim_tranglo_w,sim_eval_w}
    head.graph.K.{query,key,update}  sim_enc.SGR_module.K.{graph_query_w,graph_key_w,sim_graph_w}
    head.filtration.{score,norm}     sim_enc.SAF_module.{attn_sim_w,bn}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from pcsr_fast.errors import CheckpointError

PARTS = ("img_enc", "txt_enc", "sim_enc")
# The end of a name: `.weight`, `.running_mean`, ...
LAYERS = (
    (r"img_enc\.fc", "image_encoder.project"),
    (r"txt_enc\.embed", "text_encoder.words.embedding"),
    (r"txt_enc\.(?:cap_)?rnn", "text_encoder.words.gru"),
    (r"sim_enc\.v_global_w\.embedding_local\.([01])", r"head.visual.local.\1"),
    (r"sim_enc\.v_global_w\.embedding_global\.([01])", r"head.visual.mean.\1"),
    (r"sim_enc\.v_global_w\.embedding_common\.0", "head.visual.weight"),
    (r"sim_enc\.t_global_w\.embedding_local\.0", "head.textual.local.0"),
    (r"sim_enc\.t_global_w\.embedding_global\.0", "head.textual.mean.0"),
    (r"sim_enc\.t_global_w\.embedding_common\.0", "head.textual.weight"),
    (r"sim_enc\.sim_tranloc_w", "head.local"),
    (r"sim_enc\.sim_tranglo_w", "head.glob"),
    (r"sim_enc\.sim_eval_w", "head.output"),
    (r"sim_enc\.SGR_module\.(\d+)\.graph_query_w", r"head.graph.\1.query"),
    (r"sim_enc\.SGR_module\.(\d+)\.graph_key_w", r"head.graph.\1.key"),
    (r"sim_enc\.SGR_module\.(\d+)\.sim_graph_w", r"head.graph.\1.update"),
    (r"sim_enc\.SAF_module\.attn_sim_w", "head.filtration.score"),
    (r"sim_enc\.SAF_module\.bn", "head.filtration.norm"),
)


def _renamed(name: str) -> str:
    layer, _, end = name.rpartition(".")
    for pattern, ours in LAYERS:
        found = re.fullmatch(pattern, layer)
        if found:
            return f"{found.expand(ours)}.{end}"
    raise CheckpointError(
        f"from_published: {name}: not a name of the SGRAF network; expected img_enc, txt_enc or sim_enc.*"
    )


def from_published(state: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """State dict of `RetrievalModel`, without the classifier, from one of the published code.

    Args:
        state: the list of three state dicts that is saved there, or one dict with `img_enc.`, `txt_enc.`, `sim_enc.` before
            their names. Names of wrapped modules (`module.`) are read too.

    Raises:
        CheckpointError: another number of parts, a name that the network has not, or two of one meaning.
    """
    if not isinstance(state, Mapping):
        if len(state) != len(PARTS):
            raise CheckpointError(
                f"from_published: got {len(state)} state dicts, expected {len(PARTS)}: {', '.join(PARTS)}"
            )
        state = {f"{part}.{name}": v for part, one in zip(PARTS, state, strict=True) for name, v in one.items()}
    ours: dict[str, Tensor] = {}
    for name, value in state.items():
        renamed = _renamed(".".join(part for part in name.split(".") if part != "module"))
        if renamed in ours:
            raise CheckpointError(f"from_published: {name}: a second value of {renamed}, expected one")
        ours[renamed] = value
    return ours
