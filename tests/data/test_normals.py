"""Offsets that a measurement system puts in are estimated from healthy people's recordings and taken out again."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import cli
from biomechgpt_jax.biomechanics import systems
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX, mirror
from biomechgpt_jax.biomechanics.systems import System
from biomechgpt_jax.biomechanics.trajectory import Metadata, Trajectory, Trial
from biomechgpt_jax.data import movements, normals, store
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.stages import inspect

FRAMES = 40
LEGS = [i for i, name in enumerate(COORDINATES) if name.startswith(("hip", "knee", "ankle"))]
TILT = INDEX["pelvis_tilt"]


def person(number: int, activity: str = "walking", diagnosis: str = "healthy", seed: int = 0) -> Trial:
    """Somebody whose joints differ from the mean by 4 degrees, mostly on both sides alike, facing anywhere."""
    rng = np.random.default_rng([seed, number])
    mean = np.zeros(COORDINATE_COUNT)
    mean[[INDEX["knee_angle_r"], INDEX["knee_angle_l"]]] = 0.4
    both = rng.normal(size=COORDINATE_COUNT)
    both = np.sqrt(0.8) * (both + np.where(np.arange(COORDINATE_COUNT) < 6, 0.0, mirror(both))) / np.sqrt(2)
    own = np.radians(4.0) * (both + np.sqrt(0.2) * rng.normal(size=COORDINATE_COUNT))
    cycle = 0.1 * np.sin(np.arange(FRAMES) / 5)[:, None] * np.ones(COORDINATE_COUNT)
    q = (mean + own + cycle - cycle.mean()).astype(np.float32)
    q[:, :3] = 0.0
    q[:, INDEX["pelvis_rotation"]] = rng.uniform(-3, 3)
    metadata = Metadata(participant=f"p{seed}-{number}", activity=activity)
    trajectory = Trajectory(q, np.ones(COORDINATE_COUNT, bool), 30.0, metadata)
    return Trial(f"{activity}-{seed}-{number}", trajectory, diagnosis=diagnosis)


def through(system: System, trial: Trial, hidden: tuple[str, ...] = ()) -> Trial:
    observed = np.array([name not in hidden for name in COORDINATES])
    q = np.where(observed, system.apply(trial.trajectory.coordinates, observed), 0.0).astype(np.float32)
    return dataclasses.replace(
        trial, trajectory=dataclasses.replace(trial.trajectory, coordinates=q, observed=observed)
    )


@pytest.fixture(scope="module")
def known() -> dict[str, normals.Reference]:
    return normals.from_trials([person(number) for number in range(200)])


def drawn(seed: int) -> System:
    return System(systems.draw(np.random.default_rng(seed)).offset)


@pytest.mark.parametrize(("people", "within_deg"), [(1, 4.0), (5, 2.6), (40, 1.2)])
def test_offsets_put_in_are_estimated(known, people: int, within_deg: float) -> None:
    """The root-mean-square error over joints and systems falls with the people, and is always below the offsets."""
    errors, sizes = [], []
    for seed in range(12):
        system = drawn(seed)
        recordings = [through(system, person(number, seed=100 + seed)) for number in range(people)]
        own = normals.estimate(recordings, known)
        angles = [TILT, INDEX["pelvis_list"], *range(6, COORDINATE_COUNT)]
        errors.append(np.degrees(own.offset - system.offset)[angles])
        sizes.append(np.degrees(system.offset)[angles])
        assert own.people == own.recordings == people
    usual = [i for i, index in enumerate(angles) if not COORDINATES[index].startswith("pro_sup")]
    error, size = (float(np.sqrt((np.array(x)[:, usual] ** 2).mean())) for x in (errors, sizes))
    assert error < within_deg and error < 0.8 * size


def test_what_is_estimated_is_taken_out(known) -> None:
    system = drawn(3)
    own = normals.estimate([through(system, person(number, seed=7)) for number in range(60)], known)
    patient = person(0, diagnosis="stroke", seed=8)
    seen = through(system, patient)
    mended = own.take_out(seen.trajectory).coordinates

    def away(q: np.ndarray) -> float:
        return float(np.degrees(np.abs(q - patient.trajectory.coordinates)[:, LEGS]).mean())

    assert away(mended) < 0.35 * away(seen.trajectory.coordinates)
    # Movement itself is untouched: an offset is constant.
    np.testing.assert_allclose(
        np.diff(mended[:, LEGS], axis=0), np.diff(seen.trajectory.coordinates[:, LEGS], axis=0), atol=1e-5
    )


def test_healthy_people_of_the_cohort_itself_give_hardly_any_offset(known) -> None:
    own = normals.estimate([person(number, seed=9) for number in range(60)], known)
    assert np.abs(np.degrees(own.offset)).max() < 3.0


def test_both_sides_are_weighed_together(known) -> None:
    """Mirrored recordings give the mirrored offsets."""
    system = drawn(1)
    recordings = [through(system, person(number, seed=4)) for number in range(6)]
    turned = [
        dataclasses.replace(
            one, trajectory=dataclasses.replace(one.trajectory, coordinates=mirror(one.trajectory.coordinates))
        )
        for one in recordings
    ]
    first, second = (normals.estimate(some, known).offset for some in (recordings, turned))
    np.testing.assert_allclose(second, mirror(first), atol=1e-4)


def test_only_what_is_observed_is_estimated(known) -> None:
    recordings = [through(drawn(2), person(n, seed=5), ("elbow_flex_r", "pelvis_list")) for n in range(5)]
    own = normals.estimate(recordings, known)
    for name in ("elbow_flex_r", "pelvis_list", "pelvis_tilt", "pelvis_tx", "pelvis_ty", "pelvis_rotation"):
        assert own.offset[INDEX[name]] == 0.0
    assert own.offset[INDEX["elbow_flex_l"]] != 0.0


def test_one_strange_person_does_not_set_the_offsets(known) -> None:
    recordings = [person(number, seed=6) for number in range(15)]
    strange = dataclasses.replace(recordings[0].trajectory, coordinates=recordings[0].trajectory.coordinates + 0.8)
    with_one = [dataclasses.replace(recordings[0], trajectory=strange), *recordings[1:]]
    knee = INDEX["knee_angle_r"]
    apart = normals.estimate(with_one, known).offset[knee] - normals.estimate(recordings, known).offset[knee]
    assert abs(np.degrees(apart)) < 1.5


def _motion(path: Path, shift_deg: float, seed: int) -> None:
    """A .mot of somebody standing, with all joints shifted."""
    rng = np.random.default_rng(seed)
    names = ["pelvis_tilt", "pelvis_list", "pelvis_rotation", "hip_flexion_r", "hip_flexion_l", "knee_angle_r"]
    names += ["knee_angle_l", "ankle_angle_r", "ankle_angle_l"]
    time = np.arange(120) / 60
    values = 20 + shift_deg + rng.normal(0, 1, len(names)) + 5 * np.sin(time)[:, None]
    values[:, :3] -= 20
    rows = ["\t".join([f"{t:.4f}", *(f"{value:.4f}" for value in row)]) for t, row in zip(time, values, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["inDegrees=yes", "endheader", "\t".join(["time", *names]), *rows]) + "\n")


def _gliding(folder: Path) -> None:
    """A .mot of somebody who travels with straight legs."""
    folder.mkdir()
    rows = [f"{row / 60:.4f}\t{row / 50:.4f}\t0\t5\t5" for row in range(121)]
    names = "time\tpelvis_tx\tpelvis_tz\thip_flexion_r\tknee_angle_r"
    (folder / "a.mot").write_text("\n".join(["inDegrees=yes", "endheader", names, *rows]) + "\n")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A working directory whose training people walk healthily with 20 degrees in every joint."""
    trials = []
    for number in range(60):
        trial = person(number, seed=11)
        trials.append(dataclasses.replace(trial, trajectory=_shift(trial.trajectory, LEGS, 20.0)))
    movements.write(trials, tmp_path / "run" / "movements", {"synthetic": True})
    return tmp_path / "run"


