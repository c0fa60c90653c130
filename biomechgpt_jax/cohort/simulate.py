"""Simulate the cohort: participants perform activities, feet are anchored to the floor, measurement error is added."""

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
from biomechgpt_jax.cohort.activities.protocol import WITH_DEVICE, Build, select
from biomechgpt_jax.cohort.etiologies.impairments import style_of
from biomechgpt_jax.cohort.footing import schedule
from biomechgpt_jax.cohort.footing.anchoring import anchor
from biomechgpt_jax.cohort.footing.clearance import clear_floor
from biomechgpt_jax.cohort.footing.headings import rotate_heading
from biomechgpt_jax.cohort.footing.performance import RATE_HZ, Performance
from biomechgpt_jax.cohort.people import participants
from biomechgpt_jax.cohort.people.participants import Participant

# Participants simulated together: bounds memory and the size of one anchoring.
GROUP = 16
# The ten-metre walk is timed over its middle six metres.
COURSE_M, TIMED_M = 10.0, 6.0

Performed = tuple[Participant, Trial]


def simulate(cohort: config.Cohort, progress: Callable[[int, float], None] | None = None) -> Iterator[Trial]:
    """Trials of a cohort, participant by participant, in an order and with values fixed by the seed.

    Each participant performs the protocol, or an own part of it (`cohort.activities_per_person`), once; further rounds
    follow, activity by activity, until the participant's own movement lasts `share_s(cohort)`. How much a participant
    performs is therefore a pure function of the cohort's configuration and the participant's index, and a longer cohort
    contains the trials of a shorter one.

    Args:
        progress: called with the number of trials and the hours simulated so far.

    Raises:
        InputError: an activity or etiology that does not exist.
    """
    select(cohort.activities)
    trials, round_ = 0, 0
    performed_s = np.zeros(cohort.participants)
    begins = list(range(0, cohort.participants, GROUP))
    # Two groups at a time: one is built in NumPy while XLA anchors the other and releases the interpreter lock.
    with ThreadPoolExecutor(2) as pool:
        while begins:

            def perform(begin: int, round_: int = round_) -> list[Performed]:
                return _perform_group(cohort, begin, round_, performed_s[begin : begin + GROUP])

            for begin, group in zip(begins, _run_ahead(pool, perform, begins), strict=True):
                for _, trial in group:
                    trials += 1
                    yield trial
                _add_seconds(performed_s[begin : begin + GROUP], begin, group)
                if progress:
                    progress(trials, performed_s.sum() / 3600)
            begins = [begin for begin in begins if (performed_s[begin : begin + GROUP] < share_s(cohort)).any()]
            round_ += 1


def share_s(cohort: config.Cohort) -> float:
    """Least number of seconds that each participant performs."""
    return 3600 * cohort.hours / cohort.participants


def group_rounds(cohort: config.Cohort, begin: int) -> Iterator[Trial]:
    """All trials of the participants `begin` to `begin + GROUP - 1`, the same as in `simulate`.

    A pure function of its arguments, for workers that share nothing; it holds one round in memory at a time.
    """
    performed_s = np.zeros(min(GROUP, cohort.participants - begin))
    round_ = 0
    while round_ == 0 or (performed_s < share_s(cohort)).any():
        group = _perform_group(cohort, begin, round_, performed_s)
        _add_seconds(performed_s, begin, group)
        yield from (trial for _, trial in group)
        round_ += 1


def _add_seconds(performed_s: np.ndarray, begin: int, group: list[Performed]) -> None:
    """Add the duration of each participant's trials to the seconds performed so far, in place."""
    for person, trial in group:
        performed_s[person.index - begin] += trial.trajectory.seconds


def _run_ahead(
    pool: ThreadPoolExecutor, perform: Callable[[int], list[Performed]], begins: Sequence[int]
) -> Iterator[list[Performed]]:
    """Results in order with at most two groups in flight, so that trials do not pile up behind a slow reader."""
    pending = [pool.submit(perform, begin) for begin in begins[:2]]
    for begin in [*begins[2:], None, None][: len(begins)]:
        group = pending.pop(0).result()
        if begin is not None:
            pending.append(pool.submit(perform, begin))
        yield group


def group_trials(
    cohort: config.Cohort, begin: int, round_: int = 0, performed_s: Sequence[float] | np.ndarray = ()
) -> list[Trial]:
    """Trials of one round of the participants `begin` to `begin + GROUP - 1`: a pure function of its arguments.

    Args:
        performed_s: seconds that each of them has performed in earlier rounds; participants who have reached `share_s`
            are left out, and the others stop once they reach it. If empty, everybody performs the whole round.
    """
    return [trial for _, trial in _perform_group(cohort, begin, round_, performed_s)]


def _perform_group(
    cohort: config.Cohort, begin: int, round_: int, performed_s: Sequence[float] | np.ndarray
) -> list[Performed]:
    """The trials of `group_trials`, each with its participant."""
    people = range(begin, min(begin + GROUP, cohort.participants))
    if round_ == 0 or not len(performed_s):
        return _perform(cohort, people, round_)
    remaining_s = {index: share_s(cohort) - done for index, done in zip(people, performed_s, strict=True)}
    return _perform(cohort, people, round_, {index: seconds for index, seconds in remaining_s.items() if seconds > 0})


