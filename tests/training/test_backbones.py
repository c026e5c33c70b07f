"""Whole runs over raw pictures with Hugging Face encoders, and of D2S-VSE: to the end, resumed to the bit, exported."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pcsr_fast.cli import main
from pcsr_fast.data.pixels import PixelRecipe
from pcsr_fast.data.tokenizer import TokenizerVocabulary
from pcsr_fast.data.vocabulary import Vocabulary
from pcsr_fast.errors import CheckpointError, ConfigError, DataError
from pcsr_fast.models.huggingface import Pretrained
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.training.batches import padded
from pcsr_fast.training.checkpoint import load_checkpoint, strip_prefix
from pcsr_fast.training.parse import parse_config
from pcsr_fast.training.run import prepare, train
from pcsr_fast.training.trainer import BEST, LAST, Interrupted, Trainer
from tests.training.tools import contents, quiet, timeless

SMALL = """
--data.min_word_count 1 --model.head vse --model.embed_dim 6 --model.word_dim 5 --model.pooling mean --head.num_classes 4
--head.hidden 6 --model.prompt.tokens 3 --model.prompt.blocks 1 --model.prompt.heads 2 --warmup.epochs 1
--train.epochs 2 --train.batch_size 24 --train.lr 0.005 --train.device cpu --train.tensorboard false
--apo.refinable.start_epoch 1 --apo.ambiguous.start_epoch 1 --train.num_nets 1
""".split()


def words(folder: Path, *more: str) -> list[str]:
    return [*SMALL, "--output", str(folder), *more]


def clip(album: Path, encoders: Path) -> list[str]:
    return ["--data.path", str(album), "--model.backbone", "hf", "--model.name_or_path", str(encoders / "clip")]


def pair(album: Path, encoders: Path) -> list[str]:
    paths = ["--model.image_path", str(encoders / "vit"), "--model.text_path", str(encoders / "bert")]
    return ["--data.path", str(album), "--model.backbone", "hf", *paths]


def run(folder: Path, *more: str, resume: bool = False) -> dict[str, Any]:
    return train(parse_config(words(folder, *more))[0], resume=resume, console=quiet())[0]


def outcome(folder: Path) -> dict[str, Any]:
    lines = (folder / "history.jsonl").read_text().splitlines()
    return {
        "last": contents(folder / LAST),
        "best": contents(folder / BEST),
        "history": [timeless(json.loads(line)) for line in lines],
        "metrics": timeless(json.loads((folder / "metrics.json").read_text())),
    }


def run_with_stops(folder: Path, more: Sequence[str], moments: Sequence[tuple[str, int, int, int]]) -> None:
    """Train with Ctrl-C in the iterations `moments`, each in a trainer of its own."""
    iteration = Trainer._iteration
    for number, moment in enumerate([*moments, None]):

        def stopped(self: Trainer, *arguments: Any, moment: Any = moment) -> None:
            at = self.progress.position
            if (at.stage, at.epoch, at.net, at.step) == moment:
                signal.raise_signal(signal.SIGINT)
            iteration(self, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "_iteration", stopped)
            if moment is None:
                run(folder, *more, resume=True)
            else:
                with pytest.raises(Interrupted):
                    run(folder, *more, resume=number > 0)


@pytest.mark.parametrize("nets", [1, 2])
@pytest.mark.parametrize("data", ["regions", "pictures"])
def test_d2s_stopped_anywhere(data: str, nets: int, tiny: Path, album: Path, encoders: Path, tmp_path: Path) -> None:
    more = ["--data.path", str(tiny / "precomp")] if data == "regions" else pair(album, encoders)
    more = ["--method", "d2s", "--train.num_nets", str(nets), *more]
    metrics = run(tmp_path / "whole", *more)
    assert metrics["profile"] == "d2s"
    assert len(metrics["test"]["nets"]) == nets
    tensors, facts = load_checkpoint(tmp_path / "whole" / LAST)
    assert facts["config"]["train"]["optimizer"] == "adamw"
    assert facts["config"]["augment"]["words"] == 0.2
    for net in range(nets):
        assert tensors[f"net{net}.text_encoder.stage"] == 1
        assert strip_prefix(f"method.teacher.{net}.", tensors)["stage"] == 0
    moments = [("warmup", 0, 0, 1), ("train", 0, 0, 0), ("train", 0, nets - 1, 1), ("train", 1, 0, 1)]
    run_with_stops(tmp_path / "stopped", more, moments)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


def test_pcsr_over_a_dual_encoder_stopped(album: Path, encoders: Path, tmp_path: Path) -> None:
    more = [*clip(album, encoders), "--noise.ratio", "0.3"]
    metrics = run(tmp_path / "whole", *more)
    assert metrics["noise"]["wrong_share"] > 0.1
    run_with_stops(tmp_path / "stopped", more, [("warmup", 0, 0, 1), ("train", 1, 0, 0)])
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


def test_other_dense_texts_are_refused(album: Path, encoders: Path, tmp_path: Path) -> None:
    dense = tmp_path / "dense.jsonl"
    names = [f"train{number}.png" for number in range(20)]
    dense.write_text("\n".join(json.dumps({"image": name, "text": "red over green"}) for name in names))
    more = [*pair(album, encoders), "--method", "d2s", "--train.epochs", "0", "--d2s.dense_file", str(dense)]
    run(tmp_path / "run", *more)
    dense.write_text(dense.read_text().replace("green", "blue"))
    with pytest.raises(CheckpointError, match="other data, words of the dense texts: "):
        run(tmp_path / "run", *more, resume=True)


def test_frozen_encoders_do_not_move(album: Path, encoders: Path, tmp_path: Path) -> None:
    more = [*pair(album, encoders), "--model.train_encoders", "false", "--method", "infonce", "--train.epochs", "1"]
    run(tmp_path / "run", *more)
    config = parse_config(words(tmp_path / "run", *more))[0]
    dataset, held, _ = prepare(config)
    trainer = Trainer(config, dataset, held, tmp_path / "run", quiet())  # type: ignore[arg-type]
    fresh = {name: value.clone() for name, value in trainer.nets[0].model.state_dict().items()}
    trainer.load_best()
    moved = {name for name, value in trainer.nets[0].model.state_dict().items() if not torch.equal(value, fresh[name])}
    assert any("project" in name for name in moved)
    assert not any(".model." in name for name in moved)
    assert any(isinstance(one, Pretrained) for one in trainer.nets[0].model.modules())


@pytest.fixture(scope="module")
def trained(tiny: Path, album: Path, encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on regions (two nets, noise) and on pictures."""
    folder = tmp_path_factory.mktemp("trained")
    short = ["--train.epochs", "1"]
    noisy = ["--train.num_nets", "2", "--noise.ratio", "0.4"]
    run(folder / "regions", "--data.path", str(tiny / "precomp"), *short, *noisy)
    run(folder / "pictures", *pair(album, encoders), "--method", "d2s", *short)
    return folder


