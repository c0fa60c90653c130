"""The training loop, whatever is trained: from batches to a trained state, resuming by itself."""

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
from biomechgpt_jax.training.step import Batch, Metrics, State, StepFunction

PREEMPTED = 75  # exit code: stopped after saving, run again

Progress = Callable[[int, dict[str, Any]], None]


class Diverged(RunError):
    """More steps were skipped than `train.skip_limit` allows."""


class Task(Protocol):
    """What is trained, and on what."""

    @property
    def counted(self) -> tuple[str, ...]:
        """Metrics of a step that are amounts of work: they are logged as amounts per second."""
        ...

    @property
    def remedy(self) -> str:
        """What to change where training diverges."""
        ...

    def identity(self, steps: int) -> dict[str, Any]:
        """Nested dict of JSON values that a checkpoint and a run that resumes from it must share."""
        ...

    def abstract_state(self, mesh: Mesh) -> State:
        """The state as `jax.ShapeDtypeStruct` with shardings; see `step`."""
        ...

    def fresh_state(self, mesh: Mesh) -> State:
        """The state before the first step, laid out so."""
        ...

    def make_step(self, mesh: Mesh, steps: int) -> StepFunction:
        """Jitted (state, batch) -> (state, metrics) that donates the state; metrics are device scalars, those of
        `step.advance` and the counted ones among them."""
        ...

    def batches(self, mesh: Mesh, start: int, stop: int) -> AbstractContextManager[Iterable[Batch]]:
        """Device batches of steps start .. stop - 1, each a pure function of (seed, step)."""
        ...

    def make_validation(self, mesh: Mesh) -> Callable[[State], dict[str, float]]:
        """From a state to what is logged of it at every checkpoint; an empty dict: nothing."""
        ...


class Places(NamedTuple):
    """Where a run leaves its checkpoints and its metrics.jsonl (TensorBoard events beside it).

    Traces of the profiler go to `profile` beside it. None: it leaves none, and SIGTERM ends it at once.
    """

    checkpoints: Path | None = None
    metrics: Path | None = None


NOWHERE = Places()
_asked = itertools.count(1)  # how often all processes asked whether one of them was told to stop


def train(
    task: Task, cfg: config.Train, mesh_sizes: config.Mesh, steps: int, places: Places, progress: Progress
) -> State:
    """Train for `steps` steps in all, from the newest good checkpoint if there is one.

    Args:
        task: what to train.
        cfg: how often to log and to save, how many checkpoints to keep and how many steps may be skipped; the rest is
            for the task.
        mesh_sizes: of the device mesh.
        steps: total steps, over all runs.
        places: of checkpoints and metrics.
        progress: called with (completed steps, the logged entry).

    Returns:
        The state after the last step, on the mesh.

    Raises:
        InputError: a mesh that does not fit, checkpoints of another run, or `train.wandb` without its package.
        Diverged: too many skipped steps.
        RunError: a checkpoint could not be written.
        SystemExit: code 75 after a SIGTERM, the state saved.
    """
    watch = goodput.Stopwatch()
    metrics.check_project(cfg.wandb)
    mesh = meshes.make(mesh_sizes)
    saves = places.checkpoints is not None
    record_at = places.metrics if jax.process_index() == 0 else None  # one process writes the record of all
    identity = task.identity(steps) if saves else {}
    checkpoints = checkpoint.Checkpoints(places.checkpoints, identity, cfg.keep_last, cfg.keep_every)
    with _closing(checkpoints), Preemption(saves) as preemption:
        restored = checkpoints.restore(task.abstract_state(mesh))
        done, state = (0, task.fresh_state(mesh)) if restored is None else restored
        if done >= steps:
            return state

        step = task.make_step(mesh, steps)
        validate = task.make_validation(mesh)
        meter = metrics.Meter()
        pending: tuple[int, Metrics] | None = None

        with (
            jax.set_mesh(mesh),
            metrics.MetricsLog(record_at, done, cfg.wandb) as log,
            _profiler(cfg, record_at) as profiler,
            task.batches(mesh, done, steps) as batches,
            watchdog.Watchdog(record_at and record_at.parent) as dog,
        ):
            watch.go_on(log.earlier)
            first = "compile"  # the first call of the step

            def record(completed: int, device_metrics: Metrics) -> None:
                """Fetch a step's metrics; log them if it is its turn."""
                values = {name: value.item() for name, value in jax.device_get(device_metrics).items()}
                meter.add({name: values.pop(name) for name in task.counted})
                if values.pop("skipped_total") > cfg.skip_limit:
                    raise Diverged(
                        f"step {completed}: more than train.skip_limit = {cfg.skip_limit} steps were skipped "
                        f"(not finite, or a spike); {task.remedy} and train anew"
                    )
                if completed % cfg.log_every == 0 or completed in (1, steps):
                    about = _utilisation(meter.read(), mesh) | watch.read() | profiling.memory()
                    progress(completed, log.write(completed, values | about))

            stream = iter(batches)
            while (batch := _next(stream, watch, pending)) is not None:
                profiler.before(done + 1)
                watch.to(first)
                state, device_metrics = step(state, batch)
                watch.to(first := "step")
                done += 1
                dog.step(done)
                profiler.after(done, device_metrics)
                if pending is not None:
                    record(*pending)  # one step late: the device is never kept waiting
                pending = (done, device_metrics)
                checkpoints.check(done)

                stopping = preemption.requested()
                due = done == steps or done % cfg.checkpoint_every == 0
                validates = done == steps or done % (cfg.validate_every or cfg.checkpoint_every) == 0
                if due or validates or stopping:
                    record(*pending)
                    pending = None
                    if validates:
                        dog.validating()
                        with watch.spent("validation"):
                            found = validate(state)
                        if found:
                            progress(done, log.write(done, found))
                    if due or stopping:
                        log.sync()
                        with watch.spent("checkpoint"):
                            checkpoints.save(done, state)
                    meter.pause()
                if stopping:
                    checkpoints.wait()
                    raise SystemExit(PREEMPTED)
        checkpoints.wait()
        return state


