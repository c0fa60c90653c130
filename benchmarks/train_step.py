r"""Training tokens per second at 10 million parameters, against the same model in transformers and in MaxText.

    python benchmarks/train_step.py [--size 10m] [--repeats 15] [--maxtext-python PATH] [--quick] [--json]

Our step is the whole one of tasks/language.py: loss, gradients, clipping, AdamW, guard and metrics, on 8 rows of
512 tokens in float32 (bfloat16 on accelerators). The model has the dimensions of configs/sizes.py and a vocabulary of
4,096, without QK-norm so that it is a Llama. PyTorch gets our parameters (LlamaForCausalLM, tied embeddings, SDPA
attention, fused AdamW, no clipping); losses of the first steps are compared before anything is timed. Steps of the two
alternate in one process, each library with its default threads; medians count. With us on a GPU PyTorch is too.
Equal work is the loss on all tokens of plain rows; our trainer's own work, reported beside it, is a row of trunk and
branches with the loss on its answers over text ids. MaxText runs in a process of its own with the Python given, on
synthetic rows at the same dimensions. A peer that is not installed is not measured. MaxText names its requirements only
for accelerators; on a CPU these suffice, in an environment of Python 3.12 (uv resolves them in seconds, pip hardly):

    uv pip install maxtext==0.2.5 'jax[cpu]>=0.11.1' flax optax orbax-checkpoint grain tensorflow-cpu tensorboardx \
        transformers omegaconf pydantic sentencepiece tiktoken datasets jaxtyping aqtp qwix drjax ml-collections \
        tensorflow-datasets google-cloud-storage cloud-accelerator-diagnostics ml-goodput-measurement pathwaysutils \
        jsonlines einshape tokamax jinja2 pillow sympy
"""

import functools
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import in_transformers
import jax
import numpy as np
from figures import Figure, parser, publish
from in_transformers import torch, transformers

from biomechgpt_jax import config, overrides
from biomechgpt_jax.model import flops
from biomechgpt_jax.packing.rows import Branch, Item, lay_out_row
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.parameters import Parameters

ROWS, LENGTH, IDS, TEXT_IDS, CLOSE = 8, 512, 4096, 517, 1e-4 if jax.default_backend() == "cpu" else 1e-2
BAR, BAR_MAXTEXT = 1.1, 1.5
SIZES = Path(__file__).parents[1] / "configs" / "sizes.py"


def plain_rows() -> dict[str, np.ndarray]:
    """Rows of one text each, every token asked."""
    index = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), (ROWS, LENGTH))
    tokens = np.random.default_rng(0).integers(0, IDS, (ROWS, LENGTH)).astype(np.int32)
    weights = np.ones((ROWS, LENGTH), np.float32)
    return {
        "tokens": tokens,
        "positions": index,
        "segments": np.ones_like(index),
        "branches": np.zeros_like(index),
        "loss_weights": weights,
    }


def packed_rows() -> dict[str, np.ndarray]:
    """Rows of two movements of 120 tokens with eight questions of 16 tokens each, of which four are the answer."""
    random = np.random.default_rng(1)

    def item() -> Item:
        trunk = random.integers(TEXT_IDS, IDS, (120, 1)).astype(np.int32)
        asked = [Branch(random.integers(0, TEXT_IDS, 16).astype(np.int32), 12) for _ in range(8)]
        return Item(trunk, tuple(asked))

    laid = [lay_out_row([item(), item()], LENGTH, 0) for _ in range(ROWS)]
    return {name: np.stack([row[name] for row in laid]) for name in laid[0]}


class Ours:
    """Our step on one batch, over and over."""

    def __init__(self, experiment: config.Experiment, rows: dict[str, np.ndarray], softmax_ids: int) -> None:
        self._mesh = meshes.make(config.Mesh(), jax.devices()[:1])
        ids = IdSpace(IDS, softmax_ids)
        self._step = language.make_step(experiment, ids, self._mesh, 1000)
        self._state = language.init_state(jax.random.key(0), experiment, Parameters(experiment.model, ids), self._mesh)
        self._batch = jax.device_put(rows)
        self.params = jax.tree.map(lambda leaf: np.array(leaf, copy=True), self._state["params"])
        self.flops = 0.0

    def step(self) -> float:
        """One step; returns the loss before it."""
        with jax.set_mesh(self._mesh):
            self._state, metrics = jax.block_until_ready(self._step(self._state, {}, self._batch))
        self.flops = float(metrics["flops"])
        return float(metrics["loss"])