def _shift(trajectory: Trajectory, columns: list[int], degrees: float) -> Trajectory:
    q = trajectory.coordinates.copy()
    q[:, columns] += np.radians(degrees - 22.9 * np.array(["knee" in COORDINATES[i] for i in columns]))
    return dataclasses.replace(trajectory, coordinates=q)


def test_import_takes_the_offsets_out_and_keeps_them_in_the_metadata(run: Path, tmp_path: Path, capsys) -> None:
    for number in range(4):
        _motion(tmp_path / "healthy" / f"p{number}" / "walk.mot", 10.0, number)
    _motion(tmp_path / "mine" / "a.mot", 10.0, 9)
    command = ["import", str(tmp_path / "mine"), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert cli.main([*command, "--normals", str(tmp_path / "healthy"), "--workdir", str(run)]) == 0
    assert "normals: 4 people, 4 recordings; taken out (degrees): " in capsys.readouterr().err
    facts = store.metadata(tmp_path / "out")["normals"]
    assert (facts["people"], facts["recordings"]) == (4, 4)
    assert 3.0 < facts["offsets_deg"]["knee_angle_r"] <= 10.5
    with_it = _read(tmp_path / "out")
    assert cli.main([*command]) == 0
    without = _read(tmp_path / "out")
    assert "normals" not in store.metadata(tmp_path / "out")
    knee = INDEX["knee_angle_r"]
    taken = np.degrees(without[:, knee] - with_it[:, knee])
    np.testing.assert_allclose(taken, facts["offsets_deg"]["knee_angle_r"], atol=0.02)


def _read(directory: Path) -> np.ndarray:
    return next(
        movements.read(directory, split)[0].trajectory.coordinates
        for split in store.metadata(directory)["splits"]
        if store.metadata(directory)["splits"][split]
    )


def test_inspect_says_what_it_took_out(run: Path, tmp_path: Path, capsys) -> None:
    _motion(tmp_path / "healthy" / "walk.mot", 10.0, 0)
    _motion(tmp_path / "a.mot", 10.0, 9)
    command = ["inspect", str(tmp_path / "a.mot"), "--json"]
    assert cli.main([*command, "--normals", str(tmp_path / "healthy"), "--workdir", str(run)]) == 0
    said = capsys.readouterr()
    assert "normals: 1 person, 1 recording; taken out" in said.err
    assert json.loads(said.out)["normals"]["people"] == 1
    inspect.run(tmp_path / "a.mot", "", None, True)
    assert "normals" not in json.loads(capsys.readouterr().out)


def test_a_dataset_is_not_corrected(run: Path, tmp_path: Path, capsys) -> None:
    _motion(tmp_path / "healthy" / "walk.mot", 10.0, 0)
    dataset = str(run / "movements")
    assert cli.main(["inspect", dataset, "--normals", str(tmp_path / "healthy"), "--workdir", str(run)]) == 2
    assert f"--normals corrects one movement; {dataset} is a dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder.mkdir(), "holds no motion file"),
        (lambda folder: None, "does not exist"),
        (lambda folder: (folder.mkdir(), (folder / "a.mot").write_text("nothing")), "none of its 1 motion files can"),
        (lambda folder: _labelled(folder, "squat", ""), "a.mot shows squat; give recordings of walking"),
        (lambda folder: _labelled(folder, "walking", "stroke"), "a.mot is of stroke; give healthy people's only"),
        (lambda folder: _gliding(folder), "a.mot: the legs do not move although the body travels 2.4 m"),
    ],
)
def test_what_are_no_normals_is_refused_on_one_line(run: Path, tmp_path: Path, make, words: str, capsys) -> None:
    folder = tmp_path / "healthy"
    make(folder)
    _motion(tmp_path / "a.mot", 0.0, 9)
    code = cli.main(["inspect", str(tmp_path / "a.mot"), "--normals", str(folder), "--workdir", str(run)])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2 and words in line and str(folder) in line


