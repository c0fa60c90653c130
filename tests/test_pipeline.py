"""The whole program at toy size, on 1 and on 8 forced host devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.multidevice

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys
from pathlib import Path
from biomechgpt_jax import config, pipeline

cfg = config.Experiment(
    name="toy",
    cohort=config.Cohort(participants=14, hours=0.01),
    tokenizer=config.Tokenizer(steps=12, width=16, depth=1),
    pack=config.Pack(crops_per_trial=1),
    model=config.Model(layers=2, model_size=32, heads=2, kv_heads=1, head_size=16, hidden_size=64),
    train=config.Train(steps=6, batch_size=8, checkpoint_every=3, log_every=1),
    text_only_steps=2,
    evaluation=config.Evaluation(bootstrap=50, stick_figures=1, encoder_steps=2),
)
pipeline.run(cfg, Path(sys.argv[1]), sys.argv[2])
"""


def _run(workdir: Path, until: str, devices: int) -> str:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(workdir), until],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("toy") / "one"
    _run(workdir, "evaluate", devices=1)
    return workdir


def _losses(workdir: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_a_run_leaves_what_it_promises(toy: Path) -> None:
    found = json.loads((toy / "evaluation" / "metrics.json").read_text())
    families = {"activity", "impairment", "diagnosis", "assistive_device", "outcome_scores", "gait"}
    assert set(found["families"]) <= families
    assert {"activity", "gait"} <= set(found["families"])
    assert {"constant", "label_prior", "text_only", "speed_only", "length_only", "mean_pose"} <= set(found["controls"])
    assert set(found["wall_seconds"]) == {"simulate", "tokenizer", "pack", "train", "calibrate", "evaluate"}
    assert found["test_participants"] > 0
    assert "<html" in (toy / "evaluation" / "report.html").read_text()
    assert (toy / "evaluation" / "predictions.jsonl").stat().st_size > 0


def test_what_is_done_is_not_done_again(toy: Path) -> None:
    said = _run(toy, "evaluate", devices=1)
    assert said.count("done before") == 6


def test_eight_devices_train_to_the_same_losses(toy: Path) -> None:
    other = toy.parent / "eight"
    other.mkdir()
    for name in ("movements", "tokenizer", "sequences", "sequences_text_only", "stages"):
        (other / name).symlink_to(toy / name)
    stages = other / "stages"
    stages.unlink()
    stages.mkdir()
    for stage in ("simulate", "tokenizer", "pack"):
        (stages / f"{stage}.json").write_text((toy / "stages" / f"{stage}.json").read_text())
    said = _run(other, "train", devices=8)
    assert said.count("done before") == 3
    one, eight = _losses(toy), _losses(other)
    assert list(one) == list(eight)
    assert len(one) == 6
    for step, loss in one.items():
        assert eight[step] == pytest.approx(loss, rel=1e-4), step


def test_a_tokenizer_of_another_run_is_refused(toy: Path, tmp_path: Path) -> None:
    from biomechgpt_jax.errors import InputError
    from biomechgpt_jax.stages import train

    with pytest.raises(InputError, match="vocabulary") as refused:
        train._check_vocabulary(toy / "sequences", "0" * 64)
    assert "\n" not in str(refused.value)
