"""Simulate the cohort: participants perform activities; movement is anchored, measured and blurred."""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX, limits
from biomechgpt_jax.biomechanics.trajectory import Contacts, Metadata, Score, Trajectory, Trial
from biomechgpt_jax.cohort import artefacts
from biomechgpt_jax.cohort.activities.protocol import WITH_DEVICE, selected
from biomechgpt_jax.cohort.etiologies.impairments import style_of
from biomechgpt_jax.cohort.footing import schedule
from biomechgpt_jax.cohort.footing.anchoring import anchor
from biomechgpt_jax.cohort.footing.clearance import clear_floor
from biomechgpt_jax.cohort.footing.headings import turned
from biomechgpt_jax.cohort.footing.performance import RATE_HZ, Performance
from biomechgpt_jax.cohort.people import participants
from biomechgpt_jax.cohort.people.participants import Participant

# Participants simulated together: bounds memory and the size of one anchoring.
GROUP = 16
# The ten-metre walk is timed over its middle six metres.
COURSE_M, TIMED_M = 10.0, 6.0


def simulate(cohort: config.Cohort, progress: Callable[[int, float], None] | None = None) -> Iterator[Trial]:
    """Trials of a cohort, participant by participant, in an order and with values fixed by the seed.

    Each participant performs the protocol once, whole; further rounds follow, activity by activity, until the
    participant's own movement lasts `share_s(cohort)`. So how much a participant performs is a pure function of the
    cohort's configuration and the participant's index, and a longer cohort holds the trials of a shorter one.

    Args:
        progress: called with the number of trials and the hours so far.

    Raises:
        InputError: an activity or etiology that does not exist.
    """
    selected(cohort.activities)
    trials, round_ = 0, 0
    lasted = np.zeros(cohort.participants)
    begins = list(range(0, cohort.participants, GROUP))
    # Two groups at a time: one is built in NumPy while the other is anchored by XLA, which frees the interpreter.
    with ThreadPoolExecutor(2) as pool:
        while begins:

            def perform(begin: int, round_: int = round_) -> list[Trial]:
                return group_trials(cohort, begin, round_, lasted[begin : begin + GROUP])

            for begin, group in zip(begins, _ahead(pool, perform, begins), strict=True):
                for trial in group:
                    trials += 1
                    yield trial
                _add_seconds(lasted[begin : begin + GROUP], begin, group)
                if progress:
                    progress(trials, lasted.sum() / 3600)
            begins = [begin for begin in begins if (lasted[begin : begin + GROUP] < share_s(cohort)).any()]
            round_ += 1


def share_s(cohort: config.Cohort) -> float:
    """Seconds that each participant has to perform at least."""
    return 3600 * cohort.hours / cohort.participants


def group_rounds(cohort: config.Cohort, begin: int) -> Iterator[Trial]:
    """All trials of the participants `begin` to `begin + GROUP - 1`, the same as in `simulate`.

    A pure function of its arguments, for workers that share nothing; it holds one round at a time.
    """
    lasted = np.zeros(min(GROUP, cohort.participants - begin))
    round_ = 0
    while round_ == 0 or (lasted < share_s(cohort)).any():
        group = group_trials(cohort, begin, round_, lasted)
        _add_seconds(lasted, begin, group)
        yield from group
        round_ += 1


def _add_seconds(lasted: np.ndarray, begin: int, group: list[Trial]) -> None:
    """Add the length of each participant's trials to what they performed before, in place."""
    for trial in group:
        index = int(trial.participant.rpartition("p")[2])  # "s<seed>p<index>"
        lasted[index - begin] += trial.trajectory.seconds


def _ahead(
    pool: ThreadPoolExecutor, perform: Callable[[int], list[Trial]], begins: Sequence[int]
) -> Iterator[list[Trial]]:
    """Results in order with at most two groups in flight: a slow reader does not let trials pile up."""
    waiting = [pool.submit(perform, begin) for begin in begins[:2]]
    for begin in [*begins[2:], None, None][: len(begins)]:
        done = waiting.pop(0).result()
        if begin is not None:
            waiting.append(pool.submit(perform, begin))
        yield done