def _profiler(cfg: config.Train, record_at: Path | None) -> profiling.Profiler:
    directory = None if record_at is None else record_at.parent / "profile"
    return profiling.Profiler(directory, cfg.profile_from, cfg.profile_steps)


def _utilisation(rates: dict[str, float], mesh: Mesh) -> dict[str, float]:
    """The rates, and what share of the devices' peak they are where a task counts its operations."""
    device = mesh.devices.flat[0].device_kind
    shares = {
        name: chips.utilisation(rates[rate], mesh.size, device)
        for name, rate in (("mfu", "flops_per_second"), ("padded_mfu", "padded_flops_per_second"))
        if rate in rates
    }
    return rates | shares


def _next(stream: Iterator[Batch], watch: goodput.Stopwatch, pending: tuple[int, Metrics] | None) -> Batch | None:
    """The next batch, None after the last; until it is there counts as a wait, unless a step is still running."""
    watch.to("input_wait")
    batch = next(stream, None)
    waited = watch.to("step")
    running: Any = None if pending is None else pending[1]["loss"]
    if running is not None and not running.is_ready():
        watch.recount(waited, "input_wait", "step")
    return batch


class Preemption:
    """Notices SIGTERM; with several processes, all of them notice it at the same step. A context manager.

    A signal that nobody asked about before the end, when everything is saved, is heeded there.

    Args:
        active: False: SIGTERM keeps its usual effect, as there is nothing to save.
    """

    def __init__(self, active: bool = True) -> None:
        self._flag = threading.Event()
        self._previous: Any = None
        self._active = active
        # Python delivers signals to the main thread only; with several processes jax listens itself.
        alone = jax.process_count() == 1
        self._listens = active and alone and threading.current_thread() is threading.main_thread()

    def requested(self) -> bool:
        """Whether to save and stop now; every process asks after every step."""
        if self._active and jax.process_count() > 1:
            # jax stops at a number that nobody has asked about yet. The number of the step would not do: it starts
            # elsewhere when a run is resumed, and anew in the next stage.
            return bool(multihost_utils.reached_preemption_sync_point(next(_asked)))
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
    """Close the checkpoints in any case, without hiding the exception that ended the run."""

    def __init__(self, checkpoints: checkpoint.Checkpoints) -> None:
        self._checkpoints = checkpoints

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._checkpoints.close()
        except RunError:
            if kind is None:
                raise
