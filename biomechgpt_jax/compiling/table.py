"""The report on a compiled step as text."""

from collections.abc import Iterator

from biomechgpt_jax.compiling import roofline
from biomechgpt_jax.compiling.report import Memory, Report

_UNITS = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def text(report: Report) -> str:
    """The report in lines for people to read; sizes are per device."""
    return "\n".join([*_subject(report), "", *_memory(report.memory), *_work(report), *_verdict(report)])


def size(count: float) -> str:
    """A number of bytes in a suitable unit."""
    return next((f"{count / unit:.2f} {name}" for unit, name in _UNITS if count >= unit), f"{count:.0f} B")


def _subject(report: Report) -> list[str]:
    mesh = " x ".join(f"{axis} {extent}" for axis, extent in report.mesh.items() if extent > 1) or "1 device"
    slices = f", {report.slices} slices" if report.slices > 1 else ""
    return [
        f"{report.topology}: {report.devices} devices of kind {report.device_kind}{slices}; mesh {mesh}",
        f"model of {report.parameters:,} parameters in {report.compute_dtype}; {report.rows} rows of "
        f"{report.row_length} tokens, {report.vocabulary} ids; compiled in {report.compile_s:.0f} s",
        *(f"{name}={value}" for name, value in report.flags.items()),
    ]


def _memory(memory: Memory) -> Iterator[str]:
    yield "memory of one device"
    for name in ("arguments", "temporary", "output", "code", "peak"):
        count = getattr(memory, name)
        yield f"  {name:<12}{'more than available' if count is None else size(count)}"
    yield f"  {'available':<12}{'unknown' if memory.available is None else size(memory.available)}"


def _work(report: Report) -> Iterator[str]:
    if report.collectives is None or report.memory_traffic is None:
        return
    yield "work of one device in a step"
    yield f"  operations  {report.flops:.4g}"
    yield f"  memory      {size(report.memory_traffic)} read and written"
    for kind, total in report.collectives.items():
        yield f"  {kind:<24} {total['runs']:>6.0f} times  operands {size(total['operand_bytes']):>10}, sends " + (
            f"{size(total['sent_bytes']):>10}"
        )
    yield f"  largest result of an all-gather {size(report.largest_gather)}"
    if report.kernels:
        yield f"  kernels     {', '.join(report.kernels)}"
    for name in report.stack_gathers:
        yield f"  gathers the weights of all layers at once: {name}"
    if report.slices > 1 or report.crossing:
        yield f"  between {'machines' if report.slices == 1 else 'slices'}: {', '.join(report.crossing) or 'nothing'}"
    if report.estimate is None:
        yield f"no estimate of the time: {report.device_kind} is not in the table of devices"
        return
    yield from _estimate(report.estimate)


def _estimate(estimate: roofline.Estimate) -> Iterator[str]:
    yield "time of a step at best"
    for name, seconds in (
        ("computing", estimate.compute_s),
        ("memory", estimate.memory_s),
        ("network", estimate.network_s),
        ("slices", estimate.slices_s),
    ):
        yield f"  {name:<12}{1000 * seconds:.1f} ms"
    yield f"  overlapped  {1000 * estimate.overlapped_s:.1f} ms, MFU {estimate.mfu:.1%}; limited by {estimate.limit}"
    yield f"  serial      {1000 * estimate.serial_s:.1f} ms, MFU {estimate.mfu_serial:.1%}"
    yield f"  {estimate.intensity:.0f} operations per byte of memory; memory is no limit above {estimate.ridge:.0f}"
    yield "assumptions: " + "; ".join(roofline.ASSUMPTIONS)


def _verdict(report: Report) -> Iterator[str]:
    fits, memory = report.memory.fits, report.memory
    if fits is None:
        yield "fits: unknown, because the memory of this device is not in the table"
    elif fits:
        yield "fits"
    else:
        yield "DOES NOT FIT; the largest terms:"
        for what, count in memory.terms:
            yield f"  {size(count):>12}  {what}"
        yield "try a larger mesh.fsdp or mesh.tensor, a smaller train.batch_size, or --model.remat full"
