"""PC2 (ACM MM 2024; METHODS 3): PCSR's pseudo-classifier and pseudo-captions, without consistency and ambiguous pairs."""

from __future__ import annotations

from torch import Tensor

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods.base import Batch, IdArray, Losses
from pcsr_fast.methods.config import MethodConfig
from pcsr_fast.methods.pcsr import PCSR


class PC2(PCSR):
    """PCSR with every noisy pair refinable; the bank is refreshed of clean pairs too, once pseudo-captions are in use.

    Args:
        config, images, num_nets, epochs: as for PCSR.
    """

    def __init__(self, config: MethodConfig, images: IdArray, num_nets: int, epochs: int) -> None:
        if config.pcs.enabled or config.apo.ambiguous.enabled or not config.head.enabled:
            raise ConfigError(
                "method: pc2 has a pseudo-classifier, no consistency score and no ambiguous pairs; expected head.enabled: "
                "true, pcs.enabled: false and apo.ambiguous.enabled: false (profile: auto sets them)"
            )
        super().__init__(config, images, num_nets, epochs)
        self.last_clean: list[tuple[Tensor, Tensor] | None] = [None for _ in range(num_nets)]

    def after_step(self, net: int, subset: str, batch: Batch, losses: Losses) -> None:
        """As PCSR; a refinable step also banks the predictions of the iteration's clean batch (METHODS 3.2)."""
        super().after_step(net, subset, batch, losses)
        if subset == "clean" and losses.image_probabilities is not None:
            self.last_clean[net] = (self._bank_rows(subset, batch), losses.image_probabilities.cpu())
        found = self.last_clean[net]
        if subset == "refinable" and found is not None:
            self.banks[net].write(*found)
