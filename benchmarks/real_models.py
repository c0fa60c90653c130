"""Two real models in our decoder against stored figures of transformers, for `pretrained.py` and for tests.

The figures are of one paragraph: logits at 32 positions (64 of the ids), the most probable id and the logarithm of the
summed exponentials at all, the negative log-likelihood, and 40 ids that greedy decoding adds to the first 16.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.model import constraints, decoder, generation
from biomechgpt_jax.model.requests import Request, Settings
from biomechgpt_jax.pretrained import description, loading

TRUTH = Path(__file__).parents[1] / "tests" / "data" / "pretrained"
PARAGRAPH = (
    "The heart is a hollow muscle of about the size of a fist. With every beat it pushes blood into two circuits: one "
    "leads through the lungs, where the blood takes up oxygen, and the other through the rest of the body. Four valves "
    "keep the stream in one direction, and the rhythm comes from a small group of cells in the wall of the right "
    "atrium."
)
POSITIONS, IDS, PROMPT, ADDED = 32, 64, 16, 40


class Difference(NamedTuple):
    """Ours against theirs."""

    logits: float  # largest absolute difference
    argmax: int  # positions at which the most probable id differs
    likelihood: float  # difference of the mean negative log-likelihoods
    greedy: int  # ids of the continuation that are the same before the first that is not


def make_truth(folder: Path, which: str) -> None:
    """Write the figures of a model, computed by transformers from a folder that `model-folder` wrote."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    row = torch.tensor([tokenizer(PARAGRAPH).input_ids])
    with torch.no_grad():
        logits = model(row).logits[0].double().numpy()
        continued = model.generate(
            row[:, :PROMPT], max_new_tokens=ADDED, min_new_tokens=ADDED, do_sample=False, eos_token_id=None
        )[0, PROMPT:].numpy()
    rng = np.random.default_rng(0)
    length, vocabulary = logits.shape
    positions = np.sort(rng.choice(length, POSITIONS, replace=False))
    ids = np.sort(rng.choice(vocabulary, IDS, replace=False))
    two_best = np.partition(logits, -2, axis=1)[:, -2:]
    TRUTH.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        TRUTH / f"{which}.npz",
        row=row[0].numpy().astype(np.int32),
        positions=positions.astype(np.int32),
        ids=ids.astype(np.int32),
        logits=logits[np.ix_(positions, ids)].astype(np.float32),
        argmax=logits.argmax(axis=1).astype(np.int32),
        logsumexp=_logsumexp(logits),
        likelihood=_likelihood(logits, row[0].numpy()),
        continued=continued.astype(np.int32),
        margin=np.float64((two_best[:, 1] - two_best[:, 0]).min()),
        made_with=json.dumps({"transformers": transformers.__version__, "torch": torch.__version__}),
    )


def read_truth(which: str) -> dict[str, Any]:
    with np.load(TRUTH / f"{which}.npz", allow_pickle=False) as stored:
        return dict(stored)


def load(folder: Path) -> tuple[config.Model, Any]:
    """A model of `model-folder` in float32 on the first device."""
    found, described, _ = description.opened(folder)
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = decoder.abstract(described.model, described.rows)
    layouts = jax.tree.map(lambda _: one, shapes)
    return described.model, loading.load(found, described.model, described.rows, shapes, layouts)


def compare(folder: Path, which: str) -> Difference:
    """Our decoder with the weights of a folder against the stored figures."""
    cfg, params = load(folder)
    truth = read_truth(which)
    row = truth["row"]
    index = np.arange(len(row), dtype=np.int32)[None]
    batch = {"tokens": row[None], "positions": index, "segments": 0 * index + 1, "branches": 0 * index}
    logits = np.asarray(jax.jit(decoder.apply, static_argnames="cfg")(params, batch, cfg))[0].astype(np.float64)
    apart = np.abs(logits[np.ix_(truth["positions"], truth["ids"])] - truth["logits"]).max()
    apart = max(apart, np.abs(_logsumexp(logits) - truth["logsumexp"]).max())
    # Everything but the first id, which neither continuation has.
    anything = np.arange(1, logits.shape[1], dtype=np.int32)[None]
    request = Request(row[:0], [row[:PROMPT]], [constraints.Automaton(anything, np.zeros_like(anything))])
    [[answer]] = generation.generate(params, cfg, [request], Settings(ADDED, end_id=0))
    same = np.asarray(answer.tokens) == truth["continued"]
    return Difference(
        float(apart),
        int((logits.argmax(1) != truth["argmax"]).sum()),
        abs(_likelihood(logits, row) - float(truth["likelihood"])),
        int(same.argmin()) if not same.all() else len(same),
    )


def _logsumexp(logits: np.ndarray) -> np.ndarray:
    highest = logits.max(1)
    return np.log(np.exp(logits - highest[:, None]).sum(1)) + highest


def _likelihood(logits: np.ndarray, row: np.ndarray) -> float:
    """Mean negative log-likelihood of the ids after the first."""
    return float((_logsumexp(logits)[:-1] - logits[np.arange(len(row) - 1), row[1:]]).mean())
