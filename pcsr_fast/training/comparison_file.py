"""The group `compare` of a configuration file: what a comparison crosses, beside the configuration that all runs share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pcsr_fast.errors import ConfigError
from pcsr_fast.training.comparison_plan import Variant
from pcsr_fast.training.messages import unknown_key
from pcsr_fast.training.parse import COMPARISON, flat, load_yaml

_KEYS = ("methods", "ratios", "seeds", "jobs", "variants", "overrides")
_VARIANT = ("name", "method", "set")


@dataclass(frozen=True)
class Comparison:
    """What a file says about a comparison; without a file, these defaults.

    Attributes:
        methods, ratios, seeds, jobs, variants, overrides: as in `Plan`.
    """

    methods: list[str] = field(default_factory=lambda: ["triplet", "pcsr", "oracle"])
    ratios: list[float] = field(default_factory=lambda: [0.4])
    seeds: list[int] = field(default_factory=lambda: [0])
    jobs: int = 1
    variants: list[Variant] = field(default_factory=list)
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_comparison(path: Path) -> Comparison:
    """The comparison that a configuration file describes, defaults for what it leaves out.

    Raises:
        ConfigError: an unknown key, or a value of the wrong kind.
    """
    group = load_yaml(path).get(COMPARISON, {})
    place = f"{path}: {COMPARISON}"
    if not isinstance(group, Mapping):
        raise _wrong(place, group, f"a group with keys of {', '.join(_KEYS)}")
    for key in group:
        if key not in _KEYS:
            raise unknown_key(f"{COMPARISON}.{key}", str(path), [f"{COMPARISON}.{one}" for one in _KEYS])
    given: dict[str, Any] = {}
    for key, kind, name in (("methods", str, "names"), ("ratios", float, "numbers"), ("seeds", int, "integers")):
        if key in group:
            given[key] = _list(f"{place}.{key}", group[key], kind, name)
    if "jobs" in group:
        given["jobs"] = _one(f"{place}.jobs", group["jobs"], int, "an integer")
    if "variants" in group:
        values = _list(f"{place}.variants", group["variants"], dict, "groups of name, method and set")
        given["variants"] = [_variant(f"{place}.variants[{index}]", one) for index, one in enumerate(values)]
    if "overrides" in group:
        methods = _one(f"{place}.overrides", group["overrides"], dict, "groups of keys, one a method")
        given["overrides"] = {name: _settings(f"{place}.overrides.{name}", one) for name, one in methods.items()}
    return Comparison(**given)


def _wrong(place: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(f"{place}: got {value!r}, expected {expected}")


def _one(place: str, value: Any, kind: type, expected: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _wrong(place, value, expected)
    return value


def _list(place: str, value: Any, kind: type, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(place, value, f"a list of {name}")
    return [_one(place, one, kind, name) for one in value]


def _variant(place: str, values: Mapping[str, Any]) -> Variant:
    for key in values:
        if key not in _VARIANT:
            raise _wrong(place, key, f"the keys {', '.join(_VARIANT)}")
    for key in _VARIANT:
        if key not in values:
            raise ConfigError(f"{place}: lacks {key}; expected the keys {', '.join(_VARIANT)}")
    name, method = (_one(f"{place}.{key}", values[key], str, "a name") for key in ("name", "method"))
    return Variant(name, method, _settings(f"{place}.set", values["set"]))


def _settings(place: str, values: Any) -> dict[str, Any]:
    """Dotted keys and plain values of a group whose keys are dotted or nested."""
    return dict(flat(_one(place, values, dict, "a group of keys and values")))
