"""From a finished run to a folder that others can load: weights, vocabulary or tokenizer, model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pcsr_fast.data.pixels import Pictures
from pcsr_fast.data.tokenizer import TokenizerVocabulary
from pcsr_fast.errors import CheckpointError
from pcsr_fast.files import make_folder, write_json, write_text
from pcsr_fast.training.trainer import Trainer
from pcsr_fast.version import __version__

VOCABULARY, PROCESSORS = "vocabulary.json", "processors"
_COLUMNS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum")
_RECONSTRUCTED = {"tsvc": "TSVC's formulas are not public: this is a reconstruction from its abstract."}
_LOAD = {
    "regions": """from pcsr_fast.data.vocabulary import Vocabulary
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.training.batches import padded

model = RetrievalModel.from_pretrained("FOLDER")
vocabulary = Vocabulary.load("FOLDER/vocabulary.json")
texts = model.encode_texts(*padded(vocabulary.encode_all(["a red balloon"])))
images = model.encode_images(regions)  # float32 (B, R, F), features as those it was trained on
scores = model.similarity(images, texts)""",
    "hf": """import torch
from PIL import Image
from pcsr_fast.data.pixels import PixelRecipe
from pcsr_fast.data.tokenizer import TokenizerVocabulary
from pcsr_fast.models.retrieval import RetrievalModel
from pcsr_fast.training.batches import padded

model = RetrievalModel.from_pretrained("FOLDER")
tokenizer = TokenizerVocabulary.of_folder("FOLDER/processors")
pixels = PixelRecipe.load("FOLDER/processors")
texts = model.encode_texts(*padded(tokenizer.encode_all(["a red balloon"])))
images = model.encode_images(torch.from_numpy(pixels(Image.open("balloon.png").convert("RGB"))[None]))
scores = model.similarity(images, texts)""",
}


def read_metrics(run: Path) -> dict[str, Any]:
    """metrics.json of a finished run.

    Raises:
        CheckpointError: it is missing or broken.
    """
    path = run / "metrics.json"
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        best_net(metrics)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: cannot be read; expected the folder of a finished run") from error
    return metrics


def best_net(metrics: dict[str, Any]) -> int:
    """The net with the largest rSum on dev."""
    rsums = [one["rsum"] for one in metrics["dev"]["nets"]]
    return rsums.index(max(rsums))


def export_model(trainer: Trainer, metrics: dict[str, Any], net: int, folder: Path) -> None:
    """Write net number `net` of a trainer that holds the run's best weights.

    Files: config.json and model.safetensors (`RetrievalModel.from_pretrained`), vocabulary.json, or processors/ with the
    tokenizer and the image processor of Hugging Face encoders, metrics.json, README.md (the model card).

    Raises:
        UserError: the folder cannot be written.
    """
    trainer.nets[net].model.save_pretrained(folder)
    vocabulary, regions = trainer.dataset.vocabulary, trainer.dataset.train.regions
    if isinstance(vocabulary, TokenizerVocabulary) and isinstance(regions, Pictures):
        processors = make_folder(folder / PROCESSORS)
        vocabulary.save_files(processors)
        regions.recipe.save(processors)
    else:
        vocabulary.save(folder / VOCABULARY)
    write_json(folder / "metrics.json", metrics)
    write_text(folder / "README.md", model_card(trainer, metrics, net, folder.name))


def model_card(trainer: Trainer, metrics: dict[str, Any], net: int, name: str) -> str:
    """What the model is, what it was trained on, how good it is and how to load it."""
    config, pairs = trainer.config, trainer.dataset.train
    model = config.model
    encoders = [value for value in (model.name_or_path, model.image_path, model.text_path) if value]
    facts = {
        "method": f"`{metrics['method']}`, profile `{metrics['profile']}`",
        "similarity": f"`{trainer.nets[net].model.arguments['kind']}`, backbone `{model.backbone}` {' '.join(encoders)}",
        "data": f"{metrics['dataset']}: {pairs.num_captions} training pairs with {pairs.num_images} pictures",
        "noise": _noise(metrics["noise"]),
        "noise SHA-256 (held pictures, int64)": f"`{metrics['noise']['sha256']}`",
        "checkpoint": f"{metrics['best']['stage']} epoch {metrics['best']['epoch'] + 1}, chosen on dev",
        "net": f"{net + 1} of {len(trainer.nets)}",
        "seed": str(metrics["seed"]),
        "made with": f"pcsr-fast {__version__}, {metrics['date']}",
    }
    rows = [(f"test, net {net + 1}", metrics["test"]["nets"][net])]
    if len(trainer.nets) > 1:
        rows.append(("test, mean similarity of all nets (not in this folder)", metrics["test"]["ensemble"]))
    lines = ["---", "library_name: pcsr-fast", "tags: [image-text-retrieval, noisy-correspondence]", "---", ""]
    lines += [f"# {name}", "", "Image-text retrieval model trained with pcsr_fast.", ""]
    if metrics["method"] in _RECONSTRUCTED:
        lines += [_RECONSTRUCTED[metrics["method"]], ""]
    lines += ["| | |", "| --- | --- |", *(f"| {key} | {' '.join(value.split())} |" for key, value in facts.items()), ""]
    lines += [f"| | {' | '.join(_COLUMNS)} |", f"| --- |{' ---: |' * len(_COLUMNS)}"]
    lines += [f"| {label} | {' | '.join(f'{one[key]:.1f}' for key in _COLUMNS)} |" for label, one in rows]
    lines += ["", "## Load it", "", "```python", _LOAD[model.backbone].replace("FOLDER", name), "```"]
    return "\n".join(lines) + "\n"


def _noise(noise: dict[str, Any]) -> str:
    wrong = f"{100 * noise['wrong_share']:.1f} % of the training pairs are wrong"
    if noise["ratio"] is None:
        return f"from the file {noise['source']}: {wrong}"
    return f"{100 * noise['ratio']:g} % shuffled at {noise['level']} level, noise seed {noise['seed']}: {wrong}"
