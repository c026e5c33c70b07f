"""The page: whole, self-contained, safe with foreign text, and without the sections that a run has nothing for."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pcsr_fast.data.pairs import Dataset
from pcsr_fast.errors import UserError
from pcsr_fast.report import build_report

VOID = {"meta", "img", "br", "hr", "input", "link"}
SPLIT_SECTIONS = {"losses", "consistency", "confusion", "suspects"}


class Page(HTMLParser):
    """Collects what a test asks about, and fails on a tag that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.sections: list[str] = []
        self.titles: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]
        if "id" in named:
            self.ids.append(named["id"] or "")
            self.sections += [named["id"] or ""] if tag == "section" else []
        if tag == "svg":
            self.titles.append(named.get("aria-label") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def build(folder: Path, dataset: Dataset) -> tuple[str, Page]:
    target = build_report(folder, dataset)
    assert target == folder / "report.html"
    text = target.read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def folder(make_run: Any, picture_set: Dataset) -> Path:
    made: Path = make_run(picture_set)
    return made


@pytest.fixture(scope="module")
def text(folder: Path, picture_set: Dataset) -> str:
    return build(folder, picture_set)[0]


def test_page_is_whole_and_self_contained(text: str) -> None:
    page = Page(text)
    assert page.sections == [
        "test", "training", "losses", "consistency", "confusion", "suspects", "queries", "configuration",
    ]  # fmt: skip
    assert len(page.ids) == len(set(page.ids))
    pictures = [link for link in page.links if not link.startswith("#")]
    assert len(pictures) > 24
    assert all(link.startswith(("data:image/webp;base64,", "data:image/png;base64,")) for link in pictures)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(page.ids)
    assert "http" not in text
    assert "@import" not in text


def test_captions_are_escaped(text: str) -> None:
    assert "script" not in Page(text).tags
    assert "&lt;script&gt;alert(&#39;train&#39;)&lt;/script&gt; &amp; &#34;quotes&#34;" in text
    assert "&lt;script&gt;alert(&#39;test&#39;)" in text
    assert "&lt;runs/one&gt;" in text


def test_numbers_stand_on_the_page(folder: Path, text: str) -> None:
    digest = json.loads((folder / "noise.json").read_text())["sha256"]
    for expected in ("123.4", "0.88", "0.75", "0.90", digest[:12], "3 min 07 s", "epoch 3, dev rSum 104.0", "113.4"):
        assert expected in text


def test_suspects_and_their_marks(text: str) -> None:
    cards = text[text.index('id="suspects"') : text.index('id="queries"')].split("<li>")[1:]
    assert len(cards) == 24
    assert "alert(" in cards[0]
    assert "pair 5<" in cards[0]
    assert all("truly its own" in card and "0.62" in card for card in cards)
    wrong = sum("truly wrong" in card for card in cards)
    assert wrong + sum("is a right pair" in card for card in cards) == 24
    assert f"{wrong} of these 24 pairs" in text


def test_true_answers_are_marked(text: str, picture_set: Dataset) -> None:
    queries = text[text.index('id="queries"') :]
    assert queries.count('class="answer true"') == 1
    assert queries.count('class="answer missed"') == 1
    assert queries.count('<li class="true">') == 1
    assert f"“{picture_set.test.captions[3]}”" in queries


def test_without_thumbnails_a_placeholder_names_the_picture(make_run: Any, plain_set: Dataset) -> None:
    text, page = build(make_run(plain_set), plain_set)
    assert "img" not in page.tags
    assert text.count('class="placeholder"') > 24
    assert (plain_set.test.image_names or ["picture 3"] * 10)[3] in text


def test_unknown_truth_leaves_its_marks_out(make_run: Any, picture_set: Dataset) -> None:
    text, page = build(make_run(picture_set, known=False), picture_set)
    assert "confusion" not in page.sections
    assert {"losses", "consistency", "suspects"} <= set(page.sections)
    assert "truly" not in text
    assert "split precision" not in text


@pytest.mark.parametrize("method", ["triplet", "a new <method>"])
def test_baseline_has_no_split_sections(make_run: Any, plain_set: Dataset, method: str) -> None:
    folder = make_run(plain_set, method=method, nets=1)
    text, page = build(folder, plain_set)
    assert not SPLIT_SECTIONS & set(page.sections)
    assert page.titles == ["Validation", "Losses", "Learning rate"]
    assert "test, net<" in text
    assert "<method>" not in text


def test_wrong_set_is_refused(make_run: Any, plain_set: Dataset, picture_set: Dataset) -> None:
    folder = make_run(picture_set)
    smaller = Dataset("small", plain_set.dev, plain_set.dev, plain_set.test, plain_set.vocabulary)
    with pytest.raises(UserError, match=r"noise\.npy: holds 80 captions"):
        build_report(folder, smaller)
    assert not (folder / "report.html").exists()
