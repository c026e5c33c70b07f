"""What a model is made of: one declaration for YAML, command line and help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class PromptConfig:
    """Prompt learner of D2S-VSE, which adds to a sparse caption what a dense one would have said (METHODS 6).

    Attributes:
        tokens: learnt tokens that are appended to a caption's words.
        blocks: pre-norm transformer blocks.
        heads: attention heads of a block; must divide model.embed_dim.
        inference: how an encoded caption t and its prompt e are joined after training: as `trained`, l2norm(t + e), or
            as `published`, l2norm(t + l2norm(e)).
    """

    tokens: int = 100
    blocks: int = 4
    heads: int = 4
    inference: Literal["trained", "published"] = "trained"


@dataclass
class ModelConfig:
    """Encoders and similarity head.

    Attributes:
        head: similarity head: `vse` (one vector an item, cosine), `scan` (mean cosine of words and what they attend to),
            `sgr` or `saf` (SGRAF, METHODS 2.1), or `sgraf` (net 0 is SGR, net 1 is SAF, similarities averaged).
        embed_dim: joint embedding size d; a dual encoder of Hugging Face has its own.
        word_dim: word embedding size.
        gru_layers: layers of the bidirectional GRU.
        pooling: how `vse` pools regions and words: learned `gpo` or `mean`.
        sim_dim: size of a local similarity vector in SGR and SAF.
        sgr_steps: graph reasoning steps of SGR.
        dropout: dropout on word embeddings (or on what a text encoder of Hugging Face gives) and inside the
            self-attention of SGRAF.
        feature_dropout: `vse` only: dropout on region features before the projection.
        token_drop: `vse` only: size augmentation of regions or image tokens in training, a: with r ~ U(0, 1) a picture,
            each is dropped with probability a r where r > a; 0 drops none.
        backbone: what pictures and captions are read by: our encoders of `regions` and words, or Hugging Face encoders of
            pixels and tokens (`hf`), which need data.format pictures and the head `vse`.
        name_or_path: `hf`: local folder of a dual encoder such as CLIP, used as it is.
        image_path: `hf`: local folder of a picture encoder such as ViT or Swin; with text_path, in place of name_or_path.
        text_path: `hf`: local folder of a text encoder such as BERT.
        image_size: `hf`: side of the pictures in pixels; 0 takes what the folder's image processor says.
        train_encoders: `hf`: whether the encoders of those folders are trained or frozen.
        encoder_lr: `hf`: their learning rate as a factor of train.lr.
        prompt: prompt learner of the method d2s.
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
    token_drop: float = 0.0
    backbone: Literal["regions", "hf"] = "regions"
    name_or_path: str | None = None
    image_path: str | None = None
    text_path: str | None = None
    image_size: int = 0
    train_encoders: bool = True
    encoder_lr: float = 0.1
    prompt: PromptConfig = field(default_factory=PromptConfig)
