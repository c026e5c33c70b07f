from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pcsr_fast.data.load import DataConfig, load_dataset
from pcsr_fast.data.pairs import Dataset, PairSet
from pcsr_fast.data.vocabulary import END, START
from pcsr_fast.data.write import new_array, write_precomp

Same = Callable[[PairSet, PairSet], None]


def test_demo_set_is_what_its_readme_says(demo: Dataset) -> None:
    splits = (demo.train, demo.dev, demo.test)
    assert [(s.num_images, s.num_captions) for s in splits] == [(3459, 8392), (250, 500), (500, 1007)]
    assert demo.train.regions.shape == (3459, 36, 64)
    assert demo.train.regions.take(np.arange(3)).dtype == np.float32
    assert demo.train.image_names is not None
    assert demo.train.image_names[0] == "animals/2_dead_frogs_lumen_desig_01"
    assert demo.train.captions[0] == "2 dead frogs"
    words = {index: word for word, index in demo.vocabulary.word2idx.items()}
    assert [words[i] for i in demo.train.tokens[0]] == ["<start>", "2", "dead", "frogs", "<end>"]


def test_pairs_layout(originals: Path, five: Dataset) -> None:
    loaded = load_dataset(DataConfig(name="mine", path=str(originals / "pairs"), min_word_count=1))
    for found, expected in zip((loaded.train, loaded.dev, loaded.test), (five.train, five.dev, five.test), strict=True):
        assert found.captions == expected.captions
        assert found.image_names == expected.image_names
        np.testing.assert_array_equal(found.image_of_caption, expected.image_of_caption)
        rows = np.arange(expected.num_images)
        np.testing.assert_allclose(found.regions.take(rows), expected.regions.take(rows).clip(-1.27, 1.27), atol=0.0051)
        assert found.thumbnails is not None
        assert found.thumbnails.read(9) == f"{found.name} 9".encode()


def test_flickr_layout_groups_five_captions_and_takes_every_fifth_repeated_row(
    originals: Path, five: Dataset, same_pairs: Same
) -> None:
    folder = originals / "f30k"
    assert np.load(folder / "train_ims.npy").shape[0] == 12
    assert np.load(folder / "dev_ims.npy").shape[0] == 50
    loaded = load_dataset(DataConfig(path=str(folder), min_word_count=1, image_ids=False))
    same_pairs(loaded.train, five.train)
    same_pairs(loaded.dev, five.dev)
    same_pairs(loaded.test, five.test)
    assert isinstance(loaded.train.regions.array, np.memmap)


def test_caption_order_of_ids_files_wins_over_repeats(originals: Path, five: Dataset, same_pairs: Same) -> None:
    loaded = load_dataset(DataConfig(path=str(originals / "f30k"), min_word_count=1))
    same_pairs(loaded.dev, five.dev)
    assert loaded.dev.image_names == five.dev.image_names


def test_cc152k_layout(originals: Path, single: Dataset, same_pairs: Same) -> None:
    loaded = load_dataset(DataConfig(path=str(originals / "cc152k"), min_word_count=1))
    same_pairs(loaded.train, single.train)
    same_pairs(loaded.test, single.test)
    assert loaded.train.image_names == single.train.image_names


