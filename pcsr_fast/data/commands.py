"""What `pcsr-fast data info|verify|export|extract` do; each prints its findings and returns nothing."""

from __future__ import annotations

import os

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pcsr_fast.data.extract import ExtractConfig, extract_set
from pcsr_fast.data.load import DataConfig, data_folder, layout_of, load_dataset
from pcsr_fast.data.manifest import verify_manifest
from pcsr_fast.data.pairs import Dataset, PairSet, Regions
from pcsr_fast.data.vocabulary import UNK
from pcsr_fast.data.write import MANIFEST, write_precomp
from pcsr_fast.errors import ConfigError


def _facts(pairs: PairSet) -> dict[str, str]:
    counts = np.bincount(pairs.image_of_caption, minlength=pairs.num_images)
    lengths = [len(ids) for ids in pairs.tokens]
    return {
        "images": str(pairs.num_images),
        "captions": str(pairs.num_captions),
        "captions an image": f"{counts.min()} to {counts.max()}",
        "tokens a caption": f"{np.mean(lengths):.1f}, at most {max(lengths)}",
        "unknown words": f"{100 * np.mean(np.concatenate(pairs.tokens) == UNK):.1f} %",
        "regions": " x ".join(map(str, pairs.regions.shape[1:])),
        "stored as": str(pairs.regions.array.dtype) if isinstance(pairs.regions, Regions) else "pictures",
        "thumbnails": "yes" if pairs.thumbnails else "no",
    }


def _splits(dataset: Dataset) -> tuple[PairSet, PairSet, PairSet]:
    return dataset.train, dataset.dev, dataset.test


def info(config: DataConfig, console: Console | None = None) -> None:
    """Load a data set with every check and print its sizes, its vocabulary and a few pairs."""
    console = console or Console()
    dataset = load_dataset(config)
    folder = data_folder(config)
    facts = {pairs.name: _facts(pairs) for pairs in _splits(dataset)}
    table = Table("", *facts, title=f"{dataset.name}: {layout_of(config, folder)} layout", title_justify="left")
    for key in facts["train"]:
        table.add_row(key, *(part[key] for part in facts.values()))
    console.print(table)
    console.print(f"folder: {folder}\nvocabulary: {len(dataset.vocabulary)} ids", highlight=False, markup=False)
    for caption, image in list(zip(dataset.train.captions, dataset.train.image_of_caption, strict=True))[:3]:
        name = dataset.train.image_names[image] if dataset.train.image_names else f"row {image}"
        console.print(f"  {name}: {caption}", highlight=False, markup=False)


def verify(config: DataConfig, console: Console | None = None) -> None:
    """Check every file against manifest.json (published precomputed folders have none), then load with every check.

    Raises:
        DataError: the first thing that is wrong.
    """
    console = console or Console()
    folder = data_folder(config)
    checksums = "no manifest.json, so no checksums to compare"
    if (folder / MANIFEST).exists() or layout_of(config, folder) == "pairs":
        checksums = f"{len(verify_manifest(folder))} files match their SHA-256"
    dataset = load_dataset(config)
    pairs = sum(part.num_captions for part in _splits(dataset))
    console.print(f"{folder}: {checksums}; {pairs} pairs load", highlight=False, markup=False)


def export(
    config: DataConfig, out: str | os.PathLike[str], format: str = "precomp", console: Console | None = None
) -> None:
    """Write a data set in another layout; "precomp" is that of SCAN, NCR and PCSR.

    Raises:
        ConfigError: unknown format.
    """
    if format != "precomp":
        raise ConfigError(f"format: {format!r}; expected 'precomp'")
    console = console or Console()
    dataset = load_dataset(config)
    if not isinstance(dataset.train.regions, Regions):
        raise ConfigError("data.format: pictures have no features to export; expected pcsr-fast data extract before")
    write_precomp(dataset, out)
    console.print(
        f"{out}: wrote {{train,dev,test}}_ims.npy, _caps.txt, _ids.txt and vocab.json", highlight=False, markup=False
    )
    if dataset.dev.num_captions > DataConfig.dev_limit:
        console.print(
            f"note: readers of this layout keep the first {DataConfig.dev_limit} dev captions (data.dev_limit)"
        )


def extract(config: ExtractConfig, console: Console | None = None) -> None:
    """Turn pictures and captions into a data set and print what came of it and how to train on it."""
    console = console or Console()
    columns = (TextColumn("encoding pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("encode", total=None)
        result = extract_set(config, lambda done, total: bar.update(task, completed=done, total=total))
    table = Table("split", "images", "captions", title=str(result.out), title_justify="left")
    for split, count in result.images.items():
        table.add_row(split, str(count), str(result.captions[split]))
    console.print(table)
    kept = "" if result.explained is None else f", PCA keeps {100 * result.explained:.1f} % of the variance"
    console.print(f"{result.regions[0]} regions x {result.regions[1]} features a picture{kept}", highlight=False)
    for message in result.skipped:
        console.print(f"left out: {message}", highlight=False, markup=False)
    console.print(f"train on it: pcsr-fast train --data.path {result.out}", highlight=False, markup=False)
