"""Load a trained run in Python, turn a recording into motion tokens and back, and ask questions about it.

python examples/from_python.py walking.mot [--workdir runs/quickstart]
"""

import argparse
from pathlib import Path

import numpy as np

from biomechgpt_jax import formats
from biomechgpt_jax.questions.understanding import understand
from biomechgpt_jax.stages import ask
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.workdir import Workdir

QUESTIONS = ("What is this person doing?", "How fast is this person walking?", "Is this person healthy?")


def main() -> None:
    """Print the motion tokens' shape, how far the codec's reconstruction is off, and three answers."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--workdir", type=Path, default=Path("runs/quickstart"))
    options = arguments.parse_args()

    # A recording as every part of the program sees it: 40 coordinates at 30 Hz, in radians and metres.
    trajectory = formats.canonical(options.file)
    print(f"{trajectory.frames} frames of {int(trajectory.observed.sum())} observed coordinates")

    # Motion tokens are integers [tokens, codes a token]; decoding gives the movement back, but for where it starts.
    codec, _ = vocabulary.load(Workdir(options.workdir).tokenizer)
    (codes,) = codec.encode([trajectory.coordinates], [trajectory.observed])
    (decoded,) = codec.decode([codes])
    joints = np.flatnonzero(trajectory.observed)[6:]  # without the six of the pelvis
    error = np.degrees(decoded - trajectory.coordinates[: len(decoded)])[:, joints]
    print(f"{len(codes)} tokens of {codes.shape[1]} codes; median joint error {np.median(np.abs(error)):.1f} degrees")

    # Loaded once; all questions about a movement share its tokens.
    model = ask.load(options.workdir)
    for answer in ask.answer(model, trajectory, [understand(text) for text in QUESTIONS]).answers:
        print(f"{answer['question']} {answer['answer']} {answer['unit']} (probability {answer['probability']:.2f})")


if __name__ == "__main__":
    main()