def group_trials(
    cohort: config.Cohort, begin: int, round_: int = 0, lasted: Sequence[float] | np.ndarray = ()
) -> list[Trial]:
    """Trials of one round of the participants `begin` to `begin + GROUP - 1`: a pure function of its arguments.

    Args:
        lasted: seconds that each of them has performed in earlier rounds; who has reached `share_s` is left out, and
            who reaches it stops. Empty in a round that everybody performs whole.
    """
    people = range(begin, min(begin + GROUP, cohort.participants))
    if round_ == 0 or not len(lasted):
        return _perform(cohort, people, round_)
    wanted = {index: share_s(cohort) - done for index, done in zip(people, lasted, strict=True)}
    return _perform(cohort, people, round_, {index: seconds for index, seconds in wanted.items() if seconds > 0})


def participant_trials(cohort: config.Cohort, index: int, round_: int = 0) -> list[Trial]:
    """Trials of one participant in one round: a pure function of its arguments, equal to those of `simulate`."""
    return _perform(cohort, range(index, index + 1), round_)


def timed_tests(cohort: config.Cohort, index: int) -> dict[str, float]:
    """Seconds of one participant's timed tests as they are laid out, without the movement: quick, for distributions.

    The timed up and go and the five chair rises are those of the first round; the ten-metre walk is at the intended
    speed, of which the measured one differs by a few per cent.
    """
    person = participants.draw(index, cohort.seed, cohort.etiologies)
    plain, with_device = style_of(person, np.random.default_rng([cohort.seed, index, 1]))
    found = {"ten_metre_walk_time": COURSE_M / person.free_speed}
    for name, build in selected(("tug", "chair_rise")):
        rng = np.random.default_rng([cohort.seed, index, 2, zlib.crc32(name.encode())])
        scores = build(person, with_device if name in WITH_DEVICE else plain, rng).scores
        found |= {test: score.value for test, score in scores.items()}
    return found


def _perform(
    cohort: config.Cohort, people: Iterable[int], round_: int, wanted_s: Mapping[int, float] | None = None
) -> list[Trial]:
    """One round of some participants; with `wanted_s`, only of those named there, and only until it lasts so long."""
    performed: list[tuple[Participant, str, Performance, np.random.Generator]] = []
    for index in people if wanted_s is None else wanted_s:
        left_s = math.inf if wanted_s is None else wanted_s[index]
        person = participants.draw(index, cohort.seed, cohort.etiologies)
        plain, with_device = style_of(person, np.random.default_rng([cohort.seed, index, 1]))
        for name, build in selected(cohort.activities):
            rng = np.random.default_rng([cohort.seed, index, 2 + round_, zlib.crc32(name.encode())])
            style = with_device if name in WITH_DEVICE else plain
            performance = build(person, style, rng)
            performed.append((person, name, performance, rng))
            left_s -= len(performance.movement.coordinates) / RATE_HZ
            if left_s <= 0:
                break
    anchor([performance.movement for _, _, performance, _ in performed])
    level = [performance.movement for _, _, performance, _ in performed if "stair" not in performance.activity]
    clear_floor(level)
    return [
        _trial(person, f"{person.participant}_{name}_{round_}", performance, cohort, rng)
        for person, name, performance, rng in performed
    ]


