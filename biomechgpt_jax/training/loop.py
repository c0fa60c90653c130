"""The training loop for any task: from batches to a trained state. It resumes from checkpoints by itself."""

import itertools
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from biomechgpt_jax import config
from biomechgpt_jax.errors import RunError
from biomechgpt_jax.parallel import chips, watchdog
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.training import checkpoint, goodput, metrics, profiling
from biomechgpt_jax.training import frozen as frozen_lib
from biomechgpt_jax.training.step import Batch, Metrics, State, StepFunction

PREEMPTED = 75  # exit code: stopped after saving, run again

Progress = Callable[[int, dict[str, Any]], None]
Validation = Callable[[State, Any], dict[str, float]]


class Diverged(RunError):
    """More steps were skipped than `train.skip_limit` allows."""


class Task(Protocol):
    """A model with its data and its objective, as the loop sees it."""

    @property
    def counted(self) -> tuple[str, ...]:
        """Names of the step's metrics that are amounts of work, logged as amounts per second."""
        ...

    @property
    def remedy(self) -> str:
        """What to change if training diverges; part of an error message."""
        ...

    def identity(self, steps: int) -> dict[str, Any]:
        """Nested dict of JSON values that a checkpoint must share with the run that resumes from it."""
        ...

    def frozen(self, mesh: Mesh) -> Any:
        """Arrays that the step reads and never changes, on the mesh, as a tree; an empty dict if there are none.

        They are neither donated nor saved; their digest becomes part of the identity (see `frozen`).
        """
        ...

    def abstract_state(self, mesh: Mesh) -> State:
        """The state as `jax.ShapeDtypeStruct` with shardings; see `step`."""
        ...

    def fresh_state(self, mesh: Mesh, frozen: Any) -> State:
        """The state before the first step, with the shardings of `abstract_state`; it may depend on what is frozen."""
        ...

    def make_step(self, mesh: Mesh, steps: int) -> StepFunction:
        """The jitted (state, frozen, batch) -> (state, metrics), which donates the state alone.

        Metrics are device scalars: those of `step.advance`, the counted ones, and any others.
        """
        ...

    def batches(self, mesh: Mesh, start: int, stop: int) -> AbstractContextManager[Iterable[Batch]]:
        """Device batches of steps start .. stop - 1, each a pure function of (seed, step)."""
        ...

    def make_validation(self, mesh: Mesh) -> Validation:
        """From (state, frozen) to the values to log at every validation; an empty dict if there are none."""
        ...


class Places(NamedTuple):
    """Where a run writes its checkpoints and its metrics.jsonl.

    TensorBoard events and traces of the profiler (`profile`) go beside metrics.jsonl. If a path is None nothing of
    that kind is written, and without checkpoints SIGTERM stops the run immediately.
    """

    checkpoints: Path | None = None
    metrics: Path | None = None


class Trained(NamedTuple):
    """What a run ends with."""

    state: State  # after the last step, on the mesh
    frozen: Any  # the arrays of `Task.frozen`, as they were


NOWHERE = Places()
_polls = itertools.count(1)  # preemption polls so far; the same on every process


