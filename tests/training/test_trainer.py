"""The loop: what decides its numbers, when it steps, what it keeps."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcsr_fast.cli import main
from pcsr_fast.errors import ConfigError, UserError
from pcsr_fast.methods import METHODS
from pcsr_fast.methods.base import Batch, Losses, Step, StepLoss
from pcsr_fast.training.batches import BatchSource
from pcsr_fast.training.checkpoint import load_checkpoint, strip_prefix
from pcsr_fast.training.observers import Observer
from pcsr_fast.training.run import enough_memory, prepare
from pcsr_fast.training.trainer import BEST, LAST, Trainer, choose_device
from tests.training.tools import NETS, configured, of_method, outcome, plain, run, words

SHORT = ("--train.epochs", "1", "--apo.refinable.start_epoch", "0", "--apo.ambiguous.start_epoch", "0")
WARM = ("--train.epochs", "0")


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def weights(folder: Path, name: Path = LAST, net: int = 0) -> dict[str, tuple[Any, ...]]:
    tensors, _ = load_checkpoint(folder / name)
    return {key: plain(value) for key, value in strip_prefix(f"net{net}.", tensors).items()}


@pytest.mark.parametrize("profile", ["plain", "pcsr", "pcsr_official"])
def test_the_seed_decides_and_nothing_outside(profile: str, tiny: Path, tmp_path: Path) -> None:
    more = (
        ("--profile", profile, *SHORT) if profile != "pcsr_official" else ("--profile", profile, "--train.epochs", "1")
    )
    for number in (1, 2):
        torch.manual_seed(number)
        np.random.seed(number)
        random.seed(number)
        torch.rand(number)
        run(tiny, tmp_path / f"run{number}", *more)
    assert outcome(tmp_path / "run1") == outcome(tmp_path / "run2")


def test_another_seed_gives_other_numbers(tiny: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path / "a", *WARM)
    run(tiny, tmp_path / "b", *WARM, "--train.seed", "1")
    run(tiny, tmp_path / "c", *WARM, "--noise.seed", "1")
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert a.keys() == b.keys()
    assert all(a[key] != b[key] for key in a if key.endswith("weight"))
    assert a != c
    held = [np.load(tmp_path / name / "noise.npy") for name in "abc"]
    assert (held[0] == held[1]).all()
    assert (held[0] != held[2]).any()


def test_one_net_is_the_first_of_two(tiny: Path, tmp_path: Path) -> None:
    two = run(tiny, tmp_path / "two", *WARM)
    one = run(tiny, tmp_path / "one", *WARM, "--train.num_nets", "1")
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    assert weights(tmp_path / "one", net=1) == {}
    assert weights(tmp_path / "two", net=0) != weights(tmp_path / "two", net=1)
    assert one["test"]["nets"] == [one["test"]["ensemble"]] == two["test"]["nets"][:1]
    assert len(two["test"]["nets"]) == 2


def test_one_net_through_all_stages(tiny: Path, tmp_path: Path) -> None:
    metrics = run(tiny, tmp_path / "run", *SHORT, "--train.num_nets", "1")
    assert len(metrics["split"]) == len(history(tmp_path / "run")[1]["split"]) == 1


def test_bf16_trains_in_full_precision_weights(tiny: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path / "full", *SHORT)
    run(tiny, tmp_path / "half", *SHORT, "--train.precision", "bf16")
    full, half = history(tmp_path / "full"), history(tmp_path / "half")
    assert [line["loss"].keys() for line in half] == [line["loss"].keys() for line in full]
    assert half[0]["loss"]["warmup"] != full[0]["loss"]["warmup"]
    assert half[0]["loss"]["warmup"] == pytest.approx(full[0]["loss"]["warmup"], rel=0.05)
    for tensor in strip_prefix("net0.", load_checkpoint(tmp_path / "half" / LAST)[0]).values():
        assert tensor.dtype == torch.float32
        assert torch.isfinite(tensor).all()


def test_learning_rate_is_constant_then_falls_in_steps(tiny: Path, tmp_path: Path) -> None:
    more = ("--warmup.epochs", "2", "--train.epochs", "4", "--train.lr", "0.01", "--train.lr_update", "2")
    run(tiny, tmp_path / "run", *more, "--train.lr_decay", "0.5", "--train.num_nets", "1", "--method", "triplet")
    assert [line["lr"] for line in history(tmp_path / "run")] == [0.01, 0.01, 0.01, 0.01, 0.005, 0.005]


def test_every_step_uses_the_rate_and_the_clipped_gradient(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, seen = torch.optim.Adam.step, []

    def watched(self: torch.optim.Adam, *arguments: Any) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        seen.append((self.param_groups[0]["lr"], float(torch.stack([g.norm() for g in gradients]).norm())))
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    more = ("--method", "triplet", "--train.num_nets", "1", "--train.epochs", "1", "--train.lr_decay", "0.1")
    run(tiny, tmp_path / "clipped", *more, "--train.grad_clip", "0.01", "--train.lr", "0.02")
    assert {rate for rate, _ in seen} == {0.02}
    assert max(norm for _, norm in seen) <= 0.01 * (1 + 1e-4)
    assert len(seen) == 12
    seen.clear()
    run(tiny, tmp_path / "free", *more, "--train.grad_clip", "0")
    assert max(norm for _, norm in seen) > 0.1


@pytest.mark.parametrize("joint", [False, True])
def test_kinds_have_a_step_each_or_share_one(
    joint: bool, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared, the step's gradient is the sum of theirs, and a kind that has no loss takes none of the others' away."""
    config = configured(tiny, tmp_path / "run", "--train.grad_clip", "0")
    dataset, held, _ = prepare(config)
    trainer = Trainer(config, dataset, held, tmp_path / "run", Observer())
    net, seen = trainer.nets[0], []
    weight = next(iter(net.model.parameters()))

    def loss(factor: float) -> StepLoss:
        return lambda model, batch, visited: Losses(factor * weight.sum(), torch.zeros(len(batch)))

    steps = [Step("warmup", loss(2.0), not joint), Step("warmup", loss(3.0), not joint)]
    steps.append(Step("warmup", lambda model, batch, visited: None, not joint))
    monkeypatch.setattr(net.optimizer, "step", lambda: seen.append(weight.grad.clone()))  # type: ignore[union-attr]
    monkeypatch.setattr(trainer.method, "after_step", lambda *arguments: None)
    ids = {"warmup": np.arange(240)}
    trainer._iteration(0, net, trainer.everything, steps, ids, 0.0)
    trainer._iteration(0, net, trainer.everything, steps, ids, 0.0)
    assert [float(one.unique()) for one in seen] == ([5.0, 5.0] if joint else [2.0, 3.0, 2.0, 3.0])


