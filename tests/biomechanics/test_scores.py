"""Clinical tests, measured on movements whose results are known."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from biomechgpt_jax import config, formats
from biomechgpt_jax.biomechanics import scores
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.scores.squares import cross_overs
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX, mirror
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory, Trial, replace
from biomechgpt_jax.cohort.simulate import group_trials
from biomechgpt_jax.errors import InputError

OPENCAP = Path(__file__).parents[2].parent / "shared" / "data" / "opencap_subject4"
HEIGHT = 1.7


def movement(seconds: float, rate_hz: float = 30.0, activity: str = "", **columns) -> Trajectory:
    """Standing still except for the named coordinates, each a function of time in seconds."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    q = np.zeros((len(time), COORDINATE_COUNT), np.float32)
    q[:, INDEX["pelvis_ty"]] = 0.95
    for name, course in columns.items():
        q[:, INDEX[name]] = course(time)
    metadata = Metadata(height_m=HEIGHT, activity=activity)
    return Trajectory(q, np.ones(COORDINATE_COUNT, bool), rate_hz, metadata)


def ramp(t: np.ndarray, begin: float, end: float) -> np.ndarray:
    x = np.clip((t - begin) / (end - begin), 0, 1)
    return x * x * (3 - 2 * x)


def bump(t: np.ndarray, begin: float, end: float) -> np.ndarray:
    return np.sin(np.pi * np.clip((t - begin) / (end - begin), 0, 1)) ** 2


def chair_stands(begins: tuple[float, ...], rise_s: float = 1.0, **more) -> Trajectory:
    """Seated at first; each rise takes `rise_s`, and so does sitting down 0.3 s later."""

    def seated(t):
        left = 1.0 - sum(ramp(t, at, at + rise_s) for at in begins)
        return left + sum(ramp(t, at + rise_s + 0.3, at + 2 * rise_s + 0.3) for at in begins[:-1])

    legs = {f"{name}_{side}": size for name, size in (("hip_flexion", 1.4), ("knee_angle", 1.5)) for side in "rl"}
    columns = {name: (lambda t, size=size: size * seated(t)) for name, size in legs.items()}
    return movement(begins[-1] + rise_s + 2.0, **columns, **more)


def standing_on(place_at, steps: tuple[tuple[float, float], ...], seconds: float, inward: float) -> Trajectory:
    """Feet that move from below the hips to another place and back, the right one lifted during each step.

    Args:
        place_at: degrees of hip flexion that bring the right foot in front of the left.
        inward: degrees of hip adduction that bring both feet to the middle.
    """

    def there(t):
        return ramp(t, *steps[0]) - ramp(t, *steps[1])

    def lift(t):
        return sum(bump(t, *step) for step in steps)

    return movement(
        seconds,
        hip_flexion_r=lambda t: np.radians(place_at * there(t) + 30 * lift(t)),
        hip_flexion_l=lambda t: -np.radians(place_at * there(t)),
        ankle_angle_r=lambda t: np.radians(30 * lift(t) - place_at * there(t)),
        ankle_angle_l=lambda t: np.radians(place_at * there(t)),
        knee_angle_r=lambda t: np.radians(60 * lift(t)),
        hip_adduction_r=lambda t: np.radians(inward * there(t)),
        hip_adduction_l=lambda t: np.radians(inward * there(t)),
    )


LEG = FRACTIONS.thigh + FRACTIONS.shank
FOOT = FRACTIONS.heel_back + FRACTIONS.ball_forward + FRACTIONS.toe_forward
MIDDLE_DEG = float(np.degrees(np.arcsin(FRACTIONS.hip_side / LEG)))
HEEL_TO_TOE_DEG = float(np.degrees(np.arcsin(0.5 * FOOT / LEG)))


@pytest.mark.parametrize("speed", [0.4, 1.25])
def test_ten_metres_at_a_steady_speed(speed) -> None:
    walk = movement(11 / speed, pelvis_tz=lambda t: -speed * t)
    assert scores.ten_metre_walk(walk).value == pytest.approx(10 / speed, rel=1e-3)


