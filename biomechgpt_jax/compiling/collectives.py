"""The collectives of a compiled program: kind, bytes, number of runs, and the devices that take part.

How compilers disguise collectives, and how they are counted here:
  * an asynchronous pair (`all-gather-start`, `all-gather-done`): once, at its start;
  * a chain of fusions that carries one all-gather along (TPU: links with the same `chain_id`): once, at its start;
  * an `all-reduce` of shards that each device has placed among zeros (TPU, on a torus): as an all-gather, which is what
    it computes, but one that sends as much as an all-reduce;
  * an `all-reduce` inside a fusion named `all-reduce-scatter` (TPU): as a reduce-scatter;
  * a matrix product that passes shards around a ring (`windowed_dot_general`): as its collective-permutes;
  * a transfer between slices (TPU): a `send` to the host, whose attribute names the collective; its `recv` belongs
    to it and is not counted.

Bytes are counted per device and for the operands: one shard for an all-gather, the whole array for the others. `sent`
is what leaves a device in the best algorithm for a ring of g devices (Thakur, Rabenseifner and Gropp, Optimization of
collective communication operations in MPICH, 2005): (g - 1) shards for an all-gather, (g - 1)/g of the operand for a
reduce-scatter or an all-to-all, twice that for an all-reduce, the operand for a permute.
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
        name: name of the instruction.
        operation: name in the traced program; "" if the compiler dropped it.
        operands: the arrays that one device contributes.
        devices: number of participants in one group.
        groups: groups of partitions that take part together; pairs (from, to) for a permute; empty for a transfer
            between slices, whose groups the program does not state.
        trips: how often it runs in a step.
        known: whether `trips` is certain, because no enclosing loop depends on the data.
        between_slices: whether it is a transfer between slices through the hosts.
        by_sum: whether it is an all-gather done by summing shards among zeros.
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
        """Bytes that one device contributes in one run."""
        return sum(array.bytes for array in self.operands)

    @property
    def result_bytes(self) -> int:
        """Bytes that one device holds after one run."""
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
        """Whether the collective moves data from one slice to another.

        Args:
            slice_of: slice of each partition (its position among the mesh's flattened devices).
        """
        return self.between_slices or any(len({slice_of[i] for i in group}) > 1 for group in self.groups)


def find(module: hlo.Module, partitions: int, assumed_trips: hlo.AssumedTrips = hlo.once) -> list[Collective]:
    """Every collective that runs, once per place in the program.

    Args:
        module: a module from `hlo.parse`.
        partitions: number of devices that the program is compiled for.
        assumed_trips: as in `hlo.visits`.

    Raises:
        ValueError: replica groups have an unknown form.
    """
    found = []
    for visit in hlo.visits(module, assumed_trips):
        computation = module.computations[visit.computation]
        starts = any('"AsyncCollectiveStart"' in i.attributes for i in computation.values())
        for instruction in computation.values():
            opcode = _OPCODE.match(instruction.opcode)
            transfer = _TRANSFER.search(instruction.attributes) if instruction.opcode == "send" else None
            if transfer:
                item = _slice_transfer(computation, instruction, transfer.group(1), visit)
            elif opcode and (starts or "chain_id=" not in instruction.attributes):
                scatters = visit.computation.startswith("all-reduce-scatter") and opcode.group(2) == "all-reduce"
                kind = "reduce-scatter" if scatters else opcode.group(2)
                item = _collective(computation, instruction, kind, visit, partitions)
            else:
                continue
            shards = _shards(module, computation, instruction) if item.kind == "all-reduce" else ()
            found.append(replace(item, kind="all-gather", operands=shards, by_sum=True) if shards else item)
    return [item for item in found if item.devices > 1]


def _collective(
    computation: hlo.Computation, instruction: hlo.Instruction, kind: str, visit: hlo.Visit, partitions: int
) -> Collective:
    if kind == "collective-permute":
        pairs = _PAIRS.search(instruction.attributes)
        groups = tuple(pair for pair in _parse_groups(pairs.group(1) if pairs else "{}") if pair[0] != pair[-1])
        devices = 2 if groups else 1
    else:
        groups = replica_groups(instruction.attributes, partitions)
        devices = max(len(group) for group in groups)
    return Collective(
        kind,
        instruction.name,
        hlo.operation(instruction),
        _operand_arrays(computation, instruction),
        devices,
        groups,
        visit.trips,
        visit.known,
    )


def _slice_transfer(
    computation: hlo.Computation, instruction: hlo.Instruction, transfer: str, visit: hlo.Visit
) -> Collective:
    kind = transfer.lower().replace("_", "-")
    targets = _SLICES.search(instruction.attributes)
    slices = len(_numbers(targets.group(1))) if targets else 2
    operands = computation[instruction.operands[0]].arrays if instruction.operands[0] in computation else ()
    operands = operands or instruction.arrays[:1]
    operation = re.search(r'_rendezvous="([^"]*)"', instruction.attributes)
    name = operation.group(1) if operation else ""
    return Collective(kind, instruction.name, name, operands, slices, (), visit.trips, visit.known, True)


def _shards(module: hlo.Module, computation: hlo.Computation, instruction: hlo.Instruction) -> tuple[hlo.Array, ...]:
    """The shards of a sum all of whose operands are shards among zeros; empty for any other sum."""
    shards: list[hlo.Array] = []
    for name in instruction.operands:
        source = hlo.resolve(computation, name)
        if source is None or source.opcode == "after-all":  # the token that a message waits for
            continue
        shard = _shard(module, computation, source)
        if shard is None:
            return ()
        shards += shard.arrays
    return tuple(shards)


def _shard(module: hlo.Module, computation: hlo.Computation, source: hlo.Instruction) -> hlo.Instruction | None:
    """The value that an instruction, or the root of a fusion, writes into zeros; None if it does something else."""
    inside: hlo.Computation = computation
    arguments: tuple[str, ...] = ()
    if source.opcode == "fusion" and source.called and source.called[0] in module.computations:
        inside, arguments = module.computations[source.called[0]], source.operands
        source = next(i for i in inside.values() if i.root)
    if source.opcode != "dynamic-update-slice":
        return None
    zeros = hlo.resolve(inside, source.operands[0])
    if zeros is not None and zeros.opcode == "parameter" and arguments:
        zeros = hlo.resolve(computation, arguments[int(zeros.operands[0])])
    return inside.get(source.operands[1]) if zeros is not None and zeros.opcode == "broadcast" else None


def _operand_arrays(computation: hlo.Computation, instruction: hlo.Instruction) -> tuple[hlo.Array, ...]:
    """The arrays of the operands."""
    return tuple(array for name in instruction.operands if name in computation for array in computation[name].arrays)


def replica_groups(attributes: str, partitions: int) -> Groups:
    """The groups of partitions that take part together.

    Forms: a list {{0,1},{2,3}}; an empty list {}, which means one group of all; an iota [2,4]<=[4,2]T(1,0), which means
    the numbers 0..7 laid out as [4,2], transposed and cut into 2 groups of 4; axes of a mesh, mesh['a'=2,'b'=4],
    device_ids=(...) {'b'}, which means groups along the named axes, where 'b':(2)2 is the part of size 2 of an axis of
    size 4 that follows a first part of size 2.

    Raises:
        ValueError: the groups have another form.
    """
    match = _GROUPS.search(attributes)
    if "replica_groups=" not in attributes or (match and match.group(1) == "{}"):
        return (tuple(range(partitions)),)
    if not match:
        written = attributes[attributes.index("replica_groups=") :][:80]
        raise ValueError(f"replica groups have an unknown form: {written}")
    text = match.group(1)
    if text.startswith("{"):
        return _parse_groups(text)
    if text.startswith("mesh"):
        return _mesh_groups(text)
    shape, dims, order = _IOTA.fullmatch(text).groups()  # type: ignore[union-attr]
    return _to_groups(_iota(dims, order).reshape(_numbers(shape)))


def _mesh_groups(text: str) -> Groups:
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

    # Every axis is split into three: before, within and after the named part; groups run along "within" only.
    named = re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", rest[rest.rindex("{") :])
    parts = {name: (int(before or 1), int(size or sizes[name])) for name, before, size in named}
    shape: list[int] = []
    for name, size in sizes.items():
        before, within = parts.get(name, (size, 1))
        shape += [before, within, size // (before * within)]
    within_axes = [3 * i + 1 for i in range(len(sizes))]
    other_axes = [axis for axis in range(len(shape)) if axis not in within_axes]
    grid = devices.reshape(shape).transpose(other_axes + within_axes)
    return _to_groups(grid.reshape(-1, math.prod(shape[axis] for axis in within_axes)))


def _iota(dims: str, order: str | None) -> np.ndarray:
    sizes = _numbers(dims)
    grid = np.arange(math.prod(sizes)).reshape(sizes)
    return (grid.transpose(_numbers(order)) if order else grid).reshape(-1)


def _to_groups(rows: np.ndarray) -> Groups:
    return tuple(tuple(int(i) for i in row) for row in rows)


def _parse_groups(text: str) -> Groups:
    return tuple(tuple(_numbers(group)) for group in re.findall(r"\{([\d,\s]+)\}", text))


def _numbers(text: str) -> list[int]:
    """Numbers of a list such as 1,2 or 0:3 (both ends included)."""
    numbers: list[int] = []
    for part in text.split(","):
        first, colon, last = part.strip().partition(":")
        if first:
            numbers += range(int(first), int(last) + 1) if colon else [int(first)]
    return numbers


def by_kind(found: Sequence[Collective]) -> dict[str, dict[str, float]]:
    """Totals per kind on one device in one step, with transfers between slices as separate kinds.

    Returns:
        Kind -> places in the program, runs, operand bytes and sent bytes; most sent bytes first.
    """
    totals: dict[str, dict[str, float]] = {}
    for item in found:
        key = f"{item.kind} as all-reduce" if item.by_sum else item.kind
        key = f"{key} between slices" if item.between_slices else key
        total = totals.setdefault(key, {"places": 0, "runs": 0, "operand_bytes": 0, "sent_bytes": 0.0})
        total["places"] += 1
        total["runs"] += item.trips
        total["operand_bytes"] += item.operand_bytes * item.trips
        total["sent_bytes"] += item.sent
    return dict(sorted(totals.items(), key=lambda item: -item[1]["sent_bytes"]))


def whole_stacks(found: Sequence[Collective], layers: int, largest_matrix: int) -> list[Collective]:
    """All-gathers whose result could be weights of ALL layers: first dimension `layers`, and larger than any matrix.

    Args:
        found: collectives.
        layers: number of layers.
        largest_matrix: number of elements of the largest matrix of a layer.
    """

    def is_stack(array: hlo.Array, devices: int) -> bool:
        stacked = array.dims[:1] in ((layers,), (layers / devices,))
        return stacked and array.elements * devices > largest_matrix

    gathers = [item for item in found if item.kind == "all-gather"]
    return [item for item in gathers if any(is_stack(array, item.devices) for array in item.operands)]
