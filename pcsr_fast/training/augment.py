"""What happens to pictures and captions of a training batch; it depends on seed, position and pair alone (METHODS 6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pcsr_fast.data.pixels import Crop
from pcsr_fast.data.vocabulary import Vocabulary
from pcsr_fast.methods.base import IdArray
from pcsr_fast.training.config import AugmentConfig
from pcsr_fast.training.streams import stream_seed

# Of the words that are changed: hidden up to here, replaced up to here, left out beyond.
_HIDDEN, _REPLACED = 0.5, 0.6


class Augmentation:
    """Draws crops and changed words.

    Args:
        options: switches.
        seed: of the run.
        vocabulary: of the captions.
    """

    def __init__(self, options: AugmentConfig, seed: int, vocabulary: Vocabulary) -> None:
        self.options = options
        self.seed = seed
        self.mask = vocabulary.mask_id
        self.special = np.array(vocabulary.special_ids, dtype=np.int64)
        self.continues = vocabulary.continuations()
        beginnings = np.flatnonzero(~self.continues)
        self.ordinary = np.setdiff1d(beginnings, [*self.special, *([] if self.mask is None else [self.mask])])

    def _generator(self, kind: str, place: Sequence[int | str], pair: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(stream_seed(self.seed, kind, *place, int(pair))))

    def crops(self, ids: IdArray, place: Sequence[int | str]) -> list[Crop] | None:
        """The part of each pair's picture that is shown; None where pictures are shown as they are."""
        if not self.options.pictures:
            return None
        crops = []
        for pair in ids:
            draw = self._generator("picture", place, pair)
            tall, wide = draw.uniform(self.options.crop, 1, 2)
            top, left, flip = draw.random(3)
            crops.append(Crop(top, left, tall, wide, bool(flip < self.options.flip)))
        return crops

    def words(self, kind: str, tokens: list[np.ndarray], ids: IdArray, place: Sequence[int | str]) -> list[np.ndarray]:
        """Texts (`kind` names them) in which words are hidden, replaced or left out, each with all of its tokens."""
        if not self.options.words:
            return tokens
        return [self._changed(one, self._generator(kind, place, pair)) for one, pair in zip(tokens, ids, strict=True)]

    def _changed(self, tokens: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        word = np.cumsum(~self.continues[tokens])
        fate = draw.random(word[-1] + 1)[word] / self.options.words
        random = draw.choice(self.ordinary, len(tokens)) if len(self.ordinary) else tokens
        touched = (fate < 1) & ~np.isin(tokens, self.special)
        result, gone = tokens.copy(), touched & (fate >= _REPLACED)
        hidden = touched & (fate < _HIDDEN)
        if self.mask is None:
            gone |= hidden
        else:
            result[hidden] = self.mask
        replaced = touched & (fate >= _HIDDEN) & (fate < _REPLACED)
        result[replaced] = random[replaced]
        # A text of which nothing is left stays as it was.
        return result[~gone] if (~gone & ~np.isin(tokens, self.special)).any() else tokens