def test_optimisers_start_anew_after_the_warmup(tiny: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path / "run", "--method", "triplet", "--warmup.epochs", "3", "--train.epochs", "1")
    tensors, _ = load_checkpoint(tmp_path / "run" / LAST)
    assert tensors["optimizer0.0.step"] == 6
    assert tensors["optimizer1.0.step"] == 6


def test_the_best_epoch_is_kept_and_tested(tiny: Path, tmp_path: Path) -> None:
    """A rate so large that training soon makes things worse."""
    more = ("--train.epochs", "3", "--train.lr", "0.3", "--method", "triplet", "--train.num_nets", "1")
    metrics = run(tiny, tmp_path / "run", *more)
    lines = history(tmp_path / "run")
    sums = [line["dev"]["ensemble"]["rsum"] for line in lines]
    first = sums.index(max(sums))
    assert first < len(sums) - 1, "the test needs a run whose last epoch is not its best"
    assert metrics["best"] == {"stage": lines[first]["stage"], "epoch": lines[first]["epoch"], "rsum": sums[first]}
    assert metrics["dev"] == lines[first]["dev"]
    assert weights(tmp_path / "run", BEST) != weights(tmp_path / "run", LAST)


@pytest.mark.parametrize("method", METHODS)
def test_who_sees_which_pairs(method: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A net's epoch visits each pair once; the oracle never sees a wrong one; captions come with the pictures they hold."""
    batch, seen = BatchSource.batch, []

    def watched(self: BatchSource, *arguments: Any) -> Batch:
        made = batch(self, *arguments)
        assert made.images.tolist() == self.held[made.ids.numpy()].tolist()
        seen.extend(made.ids.tolist())
        return made

    monkeypatch.setattr(BatchSource, "batch", watched)
    nets = NETS.get(method, 1)
    run(tiny, tmp_path / "run", *WARM, *of_method(method), "--train.num_nets", str(nets))
    held = np.load(tmp_path / "run" / "noise.npy")
    right = np.flatnonzero(held == np.arange(240) // 5)
    assert 140 < len(right) < 160
    assert sorted(seen) == sorted(nets * (right.tolist() if method == "oracle" else list(range(240))))


def test_two_nets_are_trained_on_each_others_split(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split, train_net, parts = Trainer._split, Trainer._train_net, {}

    def watched_split(self: Trainer) -> None:
        split(self)
        assert self.partitions is not None
        parts["split"] = [partition.part for partition in self.partitions]
        own = [entry["counts"] for entry in self.progress.split or []]
        for counts, part in zip(own, reversed(parts["split"]), strict=True):
            assert list(counts.values()) == np.bincount(part, minlength=3).tolist()

    def watched_net(self: Trainer, index: int) -> None:
        if self.partitions is not None:
            assert self.partitions[index].part is parts["split"][index]
        train_net(self, index)

    monkeypatch.setattr(Trainer, "_split", watched_split)
    monkeypatch.setattr(Trainer, "_train_net", watched_net)
    run(tiny, tmp_path / "run", "--train.epochs", "1")
    assert (parts["split"][0] != parts["split"][1]).any()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_divergence_is_one_line_and_leaves_the_last_checkpoint(
    precision: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words(tiny, tmp_path / "run", "--train.lr", "1e30", "--train.checkpoint_steps", "1")
    assert main(["train", *argv, "--train.precision", precision]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "warmup loss is nan at warmup epoch 0, net 0, step" in error
    assert "expected finite numbers (try a smaller train.lr)" in error
    _, facts = load_checkpoint(tmp_path / "run" / LAST)
    assert np.isfinite(facts["progress"]["sums"]["warmup"]).all()


def test_a_run_leaves_what_the_report_reads(tiny: Path, tmp_path: Path) -> None:
    metrics = run(tiny, tmp_path / "run", *SHORT)
    names = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert names == {
        ".lock", "config.yaml", "noise.npy", "noise.json", "vocabulary.json", "history.jsonl", "metrics.json",
        "findings.safetensors", "retrieval.json", "suspects.csv", str(LAST), str(BEST),
    }  # fmt: skip
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == metrics
    assert metrics["noise"]["sha256"] == json.loads((tmp_path / "run" / "noise.json").read_text())["sha256"]


def test_seconds_add_up(tiny: Path, tmp_path: Path) -> None:
    metrics = run(tiny, tmp_path / "run", *SHORT)
    assert metrics["seconds"] == pytest.approx(sum(line["seconds"] for line in history(tmp_path / "run")))


def test_an_idle_observer_is_enough(tiny: Path, tmp_path: Path) -> None:
    config = configured(tiny, tmp_path / "run", *WARM, "--train.num_nets", "1")
    dataset, held, _ = prepare(config)
    progress = Trainer(config, dataset, held, tmp_path / "run", Observer()).fit()
    assert progress.position.stage == "done"
    assert [line["stage"] for line in progress.history] == ["warmup"]


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device("cpu").type == "cpu"
        assert choose_device("auto").type == ("cuda" if there else "cpu")
    assert choose_device("cuda").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"train.device: cuda, but torch sees no GPU; expected cpu or auto"):
        choose_device("cuda")


def test_memory_that_runs_out_is_told_from_other_errors() -> None:
    for error in (MemoryError(), RuntimeError("CUDA out of memory"), torch.OutOfMemoryError("CUDA out of memory")):
        with pytest.raises(UserError, match=r"model: does not fit in memory .* expected a smaller"), enough_memory():
            raise error
    with pytest.raises(RuntimeError, match=r"^shapes$"), enough_memory():
        raise RuntimeError("shapes")
