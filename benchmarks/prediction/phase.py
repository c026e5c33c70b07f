"""One kernel's part of a prediction: how long its work takes on a device, and what binds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.prediction.device import WARP, Device


@dataclass(frozen=True)
class Resources:
    """What the compiler says of one kernel: warps and shared bytes a block, registers a thread.

    epilogue: instructions a thread runs on a tile after its products.
    """

    warps: int
    registers: int
    shared: int
    epilogue: int = 0


@dataclass(frozen=True)
class Phase:
    """Work of all launches of one kernel.

    tiles: independent pieces that blocks share. products: operations by unit of the tensor cores or multipliers, in the
    main loop; others: by unit, after it; beside: by unit that works while the others' instructions are issued. cached, moved:
    bytes read from the second-level cache and from memory. received: of the cached ones by multiprocessors, more where a
    cluster shares what it reads.
    in_flight: bytes a thread waits for at once, where memory is read without a pipeline.
    """

    kernel: str
    resources: Resources
    tiles: int
    products: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)
    cached: float = 0.0
    moved: float = 0.0
    received: float = 0.0
    launches: int = 1
    in_flight: int | None = None

    def parts(self, device: Device) -> dict[str, float]:
        """Seconds by what is waited for, were it alone, with blocks as evenly spread as they can be.

        Raises:
            ValueError: a block does not fit into a multiprocessor.
        """
        resident = self.resident(device)
        slots = device.multiprocessors * resident
        tiles = self.tiles / self.launches
        # A device without enough tiles for all slots runs at the pace of a multiprocessor that has some.
        spread = max(1.0, -(-tiles // slots) * slots / tiles) if tiles > slots else self._few(device, tiles)
        bandwidth = device.memory_bandwidth
        if self.in_flight is not None:
            threads = min(slots, tiles) * self.resources.warps * WARP
            bandwidth = min(bandwidth, threads * self.in_flight / device.memory_latency)
        return {
            "products": spread * sum(count / device.reached(unit) for unit, count in self.products.items()),
            "arithmetic": spread * sum(count / device.reached(unit) for unit, count in self.others.items()),
            "beside": spread * sum(count / device.reached(unit) for unit, count in self.beside.items()),
            "cache": max(self.cached / device.cache_bandwidth, self.received / device.port_bandwidth),
            "memory": self.moved / bandwidth,
            "launches": self.launches * device.launch,
        }

    @staticmethod
    def _few(device: Device, tiles: float) -> float:
        return device.multiprocessors / min(tiles, device.multiprocessors)

    def resident(self, device: Device) -> int:
        """Blocks a multiprocessor holds."""
        held = device.resident(self.resources.warps, self.resources.registers, self.resources.shared)
        if held < 1:
            raise ValueError(
                f"{self.kernel}: a block of {self.resources} does not fit into a multiprocessor of {device.name}"
            )
        return held

    def occupancy(self, device: Device) -> float:
        """Share of a multiprocessor's warps."""
        return self.resident(device) * self.resources.warps / device.warps

    def seconds(self, device: Device) -> float:
        """Of all launches. One block alone on a multiprocessor cannot hide what follows its main loop."""
        parts = self.parts(device)
        kinds = parts["products"], parts["arithmetic"], parts["beside"]
        computing = max(kinds) if self.resident(device) > 1 else sum(kinds)
        return max(computing, parts["cache"], parts["memory"]) + parts["launches"]

    def bound(self, device: Device) -> str:
        """The largest part."""
        parts = self.parts(device)
        return max(parts, key=parts.__getitem__)