def test_a_static_start_is_slower_than_a_flying_one() -> None:
    """At rest for 1 s, then at 1 m/s after a second of uniform acceleration: ten metres in 10.5 s, or 10 s at speed."""

    def course(t):
        moving = np.maximum(t - 1, 0)
        return np.where(moving < 1, 0.5 * moving**2, moving - 0.5)

    walk = movement(13, pelvis_tx=course)
    assert scores.ten_metre_walk(walk).value == pytest.approx(10.0, rel=1e-3)
    static = scores.ten_metre_walk(walk, start="static")
    assert static.value == pytest.approx(10.5, abs=0.25) and static.flags == ("static start",)
    with pytest.raises(InputError, match="under way"):
        scores.ten_metre_walk(movement(13, pelvis_tx=lambda t: t), start="static")
    arc = movement(20, pelvis_tx=lambda t: 4 * np.sin(t / 10), pelvis_tz=lambda t: 8 * np.cos(t / 10))
    with pytest.raises(InputError, match="not straight"):
        scores.ten_metre_walk(arc)


def test_a_walk_that_veers_leaves_the_walkway() -> None:
    """A path that swings to one side by 0.5 m is outside a walkway 30.5 cm wide."""
    straight = movement(7, pelvis_tx=lambda t: 1.2 * t)
    assert scores.level_walk(straight) == (pytest.approx(5.0, rel=1e-3), 0.0)
    veering = movement(7, pelvis_tx=lambda t: 1.2 * t, pelvis_tz=lambda t: 0.5 * bump(t, 0, 7))
    _, outside = scores.level_walk(veering)
    # The middle of the path lies at its median, 0.25 m; its ends are as far from there as its bulge.
    assert outside == pytest.approx(25 - 15.25, abs=1.5)


def test_five_stands_last_from_the_first_lean_to_the_fifth_stand() -> None:
    def lean(t):
        return -0.5 * sum(bump(t, at, at + 1.0) + bump(t, at + 1.3, at + 2.3) for at in (1, 4, 7, 10, 13))

    result = scores.five_times_sit_to_stand(chair_stands((1, 4, 7, 10, 13), lumbar_extension=lean))
    assert result.value == pytest.approx(13.0, abs=0.2) and result.start_s == pytest.approx(1.0, abs=0.15)
    assert [phase.start_s for phase in result.phases] == pytest.approx([1, 4, 7, 10, 13], abs=0.2)
    assert [phase.end_s for phase in result.phases] == pytest.approx([2, 5, 8, 11, 14], abs=0.2)


def test_four_stands_or_squats_are_not_five_chair_stands() -> None:
    with pytest.raises(InputError, match="4 stands"):
        scores.five_times_sit_to_stand(chair_stands((1, 4, 7, 10)))

    def squats(t):
        return sum(bump(t, at, at + 2) for at in (1, 4, 7, 10, 13))

    sizes = {f"{name}_{side}": size for name, size in (("hip_flexion", 1.4), ("knee_angle", 1.7)) for side in "rl"}
    down = {name: (lambda t, size=size: size * squats(t)) for name, size in sizes.items()}
    with pytest.raises(InputError, match="starts standing"):
        scores.five_times_sit_to_stand(movement(17, **down))


@pytest.mark.parametrize(
    ("stance", "degrees", "inward"),
    [("tandem", HEEL_TO_TOE_DEG, MIDDLE_DEG), ("semi-tandem", 0.7 * HEEL_TO_TOE_DEG, 0.4 * MIDDLE_DEG),
     ("side by side", 0.0, 0.5 * MIDDLE_DEG)],
)  # fmt: skip
def test_a_stance_is_held_between_two_steps(stance, degrees, inward) -> None:
    moved = standing_on(degrees, ((1.0, 1.8), (13.8, 14.6)), 16.0, inward)
    if stance == "side by side":
        # Feet that come together without moving forward are still lifted.
        assert scores.held_stance(moved, stance).value == pytest.approx(12.0, abs=0.6)
        return
    result = scores.held_stance(moved, stance)
    assert result.value == pytest.approx(12.0, abs=0.5)
    assert result.phases[0].name == "right foot in front"
    left = replace(moved, coordinates=mirror(moved.coordinates))
    assert scores.held_stance(left, stance).phases[0].name == "left foot in front"


