"""YAML files and dotted overrides -> Config, with one-line errors that suggest the right key."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentError
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.profiles import PROFILES
from pcsr_fast.resources import config_path
from pcsr_fast.training.config import Config, check_config, value_of
from pcsr_fast.training.messages import translated, unknown_key

_DESCRIPTION = """Every key of the configuration is an option, e.g. --noise.ratio 0.4; a YAML file (--config, a path or the
name of a file that comes with the package) holds the same keys, nested. Later options win over the file, the file over
the profile, the profile over the defaults shown here."""
COMPARISON = "compare"


def keys_of(kind: type, prefix: str = "") -> list[str]:
    """All dotted keys of a configuration dataclass, groups included."""
    keys = []
    for one in dataclasses.fields(kind):
        name = prefix + one.name
        keys.append(name)
        default = one.default_factory if one.default_factory is not dataclasses.MISSING else None
        if isinstance(default, type) and dataclasses.is_dataclass(default):
            keys += keys_of(default, name + ".")
    return keys


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML readers silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value} stands twice", problem_mark=key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _check_keys(values: Mapping[str, Any], where: str, known: Collection[str], prefix: str = "") -> None:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key not in known:
            raise unknown_key(key, where, known)
        is_group = any(one.startswith(key + ".") for one in known)
        if is_group != isinstance(value, Mapping):
            kind = "a group of keys" if is_group else "one value"
            raise ConfigError(f"{where}: {key}: got {value!r}, expected {kind}")
        if is_group:
            _check_keys(value, where, known, key + ".")


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as it stands.

    Raises:
        ConfigError: no such file, no YAML, or no mapping.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); expected a YAML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no UTF-8 text; expected a YAML file") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or "unreadable"
        place = "is no YAML" if mark is None else f"line {mark.line + 1} is no YAML"
        raise ConfigError(f"{path}: {place} ({problem}); expected `key: value` lines") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: holds {type(values).__name__}, expected `key: value` lines")
    return dict(values)


def read_yaml(path: Path) -> dict[str, Any]:
    """A configuration file, its keys checked; the group COMPARISON, which is for `pcsr-fast compare`, is left out.

    Raises:
        ConfigError: no such file, no YAML, no mapping, or an unknown key.
    """
    values = load_yaml(path)
    values.pop(COMPARISON, None)
    _check_keys(values, str(path), keys_of(Config))
    return values


def make_parser(command: str) -> ArgumentParser:
    """Parser of `pcsr-fast COMMAND` with every configuration key."""
    parser = ArgumentParser(
        prog=f"pcsr-fast {command}", description=_DESCRIPTION, exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("--config", help="YAML file")
    parser.add_class_arguments(Config)
    return parser


def parse_config(
    argv: Sequence[str], command: str = "train", extra: Mapping[str, Any] | None = None
) -> tuple[Config, Any]:
    """Configuration from command-line words.

    Args:
        argv: words after the command.
        command: name shown in the help.
        extra: further options, name -> keyword arguments of `add_argument`.

    Returns:
        (configuration, namespace with the extra options)

    Raises:
        ConfigError: an unknown key, a value of the wrong type, an unreadable file, or a value out of range.
    """
    parser = make_parser(command)
    known = ["config", *keys_of(Config)]
    for name, arguments in (extra or {}).items():
        parser.add_argument(name, **arguments)
        known.append(name.removeprefix("--"))
    first = parse_words(parser, argv, known)
    values = {} if first.config is None else read_yaml(config_file(first.config))
    profile = _profile(argv, values)
    parser.set_defaults(PROFILES[profile])
    _set_defaults(parser, values, str(first.config))
    parsed = parse_words(parser, argv, known)
    built = parser.instantiate(parsed)
    config = Config(**{one.name: getattr(built, one.name) for one in dataclasses.fields(Config)})
    config.profile = profile
    check_config(config)
    return config, parsed


def _profile(argv: Sequence[str], values: Mapping[str, Any]) -> str:
    """Name of the profile asked for; `auto` follows the method."""
    asked = _given(argv, "profile") or values.get("profile", "auto")
    if not isinstance(asked, str) or asked not in ("auto", *PROFILES):
        raise ConfigError(f"profile: got {asked!r}, expected auto or one of {', '.join(PROFILES)}")
    method = _given(argv, "method") or values.get("method", "pcsr")
    if asked != "auto":
        return asked
    return method if isinstance(method, str) and method in PROFILES else "plain"


def config_file(name: str) -> Path:
    """A path as it is, or the packaged configuration of that bare name.

    Raises:
        ConfigError: a bare name that no packaged configuration has.
    """
    path = Path(name)
    return path if path.is_file() or path.suffix or len(path.parts) > 1 else config_path(name)


def _given(argv: Sequence[str], option: str) -> str | None:
    """The last value of an option, which is the one that counts."""
    given = None
    for index, word in enumerate(argv):
        if word == f"--{option}" and index + 1 < len(argv):
            given = argv[index + 1]
        if word.startswith(f"--{option}="):
            given = word.split("=", 1)[1]
    return given


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of nested mappings."""
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        pairs += flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return pairs


def _set_defaults(parser: ArgumentParser, values: Mapping[str, Any], where: str) -> None:
    """Make a file's values the defaults of their keys, after the parser has checked their types."""
    given, standard = flat(values), Config()
    for key, value in given:
        if value is None and value_of(standard, key) is not None:
            raise ConfigError(f"{where}: {key}: got null, expected a value")
    try:
        checked = parser.parse_object(dict(values))
    except ArgumentError as error:
        raise ConfigError(f"{where}: {translated(str(error), ())}") from error
    parser.set_defaults({key: checked[key] for key, _ in given})


def parse_words(parser: ArgumentParser, argv: Sequence[str], known: Collection[str]) -> Any:
    """What `parser` makes of command-line words.

    Raises:
        ConfigError: an option that is not among the `known` ones, or a value of the wrong type.
    """
    try:
        return parser.parse_args(list(argv))
    except ArgumentError as error:
        raise translated(str(error), known) from error
