"""The model a method trains: two encoders, a similarity head, a pseudo-classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pcsr_fast.models.classifier import PseudoClassifier, TextPool
from pcsr_fast.models.config import ModelConfig
from pcsr_fast.models.encoders import (
    PooledRegionEncoder,
    PooledTextEncoder,
    RegionEncoder,
    SequenceTextEncoder,
    TextFeatures,
    WordEncoder,
)
from pcsr_fast.models.huggingface import Pretrained, encoders_of, settings_of
from pcsr_fast.models.layers import of_one_dtype
from pcsr_fast.models.prompt import PromptedTextEncoder
from pcsr_fast.models.saved import SavedModel
from pcsr_fast.models.scan import SCANHead
from pcsr_fast.models.sgraf import SGRAFHead
from pcsr_fast.ops.scores import BatchScores, Product, score_matrix_of, triplet_loss_of


class RetrievalModel(SavedModel):
    """Image-text retrieval model over region features, or over pixels and tokens with Hugging Face encoders.

    State-dict names: `image_encoder.*`, `text_encoder.words.{embedding,gru}.*`, `text_encoder.pool.*` (vse with GPO),
    `head.*` (sgr, saf; see SGRAFHead), `classifier.layers.{0,2}.*`; those of Hugging Face encoders stand in
    models/huggingface.py, of the prompt learner in models/prompt.py.

    Args:
        config: architecture.
        kind: similarity head of this net: "vse", "scan", "sgr" or "saf".
        feature_dim: size of a region feature; with backbone `hf` it is not read, nor is `regions`.
        regions: regions a picture.
        vocabulary_size: number of word ids.
        num_classes: pseudo-classes K; 0 leaves the pseudo-classifier out.
        classifier_hidden: hidden size of the pseudo-classifier.
        text_pool: how captions are brought to the classifier's size.
        prompted: whether captions go through the prompt learner of D2S-VSE (`vse`, encoders that give words).
        encoders: architectures of the Hugging Face encoders, to build them without weights; None reads their folders.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        kind: str,
        feature_dim: int,
        regions: int,
        vocabulary_size: int,
        num_classes: int = 0,
        classifier_hidden: int = 256,
        text_pool: TextPool = "interp_valid",
        prompted: bool = False,
        encoders: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        d = config.embed_dim
        self.head: SGRAFHead | SCANHead | None = None
        if config.backbone == "hf":
            self.image_encoder, self.text_encoder, d = encoders_of(config, encoders)
        else:
            words = WordEncoder(vocabulary_size, config.word_dim, d, config.gru_layers, config.dropout)
            pooled = (config.pooling, config.feature_dropout, config.token_drop)
            if kind == "vse":
                self.image_encoder = PooledRegionEncoder(feature_dim, d, *pooled)
                self.text_encoder = PooledTextEncoder(words, config.pooling)
            else:
                self.image_encoder = RegionEncoder(feature_dim, d)
                self.text_encoder = SequenceTextEncoder(words)
                sgraf = (config.sim_dim, config.sgr_steps, regions, config.dropout)
                self.head = SCANHead() if kind == "scan" else SGRAFHead(kind, d, *sgraf)
        if prompted:
            self.text_encoder = PromptedTextEncoder(self.text_encoder, d, config.prompt)
        self.classifier = None
        if num_classes:
            positions = 1 if kind == "vse" else regions
            self.classifier = PseudoClassifier(d, num_classes, classifier_hidden, positions, text_pool)
        self.arguments = {
            "kind": kind,
            "feature_dim": feature_dim,
            "regions": regions,
            "vocabulary_size": vocabulary_size,
            "num_classes": num_classes,
            "classifier_hidden": classifier_hidden,
            "text_pool": text_pool,
            "prompted": prompted,
            "encoders": settings_of(self.image_encoder, self.text_encoder),
        }

    def encode_images(self, regions: Tensor) -> Tensor:
        """(B, R, F), or pixels (B, 3, H, W) -> (B, d) for `vse`, (B, R, d) for the other heads."""
        features: Tensor = self.image_encoder(regions)
        return features

    def encode_texts(self, words: Tensor, lengths: Tensor) -> TextFeatures:
        """(B, L) int64 word ids, (B,) lengths -> encoded captions."""
        features: TextFeatures = self.text_encoder(words, lengths)
        return features

    def scores(self, images: Tensor, texts: TextFeatures) -> BatchScores:
        """Scores (B, C) of encoded images with encoded captions: cosine in [-1, 1] (`vse`, `scan`) or sigmoid in (0, 1).

        They are not computed yet, but for SAF in training, whose BatchNorm takes statistics of all of them. What a head
        draws, dropout and other statistics, it draws here, once. Under autocast a head's products are of bfloat16 numbers.
        """
        if self.head is not None:
            return self.head.scores(images, texts)
        return Product(*of_one_dtype(images, texts.values))

    def similarity(self, images: Tensor, texts: TextFeatures) -> Tensor:
        """`scores` as a matrix."""
        return score_matrix_of(self.scores(images, texts))

    def hardest_triplet(self, images: Tensor, texts: TextFeatures, **options: Any) -> Tensor:
        """Hardest-negative `triplet_loss` of B encoded pairs, with its options, without a graph over all B x B scores.

        Under autocast a cross-attention head chooses negatives in bfloat16; SAF in training keeps to all pairs.
        """
        return triplet_loss_of(self.scores(images, texts), **options)

    def image_logits(self, images: Tensor) -> Tensor:
        """Pseudo-class logits (B, K) of encoded images."""
        return self._classifier().image_logits(images)

    def text_logits(self, texts: TextFeatures) -> Tensor:
        """Pseudo-class logits (B, K) of encoded captions."""
        return self._classifier().text_logits(texts)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Weights that came from Hugging Face folders."""
        return [weight for one in self.modules() if isinstance(one, Pretrained) for weight in one.model.parameters()]

    def _classifier(self) -> PseudoClassifier:
        if self.classifier is None:
            raise ValueError("RetrievalModel: built without a pseudo-classifier; expected num_classes > 0")
        return self.classifier


def head_of_net(config: ModelConfig, net: int) -> str:
    """The similarity head of net number `net`: `sgraf` alternates SGR and SAF."""
    if config.head == "sgraf":
        return ("sgr", "saf")[net % 2]
    return config.head


def seeded_model(seed: int, **arguments: object) -> RetrievalModel:
    """Build a model whose initial weights depend on `seed` alone, leaving the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RetrievalModel(**arguments)  # type: ignore[arg-type]
