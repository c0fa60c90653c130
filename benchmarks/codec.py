"""What each back end of the motion codec keeps of held-out movement, and at which rate.

    python benchmarks/codec.py [--participants 96] [--steps 1200] [--quick] [--only rvq,fsq] [--json]

Every back end is trained on the same participants for the same number of steps, once on the clean cohort and once on
the one with markerless noise, and judged on other participants. The cohort, the whole protocol and all etiologies, is
simulated here from the seed of configs/development.py: back ends are chosen by these figures, so none of these people
may be a test participant of a run.
"""

import dataclasses
import runpy
import sys
import time
from pathlib import Path

import numpy as np
from figures import Figure, parser, publish

from biomechgpt_jax import config, formats
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.codec import dct
from biomechgpt_jax.codec.backends import MotionCodec
from biomechgpt_jax.cohort.simulate import participant_trials
from biomechgpt_jax.evaluation.codec import reconstruction
from biomechgpt_jax.tasks import codec as training

_DEVELOPMENT = Path(__file__).parent.parent / "configs" / "development.py"
# The longest that the language model is shown at once would be 32 s.
LONGEST_S = 32.0
BACK_ENDS = {
    "fsq": config.Tokenizer(levels=("8x5x5x5",)),
    "vq": config.Tokenizer(quantizer="vq", codebook_size=1000, learning_rate=5e-4),
    "rvq": config.Tokenizer(
        quantizer="vq",
        codebooks=16,
        varied=0.15,
        codebook_size=1024,
        stride=8,
        ema_decay=0.999,
        reset_below=0.003,
        learning_rate=5e-4,
    ),
    "fsq groups": config.Tokenizer(),  # the default: the best answers (codec_questions.py)
    "dct": config.Tokenizer(quantizer="dct", codebook_size=2048),
    "dct groups": config.Tokenizer(quantizer="dct", codebook_size=1024, codebooks=4),
}


def cohort(participants: range, noise: str) -> list[Trial]:
    """Trials of some participants, at most 32 seconds of each."""
    seed = runpy.run_path(str(_DEVELOPMENT))["SEED"]
    cfg = config.Cohort(participants=participants.stop, hours=30.0, seed=seed, noise=noise)  # type: ignore[arg-type]
    trials = [trial for index in participants for trial in participant_trials(cfg, index)]
    return [_cut(trial) for trial in trials]


def _cut(trial: Trial) -> Trial:
    most = round(LONGEST_S * trial.trajectory.rate_hz)
    shown = dataclasses.replace(trial.trajectory, coordinates=trial.trajectory.coordinates[:most])
    return dataclasses.replace(trial, trajectory=shown, clean=trial.clean[:most])


