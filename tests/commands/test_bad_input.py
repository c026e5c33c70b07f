"""Every bad input of `train` ends in one line that names place and expectation, with code 2, before any training."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcsr_fast.cli import main
from pcsr_fast.files import exclusive
from pcsr_fast.training.trainer import BEST, LAST, Trainer
from tests.training.tools import words

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Case:
    """What is done to a good command line, and what the answer must hold.

    Attributes:
        message: text of the answer; {here} is the test's folder.
        words: words added to the command line; {here} is replaced.
        yaml: content of a configuration file that is given with --config.
        damage: changes something in the test's folder, which holds the data set `precomp` and the folder `run`.
    """

    message: str
    words: str = ""
    yaml: str | bytes | None = None
    damage: Callable[[Path], Any] | None = None


def line(words: str, message: str) -> Case:
    return Case(message, words)


def file(yaml: str | bytes, message: str) -> Case:
    return Case("{here}/c.yaml: " + message, yaml=yaml)


def data(name: str, change: Callable[[Path], Any], message: str) -> Case:
    """A change to one file of the data set."""
    return Case(message, damage=lambda here: change(here / "precomp" / name))


def noise(values: Any, message: str, change: Callable[[Path], Any] | None = None) -> Case:
    """A noise file of these values, damaged perhaps."""

    def write(here: Path) -> None:
        np.save(here / "n.npy", np.asarray(values), allow_pickle=True)
        if change is not None:
            change(here / "n.npy")

    return Case("{here}/n.npy: " + message, "--noise.file {here}/n.npy", damage=write)


def vocabulary(text: str, message: str) -> Case:
    write = lambda here: (here / "v.json").write_text(text)  # noqa: E731
    return Case("{here}/v.json: " + message, "--data.vocab {here}/v.json", damage=write)


def lines(change: Callable[[list[str]], Any]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        text = path.read_text().splitlines()
        change(text)
        path.write_text("\n".join(text) + "\n")

    return apply


def array(change: Callable[[np.ndarray], Any]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        values = np.load(path)
        changed = change(values)
        np.save(path, values if changed is None else changed)

    return apply


def put(value: float) -> Callable[[Path], None]:
    return array(lambda values: values.__setitem__((7, 2, 3), value))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def copy_split(path: Path) -> None:
    for source in path.parent.glob("train_*"):
        shutil.copy(source, source.with_name(source.name.replace("train_", "dev_")))


def checkpoint(content: bytes) -> Callable[[Path], None]:
    def apply(here: Path) -> None:
        (here / "run" / LAST).parent.mkdir(parents=True)
        (here / "run" / LAST).write_bytes(content)

    return apply


SPECIALS = '"<pad>": 0, "<start>": 1, "<end>": 2, "<unk>": 3'
ROW = "one integer a caption (240) or a picture (48), each in 0..47"

CASES = {
    # Keys
    "unknown key": line("--train.epcohs 3", "command line: unknown key train.epcohs; did you mean train.epochs"),
    "unknown key without a group": line("--lr 3", "unknown key lr; did you mean train.lr?"),
    "beginning of a key": line("--train.epoch 3", "unknown key train.epoch; did you mean train.epochs"),
    "beginning of an option": line("--resum", "unknown key resum; did you mean resume?"),
    "key of no group": line("--train.foo.bar 3", "unknown key train.foo.bar"),
    "stray word": line("now", "command line: got 'now', expected options, --key value"),
    "single dash": line("-x", "command line: got '-x', expected options, --key value"),
    "no value": line("--train.lr", "train.lr: got nothing, expected a value after it"),
    "value for a group": line("--train 5", "train: got '5', expected a group of keys, --train.KEY VALUE"),
    "unknown key in a file": file("train:\n  epcohs: 3\n", "unknown key train.epcohs; did you mean train.epochs"),
    "unknown group in a file": file("trian:\n  epochs: 3\n", "unknown key trian; did you mean train"),
    "value for a group in a file": file("train: 5\n", "train: got 5, expected a group of keys"),
    "nothing for a group in a file": file("warmup:\n", "warmup: got None, expected a group of keys"),
    "group for a value in a file": file("output: {a: 1}\n", "output: got {{'a': 1}}, expected one value"),
    "number as a key": file("1: 2\n", "unknown key 1; see --help for all keys"),
    # Types
    "text for an integer": line("--train.epochs few", "train.epochs: got 'few', expected int"),
    "fraction for an integer": line("--train.epochs 1.5", "train.epochs: got '1.5', expected int"),
    "text for a number": line("--train.lr fast", "train.lr: got 'fast', expected float"),
    "NaN for a number": line("--train.lr nan", "train.lr: got 'nan', expected float"),
    "text for a switch": line("--head.enabled maybe", "head.enabled: got 'maybe', expected bool"),
    "unknown choice": line(
        "--model.head cnn", "model.head: got 'cnn', expected one of 'vse', 'sgr', 'saf', 'sgraf', 'scan'"
    ),
    "unknown method": line("--method ours", "method: got 'ours', expected one of 'pcsr', 'pc2'"),
    "unknown profile": line(
        "--profile ours", "profile: got 'ours', expected auto or one of plain, pcsr, pcsr_official"
    ),
    "neither of two kinds": line("--data.im_div x", "data.im_div: got 'x', expected int or one of 'auto'"),
    "list in a file": file("train: {lr: [0.1]}\n", "train.lr: got '[0.1]', expected float"),
    "switch for an integer in a file": file("train: {epochs: true}\n", "train.epochs: got 'True', expected int"),
    "integer for a switch in a file": file("train: {tensorboard: 1}\n", "train.tensorboard: got '1', expected bool"),
    "number for a text in a file": file("output: 5\n", "output: got '5', expected str"),
    "null in a file": file("noise: {ratio: null}\n", "noise.ratio: got null, expected a value"),
    "list for the profile": Case("profile: got ['pcsr'], expected auto or one of", yaml="profile: [pcsr]\n"),
    # Configuration files
    "no file": line("--config {here}/none.yaml", "{here}/none.yaml: cannot be read (No such file or directory)"),
    "no packaged file": line("--config none", "none: no such configuration; expected one of"),
    "folder as a file": line("--config {here}", "{here}: cannot be read (Is a directory); expected a YAML file"),
    "no YAML": file("train: {lr: 1\n", "line 2 is no YAML (expected ',' or '}}', but got '<stream end>')"),
    "tab in YAML": file("train:\n\tlr: 1\n", "line 2 is no YAML (found character '\\t' that cannot start any token)"),
    "key twice in YAML": file("train: {lr: 1}\ntrain: {lr: 2}\n", "line 2 is no YAML (train stands twice)"),
    "code in YAML": file("!!python/object:os.system {}\n", "line 1 is no YAML (could not determine a constructor"),
    "empty YAML": file("", "holds NoneType, expected `key: value` lines"),
    "list in YAML": file("- train\n", "holds list, expected `key: value` lines"),
    "binary YAML": file(b"\xff\xfe\x00", "is no UTF-8 text; expected a YAML file"),
    # Ranges
    "no learning": line("--train.lr 0", "train.lr: got 0.0, expected a number > 0"),
    "endless learning rate": Case("train.lr: got inf, expected a number > 0", yaml="train: {lr: .inf}\n"),
    "negative epochs": line("--train.epochs -1", "train.epochs: got -1, expected a number >= 0"),
    "batch of one": line("--train.batch_size 1", "train.batch_size: got 1, expected a number >= 2"),
    "three nets": line("--train.num_nets 3", "train.num_nets: got 3, expected 1 or 2"),
    "noise above one": line("--noise.ratio 40", "noise.ratio: got 40.0, expected a number from 0 to 1"),
    "negative noise seed": line("--noise.seed -1", "noise.seed: got -1, expected a number >= 0"),
    "dropout above one": line("--model.dropout 1.5", "model.dropout: got 1.5, expected a number from 0 to 1"),
    "cosine above one": line("--replace.min_cos 7", "replace.min_cos: got 7.0, expected a number from -1 to 1"),
    "too many votes": line(
        "--pcs.votes_per_epoch 999", "pcs.votes_per_epoch: got 999, expected a number from 1 to 100"
    ),
    "no pictures": line("--data.limit_images 0", "data.limit_images: 0; expected an integer >= 1"),
    "no captions a picture": line("--data.im_div 0", "data.im_div: 0; expected 'auto' or an integer >= 1"),
    "no output": line("--output=", "output: got '', expected the name of a folder"),
    "model too large": line("--model.embed_dim 9999999", "model: does not fit in memory"),
    # Contradictions
    "nothing to train": line(
        "--train.epochs 0 --warmup.epochs 0", "train.epochs: got 0 with warmup.epochs 0, expected"
    ),
    "shares the wrong way": line(
        "--pcs.share_min 0.95", "pcs.share_min: got 0.95, expected a number up to pcs.share_max"
    ),
    "votes without a head": line(
        "--head.enabled false", "head.enabled: false leaves no predictions; expected pcs.enab"
    ),
    "search without vectors": line(
        "--model.head sgr --replace.pool clean_set", "replace.pool: clean_set needs one vector"
    ),
    "queue without vectors": line(
        "--model.head saf --replace.by similarity", "a queue by similarity needs model.head vse"
    ),
    "search with words": line(
        "--model.head scan --replace.by similarity --replace.pool clean_set", "got model.head scan; expected vse"
    ),
    "queue of words": line("--model.head scan --replace.by similarity", "needs model.head vse, got scan"),
    "search by prediction": line("--replace.pool clean_set --replace.by prediction", "clean_set searches by embedding"),
    "untrained head": line("--apo.refinable.start_epoch 0 --head.train_in_warmup false", "through an untrained head"),
    "no GPU": line("--train.device cuda", "train.device: cuda, but torch sees no GPU; expected cpu or auto"),
    "no right pair for the oracle": Case(
        "method: oracle may train on 0 of 240 pairs, expected at least 2",
        "--method oracle --noise.file {here}/n.npy",
        damage=lambda here: np.save(here / "n.npy", (np.arange(240) // 5 + 1) % 48),
    ),
    # Data sets
    "no data folder": line(
        "--data.path /no/such", "/no/such: no such folder; expected a data set in the pairs or precomp"
    ),
    "file as data folder": line(
        "--data.path {here}/precomp/vocab.json", "vocab.json: no such folder; expected a data set"
    ),
    "folder of something else": line("--data.path {here}/run", "holds neither train_regions.npy"),
    "another layout": line("--data.format pairs", "precomp/train_regions.npy: no such file; expected float16/float32"),
    "features missing": data(
        "train_ims.npy", Path.unlink, "holds neither train_regions.npy (pairs layout) nor train_ims"
    ),
    "test features missing": data(
        "test_ims.npy", Path.unlink, "{here}/precomp/test_ims.npy: no such file; expected float"
    ),
    "features empty": data("train_ims.npy", lambda p: p.write_bytes(b""), "train_ims.npy: the file is empty; expected"),
    "features truncated": data("dev_ims.npy", cut, "dev_ims.npy: is truncated (2683 bytes of 2688 that its header"),
    "features pickled": data(
        "train_ims.npy", pickled, "train_ims.npy: holds pickled Python objects, which are never loaded"
    ),
    "bare pickle": data(
        "train_ims.npy", lambda p: p.write_bytes(b"\x80\x04K."), "train_ims.npy: is a pickle; expected"
    ),
    "features of two dimensions": data(
        "train_ims.npy", array(lambda a: a[0]), "train_ims.npy: has shape (4, 16); expected"
    ),
    "features of integers": data(
        "train_ims.npy", array(lambda a: a.astype(int)), "train_ims.npy: has dtype int64; expected"
    ),
    "features NaN": data(
        "train_ims.npy", put(np.nan), "train_ims.npy: row 7, region 2, dimension 3 is nan; expected finite"
    ),
    "features infinite": data(
        "test_ims.npy", put(-np.inf), "test_ims.npy: row 7, region 2, dimension 3 is -inf; expected"
    ),
    "features of another width": data(
        "dev_ims.npy", array(lambda a: a[:, :, :9]), "(4, 9); expected (4, 16) as in train"
    ),
    "captions missing": data(
        "dev_caps.txt", Path.unlink, "precomp: holds no captions of split dev; expected dev_caps.txt"
    ),
    "captions empty": data(
        "train_caps.txt", lambda p: p.write_text("\n"), "train_caps.txt: the file is empty; expected"
    ),
    "caption file too short": data(
        "train_caps.txt", lines(list.pop), "has 239 captions for 48 picture rows in train_ims"
    ),
    "caption empty": data(
        "train_caps.txt", lines(lambda ls: ls.__setitem__(4, " ")), "train_caps.txt: line 5 is empty"
    ),
    "captions not UTF-8": data(
        "dev_caps.txt", lambda p: p.write_bytes(b"caf\xe9\n"), "dev_caps.txt: byte 3 is not UTF-8"
    ),
    "dev copied from train": data("dev_ims.npy", copy_split, "dev_ims.npy: holds the same pairs as train_ims.npy"),
    "picture row out of range": Case(
        "dev_captions.tsv: line 2 names picture row '10'; expected 0..9",
        "--data.path {here}/pairs",
        damage=lambda here: lines(lambda ls: ls.__setitem__(1, "10\ta t1w1"))(here / "pairs" / "dev_captions.tsv"),
    ),
    # Vocabularies
    "no vocabulary": line(
        "--data.vocab {here}/none.json", "{here}/none.json: cannot be read (No such file or directory)"
    ),
    "vocabulary of text": vocabulary("words", "is no JSON; expected a vocabulary json"),
    "vocabulary without ids": vocabulary("{}", "lacks word2idx or a positive idx; expected a vocabulary json"),
    "vocabulary without <unk>": vocabulary('{"word2idx": {"a": 0}, "idx": 1}', "<pad> has id None; expected 0"),
    "vocabulary id out of range": vocabulary(f'{{"word2idx": {{{SPECIALS}, "a": 9}}, "idx": 5}}', "word 'a' has id 9"),
    "vocabulary of another set": vocabulary(
        f'{{"word2idx": {{{SPECIALS}}}, "idx": 4}}', "knows under 10 % of the words"
    ),
    # Noise files
    "no noise file": line("--noise.file {here}/none.npy", "{here}/none.npy: no such file; expected " + ROW),
    "noise file too long": noise(np.zeros(241, int), "has 241 entries; expected " + ROW),
    "noise file of numbers": noise(np.zeros(240), "has dtype float64; expected " + ROW),
    "noise file of two dimensions": noise(np.zeros((240, 1), int), "has shape (240, 1); expected " + ROW),
    "noise row too large": noise(np.full(240, 48), "entry 0 is 48; expected " + ROW),
    "noise row negative": noise([0] * 239 + [-1], "entry 239 is -1; expected " + ROW),
    "noise no permutation": noise(
        np.zeros(48, int), "has one entry a picture but repeats some; expected a permutation"
    ),
    "noise file pickled": noise(np.array([{}], dtype=object), "holds pickled Python objects, which are never loaded"),
    "noise file truncated": noise(np.zeros(240, int), "is truncated (2043 bytes of 2048", cut),
    "noise file of text": noise([0], "is not a .npy file; expected " + ROW, lambda path: path.write_text("0 1 2")),
    # Run folders
    "output below a file": line(
        "--output {here}/precomp/vocab.json/run", "vocab.json/run: cannot write here (Not a direct"
    ),
    "output is a file": line("--output {here}/precomp/vocab.json", "vocab.json: cannot write here (File exists)"),
    "output in /proc": line(
        "--output /proc/run", "/proc/run: cannot write here (No such file or directory); expected a writ"
    ),
    "output holds a run": Case("already holds a run; expected --resume, or another folder", damage=checkpoint(b"")),
    "nothing to resume": line("--resume", "run holds no run; expected the folder of one, or no --resume"),
    "checkpoint empty": Case("last.safetensors: cannot be read as safetensors", "--resume", damage=checkpoint(b"")),
    "checkpoint of text": Case(
        "last.safetensors: cannot be read as safetensors", "--resume", damage=checkpoint(b"weights")
    ),
    "curves cannot be written": Case(
        "run/tensorboard: cannot write here (File exists); expected a writable folder",
        "--train.tensorboard true",
        damage=lambda here: (here / "run" / "tensorboard").write_text(""),
    ),
}


@pytest.fixture
def here(tiny: Path, tmp_path: Path) -> Path:
    """A folder with copies of the data sets and an empty folder `run`."""
    for name in ("precomp", "pairs"):
        shutil.copytree(tiny / name, tmp_path / name)
    (tmp_path / "run").mkdir()
    return tmp_path


def one_line(error: str, message: str) -> None:
    assert re.fullmatch(r"error: [^\n]+\n", error), error
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Trainer, *arguments: Any) -> None:
        raise AssertionError("training began")

    monkeypatch.setattr(Trainer, "_epoch", refuse)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    case = CASES[name]
    argv = [word.format(here=here) for word in case.words.split()]
    if case.yaml is not None:
        (here / "c.yaml").write_bytes(case.yaml if isinstance(case.yaml, bytes) else case.yaml.encode())
        argv += ["--config", str(here / "c.yaml")]
    if case.damage is not None:
        case.damage(here)
    # A key that the file is wrong about must not be mended by the command line.
    good = [] if case.yaml is not None else words(here, here / "run")
    found = sorted(path for path in here.rglob("*.safetensors"))
    assert main(["train", *good, *argv]) == 2
    one_line(capsys.readouterr().err, case.message.format(here=here))
    assert sorted(path for path in here.rglob("*.safetensors")) == found
    assert not list(here.rglob("*.part"))
    assert not (here / "run" / "history.jsonl").exists()
    assert not (here / "run" / BEST).exists()


def test_the_same_words_without_the_fault_train(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = words(here, here / "run", "--train.epochs", "0", "--train.num_nets", "1", "--train.batch_size", "120")
    assert main(["train", *argv]) == 0
    assert capsys.readouterr().err == ""
    assert (here / "run" / BEST).exists()


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60
    assert len({case.message for case in CASES.values()}) >= len(CASES) - 2


def test_a_run_in_use(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with exclusive(here / "run", "checkpoints"):
        assert main(["train", *words(here, here / "run")]) == 2
    one_line(capsys.readouterr().err, f"{here / 'run'}: another process is writing here; expected a folder of its own")


@pytest.mark.parametrize("name", ["unknown key", "caption file too short"])
def test_in_a_process_of_its_own(name: str, here: Path) -> None:
    case = CASES[name]
    if case.damage is not None:
        case.damage(here)
    argv = [*words(here, here / "run"), *(word.format(here=here) for word in case.words.split())]
    done = subprocess.run(
        [sys.executable, "-m", "pcsr_fast", "train", *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    one_line(done.stderr, case.message.format(here=here))