def train(
    task: Task, policy: config.Loop, mesh_sizes: config.Mesh, steps: int, places: Places, progress: Progress
) -> Trained:
    """Train until `steps` steps are complete, starting from the newest good checkpoint if there is one.

    Args:
        task: the model, its data and its objective.
        policy: how often to log, validate and save, which checkpoints to keep, and when to give up.
        mesh_sizes: sizes of the device mesh.
        steps: total steps, those of earlier runs included.
        places: where checkpoints and metrics are written.
        progress: called with (completed steps, the logged entry).

    Raises:
        InputError: a mesh that does not fit, checkpoints of another run, or `train.wandb` without its package.
        Diverged: too many steps were skipped.
        RunError: a checkpoint could not be written.
        SystemExit: code 75 after a SIGTERM, once the state is saved.
    """
    watch = goodput.Stopwatch()
    metrics.check_project(policy.wandb)
    mesh = meshes.make(mesh_sizes)
    saves = places.checkpoints is not None
    record_at = places.metrics if jax.process_index() == 0 else None  # one process writes the record of all
    frozen = task.frozen(mesh)
    identity = task.identity(steps) | frozen_lib.identity(frozen) if saves else {}
    checkpoints = checkpoint.Checkpoints(places.checkpoints, identity, policy.keep_last, policy.keep_every)
    with _closing(checkpoints), Preemption(saves) as preemption:
        restored = checkpoints.restore(task.abstract_state(mesh))
        done, state = (0, task.fresh_state(mesh, frozen)) if restored is None else restored
        if done >= steps:
            return Trained(state, frozen)

        step = task.make_step(mesh, steps)
        validate = task.make_validation(mesh)
        meter = metrics.Meter()
        pending: tuple[int, Metrics] | None = None

        with (
            jax.set_mesh(mesh),
            metrics.MetricsLog(record_at, done, policy.wandb) as log,
            _profiler(policy, record_at) as profiler,
            task.batches(mesh, done, steps) as batches,
            watchdog.Watchdog(record_at and record_at.parent) as dog,
        ):
            watch.add(log.earlier)
            first = "compile"  # the first call of the step

            def record(completed: int, device_metrics: Metrics) -> None:
                """Fetch the metrics of a step, and log them if that is due."""
                values = {name: value.item() for name, value in jax.device_get(device_metrics).items()}
                meter.add({name: values.pop(name) for name in task.counted})
                if values.pop("skipped_total") > policy.skip_limit:
                    raise Diverged(
                        f"step {completed}: more than train.skip_limit = {policy.skip_limit} steps were skipped "
                        f"(not finite, or a spike); {task.remedy} and train anew"
                    )
                if completed % policy.log_every == 0 or completed in (1, steps):
                    usage = _utilisation(meter.read(), mesh) | watch.read() | profiling.memory()
                    progress(completed, log.write(completed, values | usage))

            stream = iter(batches)
            while (batch := _next(stream, watch, pending)) is not None:
                profiler.before(done + 1)
                watch.to(first)
                state, device_metrics = step(state, frozen, batch)
                watch.to(first := "step")
                done += 1
                dog.step(done)
                profiler.after(done, device_metrics)
                if pending is not None:
                    record(*pending)  # one step late, so that the device never waits for the host
                pending = (done, device_metrics)
                checkpoints.check(done)

                stopping = preemption.requested()
                due = done == steps or done % policy.checkpoint_every == 0
                validates = done == steps or done % (policy.validate_every or policy.checkpoint_every) == 0
                if due or validates or stopping:
                    record(*pending)
                    pending = None
                    if validates:
                        dog.validating()
                        with watch.spent("validation"):
                            values = validate(state, frozen)
                        if values:
                            progress(done, log.write(done, values))
                    if due or stopping:
                        log.sync()
                        with watch.spent("checkpoint"):
                            checkpoints.save(done, state)
                    meter.pause()
                if stopping:
                    checkpoints.wait()
                    raise SystemExit(PREEMPTED)
        checkpoints.wait()
        return Trained(state, frozen)


def _profiler(policy: config.Loop, record_at: Path | None) -> profiling.Profiler:
    directory = None if record_at is None else record_at.parent / "profile"
    return profiling.Profiler(directory, policy.profile_from, policy.profile_steps)


def _utilisation(rates: dict[str, float], mesh: Mesh) -> dict[str, float]:
    """Add to the rates their share of the devices' peak, if the task counts its operations."""
    device = mesh.devices.flat[0].device_kind
    shares = {
        name: chips.utilisation(rates[rate], mesh.size, device)
        for name, rate in (("mfu", "flops_per_second"), ("padded_mfu", "padded_flops_per_second"))
        if rate in rates
    }
    return rates | shares


def _next(stream: Iterator[Batch], watch: goodput.Stopwatch, pending: tuple[int, Metrics] | None) -> Batch | None:
    """The next batch, or None after the last. Waiting for it counts as `input_wait` unless a step is still running."""
    watch.to("input_wait")
    batch = next(stream, None)
    waited = watch.to("step")
    running: Any = None if pending is None else pending[1]["loss"]
    if running is not None and not running.is_ready():
        watch.recount(waited, "input_wait", "step")
    return batch


class Preemption:
    """Notices SIGTERM, on several processes at the same step of all of them. A context manager.

    A signal that comes after the last poll takes effect on leaving the context, when everything is saved.

    Args:
        active: if False SIGTERM keeps its usual effect, as there is nothing to save.
    """

    def __init__(self, active: bool = True) -> None:
        self._flag = threading.Event()
        self._previous: Any = None
        self._active = active
        # Python delivers signals to the main thread only; with several processes jax listens itself.
        alone = jax.process_count() == 1
        self._listens = active and alone and threading.current_thread() is threading.main_thread()

    def requested(self) -> bool:
        """Whether to save and stop now. Every process polls after every step."""
        if self._active and jax.process_count() > 1:
            # jax picks a number that no process has polled yet and stops all of them there. The number of the step
            # would not do: it starts elsewhere when a run is resumed, and from zero in the next stage.
            return bool(multihost_utils.reached_preemption_sync_point(next(_polls)))
        return self._flag.is_set()

    def __enter__(self) -> "Preemption":
        if self._listens:
            self._previous = signal.signal(signal.SIGTERM, lambda *_: self._flag.set())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._previous)
            if kind is None and self._flag.is_set():
                raise SystemExit(PREEMPTED)


class _closing:
    """Close the checkpoints however the run ends, without hiding the exception that ended it."""

    def __init__(self, checkpoints: checkpoint.Checkpoints) -> None:
        self._checkpoints = checkpoints

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._checkpoints.close()
        except RunError:
            if kind is None:
                raise