def reconstructed(codec: MotionCodec, trials: list[Trial]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Codes of trials, and what they decode to."""
    return reconstruction.encode_and_decode(
        codec, [trial.trajectory.coordinates for trial in trials], [trial.trajectory.observed for trial in trials]
    )


def judge_clean(name: str, codec: MotionCodec, trials: list[Trial]) -> dict[str, Figure]:
    """Figures of a codec trained on the clean cohort, on held-out participants of it."""
    tokens, back = reconstructed(codec, trials)
    errors = [
        reconstruction.angles(trial.trajectory.coordinates, movement, trial.trajectory.observed)
        for trial, movement in zip(trials, back, strict=True)
    ]
    by_health = {
        well: reconstruction.mean(
            [e.median for e, t in zip(errors, trials, strict=True) if (t.diagnosis == "healthy") == well]
        )
        for well in (True, False)
    }
    roots = [
        cm
        for trial, movement in zip(trials, back, strict=True)
        for cm in reconstruction.root_cm(trial.trajectory.coordinates, movement)
    ]
    walked = [
        (t.trajectory, b) for t, b in zip(trials, back, strict=True) if t.trajectory.metadata.activity == "walking"
    ]
    gait = reconstruction.walks([t for t, _ in walked], [b for _, b in walked])
    used = (reconstruction.counts(tokens, codec.codes) > 0).mean()
    seconds = sum(trial.trajectory.seconds for trial in trials)
    per_second = sum(map(len, tokens)) / seconds
    bits = per_second * codec.layers * np.log2(codec.codes)
    note = f"{gait.failures} of {gait.walks} walks not read"
    return {
        f"{name}: joint-angle error": Figure(reconstruction.mean([e.median for e in errors]), "deg", 1.0),
        f"{name}: joint-angle error, p95": Figure(reconstruction.mean([e.p95 for e in errors]), "deg"),
        f"{name}: joint-angle error, hip, knee and ankle": Figure(
            reconstruction.mean([e.median for e in errors], reconstruction.LOWER_LIMB), "deg"
        ),
        f"{name}: impaired over healthy": Figure(by_health[False] / by_health[True], "", 1.15, note="all activities"),
        f"{name}: root over 4 s": Figure(float(np.median(roots)), "cm", 4.0),
        f"{name}: cadence": Figure(float(np.nanmean(gait.errors["cadence"])), "steps/min", 1.0, note=note),
        f"{name}: walking speed": Figure(float(np.nanmean(gait.errors["walking_speed"])), "m/s", 0.02),
        f"{name}: step-time asymmetry": Figure(float(np.nanmean(gait.errors["step_time_asymmetry"])), "points", 2.0),
        f"{name}: codes used": Figure(100.0 * float(used), "%", 90.0, "above"),
        f"{name}: tokens": Figure(per_second, "1/s", 10.0, note=f"{bits:.0f} bits/s"),
    }


def fitted(cfg: config.Tokenizer, trials: list[Trial]) -> MotionCodec:
    """A codec of some trials; where their clean movement is known, it is what the codec learns to give back."""
    shown = [(trial.trajectory.coordinates, trial.trajectory.observed) for trial in trials]
    if cfg.quantizer == "dct":
        return dct.fit(cfg, shown, lambda step, losses: None)
    targets = [trial.true_coordinates for trial in trials] if cfg.denoise else None
    return training.train(cfg, shown, lambda step, losses: None, targets=targets)


def judge_noisy(name: str, codec: MotionCodec, noisy: list[Trial]) -> dict[str, Figure]:
    """Error against the clean trajectory beside that of the noisy input itself."""
    _, back = reconstructed(codec, noisy)
    ours, inputs = [], []
    for seen, movement in zip(noisy, back, strict=True):
        true, mask = seen.clean, seen.trajectory.observed
        ours.append(reconstruction.angles(true, movement, mask).median)
        inputs.append(reconstruction.angles(true, seen.trajectory.coordinates, mask).median)
    note = f"the noisy input's own error is {reconstruction.mean(inputs):.2f} deg"
    return {
        f"{name}: with noise, error against clean": Figure(
            reconstruction.mean(ours), "deg", reconstruction.mean(inputs), note=note
        )
    }


def judge_real(name: str, codec: MotionCodec, data: Path) -> dict[str, Figure]:
    """Median joint-angle error of real files, none of which was trained on."""
    files = sorted((data / "opencap_subject4").glob("*.mot"))
    if not files:
        return {}
    read = [formats.canonical(file) for file in files]
    _, back = reconstruction.encode_and_decode(codec, [one.coordinates for one in read], [one.observed for one in read])
    errors = [
        reconstruction.angles(one.coordinates, movement, one.observed).median
        for one, movement in zip(read, back, strict=True)
    ]
    return {
        f"{name}: real files": Figure(float(np.nanmedian(np.stack(errors))), "deg", 2.5, note=f"{len(files)} files")
    }


def throughput(name: str, codec: MotionCodec, trials: list[Trial]) -> dict[str, Figure]:
    """Seconds of movement encoded in a second."""
    shown, masks = [t.trajectory.coordinates for t in trials], [t.trajectory.observed for t in trials]
    codec.encode(shown, masks)
    taken = []
    for _ in range(5):
        begin = time.perf_counter()
        codec.encode(shown, masks)
        taken.append(time.perf_counter() - begin)
    seconds = sum(trial.trajectory.seconds for trial in trials)
    return {f"{name}: encoding": Figure(seconds / float(np.median(taken)), "x real time", 1000.0, "above")}


def main() -> None:
    """Train, measure and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--participants", type=int, default=96, help="a fifth of them is held out")
    arguments.add_argument("--steps", type=int, default=1200)
    arguments.add_argument("--quick", action="store_true", help="24 participants, 200 steps: whether it runs")
    arguments.add_argument("--only", default=",".join(BACK_ENDS))
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = arguments.parse_args()
    people, steps = (24, 200) if options.quick else (options.participants, options.steps)
    held_out = range(people - max(4, people // 5), people)
    training_sets = {noise: cohort(range(held_out.start), noise) for noise in ("none", "markerless")}
    test_sets = {noise: cohort(held_out, noise) for noise in ("none", "markerless")}
    figures: dict[str, Figure] = {}
    for name in options.only.split(","):
        cfg = dataclasses.replace(BACK_ENDS[name], steps=steps)
        codecs = {noise: fitted(cfg, trials) for noise, trials in training_sets.items()}
        found = judge_clean(name, codecs["none"], test_sets["none"])
        found |= judge_noisy(name, codecs["markerless"], test_sets["markerless"])
        found |= judge_real(name, codecs["markerless"], options.data)
        found |= throughput(name, codecs["none"], test_sets["none"])
        for figure, one in found.items():  # what is known already, if the rest is not waited for
            print(f"{figure}: {one.value:.4g} {one.unit} {one.note}".rstrip(), file=sys.stderr, flush=True)
        figures |= found
    publish("codec", figures, options.json)


if __name__ == "__main__":
    main()
