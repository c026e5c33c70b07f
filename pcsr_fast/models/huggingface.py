"""Hugging Face encoders as backbones: a dual encoder such as CLIP, or a picture encoder and a text encoder (METHODS 6).

Folders are local; nothing is downloaded and no code of a folder runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pcsr_fast.errors import ConfigError
from pcsr_fast.models.config import ModelConfig
from pcsr_fast.models.encoders import TextFeatures
from pcsr_fast.models.layers import Dropout, drop_tokens, l2norm, length_mask, xavier_linear
from pcsr_fast.models.pooling import pooling

PATH_KEYS = ("name_or_path", "image_path", "text_path")
# Their text half was trained on captions padded to the full length, without a mask, and reads the last position.
_FULL_LENGTH = ("siglip", "siglip2")


def paths_of(config: ModelConfig) -> dict[str, str]:
    """The folders that a configuration names: {"name_or_path"} or {"image_path", "text_path"}.

    Raises:
        ConfigError: none, a half, or both of the two ways, or a folder that is not there.
    """
    paths = {key: getattr(config, key) for key in PATH_KEYS if getattr(config, key)}
    if sorted(paths) not in (["name_or_path"], ["image_path", "text_path"]):
        given = ", ".join(f"model.{key}" for key in paths) or "no folder"
        raise ConfigError(
            f"model.backbone: hf with {given}; expected model.name_or_path, or model.image_path and model.text_path"
        )
    for key, path in paths.items():
        if not (Path(path) / "config.json").is_file():
            raise ConfigError(
                f"model.{key}: {path} holds no config.json; expected a local folder that from_pretrained reads"
            )
    return paths


def check_encoder(key: str, model: Any) -> None:
    """A single encoder must read pixels (image_path) or tokens (text_path) and give a vector a token.

    Raises:
        ConfigError: it does not.
    """
    wanted = "pixel_values" if key == "image_path" else "input_ids"
    config = model.config
    single = hasattr(config, "hidden_size") and not getattr(config, "is_encoder_decoder", False)
    if not single or hasattr(model, "get_text_features") or model.main_input_name != wanted:
        kind = "picture encoder such as ViT or Swin" if key == "image_path" else "text encoder such as BERT"
        raise ConfigError(f"model.{key}: a {config.model_type} is none; expected a {kind}")


def load_encoder(key: str, path: str) -> Any:
    """The model of a folder, float32.

    Raises:
        ConfigError: it cannot be loaded.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return AutoModel.from_pretrained(path, local_files_only=True).float()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"model.{key}: {path} cannot be loaded ({reason}); expected a folder that from_pretrained reads"
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()


def _made(key: str, paths: Mapping[str, str], configs: Mapping[str, Any] | None) -> Any:
    """Encoder `key` with the weights of its folder, or of the architecture that `configs` describes, without weights."""
    if configs is None:
        return load_encoder(key, paths[key])
    from transformers import AutoConfig, AutoModel

    return AutoModel.from_config(AutoConfig.for_model(**configs[key])).float()


class Pretrained(nn.Module):
    """An encoder of a Hugging Face folder; a frozen one stays in evaluation mode and has no graph.

    State-dict names: `model.*`, those of the folder.
    """

    def __init__(self, model: Any, trained: bool) -> None:
        super().__init__()
        self.model = model
        self.trained = trained
        self.model.requires_grad_(trained)
        self.train(self.training)

    def train(self, mode: bool = True) -> Pretrained:
        """As nn.Module's."""
        super().train(mode)
        self.model.train(mode and self.trained)
        return self

    def settings(self) -> dict[str, Any]:
        """The architecture, as config.json has it."""
        settings: dict[str, Any] = self.model.config.to_dict()
        return settings

    def resizing(self, pixels: Tensor) -> dict[str, bool]:
        """What lets an encoder take pictures of another size than it was trained with."""
        vision = getattr(self.model.config, "vision_config", self.model.config)
        native = getattr(vision, "image_size", None)
        same = native is None or pixels.shape[-2:] in ((native, native), native)
        return {} if same else {"interpolate_pos_encoding": True}


class DualImageEncoder(Pretrained):
    """The whole dual encoder; called, its picture half."""

    def __init__(self, model: Any, trained: bool) -> None:
        if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
            raise ConfigError(
                f"model.name_or_path: a {model.config.model_type} is no dual encoder; expected one such as CLIP, "
                "or model.image_path and model.text_path"
            )
        super().__init__(model, trained)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, d)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trained):
            found = self.model.get_image_features(pixel_values=pixels, **self.resizing(pixels))
        return l2norm(_pooled(found))

    def texts(self, words: Tensor, lengths: Tensor) -> Tensor:
        """(B, L), (B,) -> (B, d)."""
        config = getattr(self.model.config, "text_config", self.model.config)
        words, mask = _filled(words, lengths, config)
        options = {"attention_mask": mask}
        if self.model.config.model_type in _FULL_LENGTH:
            missing = config.max_position_embeddings - words.shape[1]
            words, options = nn.functional.pad(words, (0, missing), value=config.pad_token_id), {}
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trained):
            return l2norm(_pooled(self.model.get_text_features(input_ids=words, **options)))


