"""How realistic the synthetic cohort is: every row of the project's realism table, with failing rows shown as failing.

    python benchmarks/realism.py [--participants 120] [--data ../shared/data] [--plots DIR] [--workdir RUN] [--json]

Consistency with the norm waveforms is no evidence, because the generator is built from these curves. Real files that
set a parameter are listed (row 8) and kept out of the comparisons with real movement; all splits are by person.
"""

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gait as gait_benchmark
import numpy as np
import realism_measures as measures
from figures import Figure, parser, publish
from realism_tables import ACTIVITY_OF, DISCRIMINATED, PARAMETERS_FROM, PUBLISHED, SPECTRA, TIMED_GROUPS
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from biomechgpt_jax import config, formats
from biomechgpt_jax.biomechanics import gait
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Trajectory, Trial
from biomechgpt_jax.cohort import physics
from biomechgpt_jax.cohort.simulate import simulate
from biomechgpt_jax.errors import InputError

Figures = dict[str, Figure]
SMOOTH = tuple(f"{name}_{side}" for name in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl")
# Nine in ten of the healthy people in the table of timed tests are younger; the cohort's are up to 88 years old.
OLDEST_TIMED = 70
TESTS = ("tug_time", "five_times_sit_to_stand_time", "ten_metre_walk_time")


def cohort(participants: int, noise: str, activities: tuple[str, ...] = (), **more: Any) -> list[Trial]:
    """One round of the named activities of a cohort, or of all activities."""
    cfg = config.Cohort(participants=participants, hours=1e-4, noise=noise, activities=activities, **more)  # type: ignore[arg-type]
    return list(simulate(cfg))


def with_key(trials: Iterable[Trial], key: str) -> list[Trial]:
    """The trials of one activity, by its key in the protocol."""
    return [trial for trial in trials if f"_{key}_" in trial.trial_id]


def gait_code(data: Path, participants: int) -> Figures:
    """Row 1, measured by benchmarks/gait.py."""
    measured = gait_benchmark.synthetic(participants, "none")
    try:
        measured = gait_benchmark.real(data) | measured
    except (InputError, ImportError) as error:
        measured["real files"] = Figure(None, bar=gait_benchmark.EVENT_BAR_MS, note=str(error))
    # benchmarks/gait.py prints a line per file; here only the worst of each kind that has a bar.
    figures: Figures = {}
    for kind in ("event error", "walking_speed error", "cadence error"):
        for origin in ("markers", "coordinates"):
            values = {k: f for k, f in measured.items() if k.endswith(f"{origin}: {kind}") and not k.startswith("all")}
            if values:
                worst = max(values, key=lambda k: np.inf if values[k].value is None else values[k].value)
                met = sum(bool(f.meets) for f in values.values())
                note = f"worst of {len(values)} C3D files ({worst.partition(',')[0]}); {met} meet the bar"
                figure = values[worst]
                figures[f"1 gait code, C3D {origin}: {kind}"] = Figure(figure.value, figure.unit, figure.bar, note=note)
    kept = {key: figure for key, figure in measured.items() if key.startswith(("synthetic", "real files"))}
    return figures | {f"1 gait code, {key}": figure for key, figure in kept.items()}


def healthy_curves(trials: list[Trial]) -> tuple[np.ndarray, list[float]]:
    """Mean waveform of each healthy person, f64[N, 51, 10], and each person's normalised speed."""
    curves, speeds = [], []
    for trial in with_key(trials, "walk_free"):
        parameters = gait.parameters(trial.contacts)
        if trial.diagnosis == "healthy" and "walking_speed" in parameters:
            curves.append(measures.person_curves(trial.trajectory, trial.contacts))
            speeds.append(measures.normalised_speed(parameters["walking_speed"], trial.trajectory.metadata.height_m))
    return np.array(curves), speeds


def norms(curves: np.ndarray, speeds: list[float]) -> Figures:
    """Row 2: healthy people's waveforms against the norms at the same speed."""
    apart, wide = measures.compare_with_norms(curves, speeds)
    figures: Figures = {}
    for joint, value, ratio in zip(measures.JOINTS, apart, wide, strict=True):
        note = f"{len(curves)} healthy people, each at their own speed"
        figures[f"2 norms: RMSE of the mean, {joint}"] = Figure(float(value), "SD", 0.5, note=note)
        off = abs(float(ratio) - 1)
        figures[f"2 norms: between-subject SD off by, {joint}"] = Figure(off, "", 0.2, note=f"ratio {ratio:.2f}")
    return figures


def affected_feet(trial: Trial) -> tuple[int, ...]:
    return {"right": (RIGHT,), "left": (LEFT,)}.get(trial.trajectory.metadata.side, (RIGHT, LEFT))


def measure_walk(trial: Trial) -> dict[str, float]:
    """Ranges of motion in degrees on the affected side (or on both) and gait parameters of one walk."""
    strides = np.concatenate(
        [measures.stride_curves(trial.trajectory, trial.contacts, foot) for foot in affected_feet(trial)]
    )
    return measures.ranges(strides) | gait.parameters(trial.contacts)


def etiologies(trials: list[Trial]) -> tuple[Figures, dict[str, list[dict[str, float]]]]:
    """Row 3: each group's mean of the published measures, and by how much it lies outside the published spread."""
    groups: dict[str, list[dict[str, float]]] = {}
    for trial in with_key(trials, "walk_free"):
        groups.setdefault(trial.diagnosis, []).append(measure_walk(trial))
    figures: Figures = {}
    for etiology, measure, low, high, unit, source in PUBLISHED:
        values = [person[measure] for person in groups.get(etiology, []) if measure in person]
        key = f"3 {etiology}: {measure} outside by"
        if not values:
            figures[key] = Figure(None, unit, note=f"nobody of this etiology in the cohort; {source}")
            continue
        mean = float(np.mean(values))
        outside = max(low - mean, mean - high, 0.0)
        note = f"mean {mean:.3g} (SD {np.std(values):.2g}, n {len(values)}), published {low:g}..{high:g} {source}"
        figures[key] = Figure(outside, unit, 0.0, note=note)
    return figures | profile_scores(groups, trials), groups


def profile_scores(groups: dict[str, list[dict[str, float]]], trials: list[Trial]) -> Figures:
    """Root-mean-square deviation from the norms at the same speed: eight of the nine Gait Profile Score curves."""
    columns = [i for i, name in enumerate(measures.JOINTS) if not name.startswith("trunk")]
    scores: dict[str, list[float]] = {}
    for trial in with_key(trials, "walk_free"):
        parameters = gait.parameters(trial.contacts)
        if "walking_speed" in parameters:
            speed = measures.normalised_speed(parameters["walking_speed"], trial.trajectory.metadata.height_m)
            norm, by_foot = measures.norm_curves(speed), []
            for foot in (RIGHT, LEFT):
                deviation = measures.person_curves(trial.trajectory, trial.contacts, (foot,)) - norm
                by_foot.append(np.sqrt((deviation[:, columns] ** 2).mean()))
            score = float(np.mean(by_foot))
            if np.isfinite(score):
                scores.setdefault(trial.diagnosis, []).append(score)
    healthy = float(np.mean(scores["healthy"]))
    figures: Figures = {}
    for etiology in sorted(groups):
        values = scores.get(etiology, [])
        if values:
            note = f"SD {np.std(values):.2g}, n {len(values)}; healthy {healthy:.3g}; both feet, no foot progression"
            figures[f"3 Gait Profile Score, {etiology}"] = Figure(float(np.mean(values)), "deg", note=note)
    return figures


def physical(clean: list[Trial], noisy: list[Trial], data: Path) -> Figures:
    """Row 4: physical plausibility and smoothness."""
    on_foot = [trial for trial in clean if len(trial.contacts.strike_time)]
    speed = np.concatenate([physics.contact_speed(trial.trajectory, trial.contacts) for trial in on_foot])
    level = [trial for trial in clean if "stair" not in trial.trajectory.metadata.activity]
    depths = np.array([physics.penetration(trial.trajectory).max() for trial in level])
    deepest = level[int(depths.argmax())].trajectory.metadata.activity
    too_deep = sorted({t.trajectory.metadata.activity for t, d in zip(level, depths, strict=True) if d > 0.01})
    depth_note = f"in {deepest}; {(depths > 0.01).sum()} of {len(level)} trials on level floor reach 1 cm"
    depth_note += f": {', '.join(too_deep)}" if too_deep else ""
    broken = sum(sum(physics.limit_violations(trial.trajectory).values()) for trial in (*clean, *noisy))
    note = f"{len(on_foot)} trials with steps, double support included"
    figures: Figures = {
        "4 contact speed, median": Figure(float(np.median(speed)), "m/s", 0.05, note=note),
        "4 contact speed, p95": Figure(float(np.percentile(speed, 95)), "m/s", 0.20, note=note),
        "4 floor penetration, worst": Figure(100 * float(depths.max()), "cm", 1.0, note=depth_note),
        "4 joint-limit violations": Figure(float(broken), "frames", 0.0, note=f"{len(clean) + len(noisy)} trials"),
    }
    for key, files in SPECTRA.items():
        real = [read for name in files if (read := recorded(data, name)) is not None]
        synthetic, noiseless = (
            [t.trajectory for t in with_key(trials, key) if t.diagnosis == "healthy"] for trials in (noisy, clean)
        )
        for what, measure in (("jerk", physics.jerk), ("power above 8 Hz", physics.high_frequency_power)):
            name = f"4 {key}: {what}, off by a factor of"
            if not real:
                figures[name] = Figure(None, "", 2.0, note=f"{', '.join(files)} cannot be read below --data")
                continue
            theirs, ours, without = (
                float(np.median([measure(t, SMOOTH) for t in group])) for group in (real, synthetic, noiseless)
            )
            ratio = ours / theirs
            note = f"synthetic / real {ratio:.3g}, without markerless noise {without / theirs:.3g}; "
            note += f"{len(synthetic)} healthy against {len(real)} files of ONE person"
            figures[name] = Figure(max(ratio, 1 / ratio), "", 2.0, note=note)
    return figures


def recorded(data: Path, name: str) -> Trajectory | None:
    """A real file as a model sees it, at 30 Hz; None if it cannot be read."""
    try:
        return formats.canonical(data / name)
    except (InputError, OSError):
        return None


def timed(trials: list[Trial], data: Path) -> tuple[Figures, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Row 5: times of three tests, of real people and of the cohort."""
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for trial in trials:
        if trial.diagnosis == "healthy" and trial.trajectory.metadata.age > OLDEST_TIMED:
            continue
        for name in TESTS:
            if name in trial.scores:
                person = scores.setdefault(trial.diagnosis, {}).setdefault(trial.participant, {})
                person.setdefault(name, trial.scores[name].value)
    figures: Figures = {}
    both: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    path = data / "timed_tests" / "class_info.csv"
    if not path.is_file():
        return {"5 timed tests": Figure(None, note=f"{path} is absent: give --data")}, both
    for code, etiology in TIMED_GROUPS.items():
        people = real_times(path, code)
        ours = np.array([[p[n] for n in TESTS] for p in scores.get(etiology, {}).values() if len(p) == len(TESTS)])
        if len(ours) < 4:
            reason = f"{len(ours)} people with {etiology} and all three tests"
            figures[f"5 {etiology}: timed tests"] = Figure(None, "s", note=reason)
            continue
        both[etiology] = (people, ours)
        for column, name in enumerate(TESTS):
            theirs, mine = people[:, column], ours[:, column]
            d = abs(mine.mean() - theirs.mean()) / theirs.std(ddof=1)
            note = f"{mine.mean():.2f} ({mine.std(ddof=1):.2f}) s, n {len(mine)}; people {theirs.mean():.2f} "
            note += f"({theirs.std(ddof=1):.2f}), {len(theirs)} visits"
            figures[f"5 {etiology}: {name}, difference of the means"] = Figure(float(d), "SD", 0.5, note=note)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            real_r, our_r = (float(np.corrcoef(x[:, a], x[:, b])[0, 1]) for x in (people, ours))
            error = np.sqrt(1 / (len(people) - 3) + 1 / (len(ours) - 3))
            apart = abs(np.arctanh(our_r) - np.arctanh(real_r)) / error
            note = f"r {our_r:.2f}, people {real_r:.2f}; in standard errors of Fisher's z"
            pair = f"{TESTS[a]} with {TESTS[b]}"
            figures[f"5 {etiology}: correlation of {pair}, difference"] = Figure(float(apart), "SE", 2.0, note=note)
    return figures, both


def real_times(path: Path, code: str) -> np.ndarray:
    """Seconds of `TESTS` in one group's visits, f64[N, 3], without visits that lack a test."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["type"] == code]
    cells = [[row[name] for name in ("tft_tug", "tft_5xsts", "tft_10mwt")] for row in rows]
    seconds = np.array([[float(value or "nan") for value in row] for row in cells])
    return seconds[np.isfinite(seconds).all(axis=1)]


def answers(workdir: Path | None, data: Path) -> Figures:
    """Row 6: how a model trained on the cohort alone answers questions about real files."""
    if workdir is None:
        return {"6 trained on synthetic, asked of real": Figure(None, note="not measured: give --workdir")}
    from biomechgpt_jax.questions.registry import QUESTIONS
    from biomechgpt_jax.questions.understanding import understand
    from biomechgpt_jax.stages import ask as asking

    answerer = asking.load(workdir)

    def ask(trajectory: Trajectory, question: str) -> str | float | None:
        """The model's answer; None if it refuses because the file lacks what the question needs."""
        wanted = [understand(QUESTIONS[question].templates[0])]
        try:
            reply = asking.answer(answerer, trajectory, wanted)
        except InputError:
            return None
        return reply.answers[0]["answer"] if reply.answers else None

    right, asked, refused = 0, 0, 0
    errors: dict[str, list[float]] = {"walking_speed": [], "cadence": []}
    for name, activity in ACTIVITY_OF.items():
        read = recorded(data, name)
        if read is None:
            refused += 1
            continue
        right, asked = right + (ask(read, "activity") == activity), asked + 1
        truth = gait.analyse(read).parameters if activity == "walking" else {}
        for question in truth.keys() & errors.keys():
            answer = ask(read, question)
            if isinstance(answer, int | float):
                errors[question].append(abs(answer - truth[question]))
    note = f"{asked} files, {refused} could not be read; the truth is the file's name"
    figures: Figures = {
        "6 trained on synthetic, asked of real: activity": Figure(right / max(asked, 1), "share right", note=note)
    }
    for question, unit in (("walking_speed", "m/s"), ("cadence", "steps/min")):
        absolute = errors[question]
        value = float(np.mean(absolute)) if absolute else None
        note = f"mean absolute error, {len(absolute)} files of one or two people; the truth is the gait code's"
        figures[f"6 trained on synthetic, asked of real: {question}"] = Figure(value, unit, note=note)
    return figures


def discriminator(noisy: list[Trial], data: Path) -> Figures:
    """Row 7: how well real walking is distinguished from healthy synthetic walking, for people not seen before."""
    people: dict[str, list[np.ndarray]] = {}
    shared = np.ones(len(measures.COMPARED), bool)
    for person, name in DISCRIMINATED:
        read = recorded(data, name)
        if read is not None:
            people.setdefault(person, []).append(measures.window_features(read))
            shared &= read.observed[[INDEX[coordinate] for coordinate in measures.COMPARED]]
    real = [np.concatenate(rows) for rows in people.values() if sum(map(len, rows))]
    if len(real) < 2:
        return {"7 real or synthetic, AUC": Figure(None, bar=0.8, note="fewer than two real people below --data")}
    walks = [t for t in with_key(noisy, "walk_free") if t.diagnosis == "healthy" and t.trajectory.observed.all()]
    synthetic = [measures.window_features(t.trajectory) for t in walks]
    figures: Figures = {}
    kinds: list[tuple[str, list[int]]] = [("all features", list(range(4)))]
    kinds += [(kind, [i]) for i, kind in enumerate(measures.FEATURE_KINDS)]
    for kind, which in kinds:
        chosen = [[rows[:, which][:, :, shared] for rows in group] for group in (real, synthetic)]
        values, weights = auc_of_held_out_people(*chosen)
        labels = [
            f"{measures.FEATURE_KINDS[k]} of {name}"
            for k in which
            for name, in_all_files in zip(measures.COMPARED, shared, strict=True)
            if in_all_files
        ]
        top = ", ".join(labels[i] for i in np.argsort(-np.abs(weights))[:5])
        windows = sum(map(len, real))
        note = f"mean over {len(values)} real people left out in turn (few: {windows} windows), {len(synthetic)} "
        note += f"synthetic people, {shared.sum()} angles that all files have; uses {top}"
        bar = 0.8 if kind == "all features" else None
        figures[f"7 real or synthetic, AUC from {kind}"] = Figure(float(np.mean(values)), "", bar, note=note)
    return figures


def auc_of_held_out_people(real: list[np.ndarray], synthetic: list[np.ndarray]) -> tuple[list[float], np.ndarray]:
    """AUC for each real person, left out together with a share of the synthetic people, and the mean weights."""
    values, weights = [], []
    for left_out in range(len(real)):
        test_s = synthetic[left_out :: len(real)]
        train_s = [s for i, s in enumerate(synthetic) if i % len(real) != left_out]
        train_r = [r for i, r in enumerate(real) if i != left_out]
        x = np.concatenate([*train_r, *train_s])
        y = np.repeat([1, 0], [sum(map(len, train_r)), sum(map(len, train_s))])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=500))
        model.fit(x.reshape(len(x), -1), y)
        test = np.concatenate([real[left_out], *test_s])
        truth = np.repeat([1, 0], [len(real[left_out]), sum(map(len, test_s))])
        values.append(float(roc_auc_score(truth, model.decision_function(test.reshape(len(test), -1)))))
        weights.append(model[-1].coef_[0])
    return values, np.mean(weights, axis=0)


