"""Pictures and captions of the report: surest mismatches, and what a few queries retrieve."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcsr_fast.data.pairs import Dataset, PairSet
from pcsr_fast.report.artefacts import Run
from pcsr_fast.report.layout import PARTS

SHOWN = 24
_MISSED = 5


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a data URI, None where the set has none, and the picture's name or row."""

    name: str
    uri: str | None


@dataclass(frozen=True)
class Suspect:
    """A pair that the split calls wrong.

    Attributes:
        pair: caption id. picture: the one the caption held. caption: the held text.
        p_clean: mean posterior. part: refinable or ambiguous. wrong: whether it truly is, None if unknown.
        better: caption that would be put in its place, or None. similarity: of that caption and the picture.
        better_fits: whether that caption truly belongs to the picture, None if unknown.
    """

    pair: int
    picture: Picture
    caption: str
    p_clean: float
    part: str
    wrong: bool | None
    better: str | None
    similarity: float
    better_fits: bool | None


@dataclass(frozen=True)
class Answer:
    """One retrieved picture or caption."""

    content: Any
    score: float
    true: bool


@dataclass(frozen=True)
class Query:
    """A query, its best answers, and the true ones that are not among them."""

    content: Any
    answers: list[Answer]
    missed: list[Any]


def picture(pairs: PairSet, row: int) -> Picture:
    """The thumbnail of a picture row.

    Raises:
        DataError: the thumbnails cannot be read.
    """
    name = pairs.image_names[row] if pairs.image_names else f"picture {row}"
    if pairs.thumbnails is None:
        return Picture(name, None)
    return Picture(name, "data:image/webp;base64," + base64.b64encode(pairs.thumbnails.read(row)).decode("ascii"))


def suspects(run: Run, dataset: Dataset) -> list[Suspect]:
    """The pairs most surely called wrong: lowest posterior first, then highest loss; none without a split."""
    found = run.findings
    if found is None:
        return []
    order = np.lexsort((-found["loss"], found["p_clean"]))
    pairs, known = dataset.train, "is_true" in found
    result = []
    for pair in order[found["part"][order] != 0][:SHOWN].tolist():
        row, better = int(run.held[pair]), int(found["replacement"][pair])
        result.append(
            Suspect(
                pair=pair,
                picture=picture(pairs, row),
                caption=pairs.captions[pair],
                p_clean=float(found["p_clean"][pair]),
                part=PARTS[found["part"][pair]],
                wrong=not found["is_true"][pair] if known else None,
                better=pairs.captions[better] if better >= 0 else None,
                similarity=float(found["replacement_similarity"][pair]),
                better_fits=bool(pairs.image_of_caption[better] == row) if known and better >= 0 else None,
            )
        )
    return result


def text_queries(run: Run, dataset: Dataset) -> list[Query]:
    """Captions of the test split and the pictures they retrieve."""
    pairs = dataset.test
    return [
        _query(pairs.captions[entry["query"]], entry, [entry["image"]], lambda row: picture(pairs, row))
        for entry in run.retrieval["text_to_image"]
    ]


def picture_queries(run: Run, dataset: Dataset) -> list[Query]:
    """Pictures of the test split and the captions they retrieve."""
    pairs = dataset.test
    return [
        _query(picture(pairs, entry["query"]), entry, entry["true"], lambda caption: pairs.captions[caption])
        for entry in run.retrieval["image_to_text"]
    ]


def _query(content: Any, entry: dict[str, Any], truth: list[int], show: Any) -> Query:
    found = zip(entry["top"], entry["scores"], strict=True)
    answers = [Answer(show(place), score, place in truth) for place, score in found]
    return Query(content, answers, [show(place) for place in truth if place not in entry["top"]][:_MISSED])