def test_the_distance_of_the_feet_is_reported_in_centimetres() -> None:
    apart = round(2 * 100 * FRACTIONS.hip_side * HEIGHT)
    with pytest.raises(InputError, match=f"{apart} cm apart"):
        scores.tandem_stance(movement(10))


def test_single_leg_holds_and_touch_downs() -> None:
    def lift(t):
        return sum(ramp(t, a, a + 0.3) - ramp(t, b - 0.3, b) for a, b in ((1, 5), (6, 13)))

    def raised(seconds, course):
        return movement(seconds, hip_flexion_l=lambda t: 0.6 * course(t), knee_angle_l=lambda t: 1.2 * course(t))

    result = scores.single_leg_stance(raised(15, lift))
    assert result.value == pytest.approx(7.0, abs=0.35)
    assert [phase.name for phase in result.phases] == ["on the right foot", "touch-down", "on the right foot"]
    endless = scores.single_leg_stance(raised(50, lambda t: ramp(t, 1, 1.3)))
    assert endless.value == 30.0 and not endless.flags
    cut = scores.single_leg_stance(raised(8, lambda t: ramp(t, 1, 1.3)))
    assert cut.flags == ("cut short by the recording",)


def test_a_reach_is_the_distance_from_the_place_with_the_arm_level() -> None:
    def forward(t):
        return 0.22 * (ramp(t, 3, 4.5) - ramp(t, 5.5, 7))

    def raised(t):
        return 0.5 * np.pi * (ramp(t, 0.5, 1.5) - ramp(t, 7.5, 8.5))

    result = scores.functional_reach(movement(9, arm_flex_r=raised, pelvis_tx=forward))
    assert result.value == pytest.approx(22.0, abs=0.5) and result.phases[0].name == "right hand"


def test_blocks_are_crossings_per_minute() -> None:
    def swing(t):
        return 0.7 * np.sin(2 * np.pi * 0.8 * (t - 1)) * ((t > 1) & (t < 11))

    moving = movement(12, arm_rot_r=swing, elbow_flex_r=lambda t: np.full_like(t, 1.5))
    assert scores.box_and_block(moving).value == pytest.approx(48.0, rel=0.03)


SQUARES = ((0, 0), (0.5, 0), (0.5, 0.5), (0, 0.5), (0, 0), (0, 0.5), (0.5, 0.5), (0.5, 0), (0, 0))


def stepping(route, seconds: float = 16.0, **more) -> Trajectory:
    """Both feet hop from square to square, every 1.5 s from 1 s on, each hop taking 0.6 s."""

    def course(axis):
        def at(t):
            moves = zip(route[:-1], route[1:], strict=True)
            return route[0][axis] + sum(
                (b[axis] - a[axis]) * ramp(t, 1 + 1.5 * k, 1.6 + 1.5 * k) for k, (a, b) in enumerate(moves)
            )

        return at

    return movement(seconds, pelvis_tx=course(0), pelvis_tz=course(1), **more)


def test_four_squares_once_around_and_back() -> None:
    result = scores.four_square_step(stepping(SQUARES))
    # From landing in the second square to landing in the first: seven hops after the first.
    assert result.value == pytest.approx(7 * 1.5, abs=0.15) and len(result.phases) == 8
    assert result.start_s == pytest.approx(1.6, abs=0.15) and not result.flags
    assert sum(phase.end_s - phase.start_s for phase in result.phases) == pytest.approx(result.value)
    with pytest.raises(InputError, match="cross-overs"):
        scores.four_square_step(stepping(SQUARES[:5], 10.0))
    turning = scores.four_square_step(stepping(SQUARES, pelvis_rotation=lambda t: np.radians(90) * ramp(t, 6, 7)))
    assert turning.flags == ("turned while stepping",)


