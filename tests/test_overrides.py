"""Configuration files and dotted overrides."""

from pathlib import Path

import pytest

from biomechgpt_jax import overrides
from biomechgpt_jax.config import Cohort, Experiment, Train
from biomechgpt_jax.errors import InputError

ROOT = Path(__file__).parents[1]


def test_the_quickstart_configuration_loads() -> None:
    loaded = overrides.load(ROOT / "configs" / "quickstart.py")
    assert loaded.name == loaded.evaluation.bars == "quickstart" and Experiment().evaluation.bars == "none"


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    made = overrides.apply(
        Experiment(name="mine", train=Train(steps=7)),
        [
            *("--train.batch_size", "16", "--optimizer.peak-learning-rate=3e-4", "--model.qk_norm", "False"),
            *(
                "--tokenizer.levels",
                "8x6x5",
                "60x4",
                "--cohort.noise",
                "none",
                "--mesh.data",
                "-1",
                "--text_only_steps",
                "9",
            ),
        ],
    )
    assert (made.name, made.train.steps, made.train.batch_size) == ("mine", 7, 16)
    assert made.optimizer.peak_learning_rate == 3e-4
    assert made.model.qk_norm is False
    assert made.tokenizer.levels == ("8x6x5", "60x4")
    assert made.tokenizer.codes == 240
    assert made.cohort == Cohort(noise="none")
    assert (made.mesh.data, made.text_only_steps) == (-1, 9)
    assert made.pack == Experiment().pack


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train.step", "3"], "unknown configuration key '--train.step'; the nearest is '--train.steps'"),
        (["--batch_sizes", "3"], "batch_size'"),
        (["--train.steps", "1.5"], "'1.5'; --train.steps takes int"),
        (["--train.steps"], "Missing value for argument '--train.steps'"),
        (["--train.steps", "3", "4"], "Unrecognized options: 4"),
        (["--cohort.noise", "loud"], r"--cohort.noise takes Literal\['none', 'markerless'\]"),
        (["--model.qk_norm", "maybe"], "--model.qk_norm takes bool"),
        (["--tokenizer.levels", "8x5", "axb"], 'tokenizer.levels has "axb"'),
        (["--tokenizer.levels", "8x5", "8x8"], r"layers of \[40, 64\] codes; each must have as many"),
        (["--model.heads", "3"], "model.heads 3 is not a multiple of model.kv_heads 2"),
        (["--evaluation.encoder_steps", "-1"], "evaluation.encoder_steps -1 must be 0 or more"),
    ],
)
def test_refusals_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        overrides.apply(Experiment(), words)
    line = str(refused.value)
    assert "\n" not in line
    assert "helptext" not in line
    assert not set(line) & set("│╭╮╰╯─")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such configuration file"),
        ("x = 1\n", "no function config"),
        ("def config():\n    return 3\n", "returned int, not an Experiment"),
        ("def config():\n    return 1 / 0\n", "line 2: ZeroDivisionError"),
        ("def config(:\n", "line 1: SyntaxError"),
        ("import no_such_module\n", "line 1: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit"),
        (
            "from biomechgpt_jax.config import Train\ndef config(): return Train(steps=0)\n",
            "mine.py: train.steps is 0; give at least 1",
        ),
    ],
)
def test_configuration_files_that_cannot_be_used(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=said) as refused:
        overrides.load(path)
    assert str(path) in str(refused.value)


def test_what_follows_the_colon_goes_to_the_configuration() -> None:
    sizes = ROOT / "configs" / "sizes.py"
    assert overrides.load(f"{sizes}:1b", ["--train.steps", "9"]).name == "1b"
    assert overrides.load(sizes).name == "10m"
    with pytest.raises(InputError, match="unknown size '2b'; give one of 1m, 10m, 100m, 300m, 1b, 8b"):
        overrides.load(f"{sizes}:2b")
    with pytest.raises(InputError, match=r"quickstart.py: its config\(\) takes no argument; leave ':1b' out"):
        overrides.load(f"{ROOT / 'configs' / 'quickstart.py'}:1b")


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        overrides.load(tmp_path)
