"""The collectives of a compiled program: kind, bytes, how often, and between which devices.

How the compilers hide them, and how they are counted here:
  * an asynchronous pair (`all-gather-start`, `all-gather-done`): once, at its start;
  * a chain of fusions that carries one all-gather along (TPU: links with the same `chain_id`): once, at its start;
  * an `all-reduce` of shards that each device has put in its place among zeros (TPU, on a torus): as the all-gather it
    is, which sends as much as an all-reduce;
  * an `all-reduce` inside a fusion named `all-reduce-scatter` (TPU): as a reduce-scatter;
  * a matrix product that passes shards around a ring (`windowed_dot_general`): as the collective-permutes it is;
  * between slices (TPU): a `send` to the host whose attribute names the collective; its `recv` is the same one.

Bytes are counted per device, of the operands (what a device brings): of an all-gather one shard, of the others the
whole array. `sent` is what leaves a device in the best algorithm for a ring of g devices (Thakur, Rabenseifner and
Gropp, Optimization of collective communication operations in MPICH, 2005): (g - 1) shards for an all-gather, (g - 1)/g
of the operand for a reduce-scatter or an all-to-all, twice that for an all-reduce, the operand for a permute.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from biomechgpt_jax.compiling import hlo

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
REDUCTIONS = ("all-reduce", "reduce-scatter")
_OPCODE = re.compile(rf"^(ragged-)?({'|'.join(KINDS)})(-start)?$")
_GROUPS = re.compile(
    r"replica_groups=(\{\{.*?\}\}|\{\}|\[[\d,]+\]<=\[[\d,]+\](?:T\([\d,]+\))?"
    r"|mesh\[[^\]]*\](?:,?\s*device_ids=\(.*?\)+)?\s*\{[^}]*\})"
)
_IOTA = re.compile(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_PAIRS = re.compile(r"source_target_pairs=(\{\{.*?\}\}|\{\})")
_TRANSFER = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
_SLICES = re.compile(r'_xla_megascale_target="\{([\d,:]*)\}')

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Collective:
    """One collective in one place of the program.

    Attributes:
        kind: one of `KINDS`.
        name: of the instruction.
        operation: what the traced program calls it; "" where the compiler dropped that.
        operands: the arrays that one device brings.
        devices: participants of one group.
        groups: partitions that take part together; pairs (from, to) of a permute; empty for a transfer between
            slices, whose groups stand nowhere.
        trips: how often it runs in a step.
        known: whether that is certain: no loop around it depends on the data.
        between_slices: whether it is a transfer between slices through the hosts.
        by_sum: whether an all-gather is done by adding up shards among zeros.
    """

    kind: str
    name: str
    operation: str
    operands: tuple[hlo.Array, ...]
    devices: int
    groups: Groups
    trips: float
    known: bool
    between_slices: bool = False
    by_sum: bool = False

    @property
    def operand_bytes(self) -> int:
        """What one device brings, once."""
        return sum(array.bytes for array in self.operands)

    @property
    def result_bytes(self) -> int:
        """What one device holds afterwards, once."""
        share = {"all-gather": self.devices, "reduce-scatter": 1 / self.devices}.get(self.kind, 1)
        return round(self.operand_bytes * share)

    @property
    def sent(self) -> float:
        """Bytes that leave one device in a step (see the module's docstring)."""
        others = self.devices - 1
        if self.by_sum:
            return 2 * others * self.operand_bytes * self.trips
        factor = {
            "all-gather": float(others),
            "all-reduce": 2 * others / self.devices,
            "reduce-scatter": others / self.devices,
            "all-to-all": others / self.devices,
        }.get(self.kind, 1.0)
        return factor * self.operand_bytes * self.trips

    def crosses(self, slice_of: Sequence[int]) -> bool:
        """Whether it takes data from one slice to another.

        Args:
            slice_of: slice of each partition (position in the mesh's devices, flattened).
        """
        return self.between_slices or any(len({slice_of[i] for i in group}) > 1 for group in self.groups)


def find(module: hlo.Module, partitions: int, turns: hlo.Turns = hlo.once) -> list[Collective]:
    """Every collective that runs, once per place.

    Args:
        module: from `hlo.parse`.
        partitions: number of devices that the program is for.
        turns: as in `hlo.visits`.

    Raises:
        ValueError: replica groups in a form that is not known.
    """
    found = []
    for visit in hlo.visits(module, turns):
        computation = module.computations[visit.computation]
        starts = any('"AsyncCollectiveStart"' in i.attributes for i in computation.values())
        for instruction in computation.values():
            matched = _OPCODE.match(instruction.opcode)
            between = _TRANSFER.search(instruction.attributes) if instruction.opcode == "send" else None
            if between:
                one = _between_slices(computation, instruction, between.group(1), visit)
            elif matched and (starts or "chain_id=" not in instruction.attributes):
                scatters = visit.computation.startswith("all-reduce-scatter") and matched.group(2) == "all-reduce"
                kind = "reduce-scatter" if scatters else matched.group(2)
                one = _one(computation, instruction, kind, visit, partitions)
            else:
                continue
            shards = _shards(module, computation, instruction) if one.kind == "all-reduce" else ()
            found.append(replace(one, kind="all-gather", operands=shards, by_sum=True) if shards else one)
    return [one for one in found if one.devices > 1]


def _one(
    computation: hlo.Computation, instruction: hlo.Instruction, kind: str, visit: hlo.Visit, partitions: int
) -> Collective:
    if kind == "collective-permute":
        pairs = _PAIRS.search(instruction.attributes)
        groups = tuple(pair for pair in _listed(pairs.group(1) if pairs else "{}") if pair[0] != pair[-1])
        devices = 2 if groups else 1
    else:
        groups = replica_groups(instruction.attributes, partitions)
        devices = max(len(group) for group in groups)
    return Collective(
        kind,
        instruction.name,
        hlo.operation(instruction),
        _brought(computation, instruction),
        devices,
        groups,
        visit.trips,
        visit.known,
    )


def _between_slices(
    computation: hlo.Computation, instruction: hlo.Instruction, transfer: str, visit: hlo.Visit
) -> Collective:
    kind = transfer.lower().replace("_", "-")
    listed = _SLICES.search(instruction.attributes)
    slices = len(_numbers(listed.group(1))) if listed else 2
    brought = computation[instruction.operands[0]].arrays if instruction.operands[0] in computation else ()
    brought = brought or instruction.arrays[:1]
    operation = re.search(r'_rendezvous="([^"]*)"', instruction.attributes)
    name = operation.group(1) if operation else ""
    return Collective(kind, instruction.name, name, brought, slices, (), visit.trips, visit.known, True)


def _shards(module: hlo.Module, computation: hlo.Computation, instruction: hlo.Instruction) -> tuple[hlo.Array, ...]:
    """Of a sum whose every operand is a shard among zeros, the shards; else nothing."""
    found: list[hlo.Array] = []
    for name in instruction.operands:
        made = hlo.resolved(computation, name)
        if made is None or made.opcode == "after-all":  # a message waits for a token
            continue
        shard = _shard(module, computation, made)
        if shard is None:
            return ()
        found += shard.arrays
    return tuple(found)


def _shard(module: hlo.Module, computation: hlo.Computation, made: hlo.Instruction) -> hlo.Instruction | None:
    """What is written into zeros, by itself or at the end of a fusion."""
    inside: hlo.Computation = computation
    given: tuple[str, ...] = ()
    if made.opcode == "fusion" and made.called and made.called[0] in module.computations:
        inside, given = module.computations[made.called[0]], made.operands
        made = next(i for i in inside.values() if i.root)
    if made.opcode != "dynamic-update-slice":
        return None
    zeros = hlo.resolved(inside, made.operands[0])
    if zeros is not None and zeros.opcode == "parameter" and given:
        zeros = hlo.resolved(computation, given[int(zeros.operands[0])])
    return inside.get(made.operands[1]) if zeros is not None and zeros.opcode == "broadcast" else None


def _brought(computation: hlo.Computation, instruction: hlo.Instruction) -> tuple[hlo.Array, ...]:
    """The arrays of the operands."""
    return tuple(array for name in instruction.operands if name in computation for array in computation[name].arrays)


def replica_groups(attributes: str, partitions: int) -> Groups:
    """The groups of partitions that take part together.

    Forms: a list {{0,1},{2,3}}; none, {}: all; an iota [2,4]<=[4,2]T(1,0): the numbers 0..7 laid out as [4,2],
    transposed and cut into 2 groups of 4; axes of a mesh, mesh['a'=2,'b'=4], device_ids=(...) {'b'}: groups along the
    axes named, of which 'b':(2)2 is a part of an axis of size 4, 2 behind the first 2.

    Raises:
        ValueError: another form.
    """
    found = _GROUPS.search(attributes)
    if "replica_groups=" not in attributes or (found and found.group(1) == "{}"):
        return (tuple(range(partitions)),)
    if not found:
        written = attributes[attributes.index("replica_groups=") :][:80]
        raise ValueError(f"replica groups in a form that is not known: {written}")
    text = found.group(1)
    if text.startswith("{"):
        return _listed(text)
    if text.startswith("mesh"):
        return _of_mesh(text)
    shape, laid, order = _IOTA.fullmatch(text).groups()  # type: ignore[union-attr]
    return _as_groups(_iota(laid, order).reshape(_numbers(shape)))


def _of_mesh(text: str) -> Groups:
    """Groups along axes of a mesh."""
    axes_text, rest = text[len("mesh[") :].split("]", 1)
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", axes_text)}
    ids = re.search(r"device_ids=\((?:\[([\d,]+)\](?:<=\[[\d,]+\])?(?:T\(([\d,]+)\))?|([\d,]+))\)", rest)
    count = math.prod(sizes.values())
    if ids is None:
        devices = np.arange(count)
    elif ids.group(3):
        devices = np.array(_numbers(ids.group(3)))
    else:
        devices = _iota(ids.group(1), ids.group(2))

    # Every axis becomes three: before, within and behind the part that is named; only "within" is grouped.
    named = re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", rest[rest.rindex("{") :])
    parts = {name: (int(before or 1), int(size or sizes[name])) for name, before, size in named}
    shape: list[int] = []
    for name, size in sizes.items():
        before, within = parts.get(name, (size, 1))
        shape += [before, within, size // (before * within)]
    within_axes = [3 * i + 1 for i in range(len(sizes))]
    other_axes = [axis for axis in range(len(shape)) if axis not in within_axes]
    grid = devices.reshape(shape).transpose(other_axes + within_axes)
    return _as_groups(grid.reshape(-1, math.prod(shape[axis] for axis in within_axes)))


def _iota(dims: str, order: str | None) -> np.ndarray:
    sizes = _numbers(dims)
    grid = np.arange(math.prod(sizes)).reshape(sizes)
    return (grid.transpose(_numbers(order)) if order else grid).reshape(-1)


def _as_groups(rows: np.ndarray) -> Groups:
    return tuple(tuple(int(i) for i in row) for row in rows)


def _listed(text: str) -> Groups:
    return tuple(tuple(_numbers(group)) for group in re.findall(r"\{([\d,\s]+)\}", text))


def _numbers(text: str) -> list[int]:
    """Numbers of a list such as 1,2 or 0:3 (the ends included)."""
    found: list[int] = []
    for part in text.split(","):
        first, colon, last = part.strip().partition(":")
        if first:
            found += range(int(first), int(last) + 1) if colon else [int(first)]
    return found


def by_kind(found: Sequence[Collective]) -> dict[str, dict[str, float]]:
    """Totals per kind, those between slices apart: places, runs, bytes brought and bytes sent, per device and step."""
    totals: dict[str, dict[str, float]] = {}
    for one in found:
        key = f"{one.kind} as all-reduce" if one.by_sum else one.kind
        key = f"{key} between slices" if one.between_slices else key
        total = totals.setdefault(key, {"places": 0, "runs": 0, "operand_bytes": 0, "sent_bytes": 0.0})
        total["places"] += 1
        total["runs"] += one.trips
        total["operand_bytes"] += one.operand_bytes * one.trips
        total["sent_bytes"] += one.sent
    return dict(sorted(totals.items(), key=lambda item: -item[1]["sent_bytes"]))


def whole_stacks(found: Sequence[Collective], layers: int, largest_matrix: int) -> list[Collective]:
    """All-gathers whose result could be weights of ALL layers: led by `layers`, and larger than any matrix of one.

    Args:
        found: collectives.
        layers: number of layers.
        largest_matrix: elements of the largest matrix of a layer.
    """

    def is_stack(array: hlo.Array, devices: int) -> bool:
        led = array.dims[:1] in ((layers,), (layers / devices,))
        return led and array.elements * devices > largest_matrix

    gathers = [one for one in found if one.kind == "all-gather"]
    return [one for one in gathers if any(is_stack(array, one.devices) for array in one.operands)]
