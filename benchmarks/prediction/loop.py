"""The published loop over captions on a device, in its favour: the launches of its kernels, and no work in them."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.prediction.device import Device
from pcsr_fast import reference
from pcsr_fast.reference import SgrParameters

IMAGES, REGIONS, WORDS, JOINT, SIMILARITY = 2, 3, 4, 5, 6  # launches do not depend on them


class LaunchCounter(TorchDispatchMode):
    """Counts calls that compute something; each is a kernel at least."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not (func.is_view or func.overloadpacket.__name__.startswith(("empty", "detach")))
        return func(*args, **(kwargs or {}))


def _launches(captions: int, steps: int) -> int:
    draw = torch.ones
    head = SgrParameters(
        draw(IMAGES, JOINT),
        draw(captions, JOINT),
        *(draw(SIMILARITY, JOINT), draw(SIMILARITY)) * 2,
        *(draw(steps, SIMILARITY, SIMILARITY), draw(steps, SIMILARITY)) * 3,
        draw(SIMILARITY),
        draw(()),
    )
    regions, words = draw(IMAGES, REGIONS, JOINT), draw(captions, WORDS, JOINT)
    with torch.no_grad(), LaunchCounter() as counter:
        reference.cross_attention_similarity(regions, words, torch.full((captions,), WORDS), head)
    return counter.count


@functools.cache
def launches_a_caption(steps: int) -> int:
    """Of the forward of SGR with so many steps, as the reference runs it, which is the published loop."""
    return _launches(3, steps) - _launches(2, steps)


def loop_seconds(device: Device, captions: int, steps: int) -> float:
    """Of a batch's scores: less than a device takes, whatever it multiplies with."""
    return captions * launches_a_caption(steps) * device.launch
