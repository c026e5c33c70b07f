"""The training loop: warm-up, split, steps, validation, checkpoints. It knows a method only through its protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pcsr_fast.data.pairs import Dataset, PairSet
from pcsr_fast.errors import CheckpointError, ConfigError, UserError
from pcsr_fast.evaluation.metrics import evaluate_scores
from pcsr_fast.files import write_text
from pcsr_fast.methods import create_method, needs_dense, needs_head
from pcsr_fast.methods.base import (
    Batch,
    HasLookers,
    IdArray,
    Losses,
    Partition,
    SplitStatistics,
    Step,
    Visited,
    whole_partition,
)
from pcsr_fast.models.retrieval import head_of_net, seeded_model
from pcsr_fast.ops.scores import Scores
from pcsr_fast.training.augment import Augmentation
from pcsr_fast.training.batches import BatchSource, num_batches, shuffled
from pcsr_fast.training.checkpoint import load_checkpoint, save_checkpoint, strip_prefix, with_prefix
from pcsr_fast.training.config import Config, as_dict, settle
from pcsr_fast.training.dense import dense_tokens
from pcsr_fast.training.identity import check_same_data, check_same_run, fingerprint
from pcsr_fast.training.observers import Observer
from pcsr_fast.training.optimizers import make_optimizer, set_rate
from pcsr_fast.training.passes import SplitPass, split_scores
from pcsr_fast.training.state import Net, Position, Progress, collect, restore
from pcsr_fast.training.streams import stream_seed
from pcsr_fast.training.summary import epoch_line, split_summary

LAST = Path("checkpoints") / "last.safetensors"
BEST = Path("checkpoints") / "best.safetensors"


class Interrupted(Exception):
    """Training stopped on request; the checkpoint is written."""


class Trainer:
    """Trains the nets of one run.

    Args:
        config: the run's configuration.
        dataset: train, dev and test split.
        held: (N,) int64, the picture each training caption holds.
        folder: where checkpoints and history go.
        observer: is told of steps and epochs (progress bar, TensorBoard).
    """

    def __init__(self, config: Config, dataset: Dataset, held: IdArray, folder: Path, observer: Observer) -> None:
        self.config = config = settle(config)
        self.dataset = dataset
        self.held = held
        self.folder = folder
        self.observer = observer
        self.stop_requested = False
        self.device = choose_device(config.train.device)
        truth = dataset.train.image_of_caption
        self.is_true = held == truth
        train = config.train
        self.nets = [self._build_net(index) for index in range(train.num_nets)]
        self.method = create_method(
            config.method, config, images=held, is_true=self.is_true, num_nets=train.num_nets, epochs=train.epochs
        )
        self.method.see([net.model for net in self.nets])
        self.source = self._batch_source()
        self.split_pass = SplitPass(
            dataset.train,
            held,
            size=config.split.batch_size or train.batch_size,
            kind=config.split.loss,
            options=config.loss,
            device=self.device,
        )
        ids = self.method.training_ids()
        if len(ids) < 2:
            raise ConfigError(
                f"method: {config.method} may train on {len(ids)} of {len(held)} pairs, expected at least 2"
            )
        self.everything = whole_partition(ids, len(held))
        self.facts = {"config": as_dict(config), "data": fingerprint(dataset, held, self.source.dense)}
        self.partitions: list[Partition] | None = None
        self.progress = Progress(position=self._first_position())
        self.clock = time.perf_counter()

    def _build_net(self, index: int) -> Net:
        c, shape = self.config, self.dataset.train.regions.shape
        model = seeded_model(
            stream_seed(c.train.seed, "weights", index),
            config=c.model,
            kind=head_of_net(c.model, index),
            feature_dim=shape[2],
            regions=shape[1],
            vocabulary_size=len(self.dataset.vocabulary),
            num_classes=c.head.num_classes if needs_head(c.method, c) else 0,
            classifier_hidden=c.head.hidden,
            text_pool=c.head.text_pool,
            prompted=needs_dense(c.method),
        ).to(self.device)
        return Net(model, make_optimizer(model, c))

    def _batch_source(self) -> BatchSource:
        config, pairs, vocabulary = self.config, self.dataset.train, self.dataset.vocabulary
        asked = needs_dense(config.method)
        return BatchSource(
            pairs,
            self.held,
            batch_size=config.train.batch_size,
            device=self.device,
            stream=config.train.seed,
            augmentation=Augmentation(config.augment, config.train.seed, vocabulary),
            dense=dense_tokens(pairs, self.held, config.d2s.dense_file, vocabulary) if asked else None,
        )

    def _first_position(self) -> Position:
        return Position("warmup" if self.config.warmup.epochs else "train")

    def fit(self) -> Progress:
        """Train to the end.

        Raises:
            Interrupted: `stop_requested` was set; the state up to the last iteration or epoch is saved.
        """
        self.clock = time.perf_counter()
        while self.progress.position.stage != "done":
            self._epoch()
            if self.stop_requested:
                raise Interrupted
        return self.progress

    def _epoch(self) -> None:
        position = self.progress.position
        if position.stage == "train" and self.method.needs_split and self.partitions is None:
            self._split()
        for net in range(position.net, len(self.nets)):
            position.net = net
            self._train_net(net)
            position.step = 0
        self._end_epoch()

    def _split(self) -> None:
        """Look at all pairs with every net, then decide what each net is trained on."""
        position = self.progress.position
        statistics = self.split_statistics(position.epoch, embeddings=self.method.needs_embeddings)
        self.partitions, own = self.method.partition(statistics, position.epoch)
        truth = self.dataset.train.image_of_caption
        self.progress.split = [
            split_summary(one, partition, self.held, truth)
            for one, partition in zip(own, reversed(self.partitions), strict=True)
        ]

    def split_statistics(self, epoch: int, *, embeddings: bool) -> list[SplitStatistics]:
        """What each net says about all pairs."""
        statistics = []
        nets = [net.model for net in self.nets]
        lookers = self.method.lookers() if isinstance(self.method, HasLookers) else nets
        for index, model in enumerate(lookers):
            self.observer.activity(f"split pass, net {index}")
            with self.precision():
                found = self.split_pass(
                    model,
                    self.split_orders(epoch, index),
                    predictions=self.method.needs_predictions,
                    embeddings=embeddings,
                    report=self.observer.passed,
                )
            statistics.append(found)
        return statistics

    def split_orders(self, epoch: int, net: int) -> list[IdArray]:
        """Orders of all pairs in which a net looks at them; the batches they fall into are each other's negatives."""
        split, seed = self.config.split, self.config.train.seed
        everything = np.arange(len(self.held), dtype=np.int64)
        if split.loader == "sequential":
            return [everything] * split.passes
        return [shuffled(everything, seed, "split", epoch, net, number) for number in range(split.passes)]

    def _train_net(self, index: int) -> None:
        position, net = self.progress.position, self.nets[index]
        partition = self.everything if self.partitions is None else self.partitions[index]
        steps = self._steps(index)
        ids = {step.subset: self._subset_ids(partition, step.subset) for step in steps}
        total = num_batches(len(ids[steps[0].subset]), self.config.train.batch_size)
        set_rate(net.optimizer, self.rate())
        self.observer.begin_net(position.stage, position.epoch, index, position.step, total)
        net.model.train()
        while position.step < total:
            self._iteration(index, net, partition, steps, ids, position.step / total)
            position.step += 1
            self.observer.step(self.progress.sums)
            self._save_if_asked(position.step)

    def _steps(self, index: int) -> list[Step]:
        position = self.progress.position
        if position.stage == "warmup":
            return [Step("warmup", lambda model, batch, visited: self.method.warmup_loss(index, model, batch))]
        return self.method.training_steps(index, position.epoch)

    def _subset_ids(self, partition: Partition, subset: str) -> IdArray:
        return self.method.training_ids() if subset == "warmup" else partition.ids(subset)

    def _iteration(
        self, index: int, net: Net, partition: Partition, steps: list[Step], ids: dict[str, IdArray], share: float
    ) -> None:
        position = self.progress.position
        name = (position.stage, position.epoch, index)
        # Dropout depends on the position alone, so nothing else (evaluation, a resume) can shift its stream.
        torch.manual_seed(stream_seed(self.config.train.seed, "dropout", *name, position.step))
        visited: dict[str, Visited] = {}
        pending = False
        for step in steps:
            batch = self.source.nth(partition, step.subset, ids[step.subset], position.step, *name)
            if batch is None:
                continue
            batch.epoch, batch.share = position.epoch, share
            with self.precision():
                losses = step.loss(net.model, batch, visited)
            if losses is None:
                continue
            losses.total.backward()
            pending = not step.alone
            if step.alone:
                self._optimise(net)
            self.method.after_step(index, step.subset, batch, losses)
            visited[step.subset] = Visited(batch, losses.encoded)
            self._count(step.subset, losses, batch)
        if pending:
            self._optimise(net)

    def _optimise(self, net: Net) -> None:
        """Step along the gradients gathered since the last step, and forget them."""
        if self.config.train.grad_clip:
            nn.utils.clip_grad_norm_(net.model.parameters(), self.config.train.grad_clip)
        net.optimizer.step()
        net.optimizer.zero_grad(set_to_none=True)

    def _count(self, subset: str, losses: Losses, batch: Batch) -> None:
        total = self.progress.sums.setdefault(subset, [0.0, 0.0])
        value = float(losses.per_pair.sum())
        if not np.isfinite(value):
            where = self.progress.position
            raise UserError(
                f"{subset} loss is {value} at {where.stage} epoch {where.epoch}, net {where.net}, step {where.step}; "
                "expected finite numbers (try a smaller train.lr)"
            )
        total[0] += value
        total[1] += len(losses.per_pair)
        if losses.replaced is not None:
            images, captions = (one.cpu().numpy() for one in losses.replaced)
            truth = self.dataset.train.image_of_caption
            self.progress.replaced[0] += int((truth[captions] == images).sum())
            self.progress.replaced[1] += len(captions)

    def rate(self) -> float:
        """Learning rate of the epoch under way: a step schedule, in the warm-up only where that is asked for."""
        train, position = self.config.train, self.progress.position
        if position.stage == "warmup" and not train.decay_in_warmup:
            return train.lr
        epoch = position.epoch
        drops = sum(epoch >= one for one in train.milestones) if train.milestones else epoch // train.lr_update
        return float(train.lr * train.lr_decay**drops)

    def precision(self) -> torch.autocast:
        """Autocast as the configuration wants it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.train.precision == "bf16")

    def _end_epoch(self) -> None:
        progress, train = self.progress, self.config.train
        position = progress.position
        dev = self.evaluate(self.dataset.dev)
        self._tick()
        line = epoch_line(progress, self.rate(), dev)
        progress.history.append(line)
        rsum = dev["ensemble"]["rsum"]
        progress.stalled += position.stage == "train"
        if progress.best is None or rsum > progress.best["rsum"]:
            progress.best = {"stage": position.stage, "epoch": position.epoch, "rsum": rsum}
            progress.stalled = 0
            self._save_best()
        self.observer.epoch(line, progress.best)
        progress.sums, progress.split, progress.epoch_seconds, self.partitions = {}, None, 0.0, None
        progress.replaced = [0, 0]
        early = bool(train.patience) and progress.stalled >= train.patience
        progress.position = self._after(position, early)
        self.save()
        self.write_history()

    def _after(self, position: Position, early: bool) -> Position:
        epoch = position.epoch + 1
        if position.stage == "warmup" and epoch == self.config.warmup.epochs:
            for net in self.nets:
                net.optimizer = make_optimizer(net.model, self.config)
            return Position("train" if self.config.train.epochs else "done")
        if position.stage == "train" and (epoch == self.config.train.epochs or early):
            return Position("done")
        return Position(position.stage, epoch)

    def evaluate(self, pairs: PairSet, folds: int = 1) -> dict[str, Any]:
        """Metrics of every net and of their mean similarity on a split."""
        return evaluate_scores(list(self.scores(pairs)), pairs.image_of_caption, folds)

    def scores(self, pairs: PairSet) -> Iterator[Scores]:
        """Scores of each net, pictures by captions."""
        size, report = self.config.train.eval_batch_size, self.observer.passed
        for index, net in enumerate(self.nets):
            self.observer.activity(f"{pairs.name} scores, net {index}")
            with self.precision():
                yield split_scores(net.model, pairs, size, self.device, report)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.progress.seconds += now - self.clock
        self.progress.epoch_seconds += now - self.clock
        self.clock = now

    def _save_if_asked(self, step: int) -> None:
        every = self.config.train.checkpoint_steps
        if self.stop_requested or (every and step % every == 0):
            self._tick()
            self.save()
        if self.stop_requested:
            raise Interrupted

    def save(self) -> None:
        """Write the whole state, so that training goes on from exactly here."""
        facts = {**self.facts, "progress": self.progress.to_json()}
        save_checkpoint(self.folder / LAST, collect(self.nets, self.method, self.partitions), facts)

    def _save_best(self) -> None:
        tensors: dict[str, torch.Tensor] = {}
        for index, net in enumerate(self.nets):
            tensors |= with_prefix(f"net{index}.", net.model.state_dict())
        facts = {**self.facts, "best": self.progress.best}
        save_checkpoint(self.folder / BEST, tensors, facts)

    def write_history(self) -> None:
        """Write history.jsonl, a line an epoch."""
        lines = [json.dumps(line, allow_nan=False) for line in self.progress.history]
        write_text(self.folder / "history.jsonl", "\n".join(lines) + "\n")

    def resume(self) -> None:
        """Go on from the last checkpoint of the run's folder.

        Raises:
            CheckpointError: it is missing, damaged, or belongs to another configuration or other data.
        """
        path = self.folder / LAST
        tensors, facts = load_checkpoint(path)
        if "progress" not in facts:
            raise CheckpointError(f"{path}: holds weights alone, expected a {LAST.name} that training wrote")
        check_same_run(path, facts, **self.facts)
        self.partitions = restore(tensors, self.nets, self.method)
        self.progress = Progress.from_json(facts["progress"])

    def load_best(self) -> None:
        """Put the best weights into the nets.

        Raises:
            CheckpointError: they are missing, damaged, or belong to other data.
        """
        tensors, facts = load_checkpoint(self.folder / BEST)
        check_same_data(self.folder / BEST, facts, self.facts["data"])
        for index, net in enumerate(self.nets):
            net.model.load_state_dict(strip_prefix(f"net{index}.", tensors))


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU if there is one.

    Raises:
        ConfigError: cuda was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("train.device: cuda, but torch sees no GPU; expected cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