class DualTextEncoder(nn.Module):
    """The text half of a dual encoder; it has no weights of its own."""

    def __init__(self, both: DualImageEncoder) -> None:
        super().__init__()
        # In a tuple, so that shared weights stand in the state dict once.
        self._both = (both,)

    def forward(self, words: Tensor, lengths: Tensor) -> TextFeatures:
        """(B, L), (B,) -> values (B, d)."""
        return TextFeatures(self._both[0].texts(words, lengths), lengths)


class TokenImageEncoder(nn.Module):
    """Pixels to unit vectors: l2norm(pool(FC(tokens))), class token included, with size augmentation (METHODS 6).

    State-dict names: `encoder.model.*`, `project`, `pool.*`.
    """

    def __init__(self, encoder: Pretrained, embed_dim: int, pool: str, token_drop: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.token_drop = token_drop
        self.project = xavier_linear(encoder.model.config.hidden_size, embed_dim)
        self.pool = pooling(pool)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, d)."""
        encoder = self.encoder
        with torch.set_grad_enabled(torch.is_grad_enabled() and encoder.trained):
            states = encoder.model(pixel_values=pixels, **encoder.resizing(pixels)).last_hidden_state
        tokens, lengths = drop_tokens(states, self.token_drop if self.training else 0)
        return l2norm(self.pool(self.project(tokens), lengths))


class TokenTextEncoder(nn.Module):
    """Tokens to unit vectors: l2norm(pool(FC(h) + MLP(h))) of what a text encoder gives, after dropout (METHODS 6).

    State-dict names: `encoder.model.*`, `project`, `mlp.{0,1,3}`, `pool.*`.
    """

    def __init__(self, encoder: Pretrained, embed_dim: int, pool: str, dropout: float) -> None:
        super().__init__()
        hidden = encoder.model.config.hidden_size
        self.encoder = encoder
        self.dropout = Dropout(dropout)
        self.project = xavier_linear(hidden, embed_dim)
        self.mlp = nn.Sequential(
            xavier_linear(hidden, embed_dim // 2),
            nn.BatchNorm1d(embed_dim // 2),
            nn.ReLU(),
            xavier_linear(embed_dim // 2, embed_dim),
        )
        self.pool = pooling(pool)

    def forward(self, words: Tensor, lengths: Tensor) -> TextFeatures:
        """(B, L), (B,) -> values (B, d)."""
        return TextFeatures(l2norm(self.parts(words, lengths)[0]), lengths)

    def parts(self, words: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L), (B,) -> pooled captions (B, d), not yet normalised, and their tokens (B, L, d).

        BatchNorm takes statistics of real tokens alone.
        """
        filled, mask = _filled(words, lengths, self.encoder.model.config)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.encoder.trained):
            states = self.encoder.model(input_ids=filled, attention_mask=mask).last_hidden_state
        valid = mask.bool()
        real = self.dropout(states[valid])
        features = self.project(real) + self.mlp(real)
        tokens = features.new_zeros(*words.shape, features.shape[1]).masked_scatter(valid.unsqueeze(-1), features)
        return self.pool(tokens, lengths), tokens


def _filled(words: Tensor, lengths: Tensor, config: Any) -> tuple[Tensor, Tensor]:
    """Words with the encoder's own padding id, and the attention mask (B, L)."""
    mask = length_mask(lengths, words.shape[1])
    return words.masked_fill(~mask, getattr(config, "pad_token_id", None) or 0), mask.long()


def _pooled(output: Any) -> Tensor:
    """One vector an item; transformers 5 returns it inside an output, 4 as it is."""
    vectors: Tensor = getattr(output, "pooler_output", output)
    return vectors


def encoders_of(config: ModelConfig, configs: Mapping[str, Any] | None) -> tuple[nn.Module, nn.Module, int]:
    """Picture encoder, text encoder and joint size d.

    Args:
        config: what to build.
        configs: architectures by key (see `settings_of`), to build them without weights; None reads the folders.

    Raises:
        ConfigError: a folder is missing or unfit.
    """
    paths: Mapping[str, str] = paths_of(config) if configs is None else {}
    if "name_or_path" in (paths or configs or {}):
        both = DualImageEncoder(_made("name_or_path", paths, configs), config.train_encoders)
        with torch.no_grad():
            one = both.eval().texts(torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, dtype=torch.int64))
        return both.train(), DualTextEncoder(both), one.shape[1]
    models = {key: _made(key, paths, configs) for key in PATH_KEYS[1:]}
    for key, model in models.items():
        check_encoder(key, model)
    image, text = (Pretrained(model, config.train_encoders) for model in models.values())
    d = config.embed_dim
    pictures = TokenImageEncoder(image, d, config.pooling, config.token_drop)
    return pictures, TokenTextEncoder(text, d, config.pooling, config.dropout), d


def settings_of(image_encoder: nn.Module, text_encoder: nn.Module) -> dict[str, Any] | None:
    """Architectures of a model's Hugging Face encoders by key; None where it has none."""
    if isinstance(image_encoder, DualImageEncoder):
        return {"name_or_path": image_encoder.settings()}
    text_encoder = getattr(text_encoder, "base", text_encoder)
    if isinstance(image_encoder, TokenImageEncoder) and isinstance(text_encoder, TokenTextEncoder):
        return {"image_path": image_encoder.encoder.settings(), "text_path": text_encoder.encoder.settings()}
    return None