class InTorch:
    """The same model in transformers, with its loss on all tokens."""

    def __init__(self, model: config.Model, cfg: config.Optimizer, params: Any, tokens: np.ndarray, rates: Any) -> None:
        self._model = in_transformers.llama(model, params, LENGTH)
        device = "cpu" if jax.default_backend() == "cpu" else "cuda"
        self._model = self._model.to(device, torch.float32 if device == "cpu" else torch.bfloat16)
        self._tokens = torch.from_numpy(tokens.astype(np.int64)).to(device)
        decays = [p for name, p in self._model.named_parameters() if "proj" in name]
        others = [p for name, p in self._model.named_parameters() if "proj" not in name]
        groups = [{"params": decays, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(cfg.b1, cfg.b2), fused=True)
        self._rates, self._done = rates, 0

    def step(self) -> float:
        """One step; returns the loss before it."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._rates(self._done)
        self._done += 1
        loss = self._model(input_ids=self._tokens, labels=self._tokens).loss
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return loss.item()


def seconds(step: Callable[[], float]) -> float:
    """How long one step takes."""
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def alternated(steps: list[Callable[[], float]], repeats: int) -> np.ndarray:
    """Median seconds of each, taken in turn."""
    return np.median([[seconds(step) for step in steps] for _ in range(repeats)], axis=0)


def in_maxtext(python: str, model: config.Model, steps: int) -> tuple[float | None, str]:
    """Tokens per second of MaxText in a process of its own, or None and why not."""
    asked = {
        "run_name": "bench",
        "hardware": "cpu",
        "dataset_type": "synthetic",
        "enable_checkpointing": False,
        "steps": steps,
        "per_device_batch_size": ROWS,
        "max_target_length": LENGTH,
        "vocab_size": IDS,
        "base_emb_dim": model.model_size,
        "base_mlp_dim": model.hidden_size,
        "base_num_decoder_layers": model.layers,
        "base_num_query_heads": model.heads,
        "base_num_kv_heads": model.kv_heads,
        "head_dim": model.head_size,
        "decoder_block": "llama2",
        "logits_via_embedding": True,
        "attention": "dot_product",
        "dtype": "float32",
        "weight_dtype": "float32",
        "skip_jax_distributed_system": True,
        "enable_goodput_recording": False,
        "log_config": False,
    }
    with tempfile.TemporaryDirectory() as directory:
        words = [f"{name}={value}" for name, value in (asked | {"base_output_directory": directory}).items()]
        where = "import maxtext, pathlib; print(pathlib.Path(maxtext.__file__).parent / 'configs' / 'base.yml')"
        base = subprocess.run([python, "-c", where], capture_output=True, text=True)
        command = [python, "-m", "maxtext.trainers.pre_train.train", base.stdout.strip(), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=directory, timeout=1800)
    found = [float(value) for value in re.findall(r"Tokens/s/device: ([0-9.]+)", done.stdout + done.stderr)]
    if len(found) < 3:
        reason = (done.stderr or base.stderr).strip().splitlines()[-1:] or ["it printed no speed"]
        return None, f"MaxText did not run: {reason[0][:150]}"
    return float(np.median(found[2:])), f"median of {len(found) - 2} steps in a process of its own"


def measure(size: str, repeats: int, maxtext_python: str) -> dict[str, Figure]:
    """All figures; refuses to compare with a model that does not agree."""
    given = overrides.load(f"{SIZES}:{size}")
    model = replace(given.model, qk_norm=False, tied_embeddings=True)
    experiment = replace(given, model=model, optimizer=replace(given.optimizer, clip_norm=1e9))
    plain = plain_rows()
    ours, answers = Ours(experiment, plain, IDS), Ours(experiment, packed_rows(), TEXT_IDS)
    steps, tokens = [ours.step, answers.step], ROWS * LENGTH
    if torch is not None:
        from biomechgpt_jax.training import optimizer

        rates = functools.partial(lambda rate, step: float(rate(step)), optimizer.schedule(experiment.optimizer, 1000))
        theirs = InTorch(model, experiment.optimizer, ours.params, plain["tokens"], rates)
        losses = np.array([(ours.step(), theirs.step()) for _ in range(3)])
        if not np.allclose(*losses.T, rtol=CLOSE):
            raise SystemExit(f"not the same model or optimizer: losses {losses.tolist()}")
        steps.append(theirs.step)
        peer_note = f"losses of 3 steps within {np.max(np.abs(losses[:, 0] / losses[:, 1] - 1)):.0e}, "
        peer_note += f"torch {torch.__version__}, transformers {transformers.__version__}"
    else:
        ours.step()
        peer_note = in_transformers.MISSING
    answers.step()
    speed = tokens / alternated(steps, repeats)
    ratio = float(speed[0] / speed[2]) if torch is not None else None
    counted = flops.matrices(model) + IDS * model.model_size
    figures = {
        "against transformers/PyTorch": Figure(ratio, "x", BAR, "above", note=peer_note),
        "our tokens/s, loss on all tokens": Figure(
            float(speed[0]), "1/s", note=f"{counted / 1e6:.1f}M parameters, median of {repeats} alternated steps"
        ),
        "our GFLOP/s, loss on all tokens": Figure(float(speed[0] * ours.flops / tokens / 1e9), "GFLOP/s"),
        "our tokens/s, packed rows, loss on answers": Figure(float(speed[1]), "1/s"),
    }
    if torch is not None:
        figures["their tokens/s"] = Figure(float(speed[2]), "1/s")
    figures["against MaxText"] = Figure(None, "x", BAR_MAXTEXT, "above", note="no --maxtext-python given")
    if maxtext_python:
        found, note = in_maxtext(maxtext_python, model, 2 + repeats)
        against = None if found is None else float(speed[0] / found)
        figures["against MaxText"] = Figure(against, "x", BAR_MAXTEXT, "above", note=note)
        if found is not None:
            figures["MaxText tokens/s"] = Figure(found, "1/s")
    return figures


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--size", default="10m", help="one of configs/sizes.py (%(default)s)")
    arguments.add_argument("--repeats", type=int, default=15, help="alternated steps, of which the median counts")
    arguments.add_argument("--maxtext-python", default="", help="a Python 3.12 that has MaxText 0.2.5")
    arguments.add_argument("--quick", action="store_true", help="the smallest size, 2 repeats: whether it runs")
    options = arguments.parse_args()
    size, repeats = ("1m", 2) if options.quick else (options.size, options.repeats)
    publish("train_step", measure(size, repeats, options.maxtext_python), options.json)


if __name__ == "__main__":
    main()