def test_the_clock_runs_from_the_first_foot_to_the_last() -> None:
    """Each step takes 0.4 s, the second foot follows 0.5 s after the first; noise of 1.5 cm changes nothing."""
    t = np.arange(0, 14, 1 / 30)
    place = np.tile([[-0.08, 0.0], [0.08, 0.0]], (len(t), 1, 1))[:, :, ::-1]
    for k, (a, b) in enumerate(zip(SQUARES[:-1], SQUARES[1:], strict=True)):
        for order in (0, 1):
            foot = (k + order) % 2
            begin = 1 + 1.4 * k + 0.5 * order
            place[:, foot] += ramp(t, begin, begin + 0.4)[:, None] * (np.array(b) - np.array(a))
    exact = cross_overs(place, 30.0)
    assert exact[0] == pytest.approx(1.4, abs=0.07)
    assert exact[1:] == pytest.approx([1.9 + 1.4 * k for k in range(8)], abs=0.07)
    slow_noise = gaussian_filter1d(np.random.default_rng(0).normal(size=place.shape), 6, axis=0)
    noisy = cross_overs(place + 0.015 * slow_noise / slow_noise.std(), 30.0)
    assert noisy == pytest.approx(exact, abs=0.1)


def test_a_full_turn_to_each_side() -> None:
    def heading(t):
        return 2 * np.pi * (ramp(t, 1, 4.5) - ramp(t, 6, 12))

    result = scores.full_turns(movement(14, pelvis_rotation=heading))
    assert result["left"].value == pytest.approx(3.5, abs=0.6) and result["right"].value == pytest.approx(6.0, abs=0.6)
    turns_s = {side: turn.value for side, turn in result.items()}
    points = {item.name: item.points for item in scores.berg_items(turns_s=turns_s)}
    assert points["berg turning round"] == 3
    assert scores.full_turns(movement(5)) == {}


def test_what_is_not_in_the_movement_is_refused() -> None:
    still = movement(5)
    for test in (
        scores.timed_up_and_go,
        scores.five_times_sit_to_stand,
        scores.sit_to_stand,
        scores.ten_metre_walk,
        scores.level_walk,
        scores.tandem_steps,
        scores.four_square_step,
        scores.single_leg_stance,
        scores.tandem_stance,
        scores.functional_reach,
        scores.box_and_block,
    ):
        with pytest.raises(InputError):
            test(still)


def test_missing_coordinates_are_refused_by_name() -> None:
    walk = movement(10, pelvis_tx=lambda t: 1.2 * t)
    hidden = walk.observed.copy()
    hidden[INDEX["pelvis_tx"]] = False
    with pytest.raises(InputError, match="pelvis_tx"):
        scores.ten_metre_walk(replace(walk, observed=hidden))
    with pytest.raises(InputError, match="too short"):
        scores.tandem_stance(replace(walk, coordinates=walk.coordinates[:3]))


def test_rater_noise_is_optional_seeded_and_stays_on_the_scale() -> None:
    item = scores.berg_items(reach_cm=30.0)[7]
    drawn = [scores.rater_noise(item, np.random.default_rng(i), 0.5).points for i in range(50)]
    assert drawn == [scores.rater_noise(item, np.random.default_rng(i), 0.5).points for i in range(50)]
    assert set(drawn) == {3, 4}
    stand = chair_stands((1, 4, 7, 10, 13), activity="five times sit to stand")
    plain = scores.assess(stand)
    assert plain == scores.assess(stand)
    noisy = scores.assess(stand, rater=np.random.default_rng(1))
    name = "five_times_sit_to_stand_time"
    assert 0 < abs(noisy[name].value - plain[name].value) < 1 and "with rater noise" in noisy[name].flags
    many = [scores.sppb(10, 10, 10, 11.1, 1.0, rater=np.random.default_rng(i)) for i in range(200)]
    assert all(sum(part.points for part in parts[:3]) == parts[3].points for parts in many)
    assert 0.05 < np.mean([parts[0].points == 3 for parts in many]) / 0.5 < 0.2  # half of a tenth goes down; none up