def _trial(
    person: Participant, trial_id: str, performance: Performance, cohort: config.Cohort, rng: np.random.Generator
) -> Trial:
    movement = performance.movement
    clean = movement.coordinates
    seconds = (len(clean) - 1) / RATE_HZ
    steps, plants = performance.steps, movement.heel_plant
    contacts = Contacts()
    if steps is not None and plants is not None:
        contacts = schedule.contacts(steps, movement.contact, plants, seconds)
    scores = dict(performance.scores)
    if performance.course:
        scores |= _ten_metre_walk(clean)
    if performance.measure is not None:
        scores |= performance.measure(_points(clean, person.height_m))
    clean = _turned(clean, rng.uniform(-np.pi, np.pi), rng.normal(0, 0.3, 2))
    observed = np.ones(COORDINATE_COUNT, bool)
    if cohort.noise == "markerless":
        sizes = _sizes(cohort)
        seen = artefacts.markerless(clean, RATE_HZ, rng, sizes)
        observed = artefacts.observed(rng, sizes)
        seen[:, ~observed] = 0.0
        noiseless = _clipped(clean)
    else:
        seen, noiseless = _clipped(clean), np.zeros((0, COORDINATE_COUNT), np.float32)
    metadata = Metadata(
        participant=person.participant,
        activity=performance.activity,
        side=person.side,
        height_m=person.height_m,
        mass_kg=person.mass_kg,
        age=person.age,
        sex=person.sex,
        source="synthetic",
    )
    return Trial(
        trial_id,
        Trajectory(seen, observed, RATE_HZ, metadata),
        diagnosis=person.etiology,
        device=person.device if performance.device_used else "",
        severity=person.severity,
        contacts=contacts,
        defining=np.array(performance.defining, np.float32).reshape(-1, 2),
        scores=scores,
        falls=float(person.falls),
        clean=noiseless,
    )


def _sizes(cohort: config.Cohort) -> artefacts.Artefacts:
    return artefacts.Artefacts(
        cohort.joint_error_deg,
        cohort.pelvis_drift_m,
        cohort.dropouts_per_minute,
        cohort.edge_glitches,
        cohort.masked,
    )


def _points(clean: np.ndarray, height_m: float) -> np.ndarray:
    """World points f32[T, P, 3]; padded to a multiple of ten seconds so that few lengths are compiled."""
    short = -len(clean) % round(10 * RATE_HZ)
    padded = np.concatenate([clean, np.repeat(clean[-1:], short, axis=0)])
    return np.asarray(kinematics.points_jit(padded, height_m))[: len(clean)]


def _clipped(coordinates: np.ndarray) -> np.ndarray:
    bounds = limits()
    return np.clip(coordinates, bounds[:, 0], bounds[:, 1]).astype(np.float32)


def _ten_metre_walk(clean: np.ndarray) -> dict[str, Score]:
    """Seconds for ten metres at the mean speed of the middle six, if the walk is long enough."""
    x = clean[:, INDEX["pelvis_tx"]]
    travelled = np.maximum.accumulate(x - x[0])
    if travelled[-1] < TIMED_M:
        return {}
    lead = min(0.5 * (travelled[-1] - TIMED_M), 0.5 * (COURSE_M - TIMED_M))
    time = np.arange(len(x)) / RATE_HZ
    start, end = np.interp([lead, lead + TIMED_M], travelled + 1e-6 * np.arange(len(x)), time)
    return {"ten_metre_walk_time": Score(float((end - start) * COURSE_M / TIMED_M), float(start), float(end))}


def _turned(coordinates: np.ndarray, heading: float, shift: np.ndarray) -> np.ndarray:
    """The same movement begun at another heading and place: R' = Ry(heading) R, re-decomposed."""
    q = coordinates.astype(np.float64)
    x, z = q[:, INDEX["pelvis_tx"]].copy(), q[:, INDEX["pelvis_tz"]].copy()
    cos, sin = np.cos(heading), np.sin(heading)
    q[:, INDEX["pelvis_tx"]] = cos * x + sin * z + shift[0]
    q[:, INDEX["pelvis_tz"]] = -sin * x + cos * z + shift[1]
    return q.astype(np.float32) if heading == 0 else turned(q, heading).astype(np.float32)
