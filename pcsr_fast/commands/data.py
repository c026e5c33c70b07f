"""`pcsr-fast data info|verify|export|extract`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pcsr_fast.commands.options import parse_options
from pcsr_fast.data import commands
from pcsr_fast.data.extract import ExtractConfig
from pcsr_fast.data.load import DataConfig
from pcsr_fast.errors import ConfigError

_ACTIONS = {
    "info": "load with every check; sizes, vocabulary, a few pairs",
    "verify": "checksums against manifest.json, then every check",
    "export": "write the set in another layout (precomp: SCAN, NCR, PCSR)",
    "extract": "turn a folder of pictures and a CSV of captions into a set",
}


@dataclass
class ExportOptions:
    """Write a data set in another layout.

    Attributes:
        out: folder to write.
        format: layout to write.
        data: the set to read.
    """

    out: str
    format: str = "precomp"
    data: DataConfig = field(default_factory=DataConfig)


def main(argv: Sequence[str]) -> None:
    """Dispatch to the action."""
    action = argv[0] if argv else "--help"
    if action in ("-h", "--help"):
        rows = [f"  {name:<8} {text}" for name, text in _ACTIONS.items()]
        print("\n".join(["usage: pcsr-fast data ACTION [options]", "", *rows]))
    elif action in ("info", "verify"):
        getattr(commands, action)(parse_options(DataConfig, f"data {action}", argv[1:]))
    elif action == "export":
        options = parse_options(ExportOptions, "data export", argv[1:])
        commands.export(options.data, options.out, options.format)
    elif action == "extract":
        commands.extract(parse_options(ExtractConfig, "data extract", argv[1:], positional=["folder"]))
    else:
        raise ConfigError(f"data: got {action!r}, expected one of {', '.join(_ACTIONS)}")
