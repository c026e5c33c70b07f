"""Every test starts from one seed, and properties have no deadline: the first call of an operator is slow."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "seeded", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("seeded")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