def _labelled(folder: Path, activity: str, diagnosis: str) -> None:
    _motion(folder / "a.mot", 0.0, 0)
    (folder / "labels.csv").write_text(f"file,activity,diagnosis\na.mot,{activity},{diagnosis}\n")


def test_without_healthy_people_to_compare_with_there_are_no_normals(tmp_path: Path) -> None:
    _motion(tmp_path / "healthy" / "a.mot", 0.0, 0)
    with pytest.raises(InputError, match="is no dataset"):
        normals.of_folder(tmp_path / "healthy", tmp_path / "nowhere")
    few = [person(number, diagnosis="stroke") for number in range(20)] + [person(number, seed=1) for number in range(5)]
    movements.write(few, tmp_path / "few", {})
    with pytest.raises(InputError, match="fewer than 8 healthy training people"):
        normals.of_folder(tmp_path / "healthy", tmp_path / "few")


def test_a_bad_file_among_normals_costs_that_file(run: Path, tmp_path: Path) -> None:
    _motion(tmp_path / "healthy" / "a.mot", 0.0, 0)
    (tmp_path / "healthy" / "b.mot").write_text("nothing")
    own = normals.of_folder(tmp_path / "healthy", run / "movements")
    assert own.recordings == 1 and own.words().splitlines()[1].startswith("normals: b.mot left out: ")
