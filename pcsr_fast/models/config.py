"""What a model is made of: one declaration for YAML, command line and help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class ModelConfig:
    """Encoders and similarity head.

    Attributes:
        head: similarity head: `vse` (one vector an item, cosine), `scan` (mean cosine of words and what they attend to),
            `sgr` or `saf` (SGRAF, METHODS 2.1), or `sgraf` (net 0 is SGR, net 1 is SAF, similarities averaged).
        embed_dim: joint embedding size d.
        word_dim: word embedding size.
        gru_layers: layers of the bidirectional GRU.
        pooling: how `vse` pools regions and words: learned `gpo` or `mean`.
        sim_dim: size of a local similarity vector in SGR and SAF.
        sgr_steps: graph reasoning steps of SGR.
        dropout: dropout on word embeddings and inside the self-attention of SGRAF.
        feature_dropout: `vse` only: dropout on region features before the projection.
    """

    head: Literal["vse", "sgr", "saf", "sgraf", "scan"] = "sgr"
    embed_dim: int = 1024
    word_dim: int = 300
    gru_layers: int = 1
    pooling: Literal["gpo", "mean"] = "gpo"
    sim_dim: int = 256
    sgr_steps: int = 3
    dropout: float = 0.4
    feature_dropout: float = 0.0
