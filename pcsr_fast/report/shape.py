"""Checks that JSON read from a run folder has the shape that the report relies on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pcsr_fast.errors import UserError

Spec = Any


@dataclass(frozen=True)
class Kind:
    """A plain value."""

    name: str


@dataclass(frozen=True)
class Maybe:
    """Null, an empty object, or what `spec` says."""

    spec: Spec


@dataclass(frozen=True)
class Each:
    """An object with any keys whose values follow `spec`."""

    spec: Spec


@dataclass(frozen=True)
class Items:
    """A list whose entries follow `spec`; `length` None allows any length."""

    spec: Spec
    length: int | None = None


NUMBER, POSITIVE, INTEGER = Kind("a finite number"), Kind("a number above 0"), Kind("an integer")
TEXT, ANY = Kind("a text"), Kind("anything")


def _fits(value: Any, kind: Kind) -> bool:
    if kind is ANY:
        return True
    if kind is TEXT:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if kind is INTEGER:
        return isinstance(value, int)
    return math.isfinite(value) and (kind is NUMBER or value > 0)


def _fail(place: str, value: Any, expected: str) -> UserError:
    text = repr(value)
    return UserError(f"{place} is {text if len(text) <= 40 else text[:37] + '...'}; expected {expected}")


def check(value: Any, spec: Spec, place: str) -> None:
    """Check `value` against a spec: a Kind, a dict of required keys (more are allowed), Maybe, Each or Items.

    Raises:
        UserError: naming the place inside the file, what stands there and what was expected.
    """
    if isinstance(spec, Maybe):
        if value is not None and value != {}:
            check(value, spec.spec, place)
    elif isinstance(spec, Items):
        _check_items(value, spec, place)
    elif isinstance(spec, Kind):
        if not _fits(value, spec):
            raise _fail(place, value, spec.name)
    elif not isinstance(value, dict):
        raise _fail(place, value, "an object")
    elif isinstance(spec, Each):
        for key, inner in value.items():
            check(inner, spec.spec, f"{place}.{key}")
    else:
        for key, inner in spec.items():
            if key not in value:
                raise UserError(f"{place} has no {key!r}; expected the keys {', '.join(spec)}")
            check(value[key], inner, f"{place}.{key}")


def _check_items(value: Any, spec: Items, place: str) -> None:
    if not isinstance(value, list):
        raise _fail(place, value, "a list")
    if spec.length is not None and len(value) != spec.length:
        raise UserError(f"{place} has {len(value)} entries; expected {spec.length}")
    for index, inner in enumerate(value):
        check(inner, spec.spec, f"{place}[{index}]")
