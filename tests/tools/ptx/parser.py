"""PTX text to modules, kernels and instructions."""

from __future__ import annotations

import re

import numpy as np

from .calls import Function, read_call, read_function
from .kernel import Instruction, Kernel, Module, Variable
from .operands import Name, Register, parse_operand, split
from .report import PTXError
from .types import TYPES, Array

_VARIABLE = re.compile(
    r"(?P<extern>\.extern\s+)?(?:\.(?:visible|weak|common)\s+)?\.(?P<space>shared|global|const|local|param)\s+"
    r"(?:\.align\s+(?P<align>\d+)\s+)?\.(?P<type>\w+)\s+(?:\.ptr[^,)]*?\s)?(?P<name>[\w$]+)\s*"
    r"(?P<array>\[\s*\d*\s*\])?\s*(?:=\s*(?P<data>[^;]*))?$"
)


def parse(text: str) -> Module:
    """Every kernel (`.entry`) of a PTX text, with the device functions that it calls in their places.

    Raises PTXError with the line for what it cannot read.
    """
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
    files = dict(re.findall(r'\.file\s+(\d+)\s+"(?:[^"]*/)?([^"/]*)"', text))
    text = re.sub(r"//[^\n]*", lambda m: " " * len(m[0]), text)
    sections = re.search(r"^\s*\.section", text, flags=re.M)
    text = text[: sections.start()] if sections else text
    module, outside, at = Module(), "", 0
    bodies, functions = [], {}
    for head in re.finditer(r"\.(entry|func)\b", text):
        if head.start() < at:
            continue
        opening = re.compile(r"[{;]").search(text, head.end())
        if opening is None or text[opening.start()] == ";":  # a prototype
            outside, at = outside + text[at : head.start()], opening.end() if opening else len(text)
            continue
        end = _closing(text, opening.start())
        outside += text[at : head.start()]
        at = end
        if head[1] == "entry":
            bodies.append((head.end(), opening.start(), end))
        else:
            function = read_function(text[head.end() : opening.start()], opening.start() + 1, end - 1)
            functions[function.name] = function
    outside += text[at:]
    for start, body, end in bodies:
        kernel = _header(text[start:body])
        _module_variables(kernel, outside, text[body:end] + "".join(text[f.start : f.end] for f in functions.values()))
        _Body(kernel, text, body + 1, end - 1, files, functions).parse()
        module[kernel.name] = kernel
    return module


def _closing(text: str, opening: int) -> int:
    depth = 0
    for brace in re.compile(r"[{}]").finditer(text, opening):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    raise PTXError(f"line {text.count(chr(10), 0, opening) + 1}: the brace is not closed")


def _header(text: str) -> Kernel:
    match = re.match(r"\s*([\w$]+)\s*(?:\(([^)]*)\))?(.*)", text, flags=re.S)
    if match is None:
        raise PTXError(f"cannot read the kernel's header {text!r}")
    kernel = Kernel(match[1])
    for param in split(match[2] or ""):
        kernel.params.append(_declare(kernel, " ".join(param.split())))
    threads = re.search(r"\.reqntid\s+(\d+)(?:\s*,\s*(\d+))?(?:\s*,\s*(\d+))?", match[3])
    if threads:
        kernel.threads = (int(threads[1]), int(threads[2] or 1), int(threads[3] or 1))
    return kernel


def _module_variables(kernel: Kernel, outside: str, body: str) -> None:
    """Those that the body names: each kernel has its own copy."""
    for statement in outside.split(";"):
        found = re.search(r"(\.extern\s+)?(\.(visible|weak)\s+)?\.(shared|global|const)\b.*", statement, flags=re.S)
        match = found and _VARIABLE.match(" ".join(found[0].split()))
        if match and re.search(rf"(?<![\w$]){re.escape(match['name'])}(?![\w$])", body):
            _declare(kernel, " ".join(found[0].split()))  # type: ignore[index]


def _declare(kernel: Kernel, text: str) -> Variable:
    match = _VARIABLE.match(text)
    if match is None or match["type"] not in TYPES:
        raise PTXError(f"cannot read the declaration {text!r}")
    kind, count = TYPES[match["type"]], match["array"]
    data = _initial(match["data"] or "", kind.name)
    length = int(count.strip("[] ") or 0) if count else 1
    if match["space"] == "shared" and match["extern"] and not length:
        kernel.dynamic.add(match["name"])
        return Variable(match["name"], "shared", 0, 0)
    size = max(length * kind.size, len(data))
    return kernel.declare(match["name"], match["space"], size, int(match["align"] or kind.size), data)


def _initial(text: str, kind: str) -> bytes:
    numbers = [item.strip() for item in text.strip(" {}").split(",") if item.strip()]
    values: list[Array] = []
    for number in numbers:
        operand = parse_operand(number, lambda name: None)
        bits = getattr(operand, "bits", None)
        if bits is None:
            raise PTXError(f"an initial value that is no number: {number!r}")
        values.append(bits(TYPES[kind]))
    return np.concatenate(values).tobytes() if values else b""