def test_an_assessment_reports_what_a_recording_does_not_support() -> None:
    with pytest.raises(InputError, match="activity is unknown"):
        scores.assess(movement(5))
    result = scores.assess(movement(5), "timed up and go")
    assert isinstance(result["tug_time"], scores.Refusal) and "rises" in result["tug_time"].reason
    walk = movement(10, pelvis_tx=lambda t: 1.0 * t, activity="walking")
    words = scores.in_words(scores.assess(walk))
    assert words["ten_metre_walk_time"].startswith("10.0 s") and "device" in words["fga level walking"]
    assert scores.assess(movement(5), "squat") == {}


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    keys = ("walk_free", "tug", "chair_rise", "tandem", "tandem_stance", "single_leg_stance", "functional_reach")
    cohort = config.Cohort(participants=2, hours=0.001, seed=5, noise="none", activities=(*keys, "box_and_block"))
    return group_trials(cohort, 0)


def test_scores_of_the_cohort_agree_with_its_truth(trials) -> None:
    """On clean movements, whose truth is exact, every score is close to it."""
    errors: dict[str, list[float]] = {}
    for trial in trials:
        result = scores.assess(trial.trajectory)
        for name, truth in trial.scores.items():
            assert isinstance(result[name], scores.Result), (trial.trial_id, result[name])
            errors.setdefault(name, []).append(abs(result[name].value - truth.value))
    assert len(errors) == 7
    for name, values in errors.items():
        limit = {"functional_reach": 3.0, "box_and_block": 2.0}.get(name, 0.3)
        assert max(values) < limit, (name, values)


def test_the_phases_of_a_timed_up_and_go_add_up(trials) -> None:
    for trial in (trial for trial in trials if "tug_time" in trial.scores):
        result = scores.timed_up_and_go(trial.trajectory)
        names = [phase.name for phase in result.phases]
        assert names == ["sit", "rise", "walk out", "turn", "walk back", "turn and sit"]
        assert sum(phase.end_s - phase.start_s for phase in result.phases[1:]) == pytest.approx(result.value)
        assert all(phase.end_s >= phase.start_s for phase in result.phases)


def test_heel_to_toe_steps_stand_where_the_cohort_planted_them(trials) -> None:
    for trial in (trial for trial in trials if trial.trajectory.metadata.activity == "tandem walk"):
        truth = scores.tandem_steps(trial.trajectory, trial.contacts).value
        result = scores.tandem_steps(trial.trajectory).value
        # The feet that stand at the first frame have no strike in the truth.
        assert truth <= result <= truth + 2


def opencap(name: str) -> Trajectory:
    if not (OPENCAP / name).exists():
        pytest.skip(f"{OPENCAP / name} is absent")
    return formats.read(OPENCAP / name)


@pytest.mark.parametrize("name", ["STS1_ik.mot", "STSAsym1_ik.mot"])
def test_a_real_five_times_sit_to_stand(name) -> None:
    """The five stands agree with the height of the pelvis in the file, and the frame rate does not matter."""
    recording = opencap(name)
    result = scores.five_times_sit_to_stand(recording)
    height = recording.coordinates[:, INDEX["pelvis_ty"]]
    middle = 0.5 * (height.min() + height.max())
    rises = np.flatnonzero((height[:-1] < middle) & (height[1:] >= middle)) / recording.rate_hz
    assert len(rises) == 5
    for phase, middle_s in zip(result.phases, rises, strict=True):
        assert phase.start_s < middle_s < phase.end_s < middle_s + 1.0
    assert rises[4] - rises[0] < result.value < rises[4] - rises[0] + 2.0
    slower = replace(recording, coordinates=recording.coordinates[::3], rate_hz=recording.rate_hz / 3)
    assert scores.five_times_sit_to_stand(slower).value == pytest.approx(result.value, abs=0.05)


@pytest.mark.parametrize("name", ["squats1_ik.mot", "DJ1_ik.mot", "static1_ik.mot", "walking1_ik.mot"])
def test_other_real_movements_are_neither_chair_stands_nor_holds(name) -> None:
    recording = opencap(name)
    for test in (scores.five_times_sit_to_stand, scores.sit_to_stand, scores.timed_up_and_go, scores.single_leg_stance,
                 scores.tandem_stance, scores.four_square_step):  # fmt: skip
        with pytest.raises(InputError):
            test(recording)