def test_cc152k_captions_are_cut_as_the_published_reader_cuts_them(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("cc152k")
    lines = (folder / "dev_caps.tsv").read_text().splitlines()
    lines[1] = '7\t"a ""quoted"" cat"'
    lines[2] = "8\tline\u2028separator  "
    (folder / "dev_caps.tsv").write_text("\r\n".join(lines) + "\r\n")
    dev = load_dataset(DataConfig(path=str(folder))).dev
    assert dev.captions[1:3] == ['a "quoted" cat', "line\u2028separator"]


def test_now_layout_without_and_with_its_vocabulary(originals: Path, single: Dataset) -> None:
    config = DataConfig(path=str(originals / "now"), captions_suffix="bpe")
    bare = load_dataset(config)
    assert bare.train.captions[0] == ",".join(map(str, single.train.tokens[0][1:-1]))
    assert bare.train.tokens[0].tolist() == single.train.tokens[0][1:-1].tolist()
    assert len(bare.vocabulary) == 1 + max(
        int(ids.max()) for s in (bare.train, bare.dev, bare.test) for ids in s.tokens
    )
    config.vocab = str(originals / "now" / "vocab.json")
    wrapped = load_dataset(config)
    assert wrapped.train.tokens[0].tolist() == [START, *bare.train.tokens[0], END]
    assert len(wrapped.vocabulary) == len(single.vocabulary)


def test_dev_keeps_the_published_share(five: Dataset, tmp_path: Path) -> None:
    """METHODS 1.1: the first limit * im_div captions, so limit pictures, or limit / 5 where rows repeat."""
    write_precomp(five, tmp_path / "repeated", style="f30k")
    write_precomp(five, tmp_path / "plain")
    sizes = {}
    for folder in ("repeated", "plain"):
        dev = load_dataset(DataConfig(path=str(tmp_path / folder), dev_limit=5, min_word_count=1)).dev
        sizes[folder] = (dev.num_images, dev.num_captions)
        assert dev.captions == five.dev.captions[: dev.num_captions]
    assert sizes == {"repeated": (1, 5), "plain": (5, 25)}
    whole = load_dataset(DataConfig(path=str(tmp_path / "plain"), dev_limit=0, min_word_count=1)).dev
    assert whole.num_captions == 50


def test_testall_replaces_test(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("f30k")
    for name in ("ims.npy", "caps.txt", "ids.txt"):
        (folder / f"test_{name}").rename(folder / f"testall_{name}")
    test = load_dataset(DataConfig(path=str(folder), test_split="testall")).test
    assert (test.name, test.num_captions) == ("test", 50)


def test_other_numbers_of_captions_by_im_div(originals: Path, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        np.save(tmp_path / f"{split}_ims.npy", np.random.default_rng(len(split)).random((3, 2, 2), dtype=np.float32))
        (tmp_path / f"{split}_caps.txt").write_text("".join(f"{split} {i}\n" for i in range(6)))
    train = load_dataset(DataConfig(path=str(tmp_path), im_div=2)).train
    assert train.image_of_caption.tolist() == [0, 0, 1, 1, 2, 2]


def test_published_ids_that_say_nothing_are_ignored(copy_of: Callable[[str], Path], five: Dataset) -> None:
    folder = copy_of("f30k")
    (folder / "dev_ids.txt").write_text("".join(f"{i}\n" for i in range(50)))
    (folder / "test_ids.txt").write_text("".join(f"{i // 25}\n" for i in range(50)))
    loaded = load_dataset(DataConfig(path=str(folder), min_word_count=1))
    np.testing.assert_array_equal(loaded.dev.image_of_caption, five.dev.image_of_caption)
    np.testing.assert_array_equal(loaded.test.image_of_caption, five.test.image_of_caption)


def test_limit_takes_the_first_pictures_but_the_whole_vocabulary(originals: Path, five: Dataset) -> None:
    limited = load_dataset(DataConfig(path=str(originals / "f30k"), limit_images=3, min_word_count=1))
    assert [s.num_images for s in (limited.train, limited.dev, limited.test)] == [3, 3, 3]
    assert limited.train.captions == five.train.captions[:15]
    assert len(limited.vocabulary) == len(five.vocabulary)


def test_vocabulary_comes_from_train_and_dev_or_from_a_file(originals: Path, five: Dataset) -> None:
    folder = originals / "f30k"
    built = load_dataset(DataConfig(path=str(folder), min_word_count=1))
    given = load_dataset(DataConfig(path=str(folder), vocab=str(folder / "vocab.json")))
    assert built.vocabulary.word2idx == given.vocabulary.word2idx == five.vocabulary.word2idx
    rare = load_dataset(DataConfig(path=str(folder), min_word_count=10))
    assert len(rare.vocabulary) < len(built.vocabulary)


def test_unchecked_features_are_not_read(copy_of: Callable[[str], Path]) -> None:
    folder = copy_of("f30k")
    with new_array(folder / "train_ims.npy", (12, 4, 6), "<f4") as array:
        array[3] = np.nan
    assert load_dataset(DataConfig(path=str(folder), check_features=False)).train.num_images == 12
