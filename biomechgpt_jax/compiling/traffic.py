"""Bytes that a compiled program moves between a device's main memory and its processors, counted from its HLO.

Every instruction that is not inside a fusion reads its operands and writes its value once, times the turns of the
loops around it. Of a large array only the part that is used counts: what a fusion takes by `dynamic-slice`, `slice` or
`gather` alone, and what a `dynamic-update-slice` writes. Values that the compiler keeps in another memory (the vector
memory of a TPU, `S(1)` in the layout) do not count. What caches save is not known, so this is neither an upper nor a
lower bound; on a TPU, which has no cache, it is close.
"""

import math

from biomechgpt_jax.compiling import hlo

# These move nothing, or what they run is counted itself.
_FREE = {
    *("parameter", "constant", "iota", "tuple", "get-tuple-element", "bitcast", "after-all", "optimization-barrier"),
    *("while", "conditional", "call", "partition-id", "replica-id", "send-done", "recv", "recv-done"),
    *("copy-done", "all-gather-done", "all-reduce-done", "collective-permute-done", "async-done", "async-update"),
}
_TAKES_PART = ("dynamic-slice", "slice", "gather")


def main_memory_bytes(module: hlo.Module, turns: hlo.Turns = hlo.once) -> float:
    """Bytes read and written per step on one device.

    Args:
        module: from `hlo.parse`.
        turns: as in `hlo.visits`.
    """
    once: dict[str, float] = {}
    total = 0.0
    for visit in hlo.visits(module, turns):
        if visit.fused:
            continue
        if visit.computation not in once:
            computation = module.computations[visit.computation]
            once[visit.computation] = sum(_moved(module, computation, i) for i in computation.values())
        total += visit.trips * once[visit.computation]
    return total


def _moved(module: hlo.Module, computation: hlo.Computation, instruction: hlo.Instruction) -> float:
    """Bytes that one instruction reads and writes."""
    if instruction.opcode in _FREE:
        return 0.0
    operands = [computation[name] for name in instruction.operands if name in computation]
    if instruction.opcode in _TAKES_PART:
        return 2.0 * _here(instruction)
    if instruction.opcode == "dynamic-update-slice":
        return 2.0 * _here(operands[1])
    if instruction.opcode == "fusion" and instruction.called and instruction.called[0] in module.computations:
        return _fused(module.computations[instruction.called[0]], instruction, operands)
    written = _here(instruction)
    if instruction.opcode.endswith("-start"):  # its value holds the operands as well
        written = max(0.0, written - sum(map(_here, operands)))
    return written + sum(map(_here, operands))


def _fused(inside: hlo.Computation, fusion: hlo.Instruction, operands: list[hlo.Instruction]) -> float:
    """Bytes that a fusion reads and writes."""
    users: dict[str, list[hlo.Instruction]] = {}
    for instruction in inside.values():
        for name in instruction.operands:
            users.setdefault(name, []).append(instruction)
    parameters = {int(i.operands[0]): i for i in inside.values() if i.opcode == "parameter"}

    total = 0.0
    for number, operand in enumerate(operands):
        read = _here(operand)
        used = _users(users, parameters[number].name) if number in parameters else []
        if used and all(i.opcode in _TAKES_PART and i.operands[0] == name for i, name in used):
            read = min(read, float(sum(i.bytes for i, _ in used)))
        elif used and all(i.opcode == "dynamic-update-slice" and i.operands[0] == name for i, name in used):
            read = 0.0  # written in place
        total += read
    return total + _written(inside, fusion)


def _users(users: dict[str, list[hlo.Instruction]], name: str) -> list[tuple[hlo.Instruction, str]]:
    """Instructions that use a value, and the name they know it by, bitcasts looked through."""
    found: list[tuple[hlo.Instruction, str]] = []
    for user in users.get(name, []):
        found += _users(users, user.name) if user.opcode == "bitcast" else [(user, name)]
    return found


def _written(inside: hlo.Computation, fusion: hlo.Instruction) -> float:
    """Bytes of the fusion's value that are written: of an update in place, the update."""
    root = next((i for i in inside.values() if i.root), None)
    if root is None:
        return _here(fusion)
    roots = [inside.get(name) for name in root.operands] if root.opcode == "tuple" else [root]
    if len(roots) != len(fusion.arrays):
        return _here(fusion)
    total = 0.0
    for array, one in zip(fusion.arrays, roots, strict=True):
        while one is not None and one.opcode == "bitcast":
            one = inside.get(one.operands[0])
        updates = one is not None and one.opcode == "dynamic-update-slice" and one.operands[1] in inside
        size = inside[one.operands[1]].bytes if updates and one is not None else math.inf
        total += 0.0 if array.space else min(float(array.bytes), size)
    return total


def _here(instruction: hlo.Instruction) -> float:
    """Bytes of a value that lie in main memory."""
    return float(sum(array.bytes for array in instruction.arrays if array.space == 0))
