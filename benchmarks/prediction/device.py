"""A GPU as numbers: peaks, limits of a multiprocessor, and the share of a peak that good kernels are known to reach."""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
REGISTER_UNIT = 256  # registers are given to a warp in these
RESERVED_SHARED = 1024  # bytes of shared memory that every block takes for itself


@dataclass(frozen=True)
class Device:
    """Peaks a second are of the whole device; limits are of one multiprocessor.

    operations: per clock and multiprocessor, by unit. shares: of a peak, that is assumed to be reached.
    """

    name: str
    multiprocessors: int
    clock: float
    operations: dict[str, int]
    shares: dict[str, float]
    memory_bandwidth: float
    cache_bandwidth: float
    port: float
    memory_latency: float
    launch: float
    registers: int = 65536
    shared: int = 228 * 1024
    warps: int = 64
    blocks: int = 32

    def peak(self, unit: str) -> float:
        """Operations a second of a unit."""
        return self.multiprocessors * self.clock * self.operations[unit]

    def reached(self, unit: str) -> float:
        """Operations a second of a unit in a good kernel."""
        return self.peak(unit) * self.shares[unit]

    @property
    def port_bandwidth(self) -> float:
        """Bytes a second from the second-level cache into all multiprocessors, however few leave it."""
        return self.multiprocessors * self.port

    def resident(self, warps: int, registers: int, shared: int) -> int:
        """Blocks of `warps` warps that one multiprocessor holds at once; registers a thread, shared bytes a block."""
        per_warp = -(-registers * WARP // REGISTER_UNIT) * REGISTER_UNIT
        by_registers = self.registers // per_warp // warps if registers else self.blocks
        return min(self.blocks, self.warps // warps, by_registers, self.shared // (shared + RESERVED_SHARED))


# Peaks and limits: NVIDIA's H100 white paper and CUDA's table of compute capability 9.0 (SXM5, dense). The cache's 5120
# bytes a clock are those of the A100's white paper, as are the 64 a clock that one multiprocessor takes in. Shares, latency
# and the cost of a launch are assumptions, from what is commonly reported of good kernels; mma.sync of the generation before
# keeps about six tenths of wgmma's peak.
H100 = Device(
    name="H100 SXM5",
    multiprocessors=132,
    clock=1.83e9,
    operations={
        "wgmma half": 4096,
        "wgmma tf32": 2048,
        "mma half": 4096,
        "mma tf32": 2048,
        "float32": 256,
        "float64": 128,
        "special": 16,
        "instruction": 128,
    },
    shares={
        "wgmma half": 0.7,
        "wgmma tf32": 0.7,
        "mma half": 0.55,
        "mma tf32": 0.55,
        "float32": 0.8,
        "float64": 0.8,
        "special": 0.8,
        "instruction": 0.6,
    },
    memory_bandwidth=3.35e12 * 0.9,
    cache_bandwidth=0.8 * 5120 * 1.83e9,
    port=0.8 * 64 * 1.83e9,
    memory_latency=7e-7,
    launch=4e-6,
)
