"""From a folder of recordings to a report and answers: the commands of the README, one after another.

    python examples/own_recordings.py recordings --labels labels.csv --workdir runs/mine

The labels are a CSV with the column `file` (paths within the folder) and any of participant, activity, diagnosis,
device, falls and test results; participants are split into train, validation and test by their id. A model that was
trained on a few people is not worth asking: this shows the way, not a result.
"""

import argparse
import sys
from pathlib import Path

from biomechgpt_jax.cli import main as biomechgpt


def run(*words: object) -> None:
    """Print and run one command; end with its exit code if it fails."""
    print("biomechgpt", *words)
    code = biomechgpt([str(word) for word in words])
    if code:
        sys.exit(code)


def main() -> None:
    """Import, run every stage, and ask the model about each file of the folder."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--labels", type=Path)
    arguments.add_argument("--workdir", type=Path, default=Path("runs/mine"))
    arguments.add_argument("--config", type=Path, default=Path("configs/quickstart.py"))
    options = arguments.parse_args()

    labels = ["--labels", options.labels] if options.labels else []
    run("import", options.folder, "--out", options.workdir / "movements", *labels)
    run("run", options.config, "--workdir", options.workdir)
    answers = options.workdir / "answers.csv"
    run("ask", options.folder, "--all", "--csv", answers, "--workdir", options.workdir)
    print(f"open {options.workdir / 'evaluation' / 'report.html'} and {answers}")


if __name__ == "__main__":
    main()
