"""Preprocessing trials of mixed lengths and rates at once, against NumPy and SciPy trial by trial.

The reference does the steps that change a recording without gaps: spikes and jumps are looked for, turns undone, the
rest filtered, resampled and described. Ours does all that and looks for a treadmill and for what quality flags tell.
"""

import time

import numpy as np
from figures import Figure, parser, publish
from scipy.interpolate import make_interp_spline
from scipy.signal import butter, sosfiltfilt
from scipy.spatial.transform import Rotation

from biomechgpt_jax.biomechanics import gaps, preprocess
from biomechgpt_jax.biomechanics.filtering import CUT_OFF_HZ, ORDER
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.config import CANONICAL_RATE_HZ

BAR = 3.0
RATES_HZ = (30.0, 60.0, 100.0, 120.0)


def trials(count: int, seed: int) -> list[Trajectory]:
    """Smooth movement of 2 to 20 s at several rates, with noise."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        rate = float(rng.choice(RATES_HZ))
        frames = round(rate * rng.uniform(2, 20))
        moment = np.arange(frames)[:, None] / rate
        hertz, phase = rng.uniform(0.2, 3, COORDINATE_COUNT), rng.uniform(0, 6, COORDINATE_COUNT)
        values = 0.4 * np.sin(2 * np.pi * hertz * moment + phase) + 0.005 * rng.normal(size=(frames, COORDINATE_COUNT))
        made.append(Trajectory(values.astype(np.float32), np.ones(COORDINATE_COUNT, bool), rate))
    return made


def with_scipy(trajectory: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """Look for gaps, spikes and jumps; unwrap, filter, resample, features."""
    q, rate = trajectory.coordinates.astype(np.float64), trajectory.rate_hz
    heading = INDEX["pelvis_rotation"]
    q[:, heading] = np.unwrap(q[:, heading])
    limit = gaps.limits(np.asarray(rate, np.float32))
    change = np.diff(q, axis=0)
    large = np.abs(change) > limit
    spikes = large[:-1] & large[1:] & (np.abs(change[:-1] + change[1:]) <= limit)
    if spikes.any() or large.any() or not np.isfinite(q).all():
        raise ValueError("the reference knows no gaps")
    if rate > CANONICAL_RATE_HZ:
        sections = butter(ORDER, CUT_OFF_HZ, fs=rate, output="sos")
        q = sosfiltfilt(sections, q, axis=0, padlen=min(len(q) - 1, int(rate / 2)))
        wanted = np.arange(int((len(q) - 1) * CANONICAL_RATE_HZ / rate + 1e-6) + 1) / CANONICAL_RATE_HZ
        q = make_interp_spline(np.arange(len(q)) / rate, q, k=5)(wanted)
    turned = Rotation.from_euler("ZXY", q[:, [INDEX[f"pelvis_{n}"] for n in ("tilt", "list", "rotation")]])
    # R = Ry(heading) Rz(tilt) Rx(list)
    yaw, tilt, list_ = turned.as_euler("YZX").T
    yaw = np.unwrap(yaw)
    velocity = np.diff(q[:, :2], axis=0, append=q[-1:, :2]) * CANONICAL_RATE_HZ
    forward = np.cos(yaw) * velocity[:, 0] - np.sin(yaw) * velocity[:, 1]
    rightward = np.sin(yaw) * velocity[:, 0] + np.cos(yaw) * velocity[:, 1]
    turning = np.diff(yaw, append=yaw[-1:]) * CANONICAL_RATE_HZ
    root = np.stack([forward, rightward, q[:, INDEX["pelvis_ty"]], tilt, list_, turning], axis=1)
    features = np.concatenate([root, q[:, 6:]], axis=1)
    features[-1, [0, 1, 5]] = features[-2, [0, 1, 5]]
    return q, features


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--trials", type=int, default=256)
    arguments.add_argument("--repeats", type=int, default=7)
    options = arguments.parse_args()
    batch = trials(options.trials, 0)
    begin = time.perf_counter()
    ours = preprocess.prepare(batch)
    compiling = time.perf_counter() - begin
    theirs = [with_scipy(trial) for trial in batch]
    # The spline ends differently from the polynomial through six frames; the inside has to agree.
    apart = max(
        float(np.abs(a.trajectory.coordinates[3:-3] - b[3:-3]).max()) for a, (b, _) in zip(ours, theirs, strict=True)
    )
    taken: dict[str, list[float]] = {"ours": [], "SciPy": []}
    for _ in range(options.repeats):
        for name, run in (
            ("ours", lambda: preprocess.prepare(batch)),
            ("SciPy", lambda: [with_scipy(trial) for trial in batch]),
        ):
            begin = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - begin)
    ours_s, theirs_s = (float(np.median(taken[name])) for name in ("ours", "SciPy"))
    publish(
        "preprocess",
        {
            "ours": Figure(options.trials / ours_s, "trials/s"),
            "NumPy and SciPy": Figure(options.trials / theirs_s, "trials/s"),
            "ratio": Figure(theirs_s / ours_s, "", BAR, "above", f"medians of {options.repeats}, taken in turns"),
            "first call": Figure(compiling, "s", note="with compilation"),
            "largest difference": Figure(apart, "", 1e-4, note="radians or metres, ends left out"),
        },
        options.json,
    )


if __name__ == "__main__":
    main()
