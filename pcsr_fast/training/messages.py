"""What the parser of the command line says, as one line in our terms, with a suggestion where a key is unknown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from pcsr_fast.errors import ConfigError


def unknown_key(key: str, where: str, known: Collection[str]) -> ConfigError:
    """An error that names the unknown key and the closest known ones."""
    by_leaf: dict[str, list[str]] = {}
    for one in known:
        by_leaf.setdefault(one.rsplit(".", 1)[-1], []).append(one)
    close = difflib.get_close_matches(key, known, n=2, cutoff=0.6)
    for leaf in difflib.get_close_matches(key.rsplit(".", 1)[-1], by_leaf, n=2, cutoff=0.75):
        close += [one for one in by_leaf[leaf] if one not in close]
    hint = f"did you mean {' or '.join(close[:3])}?" if close else "see --help for all keys"
    return ConfigError(f"{where}: unknown key {key}; {hint}")


def translated(message: str, known: Collection[str]) -> ConfigError:
    """The parser's message as one line in our terms."""
    message = " ".join(message.split())
    unknown = re.match(r"unrecognized arguments: (--)?([^\s=]+)", message)
    if unknown and unknown.group(1):
        return unknown_key(unknown.group(2), "command line", known)
    if unknown:
        return ConfigError(f"command line: got {unknown.group(2)!r}, expected options, --key value")
    group = re.match(r"Group '([^']+)' does not accept option '([^']+)'", message)
    if group:
        return unknown_key(f"{group.group(1)}.{group.group(2)}", "command line", known)
    bare = re.match(r"argument (?:--)?(\S+): expected one argument", message)
    if bare:
        return ConfigError(f"{bare.group(1)}: got nothing, expected a value after it")
    file = re.match(r"Parser key \"([^\"]+)\": Unable to load config '(.*?)' - ", message)
    if file:
        return ConfigError(
            f"{file.group(1)}: got {file.group(2)!r}, expected a group of keys, --{file.group(1)}.KEY VALUE"
        )
    value = re.match(r'Parser key "([^"]+)": (?:Expected an? (.+?)\. )?Got value: (.*)', message)
    if value:
        return ConfigError(f"{value.group(1)}: got {value.group(3)!r}, expected {_plain(value.group(2))}")
    union = re.match(r'Parser key "([^"]+)": Does not .* Subtypes: \[(.*?)\] Errors: .* Given value: (.*)', message)
    if union:
        return ConfigError(f"{union.group(1)}: got {union.group(3)!r}, expected {_plain(union.group(2))}")
    missing = re.match(r"the following arguments are required: (.*)", message)
    return ConfigError(f"command line: lacks {missing.group(1)}; see --help" if missing else message)


def _plain(kinds: str | None) -> str:
    """Python's type names as words."""
    text = re.sub(r", (?=<class|typing)", " or ", kinds or "another value")
    text = re.sub(r"<class '(\w+)'>", r"\1", text).replace("NoneType", "null")
    return re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", text)