class _Body:
    """Statements of one kernel, or of a function it calls, from `at` to `end` of the whole text.

    functions: that can be called; suffix: of the labels of this call; bound: registers of its parameters, by name.
    """

    def __init__(
        self,
        kernel: Kernel,
        text: str,
        at: int,
        end: int,
        files: dict[str, str],
        functions: dict[str, Function],
        suffix: str = "",
        bound: dict[str, Register] | None = None,
    ) -> None:
        self.kernel, self.text, self.at, self.end, self.files = kernel, text, at, end, files
        self.functions, self.suffix = functions, suffix
        self.line, self.counted = text.count("\n", 0, at) + 1, at
        self.source = ""
        self.scopes: list[dict[str, Register]] = [bound or {}]
        self.ranges: list[dict[str, int]] = [{}]

    def parse(self) -> None:
        while self._skip_space() < self.end:
            try:
                self._statement()
            except PTXError as error:
                raise PTXError(f"kernel {self.kernel.name}, line {self.line}: {error}") from None

    def _skip_space(self) -> int:
        while self.at < self.end and self.text[self.at] in " \t\r\n;":
            self.at += 1
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.at

    def _take(self, pattern: str) -> re.Match[str] | None:
        match = re.compile(pattern).match(self.text, self.at)
        if match:
            self.at = match.end()
        return match

    def _statement(self) -> None:
        if self._take(r"\{"):
            self.scopes.append({})
            self.ranges.append({})
        elif self._take(r"\}"):
            self.scopes.pop()
            self.ranges.pop()
        elif label := self._take(r"([\w$]+)\s*:(?!:)"):
            if targets := self._take(r"\s*\.branchtargets([^;]*)"):
                self.kernel.targets[label[1] + self.suffix] = [name + self.suffix for name in split(targets[1])]
            else:
                self.kernel.labels[label[1] + self.suffix] = len(self.kernel.code)
        elif place := self._take(r"\.loc\s+(\d+)\s+(\d+)[^\n]*"):
            self.source = f"{self.files.get(place[1], place[1])}:{place[2]}" if place[2] != "0" else self.source
        elif registers := self._take(r"\.reg\s*\.(\w+)\s+([^;]*)"):
            self._registers(registers[1], registers[2])
        elif parameter := self._take(r"\.param\s+\.(\w+)\s+([\w$]+)\s*(?=;)"):
            self.scopes[-1][parameter[2]] = self._new(TYPES[parameter[1]].size)
        elif self._take(r"\.(pragma[^;]*|param[^;]*|file[^\n]*)"):
            pass
        elif variable := self._take(r"\.(shared|local|extern|global|const)[^;]*"):
            _declare(self.kernel, " ".join(variable[0].split()))
        elif instruction := self._take(r"[^;]+"):
            self._instruction(" ".join(instruction[0].split()))

    def _registers(self, kind: str, names: str) -> None:
        size = 0 if kind == "pred" else TYPES[kind].size
        for name in split(names):
            if match := re.match(r"(.*)<\d+>$", name):
                self.ranges[-1][match[1]] = size
            else:
                self.scopes[-1][name] = self._new(size)

    def _new(self, size: int) -> Register:
        self.kernel.registers.append(size)
        return Register(len(self.kernel.registers) - 1, size)

    def _find(self, name: str) -> Register | None:
        prefix = name.rstrip("0123456789")
        for scope, ranges in zip(reversed(self.scopes), reversed(self.ranges), strict=True):
            if name not in scope and prefix in ranges and prefix != name:
                scope[name] = self._new(ranges[prefix])
            if name in scope:
                return scope[name]
        return None

    def _instruction(self, text: str) -> None:
        match = re.match(r"(?:@(!?)([%\w$]+)\s+)?(\S+)\s*(.*)$", text)
        if match is None:
            raise PTXError(f"cannot read {text!r}")
        guard = self._find(match[2]) if match[2] else None
        if match[2] and guard is None:
            raise PTXError(f"{match[2]} is not declared: {text!r}")
        opcode, parts = match[3], split(match[4]) if not match[3].startswith("call") else []
        if opcode.startswith("call") and not match[2]:
            self._call(*read_call(match[4]))
            return
        place = re.fullmatch(r"(ld|st)\.param\.(\w+)", opcode)
        if (
            place
            and (register := re.match(r"\[([\w$]+)(?:\+0)?\]$", parts[place[1] == "ld"]))
            and self._find(register[1])
        ):
            opcode, parts[place[1] == "ld"] = f"mov.{place[2]}", register[1]
        if opcode == "ret" and self.suffix:
            opcode, parts = "bra", ["end"]
        operands = tuple(parse_operand(part, self._find) for part in parts)
        if self.suffix and opcode.startswith("br"):
            operands = tuple(Name(part.name + self.suffix) if isinstance(part, Name) else part for part in operands)
        self.kernel.code.append(Instruction(opcode, operands, guard, match[1] == "!", self.line, text, self.source))

    def _call(self, name: str, given: tuple[str, ...]) -> None:
        """The function's code, which ends at the label `end`."""
        if name not in self.functions:
            raise PTXError(f"a call of {name}, which is no function of this module or calls itself")
        function, registers = self.functions[name], [self._find(one) for one in given]
        if None in registers or len(registers) != len(function.names):
            raise PTXError(f"a call of {name} with other than its {len(function.names)} results and parameters")
        others = {key: value for key, value in self.functions.items() if key != name}
        suffix = f"{self.suffix}@{len(self.kernel.code)}"
        bound = dict(zip(function.names, (one for one in registers if one), strict=True))
        _Body(self.kernel, self.text, function.start, function.end, self.files, others, suffix, bound).parse()
        self.kernel.labels["end" + suffix] = len(self.kernel.code)
