"""Bad input through the command line: one clear line on stderr, exit code 2, no traceback, nothing trained."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pcsr_fast.cli import main

Damage = Callable[[Path], object]

# One key or value each: (words, what the line must say).
OPTIONS = [
    (["--noise.ration", "0.4"], "unknown key noise.ration; did you mean noise.ratio"),
    (["--lr", "0.1"], "unknown key lr; did you mean train.lr"),
    (["--wramup.epochs", "2"], "unknown key wramup.epochs; did you mean warmup.epochs"),
    (["--train.lr", "fast"], "train.lr: got 'fast', expected float"),
    (["--train.epochs", "2.5"], "train.epochs: got '2.5', expected int"),
    (["--head.enabled", "maybe"], "head.enabled: got 'maybe', expected bool"),
    (["--loss.margin_mode", "anchors"], "loss.margin_mode: got 'anchors', expected"),
    (["--method", "pc3"], "method: got 'pc3', expected"),
    (["--profile", "pcsr2"], "profile: got 'pcsr2', expected"),
    (["--model.head", "scan2"], "model.head: got 'scan2', expected"),
    (["--train.lr", "0"], "train.lr: got 0.0, expected a number > 0"),
    (["--train.lr", "nan"], "train.lr: got"),
    (["--train.lr", "inf"], "train.lr: got"),
    (["--train.batch_size", "1"], "train.batch_size: got 1, expected a number >= 2"),
    (["--train.num_nets", "3"], "train.num_nets: got 3, expected 1 or 2"),
    (["--train.seed", "-1"], "train.seed: got -1, expected a number >= 0"),
    (["--train.epochs", "0", "--warmup.epochs", "0"], "expected at least one epoch"),
    (["--model.dropout", "1.5"], "model.dropout: got 1.5, expected"),
    (["--split.p_threshold", "-0.1"], "split.p_threshold: got -0.1, expected a number from 0 to 1"),
    (["--loss.margin", "nan"], "loss.margin: got"),
    (["--head.num_classes", "1"], "head.num_classes: got 1, expected a number >= 2"),
    (["--noise.ratio", "1.5"], "noise.ratio: got 1.5, expected a number from 0 to 1"),
    (["--noise.seed", "-3"], "noise.seed"),
    (["--noise.level", "word"], "noise.level: got 'word', expected"),
    (["--noise.file", "nowhere.npy"], "nowhere.npy"),
    (["--data.path", "nowhere"], "nowhere: no such folder"),
    (["--data.format", "hdf5"], "data.format: got 'hdf5', expected"),
    (["--data.vocab", "nowhere.json"], "nowhere.json"),
    (["--data.limit_images", "0"], "limit_images"),
    (["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    (["--config", "demos"], "demos: no such configuration; expected one of"),
    (["--resume"], "holds no run"),
    (["--output", "/proc/nowhere/run"], "/proc/nowhere/run"),
    (["--replace.pool", "clean_set", "--replace.by", "prediction"], "replace.pool: clean_set"),
    (["--head.enabled", "false"], "head.enabled: false"),
    (["--model.head", "sgr", "--replace.pool", "clean_set", "--replace.by", "similarity"], "replace.pool: clean_set"),
    (["surplus"], "surplus"),
    (["--train.epochs"], "train.epochs"),
]

# Damage to one file of the set: (layout, file, damage, what the line must say beside the file's name).
FILES: list[tuple[str, str, Damage, str]] = [
    ("precomp", "train_ims.npy", lambda p: p.unlink(), "holds neither train_regions.npy"),
    ("precomp", "train_ims.npy", lambda p: p.write_bytes(b""), "expected"),
    ("precomp", "train_ims.npy", lambda p: p.write_bytes(p.read_bytes()[:-64]), "expected"),
    ("precomp", "train_ims.npy", lambda p: p.write_bytes(b"no array at all"), "expected"),
    ("precomp", "train_ims.npy", lambda p: p.write_bytes(pickle.dumps([1, 2])), "expected"),
    ("precomp", "train_ims.npy", lambda p: np.save(p, np.array([{}, {}], dtype=object)), "expected"),
    ("precomp", "train_ims.npy", lambda p: np.save(p, np.load(p)[:, 0]), "expected"),
    ("precomp", "train_ims.npy", lambda p: np.save(p, np.load(p).astype("U8")), "expected"),
    ("precomp", "train_ims.npy", lambda p: np.save(p, np.load(p)[:, :, :3]), "expected"),
    ("precomp", "train_ims.npy", lambda p: np.save(p, np.where(np.arange(16) == 3, np.nan, np.load(p))), "row"),
    ("precomp", "dev_ims.npy", lambda p: np.save(p, np.where(np.arange(16) == 3, np.inf, np.load(p))), "row"),
    ("precomp", "train_caps.txt", lambda p: p.unlink(), "expected"),
    ("precomp", "train_caps.txt", lambda p: p.write_text(""), "expected"),
    ("precomp", "train_caps.txt", lambda p: p.write_text("\n".join(p.read_text().splitlines()[:-3])), "expected"),
    ("precomp", "train_caps.txt", lambda p: p.write_bytes(b"\xff\xfe\xfa" + p.read_bytes()), "expected"),
    ("precomp", "train_caps.txt", lambda p: p.write_text(p.read_text().replace("\n", "\n\n", 1)), "expected"),
    ("pairs", "train_captions.tsv", lambda p: p.write_text("image\tcaption\n"), "expected"),
    ("pairs", "train_captions.tsv", lambda p: p.write_text("a\tb\n0\tx\n"), "expected"),
    ("pairs", "train_captions.tsv", lambda p: p.write_text(p.read_text() + "9999\tout of range\n"), "9999"),
    ("pairs", "train_captions.tsv", lambda p: p.write_text(p.read_text() + "one\tno number\n"), "expected"),
    ("pairs", "train_captions.tsv", lambda p: p.write_text(p.read_text() + "0 no tab\n"), "expected"),
    ("pairs", "train_regions.npy", lambda p: np.save(p, np.load(p)[:-1]), "expected"),
    ("pairs", "test_regions.npy", lambda p: p.write_bytes(p.read_bytes()[:200]), "expected"),
]

# Contents of files given by an option: (option, name, bytes or array, what the line must say).
GIVEN = [
    ("--config", "bad.yaml", b"noise:\n  ration: 0.4\n", "unknown key noise.ration"),
    ("--config", "bad.yaml", b"nosie: {ratio: 0.4}\n", "unknown key nosie"),
    ("--config", "bad.yaml", b"noise: 3\n", "expected a group of keys"),
    ("--config", "bad.yaml", b"noise: [\n", "no YAML"),
    ("--config", "bad.yaml", b"- a\n- b\n", "expected"),
    ("--config", "bad.yaml", b"\xff\xfe\x00", "expected"),
    ("--config", "bad.yaml", b"train:\n  lr: fast\n", "train.lr"),
    ("--noise.file", "noise.npy", np.arange(7), "expected"),
    ("--noise.file", "noise.npy", np.full(240, 48), "expected"),
    ("--noise.file", "noise.npy", np.full(240, -1), "expected"),
    ("--noise.file", "noise.npy", np.zeros(240, dtype=np.float32), "expected"),
    ("--noise.file", "noise.npy", np.zeros(48, dtype=np.int64), "permutation"),
    ("--noise.file", "noise.npy", np.zeros((240, 2), dtype=np.int64), "expected"),
    ("--noise.file", "noise.npy", b"no array", "expected"),
    ("--data.vocab", "vocab.json", b"{}", "expected"),
    ("--data.vocab", "vocab.json", b"[1, 2", "expected"),
    ("--data.vocab", "vocab.json", b'{"word2idx": {"a": 0, "b": 0}, "idx2word": {}, "idx": 1}', "expected"),
]


def fails(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert "Traceback" not in printed.err + printed.out


@pytest.fixture
def base(tiny: Path, tmp_path: Path) -> list[str]:
    """A command that would train; words after it win."""
    words = ["train", "--data.path", str(tiny / "precomp"), "--output", str(tmp_path / "run"), "--model.head", "vse"]
    return [
        *words,
        "--model.embed_dim",
        "8",
        "--train.epochs",
        "1",
        "--warmup.epochs",
        "1",
        "--train.tensorboard",
        "false",
    ]


@pytest.mark.parametrize(("words", "message"), OPTIONS, ids=[" ".join(words) for words, _ in OPTIONS])
def test_options(base: list[str], words: list[str], message: str, tmp_path: Path, capsys) -> None:
    fails([*base, *words], message, capsys)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("layout", "name", "damage", "message"), FILES, ids=[f"{f[1]}-{k}" for k, f in enumerate(FILES)]
)
def test_files(base, tiny: Path, tmp_path: Path, layout: str, name: str, damage: Damage, message: str, capsys) -> None:
    folder = tmp_path / layout
    shutil.copytree(tiny / layout, folder)
    damage(folder / name)
    fails([*base, "--data.path", str(folder)], message, capsys)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("option", "name", "content", "message"), GIVEN, ids=[f"{g[1]}-{k}" for k, g in enumerate(GIVEN)]
)
def test_given_files(base, tmp_path: Path, option: str, name: str, content, message: str, capsys) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    fails([*base, option, str(path)], message, capsys)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_other_commands(tiny: Path, tmp_path: Path, capsys) -> None:
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(x, np.ones((4, 3), dtype=np.float32))
    np.save(y, np.ones((5, 3), dtype=np.float32))
    fails(["trian"], "trian: unknown command; expected one of train", capsys)
    fails(["evaluate", str(tmp_path)], "config.yaml: no such file", capsys)
    fails(["compare", "--methods", "pcsr,magic"], "magic", capsys)
    fails(["compare", "--ratios", "half"], "half", capsys)
    fails(["split", "--images", str(x), "--texts", str(y)], "expected that of", capsys)
    fails(["split", "--images", str(tmp_path / "none.npy"), "--texts", str(y)], "none.npy", capsys)
    fails(["data", "shrink"], "shrink", capsys)
    fails(["data", "verify", "--path", str(tiny / "nowhere")], "nowhere", capsys)
    fails(["data", "export", "--out", str(tmp_path / "out"), "--format", "h5"], "h5", capsys)
    fails(["doctor", "--now"], "--now", capsys)
