"""The training step compiled for absent devices, in separate processes."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biomechgpt_jax.compiling.collectives import REDUCTIONS

ROOT = Path(__file__).parents[2]
TINY = (
    *("configs/sizes.py:1m", "--model.layers=3", "--model.model_size=64", "--model.hidden_size=128"),
    *("--model.head_size=32", "--train.batch_size=16", "--pack.row_length=128", "--train.loss_chunk=64"),
    *("--tokenizer.levels", "8x5x5x5"),
)
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install 'biomechgpt-jax[tpu-aot]'"
)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("XLA_FLAGS", None)
    return subprocess.run([sys.executable, *words], env=env, cwd=ROOT, capture_output=True, text=True, check=False)


def compile_step(*words: str, code: int = 0) -> dict:
    done = run("-m", "biomechgpt_jax", "compile", *words, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def on_cpus() -> dict:
    return compile_step(*TINY, "--topology", "cpu:4", "--num-slices", "2", "--mesh.data", "1", "--mesh.fsdp", "4")


@pytest.mark.multidevice
def test_memory_and_operations_agree_with_arithmetic(on_cpus):
    report = on_cpus
    d, f, v, layers = 64, 128, 640, 3  # v: ids below the motion codes, which have no rows in the table
    matrices = layers * (d * 32 * 2 * (2 + 1) + 3 * d * f)
    norms = layers * (2 * d + 2 * 32) + d
    motion = 19 * d + (5 + 1) * d * d  # the map from the vectors of one layer of codes, and the context of five tokens
    vectors = 1000 * 19  # frozen, and on every device
    assert report["parameters"] == matrices + norms + v * d + motion
    # Matrices and embeddings are split 4 ways and norms are not; two moments beside each; arrays of 2 rows, of which
    # a step without losses per family reads five.
    state = 3 * 4 * ((matrices + v * d + motion) / 4 + norms) + 4 * vectors
    array = (16 // 8) * 128 * 4
    assert state + 5 * array <= report["memory"]["arguments"] <= state + 6 * array + 1024
    tokens = 16 * 128
    products = 6 * tokens * (matrices + d * v)
    attention = 12 * layers * 2 * 32 * 16 * 128 * 129 / 2
    assert report["flops"] == pytest.approx((products + attention) / 8)
    assert report["compute_dtype"] == "float32"


@pytest.mark.multidevice
def test_no_figures_are_made_up_for_a_cpu(on_cpus):
    assert on_cpus["estimate"] is None
    assert on_cpus["memory"]["available"] is None and on_cpus["fits"] is None


@pytest.mark.multidevice
def test_weights_are_gathered_one_layer_at_a_time(on_cpus):
    assert on_cpus["stack_gathers"] == []
    assert on_cpus["collectives"]["all-gather"]["runs"] >= 2 * 3  # forward and backward, per layer
    assert on_cpus["largest_gather"] <= 640 * 64 * 4  # the embedding is the largest array


@pytest.mark.multidevice
def test_only_reductions_cross_replicas_on_cpus(on_cpus):
    """The groups of every collective are compared with the halves into which `replica` divides the devices."""
    assert on_cpus["mesh"]["replica"] == 2
    assert on_cpus["crossing"] and set(on_cpus["crossing"]) <= set(REDUCTIONS)


@pytest.mark.tpu_aot
@needs_libtpu
def test_only_reductions_cross_between_two_slices_of_tpus():
    report = compile_step(*TINY, "--topology", "v5e:2x2", "--num-slices", "2", "--mesh.data", "1", "--mesh.fsdp", "4")
    assert report["mesh"]["replica"] == 2 and report["devices"] == 8
    assert report["crossing"] and set(report["crossing"]) <= set(REDUCTIONS)
    # Every gradient crosses once, each device carrying its part: f32, a quarter of the matrices.
    matrices = 3 * (64 * 32 * 2 * 3 + 3 * 64 * 128) + 1536 * 64
    between = sum(total["operand_bytes"] for kind, total in report["collectives"].items() if "between" in kind)
    assert matrices <= between <= 4 * matrices
    assert report["compute_dtype"] == "bfloat16"
    assert report["fits"] is True and report["memory"]["available"] == 16 * 2**30
    assert report["stack_gathers"] == []
    assert any(name.startswith("splash") for name in report["kernels"])  # the kernel of attention on a TPU
    estimate = report["estimate"]
    assert 0 < estimate["mfu_serial"] < estimate["mfu"] < 1
    assert estimate["serial_s"] >= estimate["overlapped_s"] >= estimate["slices_s"] > 0


def test_a_mesh_that_does_not_fit_is_refused_on_one_line():
    done = run("-m", "biomechgpt_jax", "compile", *TINY, "--topology", "cpu:8", "--mesh.fsdp", "3")
    assert done.returncode == 2 and "does not divide 8 devices" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.tpu_aot
@needs_libtpu
def test_a_step_that_does_not_fit_exits_with_1_and_names_the_largest_terms():
    words = ("configs/sizes.py:300m", "--model.layers", "3", "--train.batch_size", "1024", "--topology", "v5e:2x2")
    done = run("-m", "biomechgpt_jax", "compile", *words)
    assert done.returncode == 1, done.stderr
    assert "DOES NOT FIT" in done.stdout and "GiB  temporary" in done.stdout and "optimizer state" in done.stdout


@pytest.mark.slow
@pytest.mark.tpu_aot
@needs_libtpu
@pytest.mark.parametrize(("size", "topology"), [("1b", "v5e:4x4"), ("8b", "v5p:4x4x4")])
def test_large_sizes_fit_their_intended_machines(size, topology):
    report = compile_step(f"configs/sizes.py:{size}", "--topology", topology)
    assert report["fits"] is True and report["stack_gathers"] == []
    assert report["compute_dtype"] == "bfloat16" and report["estimate"]["mfu"] > 0
