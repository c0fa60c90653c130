"""Bytes that a compiled program moves between a device's main memory and its processors, counted from its HLO.

Every instruction that is not inside a fusion reads its operands and writes its value once, times the trip counts of the
enclosing loops. Of a large array only the used part counts: what a fusion reads only by `dynamic-slice`, `slice` or
`gather`, and what a `dynamic-update-slice` writes. Values that the compiler keeps in another memory (the vector memory
of a TPU, `S(1)` in the layout) do not count. The effect of caches is unknown, so this is neither an upper nor a lower
bound; on a TPU, which has no cache, it is close.
"""

import math

from biomechgpt_jax.compiling import hlo

# These move no bytes, or call computations that are counted separately.
_FREE = {
    *("parameter", "constant", "iota", "tuple", "get-tuple-element", "bitcast", "after-all", "optimization-barrier"),
    *("while", "conditional", "call", "partition-id", "replica-id", "send-done", "recv", "recv-done"),
    *("copy-done", "all-gather-done", "all-reduce-done", "collective-permute-done", "async-done", "async-update"),
}
_TAKES_PART = ("dynamic-slice", "slice", "gather")


def main_memory_bytes(module: hlo.Module, assumed_trips: hlo.AssumedTrips = hlo.once) -> float:
    """Bytes read and written per step on one device.

    Args:
        module: a module from `hlo.parse`.
        assumed_trips: as in `hlo.visits`.
    """
    once: dict[str, float] = {}
    total = 0.0
    for visit in hlo.visits(module, assumed_trips):
        if visit.fused:
            continue
        if visit.computation not in once:
            computation = module.computations[visit.computation]
            once[visit.computation] = sum(_bytes_moved(module, computation, i) for i in computation.values())
        total += visit.trips * once[visit.computation]
    return total


def _bytes_moved(module: hlo.Module, computation: hlo.Computation, instruction: hlo.Instruction) -> float:
    """Bytes that one instruction reads and writes."""
    if instruction.opcode in _FREE:
        return 0.0
    operands = [computation[name] for name in instruction.operands if name in computation]
    if instruction.opcode in _TAKES_PART:
        return 2.0 * _main_memory_size(instruction)
    if instruction.opcode == "dynamic-update-slice":
        return 2.0 * _main_memory_size(operands[1])
    if instruction.opcode == "fusion" and instruction.called and instruction.called[0] in module.computations:
        return _fusion_bytes(module.computations[instruction.called[0]], instruction, operands)
    written = _main_memory_size(instruction)
    if instruction.opcode.endswith("-start"):  # its value includes the operands
        written = max(0.0, written - sum(map(_main_memory_size, operands)))
    return written + sum(map(_main_memory_size, operands))


def _fusion_bytes(inside: hlo.Computation, fusion: hlo.Instruction, operands: list[hlo.Instruction]) -> float:
    """Bytes that a fusion reads and writes."""
    users: dict[str, list[hlo.Instruction]] = {}
    for instruction in inside.values():
        for name in instruction.operands:
            users.setdefault(name, []).append(instruction)
    parameters = {int(i.operands[0]): i for i in inside.values() if i.opcode == "parameter"}

    total = 0.0
    for number, operand in enumerate(operands):
        read = _main_memory_size(operand)
        uses = _users(users, parameters[number].name) if number in parameters else []
        if uses and all(i.opcode in _TAKES_PART and i.operands[0] == name for i, name in uses):
            read = min(read, float(sum(i.bytes for i, _ in uses)))
        elif uses and all(i.opcode == "dynamic-update-slice" and i.operands[0] == name for i, name in uses):
            read = 0.0  # updated in place
        total += read
    return total + _bytes_written(inside, fusion)


def _users(users: dict[str, list[hlo.Instruction]], name: str) -> list[tuple[hlo.Instruction, str]]:
    """Instructions that use a value, with the name under which they use it, looking through bitcasts."""
    uses: list[tuple[hlo.Instruction, str]] = []
    for user in users.get(name, []):
        uses += _users(users, user.name) if user.opcode == "bitcast" else [(user, name)]
    return uses


def _bytes_written(inside: hlo.Computation, fusion: hlo.Instruction) -> float:
    """Bytes of the fusion's value that are written; of an update in place only the update."""
    root = next((i for i in inside.values() if i.root), None)
    if root is None:
        return _main_memory_size(fusion)
    roots = [inside.get(name) for name in root.operands] if root.opcode == "tuple" else [root]
    if len(roots) != len(fusion.arrays):
        return _main_memory_size(fusion)
    total = 0.0
    for array, value in zip(fusion.arrays, roots, strict=True):
        while value is not None and value.opcode == "bitcast":
            value = inside.get(value.operands[0])
        updates = value is not None and value.opcode == "dynamic-update-slice" and value.operands[1] in inside
        size = inside[value.operands[1]].bytes if updates and value is not None else math.inf
        total += 0.0 if array.space else min(float(array.bytes), size)
    return total


def _main_memory_size(instruction: hlo.Instruction) -> float:
    """Bytes of a value that are in main memory."""
    return float(sum(array.bytes for array in instruction.arrays if array.space == 0))
