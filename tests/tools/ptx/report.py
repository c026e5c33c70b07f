"""What a run of the interpreter says: errors, hazards, counts of instructions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MOST_FINDINGS = 200  # different ones, each counted; a broken kernel has few causes and many symptoms


class PTXError(Exception):
    """The text cannot be interpreted (an unknown instruction, say) or the launch does not fit the kernel."""


@dataclass
class Finding:
    """One kind of fault of one instruction, described by its first occurrences.

    kind: "memory" (bounds, alignment, address spaces), "uninitialised", "barrier", "collective", "async", "steps", or of
    a hazard "read after write", "write after read", "write after write", "in flight" for shared and global memory.
    line: of the PTX text; source: "file:line" of the kernel's own text where the PTX names it, else "".
    threads: linear numbers within the block; address: within its space, or -1 where there is none; count:
    occurrences, a thread each.
    """

    kind: str
    kernel: str
    line: int
    text: str
    source: str
    block: tuple[int, int, int]
    threads: tuple[int, ...]
    address: int
    what: str
    count: int = 1

    def __str__(self) -> str:
        where = f"{self.kernel}, PTX line {self.line}" + (f" ({self.source})" if self.source else "")
        times = f" [{self.count} times]" if self.count > 1 else ""
        threads = ", ".join(map(str, self.threads))
        return f"{self.kind}: {self.what} - block {self.block}, thread {threads}; {where}: {self.text}{times}"


@dataclass
class Report:
    """Errors make a run wrong whatever the order of threads; hazards are results that depend on it.

    counts: executions of each opcode, counted by thread, so that `mma` counts 32 a warp.
    steps: instructions executed, however many threads took part in each. reached: numbers of the instructions that some
    thread came to, whatever their guards said.
    """

    kernel: str
    errors: list[Finding] = field(default_factory=list)
    hazards: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    reached: set[int] = field(default_factory=set)

    @property
    def findings(self) -> list[Finding]:
        return self.errors + self.hazards

    @property
    def clean(self) -> bool:
        return not self.errors and not self.hazards

    def add(self, finding: Finding, hazard: bool) -> None:
        """Keep it, or count it where the same instruction already showed the same fault."""
        known = self.hazards if hazard else self.errors
        for old in known:
            if (old.kind, old.line) == (finding.kind, finding.line):
                old.count += finding.count
                return
        if len(known) < MOST_FINDINGS:
            known.append(finding)

    def executed(self, prefix: str) -> int:
        """Thread executions of all opcodes that begin with `prefix`."""
        return sum(count for opcode, count in self.counts.items() if opcode.startswith(prefix))

    def __str__(self) -> str:
        lines = [f"{self.kernel}: {len(self.errors)} errors, {len(self.hazards)} hazards, {self.steps} steps"]
        return "\n  ".join(lines + [str(finding) for finding in self.findings])