def participant_trials(cohort: config.Cohort, index: int, round_: int = 0) -> list[Trial]:
    """Trials of one participant in one round: a pure function of its arguments, equal to those of `simulate`."""
    return [trial for _, trial in _perform(cohort, range(index, index + 1), round_)]


def timed_tests(cohort: config.Cohort, index: int) -> dict[str, float]:
    """Seconds that one participant's timed tests are planned to take, without simulating movement.

    Fast enough to draw whole distributions. The timed up and go and the five chair rises are those of the first round;
    the ten-metre walk is at the intended speed, from which the measured speed differs by a few per cent.
    """
    person = participants.draw(index, cohort.seed, cohort.etiologies)
    plain, with_device = style_of(person, np.random.default_rng([cohort.seed, index, 1]))
    times = {"ten_metre_walk_time": COURSE_M / person.free_speed}
    for name, build in select(("tug", "chair_rise")):
        rng = np.random.default_rng([cohort.seed, index, 2, zlib.crc32(name.encode())])
        scores = build(person, with_device if name in WITH_DEVICE else plain, rng).scores
        times |= {test: score.value for test, score in scores.items()}
    return times


def _perform(
    cohort: config.Cohort, people: Iterable[int], round_: int, remaining_s: Mapping[int, float] | None = None
) -> list[Performed]:
    """One round of some participants.

    Args:
        remaining_s: seconds that each participant still has to perform; participants without an entry are left out,
            and the others stop once their seconds are reached. If None, all perform the whole round.
    """
    performed: list[tuple[Participant, str, Performance, np.random.Generator]] = []
    for index in people if remaining_s is None else remaining_s:
        left_s = math.inf if remaining_s is None else remaining_s[index]
        person = participants.draw(index, cohort.seed, cohort.etiologies)
        plain, with_device = style_of(person, np.random.default_rng([cohort.seed, index, 1]))
        for name, build in _activities(cohort, index):
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
        (person, _trial(person, f"{person.participant}_{name}_{round_}", performance, cohort, rng))
        for person, name, performance, rng in performed
    ]


def _activities(cohort: config.Cohort, index: int) -> Sequence[tuple[str, Build]]:
    """The activities of one participant, in the order of the protocol."""
    protocol = select(cohort.activities)
    count = cohort.activities_per_person or len(protocol)
    if count >= len(protocol):
        return protocol
    drawn = np.random.default_rng([cohort.seed, index, zlib.crc32(b"activities")]).permutation(len(protocol))[:count]
    return [protocol[number] for number in sorted(drawn)]


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
        scores |= performance.measure(_world_points(clean, person.height_m))
    clean = _rotate_and_shift(clean, rng.uniform(-np.pi, np.pi), rng.normal(0, 0.3, 2))
    observed = np.ones(COORDINATE_COUNT, bool)
    if cohort.noise == "markerless":
        sizes = _artefact_sizes(cohort)
        seen = artefacts.add_markerless_error(clean, RATE_HZ, rng, sizes)
        observed = artefacts.draw_observed(rng, sizes)
        seen[:, ~observed] = 0.0
        noiseless = _clip_to_limits(clean)
    else:
        seen, noiseless = _clip_to_limits(clean), np.zeros((0, COORDINATE_COUNT), np.float32)
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


def _artefact_sizes(cohort: config.Cohort) -> artefacts.Artefacts:
    return artefacts.Artefacts(
        cohort.joint_error_deg,
        cohort.pelvis_drift_m,
        cohort.dropouts_per_minute,
        cohort.edge_glitches,
        cohort.masked,
    )


def _world_points(clean: np.ndarray, height_m: float) -> np.ndarray:
    """World points f32[T, P, 3]; the input is padded to a multiple of ten seconds so that few lengths are compiled."""
    padding = -len(clean) % round(10 * RATE_HZ)
    padded = np.concatenate([clean, np.repeat(clean[-1:], padding, axis=0)])
    return np.asarray(kinematics.points_jit(padded, height_m))[: len(clean)]


def _clip_to_limits(coordinates: np.ndarray) -> np.ndarray:
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


def _rotate_and_shift(coordinates: np.ndarray, heading: float, shift: np.ndarray) -> np.ndarray:
    """The same movement started at another heading and place: R' = Ry(heading) R, decomposed into angles again."""
    q = coordinates.astype(np.float64)
    x, z = q[:, INDEX["pelvis_tx"]].copy(), q[:, INDEX["pelvis_tz"]].copy()
    cos, sin = np.cos(heading), np.sin(heading)
    q[:, INDEX["pelvis_tx"]] = cos * x + sin * z + shift[0]
    q[:, INDEX["pelvis_tz"]] = -sin * x + cos * z + shift[1]
    return q.astype(np.float32) if heading == 0 else rotate_heading(q, heading).astype(np.float32)
