"""What a comparison crosses, and the command line of each of its runs."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods import METHODS
from pcsr_fast.training.config import Config, as_dict
from pcsr_fast.training.identity import differences
from pcsr_fast.training.parse import flat, load_yaml, parse_config

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
# What a comparison sets itself.
_CROSSED = ("method", "output", "noise.ratio", "noise.seed", "train.seed")


@dataclass(frozen=True)
class Variant:
    """A method with some switches set, as a row of its own (an ablation).

    Attributes:
        name: of the row and of its folders.
        method: the method it is a variant of.
        settings: dotted keys and values, over the method's overrides.
    """

    name: str
    method: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One cell of the comparison: `row` is the name of a method or a variant."""

    row: str
    ratio: float
    seed: int

    @property
    def name(self) -> str:
        """Folder of the run."""
        return f"{self.row}-{self.ratio:g}-seed{self.seed}"


@dataclass
class Plan:
    """A comparison.

    Attributes:
        methods, ratios, seeds: what is crossed; a seed sets both the noise and the training.
        words: command-line words of the shared configuration, which win over `overrides` and `variants`.
        output: folder of all runs.
        jobs: runs side by side; the cores are shared out among them.
        variants: further rows.
        overrides: method -> dotted keys and values that its runs, and those of its variants, start from.
    """

    methods: list[str]
    ratios: list[float]
    seeds: list[int]
    words: list[str]
    output: Path
    jobs: int
    variants: list[Variant] = field(default_factory=list)
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)

    def rows(self) -> list[Variant]:
        """All rows in order; a plain method is a variant without settings."""
        return [*(Variant(name, name, {}) for name in self.methods), *self.variants]

    def row(self, name: str) -> Variant:
        """The row of that name."""
        return next(one for one in self.rows() if one.name == name)

    def runs(self) -> list[Run]:
        """All cells; the slowest method first, so that side-by-side runs end together."""
        order = sorted(self.rows(), key=lambda one: one.method != "pcsr")
        return [Run(one.name, ratio, seed) for seed, ratio, one in itertools.product(self.seeds, self.ratios, order)]

    def folder(self, run: Run) -> Path:
        """Where a run writes."""
        return self.output / run.name

    def run_words(self, run: Run) -> list[str]:
        """Command-line words of one run; the later ones win over the shared ones."""
        words = [*self.row_words(run.row), "--output", str(self.folder(run))]
        return [*words, "--noise.ratio", str(run.ratio), "--noise.seed", str(run.seed), "--train.seed", str(run.seed)]

    def row_words(self, name: str) -> list[str]:
        """What the runs of a row share."""
        row = self.row(name)
        settings = {**self.overrides.get(row.method, {}), **row.settings}
        return [*(_word(key, value) for key, value in settings.items()), *self.words, "--method", row.method]


def _word(key: str, value: Any) -> str:
    return f"--{key}={value if isinstance(value, str) else json.dumps(value)}"


def check_plan(plan: Plan) -> None:
    """Refuse an empty or impossible plan.

    Raises:
        ConfigError: naming what is wrong.
    """
    for option in ("methods", "ratios", "seeds"):
        _check_once(f"--{option}", getattr(plan, option))
    for name in plan.methods:
        if name not in METHODS:
            known = ", ".join([*METHODS, *(one.name for one in plan.variants)])
            raise ConfigError(f"--methods: got {name!r}, expected some of {known}")
    for ratio in plan.ratios:
        if not 0 <= ratio <= 1:
            raise ConfigError(f"--ratios: got {ratio}, expected numbers from 0 to 1")
    for seed in plan.seeds:
        if seed < 0:
            raise ConfigError(f"--seeds: got {seed}, expected integers >= 0")
    if plan.jobs < 1:
        raise ConfigError(f"--jobs: got {plan.jobs}, expected a number >= 1")
    if not plan.rows() or not plan.ratios or not plan.seeds:
        raise ConfigError("compare: got nothing to run; expected a method or variant, a ratio and a seed at least")
    _check_settings(plan)
    for row in plan.rows():
        _check_same(plan, row)


def _check_once(place: str, values: list[Any]) -> None:
    twice = next((one for index, one in enumerate(values) if one in values[:index]), None)
    if twice is not None:
        raise ConfigError(f"{place}: got {twice} twice, expected each once")


def _check_settings(plan: Plan) -> None:
    """Names and keys of variants and overrides; values are checked when a row's configuration is parsed."""
    _check_once("compare.variants", [one.name for one in plan.variants])
    for one in plan.variants:
        place = f"compare.variants: {one.name}"
        if not _NAME.fullmatch(one.name) or one.name in METHODS:
            raise ConfigError(f"{place}: expected a name of letters, digits and _.+- that no method has")
        if one.method not in METHODS:
            raise ConfigError(f"{place}: method: got {one.method!r}, expected one of {', '.join(METHODS)}")
        _check_free(place, one.settings)
    for method, settings in plan.overrides.items():
        if method not in METHODS:
            raise ConfigError(f"compare.overrides: got {method!r}, expected one of {', '.join(METHODS)}")
        _check_free(f"compare.overrides: {method}", settings)


def _check_free(place: str, settings: Mapping[str, Any]) -> None:
    for key in settings:
        if key in _CROSSED:
            raise ConfigError(f"{place}: {key} is set by the comparison; expected other keys")


def _check_same(plan: Plan, row: Variant) -> None:
    """The row's configuration can be read, and its runs that are there already were made with it."""
    try:
        config, _ = parse_config(plan.row_words(row.name), "compare")
    except ConfigError as error:
        raise ConfigError(f"{row.name}: {error}") if row.settings or row.method in plan.overrides else error from error
    for run in plan.runs():
        written = plan.folder(run) / "config.yaml"
        if run.row != row.name or not written.is_file():
            continue
        for key, wanted, found in differences(as_dict(_of_run(config, run)), _filled(load_yaml(written))):
            raise ConfigError(
                f"{written}: this run was made with {key} = {found!r}, got {wanted!r}; "
                "expected the same value, or another --output"
            )


def _of_run(config: Config, run: Run) -> Config:
    noise = dataclasses.replace(config.noise, ratio=run.ratio, seed=run.seed)
    return dataclasses.replace(config, noise=noise, train=dataclasses.replace(config.train, seed=run.seed))


def _filled(written: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration, with the defaults of keys that are younger than the run."""
    whole = as_dict(Config())
    for key, value in flat(written):
        *groups, name = key.split(".")
        inner = whole
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    return whole
