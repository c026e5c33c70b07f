"""The whole configuration: one declaration for YAML, command line and help."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from pcsr_fast.data.load import DataConfig
from pcsr_fast.data.noise import NoiseConfig
from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.models.config import ModelConfig
from pcsr_fast.models.huggingface import PATH_KEYS


@dataclass
class TrainConfig:
    """The training loop.

    Attributes:
        epochs: epochs after the warm-up.
        batch_size: pairs a batch.
        lr: learning rate.
        lr_update: epochs after which the rate is multiplied by lr_decay, again and again.
        lr_decay: factor of the step schedule.
        milestones: epochs at which the rate is multiplied by lr_decay, in place of lr_update.
        decay_in_warmup: whether the warm-up has the same schedule, or a constant rate.
        optimizer: `adam` or `adamw`.
        weight_decay: of the optimizer.
        grad_clip: largest global gradient norm; 0 does not clip.
        num_nets: nets trained side by side, 1 or 2; two are trained on each other's split and ranked by mean similarity.
        seed: seed of weights, dropout and data order (noise has its own).
        patience: stop when the validation rSum has not risen for this many epochs; 0 never stops early.
        checkpoint_steps: also save after this many optimiser iterations inside an epoch; 0 saves after epochs only.
        device: `auto`, `cpu` or `cuda`.
        precision: `fp32`, or `bf16` for autocast. Similarity heads then score with products of bfloat16 numbers, and
            choose hardest negatives and replacing captions so; losses and gradients of the chosen are float32's.
        threads: CPU threads; 0 leaves torch's choice.
        eval_batch_size: items a batch when whole sets are encoded; heads that score pair by pair take 128 at most.
        tensorboard: whether curves are written for TensorBoard.
    """

    epochs: int = 50
    batch_size: int = 128
    lr: float = 2e-4
    lr_update: int = 30
    lr_decay: float = 0.1
    milestones: list[int] = field(default_factory=list)
    decay_in_warmup: bool = False
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    grad_clip: float = 2.0
    num_nets: int = 2
    seed: int = 0
    patience: int = 0
    checkpoint_steps: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = 0
    eval_batch_size: int = 512
    tensorboard: bool = True


@dataclass
class AugmentConfig:
    """Changes of training batches that depend on seed, position and pair alone (METHODS 6); evaluation sees none.

    Attributes:
        pictures: whether raw pictures are cropped and mirrored.
        crop: smallest share of each side that is kept; the share is uniform from here to 1.
        flip: probability of a mirrored picture.
        words: probability of a word to be hidden (half of these), replaced by a random one (a tenth) or left out.
    """

    pictures: bool = True
    crop: float = 0.6
    flip: float = 0.5
    words: float = 0.0


@dataclass
class Config(MethodConfig):
    """A training run.

    Attributes:
        method: `pcsr`, `pc2`, `ncr`, `bicro`, `cream`, a loss on all pairs (`triplet`, which is VSE++; `infonce`, `rcl`,
            `decl`, `rde`), `tsvc` (a reconstruction from the abstract), `d2s`, or `oracle` (triplet on the truly right
            pairs only).
        profile: named set of switches that the configuration starts from; `auto` is the one that bears the method's name,
            else `plain`.
        output: folder of the run.
    """

    method: Literal[
        "pcsr", "pc2", "ncr", "bicro", "cream", "tsvc", "d2s", "triplet", "infonce", "rcl", "decl", "rde", "oracle"
    ] = "pcsr"
    profile: str = "auto"
    output: str = "runs/pcsr"
    data: DataConfig = field(default_factory=DataConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


_AT_LEAST = {
    "train.epochs": 0,
    "warmup.epochs": 0,
    "train.batch_size": 2,
    "train.lr_update": 1,
    "train.seed": 0,
    "noise.seed": 0,
    "train.patience": 0,
    "train.checkpoint_steps": 0,
    "train.threads": 0,
    "train.eval_batch_size": 1,
    "train.grad_clip": 0,
    "train.weight_decay": 0,
    "model.image_size": 0,
    "model.encoder_lr": 0,
    "model.prompt.tokens": 1,
    "model.prompt.blocks": 1,
    "model.prompt.heads": 1,
    "d2s.weight": 0,
    "d2s.all_violations": 0,
    "model.embed_dim": 2,
    "model.word_dim": 1,
    "model.gru_layers": 1,
    "model.sim_dim": 1,
    "model.sgr_steps": 1,
    "split.batch_size": 0,
    "split.passes": 1,
    "head.num_classes": 2,
    "head.hidden": 1,
    "head.lambda_en": 0,
    "pcs.window": 0,
    "replace.queue_size": 1,
    "apo.refinable.start_epoch": 0,
    "apo.ambiguous.start_epoch": 0,
    "apo.ambiguous.pair_weight": 0,
    "apo.refinable.weight": 0,
    "loss.margin": 0,
    "loss.kl_weight": 0,
    "decl.triplet_weight": 0,
    "decl.eta": 0,
    "decl.negatives": 1,
    "tsvc.bins": 2,
}
_ABOVE_ZERO = ("train.lr", "warmup.temperature", "loss.temperature", "loss.q", "train.lr_decay", "tsvc.scale")
_SHARES = (
    "model.dropout",
    "model.feature_dropout",
    "model.token_drop",
    "augment.flip",
    "augment.words",
    "warmup.select_rate",
    "split.p_threshold",
    "split.min_noisy_frac",
    "split.momentum",
    "pcs.share_min",
    "pcs.share_max",
    "noise.ratio",
    "warmup.q",
    "loss.q",
    "label.min_label",
    "ncr.noisy_start",
    "ncr.hard_start",
    "apo.clean.q",
    "tsvc.min_label",
    "tsvc.ema",
    "tsvc.spread_ema",
    "apo.refinable.q",
    "apo.ambiguous.q",
)


_BETWEEN = {"augment.crop": (0.01, 1), "replace.min_cos": (-1, 1), "pcs.votes_per_epoch": (1, 100)}


def value_of(config: Config, key: str) -> Any:
    """The value under a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def check_config(config: Config) -> None:
    """Check ranges that types cannot express.

    Raises:
        ConfigError: naming the key, its value and what was expected.
    """
    for key, least in _AT_LEAST.items():
        if not least <= value_of(config, key) < math.inf:
            raise ConfigError(f"{key}: got {value_of(config, key)}, expected a number >= {least}")
    for key in _ABOVE_ZERO:
        if not 0 < value_of(config, key) < math.inf:
            raise ConfigError(f"{key}: got {value_of(config, key)}, expected a number > 0")
    for key in _SHARES:
        if not 0 <= value_of(config, key) <= 1:
            raise ConfigError(f"{key}: got {value_of(config, key)}, expected a number from 0 to 1")
    for key, (low, high) in _BETWEEN.items():
        if not low <= value_of(config, key) <= high:
            raise ConfigError(f"{key}: got {value_of(config, key)}, expected a number from {low} to {high}")
    if not config.output or "\0" in config.output:
        raise ConfigError(f"output: got {config.output!r}, expected the name of a folder")
    if config.pcs.share_min > config.pcs.share_max:
        raise ConfigError(
            f"pcs.share_min: got {config.pcs.share_min}, expected a number up to pcs.share_max, {config.pcs.share_max}"
        )
    if config.train.milestones != sorted(set(config.train.milestones)) or min(config.train.milestones, default=1) < 1:
        raise ConfigError(f"train.milestones: got {config.train.milestones}, expected rising epochs from 1 on")
    _check_encoders(config.model)
    if config.train.num_nets not in (1, 2):
        raise ConfigError(f"train.num_nets: got {config.train.num_nets}, expected 1 or 2")
    if config.train.epochs + config.warmup.epochs == 0:
        raise ConfigError("train.epochs: got 0 with warmup.epochs 0, expected at least one epoch in all")
    if config.replace.pool == "clean_set" and config.model.head != "vse":
        raise ConfigError(
            f"replace.pool: clean_set needs one vector an item, got model.head {config.model.head}; expected vse"
        )
    if config.replace.pool == "queue" and config.replace.by == "similarity" and config.model.head != "vse":
        raise ConfigError(f"replace.pool: a queue by similarity needs model.head vse, got {config.model.head}")


def _check_encoders(model: ModelConfig) -> None:
    if model.backbone == "hf" and model.head != "vse":
        raise ConfigError(f"model.backbone: hf gives one vector an item, got model.head {model.head}; expected vse")
    named = [key for key in PATH_KEYS if getattr(model, key)]
    if model.backbone == "regions" and named:
        raise ConfigError(f"model.{named[0]}: is not read with model.backbone regions; expected model.backbone hf")


def settle(config: Config) -> Config:
    """A copy in which every `auto` that depends on other keys says what it means."""
    settled = copy.deepcopy(config)
    if settled.replace.pool == "auto":
        whole = settled.model.head == "vse" and settled.replace.by == "similarity"
        settled.replace.pool = "clean_set" if whole else "batch"
    return settled


def as_dict(config: Config) -> dict[str, Any]:
    """Plain nested values, for config.yaml and checkpoints."""
    return dataclasses.asdict(config)
