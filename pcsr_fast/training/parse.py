"""YAML files and dotted overrides -> Config, with one-line errors that suggest the right key."""

from __future__ import annotations

import dataclasses
import difflib
import re
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.profiles import PROFILES
from pcsr_fast.resources import config_path
from pcsr_fast.training.config import Config, check_config

_DESCRIPTION = """Every key of the configuration is an option, e.g. --noise.ratio 0.4; a YAML file (--config, a path or the
name of a file that comes with the package) holds the same keys, nested. Later options win over the file, the file over
the profile, the profile over the defaults shown here."""


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


def unknown_key(key: str, where: str) -> ConfigError:
    """An error that names the unknown key and the closest known ones."""
    known = keys_of(Config)
    by_leaf: dict[str, list[str]] = {}
    for one in known:
        by_leaf.setdefault(one.rsplit(".", 1)[-1], []).append(one)
    close = difflib.get_close_matches(key, known, n=2, cutoff=0.6)
    for leaf in difflib.get_close_matches(key.rsplit(".", 1)[-1], by_leaf, n=2, cutoff=0.75):
        close += [one for one in by_leaf[leaf] if one not in close]
    hint = f"did you mean {' or '.join(close[:3])}?" if close else "see --help for all keys"
    return ConfigError(f"{where}: unknown key {key}; {hint}")


def _check_keys(values: Mapping[str, Any], where: str, known: set[str], prefix: str = "") -> None:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key not in known:
            raise unknown_key(key, where)
        is_group = any(one.startswith(key + ".") for one in known)
        if is_group and not isinstance(value, Mapping):
            raise ConfigError(f"{where}: {key}: got {value!r}, expected a group of keys")
        if is_group:
            _check_keys(value, where, known, key + ".")


def read_yaml(path: Path) -> dict[str, Any]:
    """A configuration file, its keys checked.

    Raises:
        ConfigError: no such file, no YAML, no mapping, or an unknown key.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); expected a YAML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no UTF-8 text; expected a YAML file") from error
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = "" if line is None else f" in line {line + 1}"
        raise ConfigError(f"{path}: is no YAML{place}; expected `key: value` lines") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: holds {type(values).__name__}, expected `key: value` lines")
    _check_keys(values, str(path), set(keys_of(Config)))
    return dict(values)


def make_parser(command: str) -> ArgumentParser:
    """Parser of `pcsr-fast COMMAND` with every configuration key."""
    parser = ArgumentParser(prog=f"pcsr-fast {command}", description=_DESCRIPTION, exit_on_error=False)
    parser.add_argument("--config", help="YAML file")
    parser.add_class_arguments(Config)
    return parser


def parse_config(argv: Sequence[str], command: str = "train", extra: Mapping[str, Any] | None = None) -> tuple[Config, Any]:
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
    for name, arguments in (extra or {}).items():
        parser.add_argument(name, **arguments)
    first = _parse(parser, argv)
    values = {} if first.config is None else read_yaml(_config_file(first.config))
    profile = _given(argv, "profile") or values.get("profile", "pcsr")
    if profile not in PROFILES:
        raise ConfigError(f"profile: got {profile!r}, expected one of {', '.join(PROFILES)}")
    parser.set_defaults(PROFILES[profile])
    for key, value in _flat(values):
        _set_default(parser, key, value, str(first.config))
    parsed = _parse(parser, argv)
    built = parser.instantiate(parsed)
    config = Config(**{one.name: getattr(built, one.name) for one in dataclasses.fields(Config)})
    check_config(config)
    return config, parsed


def _config_file(name: str) -> Path:
    """A path as it is, or the packaged configuration of that bare name."""
    path = Path(name)
    return path if path.is_file() or path.suffix or len(path.parts) > 1 else config_path(name)


def _given(argv: Sequence[str], option: str) -> str | None:
    for index, word in enumerate(argv):
        if word == f"--{option}" and index + 1 < len(argv):
            return argv[index + 1]
        if word.startswith(f"--{option}="):
            return word.split("=", 1)[1]
    return None


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        pairs += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return pairs


def _set_default(parser: ArgumentParser, key: str, value: Any, where: str) -> None:
    """Make a file's value the default of its key, after the parser has checked its type."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    try:
        checked = _parse(parser, [f"--{key}={text}"])
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    parser.set_defaults({key: checked[key]})


def _parse(parser: ArgumentParser, argv: Sequence[str]) -> Any:
    try:
        return parser.parse_args(list(argv))
    except ArgumentError as error:
        raise translated(str(error)) from error


def translated(message: str) -> ConfigError:
    """The parser's message as one line in our terms."""
    unknown = re.match(r"unrecognized arguments: (?:--)?([^\s=]+)", message)
    if unknown:
        return unknown_key(unknown.group(1), "command line")
    group = re.match(r"Group '([^']+)' does not accept option '([^']+)'", message)
    if group:
        return unknown_key(f"{group.group(1)}.{group.group(2)}", "command line")
    value = re.match(r'Parser key "([^"]+)":\s*(?:Expected an? (.+?)\. )?Got value: (.*)', message, re.DOTALL)
    if value:
        kind = re.sub(r"<class '(\w+)'>", r"\1", value.group(2) or "another value")
        kind = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", kind)
        return ConfigError(f"{value.group(1)}: got {value.group(3).strip()!r}, expected {kind}")
    return ConfigError(" ".join(message.split()))
