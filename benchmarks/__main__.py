"""Commands that measure, and keep the committed results and the READMEs' tables: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from benchmarks.comparison import RESULTS, ROOT, collect
from benchmarks.end_to_end import end_to_end_table
from benchmarks.end_to_end import run as run_end_to_end
from benchmarks.epoch import IMAGES, epoch_table
from benchmarks.epoch import run as run_epoch
from benchmarks.gpu_status import CHECKS, keep
from benchmarks.ops import OPS, SIZES
from benchmarks.prediction.predictions import Tables, prediction_table
from benchmarks.profile import profile_table
from benchmarks.profile import run as run_profile
from benchmarks.readme import update
from benchmarks.record import run_op
from benchmarks.tables import op_table
from benchmarks.tune import run as run_tune
from pcsr_fast.errors import ConfigError, UserError
from pcsr_fast.files import write_json

KEPT = {"full": RESULTS, "gpu": RESULTS / "gpu"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see python -m benchmarks --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m benchmarks", description="Measurements, and the READMEs' tables made from them.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    run = commands.add_parser("run", help="measure one op, on one thread, and print the table")
    run.add_argument("--op", required=True, help=", ".join(OPS))
    run.add_argument("--size", default="full", help=f"{', '.join(SIZES)}; default full")
    run.add_argument("--repeats", type=int, default=7, help="rounds, default 7")
    run.add_argument("--device", default="cpu", help="cpu, or cuda with --size gpu; default cpu")
    where = (
        "JSON to write; default benchmarks/results/OP.json for full, benchmarks/results/gpu/OP.json for gpu, none else"
    )
    run.add_argument("--output", type=Path, metavar="FILE", help=where)
    whole = commands.add_parser("end-to-end", help="train the demo with the reference and with our kernels")
    whole.add_argument("--short", action="store_true", help="two epochs, and nothing is kept")
    whole.add_argument("--repeats", type=int, default=1, help="rounds, default 1")
    epoch = commands.add_parser(
        "epoch", help="one SGR epoch on a planted set, by the published loop and by our kernels"
    )
    epoch.add_argument("--images", type=int, default=IMAGES, help=f"pictures, default {IMAGES}; fewer are not kept")
    commands.add_parser("profile", help="sample where the time of an SGR step goes, by Linux' perf")
    commands.add_parser("predict", help="what kernels should take on an H100, from arithmetic")
    commands.add_parser("tune", help="find the fastest plans and backends of this machine's GPU, and keep them")
    ran = commands.add_parser("gpu-ran", help="record that a check has ended well on this machine's GPU")
    ran.add_argument("check", help=", ".join(CHECKS))
    report = commands.add_parser("report", help="put tables and plots of the kept results into the READMEs")
    report.add_argument("--check", action="store_true", help="only say whether they are up to date")
    comparison = commands.add_parser("comparison", help="keep a finished `pcsr-fast compare`")
    comparison.add_argument("folder", type=Path)
    comparison.add_argument("name", help="becomes benchmarks/results/NAME.json")
    return parser


def _run(op: str, size: str, repeats: int, output: Path | None, device: str) -> None:
    result = run_op(op, size, repeats, device)
    target = output or (KEPT[size] / f"{op}.json" if size in KEPT else None)
    print(op_table(result))
    if target is not None:
        write_json(target, result)
        print(target)


def _end_to_end(short: bool, repeats: int) -> None:
    result = run_end_to_end(repeats, short)
    print(end_to_end_table(result))
    if not short:
        write_json(RESULTS / "end_to_end.json", result)


def _epoch(images: int) -> None:
    result = run_epoch(images)
    print(epoch_table(result))
    if images == IMAGES:
        write_json(RESULTS / "epoch.json", result)


def _profile() -> None:
    result = run_profile()
    print(profile_table(result))
    write_json(RESULTS / "profile.json", result)


def main(words: list[str]) -> int:
    """Run a command; returns the exit code."""
    try:
        given = _parser().parse_args(words)
        if given.command == "run":
            _run(given.op, given.size, given.repeats, given.output, given.device)
        elif given.command == "end-to-end":
            _end_to_end(given.short, given.repeats)
        elif given.command == "epoch":
            _epoch(given.images)
        elif given.command == "profile":
            _profile()
        elif given.command == "predict":
            print(prediction_table(Tables.read(ROOT)))
        elif given.command == "tune":
            print(run_tune())
        elif given.command == "gpu-ran":
            print(keep(RESULTS / "gpu", given.check))
        elif given.command == "comparison":
            print(collect(given.folder, given.name))
        elif update(check=given.check) and given.check:
            raise UserError(
                "README.md: tables or plots differ from benchmarks/results; run `python -m benchmarks report`"
            )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
