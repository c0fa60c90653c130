"""How long a training step takes at best: the slowest of computing, memory and networks (Williams, Waterman and
Patterson, Roofline: an insightful visual performance model, 2009).

Assumptions: every unit reaches its peak in `chips`; all links of a device are busy at once; the rows are full, hold one
trial each, and every token counts in the loss. `overlapped` lets everything run at once, `serial` nothing: a real step
lies between the two, or above both if the peaks are not reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from biomechgpt_jax import config
from biomechgpt_jax.compiling import collectives
from biomechgpt_jax.model import flops
from biomechgpt_jax.parallel import chips

ASSUMPTIONS = (
    "peak operations, memory and network bandwidth of the data sheet are reached",
    "collectives use all links of a device at once, by ring algorithms",
    "rows are full, one trial each, and every token counts in the loss (the most work there can be)",
    "remat 'full' computes the products of the layers a second time",
)


@dataclass(frozen=True)
class Estimate:
    """Seconds of one step by limiting resource, and derived figures.

    Attributes:
        compute_s: matrix products, including recomputed ones, at peak speed.
        memory_s: traffic of the main memory.
        network_s: collectives within a slice, or within a machine of GPUs.
        slices_s: collectives between slices, or between machines.
        overlapped_s: the longest of these times.
        serial_s: their sum.
        limit: name of the longest.
        intensity: operations per byte of memory traffic.
        ridge: operations per byte above which memory is not the limit.
        mfu: model FLOPs utilisation if everything overlaps.
        mfu_serial: model FLOPs utilisation if nothing overlaps.
    """

    compute_s: float
    memory_s: float
    network_s: float
    slices_s: float
    overlapped_s: float
    serial_s: float
    limit: str
    intensity: float
    ridge: float
    mfu: float
    mfu_serial: float


def step_flops(
    experiment: config.Experiment, softmax_sizes: Sequence[int], weights: flops.Weights | None = None
) -> float:
    """Operations of one step on the global batch, as utilisation counts them.

    Args:
        experiment: model, train and pack are read.
        softmax_sizes: number of ids of each softmax (`Objective.softmax_sizes`).
        weights: what is trained; None if everything is.
    """
    tokens = experiment.train.batch_size * experiment.pack.row_length
    softmaxes = [(tokens, ids) for ids in softmax_sizes]
    return flops.training(experiment.model, tokens, softmaxes, _pairs(experiment), weights)


def recomputed(experiment: config.Experiment) -> float:
    """Operations of the forward pass of the layers that remat "full" computes a second time; else 0."""
    if experiment.model.remat != "full":
        return 0.0
    tokens = experiment.train.batch_size * experiment.pack.row_length
    return flops.training(experiment.model, tokens, [], _pairs(experiment)) / 3


def _pairs(experiment: config.Experiment) -> float:
    """Pairs of a query and a visible key over the batch and all layers if every row is one trial."""
    length, model = experiment.pack.row_length, experiment.model
    windows = [min(model.windows[kind] or length, length) for kind in model.kinds]
    return experiment.train.batch_size * sum(w * (w + 1) / 2 + (length - w) * w for w in windows)


def estimate(
    chip: chips.Chip,
    flops: float,
    recomputed: float,
    traffic: float,
    found: Sequence[collectives.Collective],
    slice_of: Sequence[int],
) -> Estimate | None:
    """The estimate for one device; None if the table lacks one of the device's figures.

    Args:
        chip: the device.
        flops: operations of a step on one device.
        recomputed: operations that rematerialisation adds.
        traffic: bytes read and written in the device's main memory.
        found: the collectives of the program.
        slice_of: slice of each partition; a collective that leaves a slice runs at the speed of the network between
            slices.
    """
    if chip.bandwidth is None or chip.ici is None or chip.dcn is None:
        return None
    far = {id(item) for item in found if item.crosses(slice_of)}
    times = {
        "compute": (flops + recomputed) / chip.peak,
        "memory": traffic / chip.bandwidth,
        "network": sum(item.sent for item in found if id(item) not in far) / chip.ici,
        "slices": sum(item.sent for item in found if id(item) in far) / chip.dcn,
    }
    longest, total = max(times.values()), sum(times.values())
    return Estimate(
        compute_s=times["compute"],
        memory_s=times["memory"],
        network_s=times["network"],
        slices_s=times["slices"],
        overlapped_s=longest,
        serial_s=total,
        limit=max(times, key=lambda name: times[name]),
        intensity=(flops + recomputed) / traffic if traffic else float("inf"),
        ridge=chip.peak / chip.bandwidth,
        mfu=flops / chip.peak / longest,
        mfu_serial=flops / chip.peak / total,
    )
