"""A missing or damaged artefact is one line that names the file, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pcsr_fast.data.pairs import Dataset
from pcsr_fast.errors import UserError
from pcsr_fast.report.artefacts import read_run

FILES = (
    "config.yaml",
    "findings.safetensors",
    "history.jsonl",
    "metrics.json",
    "noise.json",
    "noise.npy",
    "retrieval.json",
)


def refusal(folder: Path, dataset: Dataset) -> str:
    with pytest.raises(UserError) as caught:
        read_run(folder, dataset)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(make_run: Any, plain_set: Dataset, name: str) -> None:
    folder = make_run(plain_set)
    (folder / name).unlink()
    assert f"{folder / name}: " in refusal(folder, plain_set)


@pytest.mark.parametrize("content", [b"", b"\x80\x04 not it {", b"[1, 2"], ids=["empty", "binary", "cut"])
@pytest.mark.parametrize("name", FILES)
def test_damaged_file_is_named(make_run: Any, plain_set: Dataset, name: str, content: bytes) -> None:
    folder = make_run(plain_set)
    (folder / name).write_bytes(content)
    assert str(folder / name) in refusal(folder, plain_set)


def _history(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        change(lines[3])
        (folder / "history.jsonl").write_text("\n".join(map(json.dumps, lines)))

    return damage


def _json(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        value = json.loads((folder / name).read_text())
        change(value)
        (folder / name).write_text(json.dumps(value))

    return damage


def _findings(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        arrays = load_file(folder / "findings.safetensors")
        change(arrays)
        save_file(arrays, folder / "findings.safetensors")

    return damage


DAMAGE = {
    "no rsum": (_history(lambda line: line["dev"]["ensemble"].pop("rsum")), "line 4.dev.ensemble has no 'rsum'"),
    "text for a number": (
        _history(lambda line: line.update(lr="fast")),
        "line 4.lr is 'fast'; expected a finite number",
    ),
    "true for a number": (_history(lambda line: line.update(lr=True)), "line 4.lr is True"),
    "NaN": (_history(lambda line: line.update(seconds=float("nan"))), "line 4.seconds is nan"),
    "list for an object": (_history(lambda line: line.update(loss=[1])), "line 4.loss is [1]; expected an object"),
    "object for a list": (
        _history(lambda line: line.update(split={"a": 1})),
        "line 4.split is {'a': 1}; expected a list",
    ),
    "a net less": (_history(lambda line: line["split"].pop()), "line 4 has another number of nets"),
    "no variance": (
        _json("metrics.json", lambda m: m["split"][0]["mixture"].update(variances=[0.1, 0])),
        "variances[1] is 0; expected a number above 0",
    ),
    "three means": (
        _json("metrics.json", lambda m: m["split"][0]["mixture"].update(means=[1, 2, 3])),
        "means has 3 entries; expected 2",
    ),
    "a bin less": (
        _json("metrics.json", lambda m: m["split"][0]["loss_histogram"]["all"].pop()),
        "metrics.json: split has a histogram of 39 counts and 41 edges",
    ),
    "epoch not whole": (
        _json("metrics.json", lambda m: m["best"].update(epoch=1.5)),
        "best.epoch is 1.5; expected an integer",
    ),
    "query outside": (
        _json("retrieval.json", lambda r: r["text_to_image"][0]["top"].__setitem__(1, 10)),
        "text_to_image[0].top holds 10; expected 0..9",
    ),
    "a score less": (
        _json("retrieval.json", lambda r: r["image_to_text"][0]["scores"].pop()),
        "has 5 answers; expected 4",
    ),
    "noise of another run": (_json("noise.json", lambda n: n.update(sha256="0" * 64)), "noise.npy"),
    "noise without share": (
        _json("noise.json", lambda n: n.pop("wrong_share")),
        "noise.json: the file has no 'wrong_share'",
    ),
    "no losses": (_findings(lambda a: a.pop("loss")), "findings.safetensors: loss holds nothing"),
    "short findings": (_findings(lambda a: a.update(part=a["part"][:3])), "part holds uint8 (3,)"),
    "float parts": (_findings(lambda a: a.update(part=a["loss"])), "part holds float32 (80,)"),
    "replacement outside": (
        _findings(lambda a: a["replacement"].__setitem__(0, 80)),
        "replacement or part is out of range",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_explained(make_run: Any, plain_set: Dataset, name: str) -> None:
    folder = make_run(plain_set)
    damage, expected = DAMAGE[name]
    damage(folder)
    message = refusal(folder, plain_set)
    assert expected in message
    assert str(folder) in message


def test_config_without_split_options(make_run: Any, plain_set: Dataset) -> None:
    folder = make_run(plain_set)
    (folder / "config.yaml").write_text("split: {mixture: gaussian}")
    assert "config.yaml: the file.split has no 'p_threshold'" in refusal(folder, plain_set)


def test_no_such_folder(tmp_path: Path, plain_set: Dataset) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere", plain_set)


def test_more_keys_than_needed_are_fine(make_run: Any, plain_set: Dataset) -> None:
    folder = make_run(plain_set)
    _history(lambda line: line.update(extra={"a": None}))(folder)
    assert read_run(folder, plain_set).history[3]["extra"] == {"a": None}
