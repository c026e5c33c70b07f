"""What no mixture can be fitted to or with, and what its error says: for the reference and for the op."""

from __future__ import annotations

import torch

BAD_FITS = [
    (torch.tensor([0.0, 2.0]), {"kind": "beta"}, r"range \[0, 2\], expected \[0, 1\]"),
    (torch.tensor([0.0, 1.0]), {"kind": "gamma"}, "kind: got 'gamma'"),
    (torch.tensor([0.0, 1.0]), {"init": "random"}, "init: got 'random'"),
    (torch.tensor([0.0, 1.0]), {"init": torch.tensor([0.3, 0.3])}, "expected two different numbers"),
    (torch.tensor([0.0, 1.0]), {"init": torch.tensor([5.0, 6.0])}, "leave one component empty"),
    (torch.tensor([0.0, 1.0]), {"init": torch.tensor([0, 2])}, "expected 0 or 1 for 2 values"),
    (torch.tensor([0.0, 1.0]), {"init": torch.tensor([1, 1])}, "uses one component"),
    (torch.tensor([0.0, 1.0]), {"init": torch.tensor([0, 1]), "kind": "beta"}, "one fixed start"),
    (torch.tensor([0.0, 1.0]), {"max_iter": 0}, "max_iter: got 0"),
    (torch.tensor([0.0, 1.0]), {"reg_covar": 0.0}, "reg_covar: a component has variance 0"),
    (torch.tensor([0.0, 1.0]), {"monotone": "up"}, "monotone: got 'up'"),
]