def parameter_sources() -> Figures:
    """Row 8: the real files that set a parameter."""
    files = {f"8 set a parameter: {name}": Figure(1.0, "file", note=what) for name, what in PARAMETERS_FROM.items()}
    compared = {name for _, name in DISCRIMINATED} | {name for names in SPECTRA.values() for name in names}
    both = sorted(compared & PARAMETERS_FROM.keys())
    note = ", ".join(both) or "rows 4 and 7 compare with other files (of the same OpenCap subject)"
    overlap = Figure(float(len(both)), "files", 0.0, note=note)
    return files | {"8 files that set a parameter and are evidence as well": overlap}


def options() -> argparse.Namespace:
    command = parser(__doc__ or "")
    command.add_argument("--data", type=Path, default=Path("../shared/data"), help="real files (%(default)s)")
    command.add_argument("--participants", type=int, default=120, help="synthetic people (%(default)s)")
    command.add_argument("--workdir", type=Path, help="a finished run, whose model is asked about real files")
    command.add_argument("--plots", type=Path, help="write pictures into this directory")
    return command.parse_args()


def main() -> None:
    """Measure and print."""
    given = options()
    tests = ("walk_free", "tug", "chair_rise")
    clean = cohort(given.participants, "none", tests)
    everything = cohort(max(1, given.participants // 8), "none")
    noisy = cohort(max(1, given.participants // 2), "markerless", ("walk_free", "chair_rise"))
    curves, speeds = healthy_curves(clean)
    by_etiology, groups = etiologies(clean)
    # Rare in the cohort, and with tables of their own.
    muscular = cohort(given.participants, "none", tests, etiologies=tuple(TIMED_GROUPS.values())[1:], seed=1)
    times, people = timed([*clean, *(t for t in muscular if t.diagnosis != "healthy")], given.data)
    figures = gait_code(given.data, min(24, given.participants)) | norms(curves, speeds) | by_etiology
    figures |= physical([*clean, *everything], noisy, given.data)
    figures |= times | answers(given.workdir, given.data) | discriminator(noisy, given.data) | parameter_sources()
    publish("realism", figures, given.json)
    if given.plots:
        import realism_plots

        real = [read for name in SPECTRA["walk_free"] if (read := recorded(given.data, name)) is not None]
        walks = [trial.trajectory for trial in with_key(noisy, "walk_free") if trial.diagnosis == "healthy"]
        realism_plots.write(given.plots, curves, speeds, groups, people, (walks, real))


if __name__ == "__main__":
    main()
