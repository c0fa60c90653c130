"""Memory that encoding and decoding a 10-minute recording takes, by back end of the motion codec.

    python benchmarks/codec_memory.py [--minutes 10] [--quick] [--json]

Each codec is stored and read again by a fresh process, which then encodes and decodes the recording. What counts is by
how much that raises the process's resident memory at its peak above what it holds after imports and reading, the
compilation included. The peak is the kernel's (VmHWM, set back before the work: Linux only); `ru_maxrss` would not do,
since a process inherits that of the one that starts it. How much memory a network takes does not depend on what it has
learned: those here have learned nothing.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from figures import Figure, parser, publish

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.codec import dct
from biomechgpt_jax.codec.backends import MotionCodec
from biomechgpt_jax.codec.codec import Codec
from biomechgpt_jax.codec.network import initial_parameters
from biomechgpt_jax.codec.scaling import Scaling
from biomechgpt_jax.cohort.simulate import participant_trials

BAR_GIB = 1.0
BACK_ENDS = {
    "fsq": config.Tokenizer(levels=("8x5x5x5",) * 4),
    "residual vq, base": config.Tokenizer(
        quantizer="vq", codebook_size=1024, codebooks=6, code_size=512, width=512, depth=3, stride=8
    ),
    "dct": config.Tokenizer(quantizer="dct", codebook_size=1024, codebooks=4),
}
_CHILD = """
import json, sys
from pathlib import Path
import numpy as np
from biomechgpt_jax.codec import backends

def gib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**20 for line in lines if line.startswith(name))

codec = backends.load(sys.argv[1])
movement = np.load(sys.argv[2])
Path("/proc/self/clear_refs").write_text("5")
before = gib("VmRSS")
tokens = codec.encode([movement], [np.ones(movement.shape[1], bool)])
encoded = gib("VmHWM")
back = codec.decode(tokens)[0]
sizes = {"tokens": len(tokens[0]), "frames": len(back)}
print(json.dumps({"encode": encoded - before, "both": gib("VmHWM") - before, **sizes}))
"""


def recording(minutes: float) -> np.ndarray:
    """Trials of one simulated person one after another, and again: f32[T, 40]."""
    trials = participant_trials(config.Cohort(participants=1, hours=0.1, noise="none"), 0)
    joined = np.concatenate([trial.trajectory.coordinates for trial in trials])
    frames = round(minutes * 60 * config.CANONICAL_RATE_HZ)
    return np.resize(joined, (frames, COORDINATE_COUNT)).astype(np.float32)


def made(cfg: config.Tokenizer, movement: np.ndarray) -> MotionCodec:
    """A codec of this configuration."""
    if cfg.quantizer == "dct":
        return dct.fit(cfg, [(movement, np.ones(COORDINATE_COUNT, bool))], lambda step, losses: None)
    ones = np.ones(COORDINATE_COUNT, np.float32)
    shape = (cfg.codebooks, cfg.codebook_size, cfg.code_size)
    vectors = np.random.default_rng(0).normal(size=shape).astype(np.float32) if cfg.quantizer == "vq" else None
    return Codec(cfg, Scaling(0 * ones, ones), initial_parameters(cfg, 0), vectors)


def measured(cfg: config.Tokenizer, movement: np.ndarray) -> dict[str, float]:
    """What a fresh process says of its peaks, in GiB."""
    with tempfile.TemporaryDirectory() as directory:
        made(cfg, movement).save(directory)
        file = Path(directory) / "movement.npy"
        np.save(file, movement)
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, directory, str(file)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise SystemExit(f"the measuring process failed: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--quick", action="store_true", help="one minute: whether it runs")
    options = arguments.parse_args()
    if not Path("/proc/self/clear_refs").exists():
        unmeasured = Figure(None, "GiB", BAR_GIB, note="this system has no /proc/self/clear_refs (Linux has)")
        publish("codec_memory", {f"{name}: encode and decode": unmeasured for name in BACK_ENDS}, options.json)
        return
    movement = recording(1.0 if options.quick else options.minutes)
    figures: dict[str, Figure] = {}
    for name, cfg in BACK_ENDS.items():
        found = measured(cfg, movement)
        note = f"{found['tokens']:.0f} tokens of {found['frames'] / config.CANONICAL_RATE_HZ:.0f} s"
        figures[f"{name}: encode and decode"] = Figure(found["both"], "GiB", BAR_GIB, note=note)
        figures[f"{name}: of it, encode"] = Figure(found["encode"], "GiB")
    publish("codec_memory", figures, options.json)


if __name__ == "__main__":
    main()