@pytest.mark.parametrize("kind", ["regions", "pictures"])
def test_exported_models_score_as_the_run_did(
    kind: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, source = tmp_path / "my model", trained / kind
    assert main(["export", "--run", str(source), "--output", str(folder)]) == 0
    assert f'RetrievalModel.from_pretrained("{folder}")' in capsys.readouterr().out
    metrics = json.loads((source / "metrics.json").read_text())
    net = max(range(len(metrics["dev"]["nets"])), key=lambda one: metrics["dev"]["nets"][one]["rsum"])
    model = RetrievalModel.from_pretrained(folder)
    best, _ = load_checkpoint(source / BEST)
    weights = strip_prefix(f"net{net}.", best)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    dataset, _, _ = prepare(parse_config(["--config", str(source / "config.yaml")])[0])
    if kind == "regions":
        vocabulary = Vocabulary.load(folder / "vocabulary.json")
    else:
        vocabulary = TokenizerVocabulary.of_folder(folder / "processors")
        assert PixelRecipe.load(folder / "processors") == dataset.train.regions.recipe  # type: ignore[union-attr]
    tokens = vocabulary.encode_all(dataset.test.captions)
    assert all((a == b).all() for a, b in zip(tokens, dataset.test.tokens, strict=True))
    assert model.encode_texts(*padded(tokens)).values.shape == (len(tokens), 6)
    card = (folder / "README.md").read_text()
    assert f"{metrics['test']['nets'][net]['rsum']:.1f} |" in card
    assert metrics["noise"]["sha256"] in card
    assert ("40 % shuffled at caption level, noise seed 0" in card) == (kind == "regions")
    assert ("mean similarity of all nets" in card) == (kind == "regions")
    assert f"| method | `{metrics['method']}`" in card
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pt")) + list(folder.rglob("*.pkl"))


def test_export_takes_the_net_it_is_told(trained: Path, tmp_path: Path) -> None:
    assert main(["export", "--run", str(trained / "regions"), "--output", str(tmp_path / "m"), "--net", "2"]) == 0
    weights = strip_prefix("net1.", load_checkpoint(trained / "regions" / BEST)[0])
    loaded = RetrievalModel.from_pretrained(tmp_path / "m").state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in loaded.items())
    assert "| net | 2 of 2 |" in (tmp_path / "m" / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--net", "3"], "--net: got 3, expected 0 to 2, the nets of"),
        (["--output", "."], "--output: . exists and is not empty; expected a new folder"),
        (["--run", "nowhere"], "nowhere/metrics.json: cannot be read; expected the folder of a finished run"),
    ],
)
def test_export_refuses(
    change: list[str], message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--run", str(trained / "regions"), "--output", str(tmp_path / "m"), *change]
    assert main(words) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("pictures", ["--model.backbone", "regions"], "regions reads no pixels, as data.format pictures gives"),
        ("regions", ["--model.backbone", "hf", "--model.name_or_path", "ENCODERS/clip"], "hf reads pixels, not region"),
        ("pictures", ["--model.backbone", "hf", "--model.name_or_path", "gone"], "gone holds no config.json; expected"),
        (
            "pictures",
            ["--method", "d2s", "--model.backbone", "hf", "--model.name_or_path", "ENCODERS/clip"],
            "method: d2s pools the words of a caption",
        ),
    ],
)
def test_what_does_not_go_together(
    kind: str, change: list[str], message: str, tiny: Path, album: Path, encoders: Path, tmp_path: Path
) -> None:
    data = ["--data.path", str(album if kind == "pictures" else tiny / "precomp")]
    change = [one.replace("ENCODERS", str(encoders)) for one in change]
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "run", *data, *change)


@pytest.mark.parametrize("file", ["tokenizer.json", "preprocessor_config.json"])
def test_folders_that_lack_a_file(file: str, album: Path, encoders: Path, tmp_path: Path) -> None:
    shutil.copytree(encoders, tmp_path / "encoders")
    (tmp_path / "encoders" / "clip" / file).unlink()
    with pytest.raises(DataError, match="clip"):
        run(tmp_path / "run", *clip(album, tmp_path / "encoders"))
