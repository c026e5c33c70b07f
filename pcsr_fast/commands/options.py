"""Parsers of the small commands: jsonargparse over dataclasses, errors as one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from jsonargparse import ArgumentParser

from pcsr_fast.errors import ConfigError
from pcsr_fast.training.parse import keys_of, parse_words

Options = TypeVar("Options")


def parse_options(kind: type[Options], command: str, argv: Sequence[str], positional: Sequence[str] = ()) -> Options:
    """An instance of the dataclass `kind` from command-line words; fields in `positional` are given by place.

    Raises:
        ConfigError: an unknown option or a value of the wrong type.
    """
    parser = ArgumentParser(prog=f"pcsr-fast {command}", exit_on_error=False, allow_abbrev=False)
    parser.add_class_arguments(kind, as_positional=False, skip=set(positional))
    for name in positional:
        parser.add_argument(name)
    built = parser.instantiate(parse_words(parser, argv, keys_of(kind)))
    return kind(**{name: value for name, value in _values(built).items() if name in kind.__dataclass_fields__})  # type: ignore[attr-defined]


def _values(namespace: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(namespace).items() if not name.startswith("__")}


def numbers(text: str, option: str) -> list[float]:
    """Comma-separated numbers.

    Raises:
        ConfigError: something else.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--{option}: got {text!r}, expected numbers with commas between") from error


def integers(text: str, option: str) -> list[int]:
    """Comma-separated integers >= 0.

    Raises:
        ConfigError: something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError(f"--{option}: got {text!r}, expected integers >= 0 with commas between")
    return [int(part) for part in parts]
