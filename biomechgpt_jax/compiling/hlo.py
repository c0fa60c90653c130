"""The text of compiled HLO: its computations, and how often each of them runs.

The compiler's own counts take the body of a loop once. Here it counts once per iteration: by the trip count that the
compiler wrote, or else by the loop's induction variable (constant start, stride and bound). The grammar is that of
XLA's `HloModule::ToString`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

_ARRAY = re.compile(r"\b(token|pred|bf16|[a-z]\d+\w*)\[([\d,<= ]*)\](\{[^{}]*\})?")
_HEADER = re.compile(r"^(ENTRY\s+)?%?([\w.\-]+)\s*\(.*->.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(ROOT\s+)?%?([\w.\-]+)\s*=\s*(.*)$")
_KNOWN_TRIPS = re.compile(r'known_trip_count"?\s*[:=]\s*\{\s*"?n"?\s*[:=]\s*"?(\d+)')
_CALLED = re.compile(r"\b(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_LISTED = re.compile(r"\b(?:branch_computations|called_computations)=\{([^}]*)\}")
_KERNEL = re.compile(r'custom_call_target="(tpu_custom_call|__gpu\$xla\.gpu\.triton|__cudnn)')
_BITS = {"pred": 8, "token": 0, "bf16": 16, "c64": 64, "c128": 128}
_SAME_VALUE = ("copy", "bitcast", "convert", "reshape", "copy-start", "copy-done", "optimization-barrier")
# Of the opcodes with a computation, only these run it as separate code; a reduction's is part of its operation.
_RUNS_CALLED = ("call", "fusion", "async-start", "conditional", "custom-call")


class Array(NamedTuple):
    """One array of a value's shape."""

    dtype: str
    dims: tuple[int, ...]
    space: int  # memory space: 0 is the device's main memory

    @property
    def elements(self) -> int:
        """Number of elements."""
        product = 1
        for size in self.dims:
            product *= size
        return product

    @property
    def bytes(self) -> int:
        """Size without the padding of its layout."""
        digits = re.search(r"\d+", self.dtype)
        bits = _BITS.get(self.dtype, int(digits.group()) if digits else 8)
        return -(-self.elements * bits // 8)


@dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
        name: name of the instruction without the percent sign.
        arrays: the arrays of its value; several for a tuple.
        opcode: opcode such as "fusion" or "all-gather-start".
        operands: names of its operands; for a constant the literal.
        attributes: the rest of the line.
        root: whether its value is that of the computation.
    """

    name: str
    arrays: tuple[Array, ...]
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    root: bool

    @property
    def bytes(self) -> int:
        """Size of its value."""
        return sum(array.bytes for array in self.arrays)

    @property
    def called(self) -> tuple[str, ...]:
        """Names of the computations that it calls, except those of a loop."""
        listed = [name for group in _LISTED.findall(self.attributes) for name in group.split(",")]
        return tuple(name.strip().lstrip("%") for name in (*_CALLED.findall(self.attributes), *listed) if name.strip())

    def attribute(self, name: str) -> str | None:
        """The word after `name=`, or None."""
        match = re.search(rf"\b{name}=%?([\w.\-]+)", self.attributes)
        return match.group(1) if match else None


Computation = dict[str, Instruction]


@dataclass(frozen=True)
class Module:
    """A compiled program: its computations by name, and the name of the entry computation."""

    computations: dict[str, Computation]
    entry: str


class Visit(NamedTuple):
    """One computation in one place of the program.

    Attributes:
        computation: name of the computation.
        trips: how often it runs in a step.
        known: whether the trip counts of all enclosing loops are known.
        fused: whether it is inside a fusion, whose values never reach memory.
    """

    computation: str
    trips: float
    known: bool
    fused: bool


AssumedTrips = Callable[[str], float]  # trip count to assume for a loop that depends on the data, by its traced name


def kernels(module: Module) -> tuple[str, ...]:
    """Names of the hand-written kernels in a program (Pallas, Triton, cuDNN)."""
    calls = (i for computation in module.computations.values() for i in computation.values() if "custom" in i.opcode)
    return tuple(sorted({re.sub(r"[.\d]+$", "", i.name) for i in calls if _KERNEL.search(i.attributes)}))


def once(name: str) -> float:
    """Assume that such a loop runs once."""
    del name
    return 1.0


def parse(text: str) -> Module:
    """Parse a module.

    Raises:
        ValueError: the text has no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry, inside = "", None
    for line in text.splitlines():
        if inside is None or not line.startswith((" ", "\t")):
            header = _HEADER.match(line)
            if header:
                inside = computations.setdefault(header.group(2), {})
                entry = header.group(2) if header.group(1) else entry
            continue
        match = _INSTRUCTION.match(line)
        if match:
            instruction = _instruction(match.group(2), match.group(3), bool(match.group(1)))
            if instruction is not None:
                inside[instruction.name] = instruction
    if not entry:
        raise ValueError("the text contains no entry computation of an HLO module")
    return Module(computations, entry)


def _instruction(name: str, rest: str, root: bool) -> Instruction | None:
    """Parse the text after the equals sign; None if it is not an instruction."""
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    opening = rest.find("(", end)
    if end <= 0 or opening < 0:
        return None
    closing = _closing(rest, opening)
    operands = tuple(_operand(part) for part in _split(rest[opening + 1 : closing]))
    opcode = rest[end:opening].strip()
    return Instruction(name, arrays(rest[:end]), opcode, operands, rest[closing + 1 :], root)


def arrays(text: str) -> tuple[Array, ...]:
    """The arrays of a shape, in order."""
    return tuple(
        Array(
            dtype,
            tuple(int(size.strip("<= ")) for size in dims.split(",") if size.strip()),
            int(space.group(1)) if (space := re.search(r"S\((\d+)\)", layout)) else 0,
        )
        for dtype, dims, layout in _ARRAY.findall(text)
    )


def _closing(text: str, opening: int) -> int:
    """Index of the bracket that closes the one at `opening`; the end of the text if none does."""
    depth = 0
    for index in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return len(text)


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets."""
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [part for part in (*parts, text[start:]) if part.strip()]


def _operand(text: str) -> str:
    """The operand's name, without its shape and comments."""
    words = re.sub(r"/\*.*?\*/", "", text).split()
    return words[-1].lstrip("%") if words else ""


def visits(module: Module, assumed_trips: AssumedTrips = once) -> list[Visit]:
    """Every computation that runs, once per place from which it is called.

    Args:
        module: a module from `parse`.
        assumed_trips: trip counts of loops whose trip count cannot be read because it depends on the data.
    """
    return list(_visits(module, Visit(module.entry, 1, True, False), assumed_trips))


def _visits(module: Module, here: Visit, assumed_trips: AssumedTrips) -> Iterator[Visit]:
    yield here
    for instruction in module.computations[here.computation].values():
        if instruction.opcode == "while":
            trips = trip_count(module, here.computation, instruction)
            body = instruction.attribute("body")
            if body in module.computations:
                times = here.trips * (assumed_trips(_traced(module, instruction)) if trips is None else trips)
                yield from _visits(
                    module, Visit(body, times, here.known and trips is not None, here.fused), assumed_trips
                )
        elif instruction.opcode in _RUNS_CALLED:
            for name in instruction.called:
                if name in module.computations:
                    fused = here.fused or instruction.opcode == "fusion"
                    yield from _visits(module, here._replace(computation=name, fused=fused), assumed_trips)


def operation(instruction: Instruction) -> str:
    """Name of an instruction in the traced program; "" if the compiler dropped it."""
    name = re.search(r'op_name="([^"]*)"', instruction.attributes)
    return name.group(1) if name else ""


def _traced(module: Module, loop: Instruction) -> str:
    """The traced name of a loop, or of an instruction in it."""
    inside = (module.computations.get(loop.attribute(part) or "", {}) for part in ("condition", "body"))
    named = (operation(i) for i in (loop, *(i for computation in inside for i in computation.values())))
    return next((name for name in named if name), "")


def trip_count(module: Module, computation: str, loop: Instruction) -> int | None:
    """Trip count of a `while` loop; None if it depends on the data."""
    written = _KNOWN_TRIPS.search(loop.attributes)
    if written:
        return int(written.group(1))
    condition = module.computations.get(loop.attribute("condition") or "", {})
    body = module.computations.get(loop.attribute("body") or "", {})
    test = next((i for i in condition.values() if i.root), None)
    if test is None or test.opcode != "compare" or len(test.operands) != 2:
        return None

    outside = module.computations[computation]
    start_of = {index: _constant(outside, name) for index, name in enumerate(_tuple(outside, loop.operands[0]))}
    stays = {index: value for index, value in start_of.items() if _unchanged(body, index)}
    left, right = (resolve(condition, name) for name in test.operands)
    index, bound = _index(left), _bound(condition, right, stays)
    direction = test.attribute("direction")
    if index is None or index in stays:  # the bound is on the left
        index, bound = _index(right), _bound(condition, left, stays)
        direction = {"LT": "GT", "GT": "LT", "LE": "GE", "GE": "LE"}.get(direction or "", direction)
    start, stride = start_of.get(index if index is not None else -1), _stride(module, body, index)
    if bound is None or start is None or not stride:
        return None
    distance = (bound - start) * (1 if stride > 0 else -1)
    inclusive = direction in ("LE", "GE")
    return max(0, -(-(distance + inclusive) // abs(stride)))


def resolve(computation: Computation, name: str) -> Instruction | None:
    """The instruction that computes a value, looking through copies and casts."""
    found = computation.get(name)
    while found is not None and found.opcode in _SAME_VALUE and found.operands:
        found = computation.get(found.operands[0])
    return found


def _constant(computation: Computation, name: str) -> int | None:
    found = resolve(computation, name)
    literal = found.operands[0] if found is not None and found.opcode == "constant" and found.operands else ""
    return int(literal) if re.fullmatch(r"-?\d+", literal) else None


def _tuple(computation: Computation, name: str) -> tuple[str, ...]:
    """Names of the elements of a tuple; empty for other values."""
    found = resolve(computation, name)
    return found.operands if found is not None and found.opcode == "tuple" else ()


def _index(found: Instruction | None) -> int | None:
    """Index of the element of the loop's state that an instruction reads, or None."""
    if found is None or found.opcode != "get-tuple-element":
        return None
    return int(found.attribute("index") or 0)


def _bound(condition: Computation, found: Instruction | None, stays: dict[int, int | None]) -> int | None:
    """A constant of the condition, or one that enters with the loop's state and never changes."""
    if found is None:
        return None
    index = _index(found)
    return _constant(condition, found.name) if index is None else stays.get(index)


def _unchanged(body: Computation, index: int) -> bool:
    """Whether an iteration passes an element of the state on unchanged."""
    root = next((i for i in body.values() if i.root), None)
    if root is None or root.opcode != "tuple" or index >= len(root.operands):
        return False
    after = resolve(body, root.operands[index])
    return _index(after) == index


def _stride(module: Module, body: Computation, index: int | None) -> int | None:
    """The constant that an iteration adds to an element of the state; None if it is not a constant."""
    root = next((i for i in body.values() if i.root), None)
    if index is None or root is None or root.opcode != "tuple" or index >= len(root.operands):
        return None
    after = resolve(body, root.operands[index])
    if after is not None and after.opcode == "fusion" and after.called:
        inside = module.computations.get(after.called[0], {})
        added = next((i for i in inside.values() if i.root), None)
        return _added_constant(inside, added, dict(enumerate(after.operands)), body)
    return _added_constant(body, after, {}, body)


def _added_constant(
    inside: Computation, added: Instruction | None, given: dict[int, str], body: Computation
) -> int | None:
    """The constant of an addition; parameters of a fusion are looked up at its call."""
    if added is None or added.opcode not in ("add", "subtract"):
        return None
    for name in added.operands:
        found = resolve(inside, name)
        if found is not None and found.opcode == "parameter":
            value = _constant(body, given.get(int(found.operands[0]), ""))
        else:
            value = _constant(inside, name)
        if value is not None:
            return value if added.opcode == "add" else -value
    return None
