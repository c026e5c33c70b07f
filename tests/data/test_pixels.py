"""Raw pictures as pixels: recipes, crops, layouts, and damaged files that are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pcsr_fast.data.load import DataConfig, data_folder, load_dataset
from pcsr_fast.data.pixels import PROCESSOR, Crop, Pictures, PixelRecipe
from pcsr_fast.errors import DataError

PLAIN = PixelRecipe(8, (0.0,) * 3, (1.0,) * 3)


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255


def test_a_picture_of_the_right_size_is_only_normalised() -> None:
    image = picture(8, 8)
    recipe = PixelRecipe(8, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (recipe.mean, recipe.std))
    found = recipe(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (array(image) - mean) / std, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bicubic", [False, True])
@pytest.mark.parametrize("shape", [(20, 24), (5, 30), (3, 3)])
def test_stretched_as_pillow_does(bicubic: bool, shape: tuple[int, int]) -> None:
    """Pillow rounds to whole numbers after each of its two passes."""
    image = picture(*shape)
    kind = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    found = PixelRecipe(8, PLAIN.mean, PLAIN.std, bicubic=bicubic)(image)
    assert found.shape == (3, 8, 8)
    assert np.abs(found - array(image.resize((8, 8), kind))).max() < 4 / 255


def test_the_middle_is_cut_out_after_the_shorter_side_was_brought_to_size() -> None:
    image = picture(10, 30)
    expected = array(image)[:, 1:9, 11:19]
    np.testing.assert_allclose(PixelRecipe(8, PLAIN.mean, PLAIN.std, shorter=10)(image), expected, atol=1e-6)


def test_crops_are_parts_of_the_picture() -> None:
    image = picture(16, 20)
    whole = array(image)
    np.testing.assert_allclose(PLAIN(image, Crop(1.0, 0.0, 0.5, 0.4, False)), whole[:, 8:, :8], atol=1e-6)
    np.testing.assert_allclose(PLAIN(image, Crop(0.0, 1.0, 0.5, 0.4, True)), whole[:, :8, 12:][..., ::-1], atol=1e-6)
    assert PLAIN(picture(1, 1), Crop(0.5, 0.5, 0.6, 0.6, True)).shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"size": {"height": 16, "width": 16}, "resample": 2}, PixelRecipe(16, (0.5,) * 3, (0.25,) * 3)),
        ({"size": 16, "resample": 3}, PixelRecipe(16, (0.5,) * 3, (0.25,) * 3, bicubic=True)),
        (
            {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}, "resample": 3},
            PixelRecipe(16, (0.5,) * 3, (0.25,) * 3, shorter=20, bicubic=True),
        ),
        ({"size": {"shortest_edge": 16}}, PixelRecipe(16, (0.5,) * 3, (0.25,) * 3, shorter=16)),
    ],
)
def test_recipes_of_image_processors(values: dict[str, Any], expected: PixelRecipe, tmp_path: Path) -> None:
    means = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (tmp_path / PROCESSOR).write_text(json.dumps({**values, **means}))
    assert PixelRecipe.load(tmp_path) == expected
    larger = PixelRecipe.load(tmp_path, 32)
    assert (larger.size, larger.shorter) == (32, 2 * expected.shorter)
    expected.save(tmp_path)
    assert PixelRecipe.load(tmp_path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "expected the image processor's JSON"),
        ('{"size": 8}', "lacks 'image_mean'; expected"),
        ('{"size": {"longest_edge": 8}, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}', "lacks 'height'"),
        ('{"size": 8, "image_mean": [0, 0, 0], "image_std": [1, 1, 0]}', r"image_std \(1.0, 1.0, 0.0\); expected"),
    ],
)
def test_bad_image_processors_are_named(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / PROCESSOR).write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        PixelRecipe.load(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / PROCESSOR))


def test_album(album: Path) -> None:
    data = load_dataset(DataConfig(name="album", path=str(album), min_word_count=1))
    assert [pairs.num_images for pairs in (data.train, data.dev, data.test)] == [20, 6, 6]
    assert data.train.num_captions == 60
    pictures = data.train.regions
    assert isinstance(pictures, Pictures)
    assert pictures.shape == (20, 3, 224, 224)
    small = pictures.made_by(PLAIN)
    some = small.take(np.array([7, 2, 7]))
    names = data.train.image_names
    assert names is not None
    for pixels, row in zip(some, (7, 2, 7), strict=True):
        assert np.array_equal(pixels, PLAIN(Image.open(album / names[row])))
    view = small.subset(np.array([5, 7])).subset(np.array([1]))
    np.testing.assert_array_equal(view.take(np.array([0]))[0], some[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        np.testing.assert_array_equal(small.take(np.array([7, 2, 7])), some)
    finally:
        torch.set_num_threads(threads)
    thumbnails = data.train.thumbnails
    assert thumbnails is not None
    assert thumbnails.read(3)[:4] == thumbnails.subset(np.array([3])).read(0)[:4] == b"RIFF"


def test_thumbnails_of_the_demo_set_are_pictures() -> None:
    data = load_dataset(DataConfig(format="pictures", limit_images=4))
    assert isinstance(data.train.regions, Pictures)
    assert data.train.num_images == 4
    pixels = data.train.regions.made_by(PixelRecipe(64, PLAIN.mean, PLAIN.std)).take(np.array([3, 0]))
    assert pixels.shape == (2, 3, 64, 64)
    assert pixels.std() > 0.05
    assert (data_folder(DataConfig()) / "train_thumbnails.tar").exists()


def copied(album: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(album, tmp_path / "album"))


def test_a_missing_picture_is_found_before_training(album: Path, tmp_path: Path) -> None:
    folder = copied(album, tmp_path)
    (folder / "dev3.png").unlink()
    with pytest.raises(DataError, match=r"dev3.png: no such file; expected a picture"):
        load_dataset(DataConfig(path=str(folder)))


def test_a_damaged_picture_is_named_when_it_is_read(album: Path, tmp_path: Path) -> None:
    folder = copied(album, tmp_path)
    path = folder / "train2.png"
    path.write_bytes(path.read_bytes()[:200])
    pictures = load_dataset(DataConfig(path=str(folder))).train.regions
    with pytest.raises(DataError, match=r"train2.png: is damaged"):
        pictures.take(np.arange(5))


def test_a_split_without_pictures(album: Path, tmp_path: Path) -> None:
    folder = copied(album, tmp_path)
    lines = (folder / "captions.csv").read_text().splitlines()
    (folder / "captions.csv").write_text("\n".join(line for line in lines if not line.endswith("dev")) + "\n")
    with pytest.raises(DataError, match=r"captions.csv: split dev has no picture; expected at least one"):
        load_dataset(DataConfig(path=str(folder)))


def test_a_folder_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"captions.csv: cannot be read"):
        load_dataset(DataConfig(path=str(tmp_path), format="pictures"))
