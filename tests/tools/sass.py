"""What nvdisasm prints of a kernel: its opcodes, and how many instructions follow its products."""

from __future__ import annotations

import collections
import re

LABEL = re.compile(r"(\.L_x_\d+):")
INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?P<guard>@!?U?P\w+ )?\s*(?P<opcode>[A-Z][A-Z0-9]*)(?P<rest>.*)")
PRODUCT = re.compile(r"HMMA|HGMMA|UTC\w*MMA")
# Tensor cores, asynchronous copies, barriers of clusters, local memory (spills).
COUNTED = re.compile(r"HMMA|HGMMA|UTC\w*MMA|LDGSTS|UTMALDG|UCGABAR|STL|LDL")


class Code:
    """Instructions in order: opcodes, targets of branches (None for others), and whether a branch may fall through."""

    def __init__(self, text: str) -> None:
        self.opcodes: list[str] = []
        self.conditional: list[bool] = []
        names, labels = [], {}
        for line in text.splitlines():
            if label := LABEL.match(line):
                labels[label[1]] = len(self.opcodes)
            elif found := INSTRUCTION.search(line):
                target = re.search(r"\.L_x_\d+", found["rest"]) if found["opcode"] == "BRA" else None
                self.opcodes.append(found["opcode"])
                self.conditional.append(bool(found["guard"]) or bool(re.match(r"\S* !?U?P\d", found["rest"].strip())))
                names.append(target and target[0])
        self.targets = [name and labels.get(name) for name in names]

    def counted(self) -> dict[str, int]:
        """How often each opcode of interest stands there."""
        found = collections.Counter(name for name in self.opcodes if COUNTED.fullmatch(name))
        return dict(sorted(found.items()))

    def epilogue(self) -> int | None:
        """Fewest instructions from the loop of the last product to the next tile or the end; None without products.

        So what only some tiles need, behind branches, is not counted.
        """
        products = [place for place, name in enumerate(self.opcodes) if PRODUCT.fullmatch(name)]
        if not products:
            return None
        loop = [p for p, t in enumerate(self.targets) if t is not None and t <= products[-1] <= p]
        first = loop[0] + 1 if loop else products[-1] + 1
        fewest = {first: 0}
        for place in range(first, len(self.opcodes)):
            if place not in fewest:
                continue
            count, target = fewest[place] + 1, self.targets[place]
            if self.opcodes[place] == "EXIT" and not self.conditional[place]:
                return count
            if target is not None and target <= place:
                return count
            falls = target is None or self.conditional[place]
            for after in ([place + 1] if falls else []) + ([target] if target is not None else []):
                fewest[after] = min(count, fewest.get(after, count))
        return None
