"""report.html: a run folder and its data set in, one self-contained page out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pcsr_fast.data.pairs import Dataset
from pcsr_fast.files import write_text
from pcsr_fast.report import curves, histograms, pictures
from pcsr_fast.report.artefacts import Run, read_run
from pcsr_fast.report.chart import Chart
from pcsr_fast.report.comparison import duration
from pcsr_fast.report.layout import PARTS
from pcsr_fast.report.tables import COLUMNS, QUALITY, epoch_name, mean_quality, named_scores, number

_TEMPLATES = Path(__file__).parent / "templates"
_CURVES = (
    curves.validation,
    curves.losses,
    curves.split_quality,
    curves.counts,
    curves.replacement,
    curves.rate,
)
_METHODS = {
    "pcsr": "PCSR with adaptive pair optimisation",
    "pc2": "PC2: pseudo-classification and pseudo-captions",
    "ncr": "NCR: co-divide, labels by prediction, soft margins",
    "bicro": "BiCro: labels by agreement with clean anchors",
    "cream": "CREAM: pairs by agreement of two nets",
    "d2s": "D2S-VSE: dense-to-sparse distillation",
    "tsvc": "TSVC, a reconstruction from the abstract",
    "triplet": "Plain triplet loss, hardest negative",
    "infonce": "Plain InfoNCE",
    "rcl": "RCL: complementary contrastive loss",
    "decl": "DECL: evidential loss",
    "rde": "Triplet alignment loss of RDE",
    "oracle": "Oracle: triplet loss on the right pairs only",
}


def build_report(folder: Path, dataset: Dataset) -> Path:
    """Write `folder`/report.html; nothing in it is loaded from elsewhere.

    Sections about the split are left out for a method that makes none.

    Args:
        folder: of a finished run.
        dataset: the data the run was trained on.

    Returns:
        Path of the page.

    Raises:
        UserError: an artefact is missing, damaged or of another data set, or the page cannot be written.
    """
    run = read_run(Path(folder), dataset)
    page = environment().get_template("report.html.j2").render(_content(run, dataset))
    target = Path(folder) / "report.html"
    write_text(target, page)
    return target


def environment() -> Environment:
    """The package's templates."""
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _content(run: Run, dataset: Dataset) -> dict[str, Any]:
    axis = curves.EpochAxis(run.history)
    nets = range(len(run.splits))
    suspects = pictures.suspects(run, dataset)
    return {
        "title": _METHODS.get(run.metrics["method"], run.metrics["method"]),
        "dataset": run.metrics["dataset"],
        "facts": _facts(run, dataset),
        "tiles": _tiles(run),
        "scores": _score_rows(run),
        "training": _present(draw(run, axis) for draw in _CURVES),
        "losses": [histograms.loss_histogram(run, net) for net in nets],
        "consistency": _present(histograms.consistency(run, axis, net) for net in nets),
        "confusion": _confusion(run),
        "suspects": suspects,
        "caught": sum(bool(one.wrong) for one in suspects),
        "truth_known": run.truth_known,
        "text_queries": pictures.text_queries(run, dataset),
        "picture_queries": pictures.picture_queries(run, dataset),
        "config": run.config_text,
    }


def _present(charts: Any) -> list[Chart]:
    return [one for one in charts if one is not None]


def _noise_text(noise: dict[str, Any]) -> str:
    wrong = f"{100 * noise['wrong_share']:.1f}\N{NO-BREAK SPACE}% of the pairs wrong"
    if noise["ratio"] is None:
        return f"from {noise['source']}, {wrong}"
    if noise["ratio"] == 0:
        return "none injected"
    return f"{100 * noise['ratio']:g} % at {noise['level']} level, seed {noise['seed']}: {wrong}"


def _facts(run: Run, dataset: Dataset) -> list[tuple[str, str]]:
    """What stands under the title."""
    metrics, machine = run.metrics, run.metrics["machine"]
    best = metrics["best"]
    pairs = dataset.train
    return [
        ("method", f"{metrics['method']}, profile {metrics['profile']}"),
        ("training pairs", f"{pairs.num_captions:,} with {pairs.num_images:,} pictures"),
        ("noise", _noise_text(run.noise)),
        ("noise SHA-256", run.noise["sha256"][:12]),
        ("tested", f"{epoch_name(best)}, dev rSum {best['rsum']:.1f}"),
        ("seed", str(metrics["seed"])),
        ("time", f"{duration(metrics['seconds'])}, {len(run.history)} epochs"),
        ("machine", ", ".join(f"{key} {value}" for key, value in machine.items())),
    ]


def _tiles(run: Run) -> list[tuple[str, str]]:
    """The main numbers: label and value."""
    test = run.metrics["test"]["ensemble"]
    tiles = [
        ("test rSum", number("rsum", test["rsum"])),
        ("image to text R@1", number("i2t_r1", test["i2t_r1"])),
        ("text to image R@1", number("t2i_r1", test["t2i_r1"])),
    ]
    quality = mean_quality(run.splits)
    return tiles + [(f"split {name.replace('auc', 'AUC')}", f"{quality[name]:.2f}") for name in QUALITY if quality]


def _score_rows(run: Run) -> list[tuple[str, str, list[str]]]:
    """(name, class, cells) of the table of retrieval metrics."""
    rows = [(f"test, {name}", name.split()[0], scores) for name, scores in named_scores(run.metrics["test"])]
    rows.append(("dev, same checkpoint", "dev", run.metrics["dev"]["ensemble"]))
    return [(name, kind, [number(metric, scores[metric]) for metric in COLUMNS]) for name, kind, scores in rows]


def _confusion(run: Run) -> list[dict[str, Any]]:
    """For each net whose truth is known: counts (right, wrong) of each kind, and the split's quality."""
    tables = []
    for net, split in enumerate(run.splits, start=1):
        if split["quality"]:
            rows = [(name, *split["quality"]["confusion"][name]) for name in PARTS]
            quality = [(name.replace("auc", "AUC"), f"{split['quality'][name]:.3f}") for name in QUALITY]
            tables.append({"net": net, "rows": rows, "quality": quality})
    return tables
