"""Greedy decoding against `generate` of transformers, on the same processor.

    python benchmarks/decode.py [--repeats 5] [--quick] [--json]

The model has the dimensions of configs/sizes.py:10m without QK-norm, which is the Llama architecture; transformers gets
the same random weights. 16 prompts of 64 to 256 tokens, 64 new tokens each, float32, each library with its default
threads. transformers pads on the left; both of its caches that run without compilation are tried, and the faster one
counts. The tokens of the two are compared before anything is timed. Calls alternate in one process; a whole call
counts, prompts included. The time of decoding alone is the difference to a call for a single new token.

A second table: questions that share a trunk against the same questions one by one, in this project.
Without transformers and PyTorch (`pip install transformers torch`) the first figure is not measured.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import in_transformers
import jax
import numpy as np
from figures import Figure, parser, publish
from in_transformers import torch, transformers

from biomechgpt_jax import config, overrides
from biomechgpt_jax.model import constraints, decoder, generation
from biomechgpt_jax.model.requests import Request, Settings

ROOT = Path(__file__).resolve().parents[1]
BATCH, SHORTEST, LONGEST, NEW, VOCABULARY, BAR = 16, 64, 256, 64, 1024, 3.0
AGREE = 0.98  # of the tokens: near ties of random weights may fall either way
TRUNK, QUESTION, QUESTIONS, ANSWER = 200, 16, 8, 12
END = VOCABULARY - 1


def model(quick: bool) -> config.Model:
    """Dimensions of both libraries' models."""
    found = overrides.load(f"{ROOT / 'configs' / 'sizes.py'}:{'1m' if quick else '10m'}", [])
    return dataclasses.replace(found.model, qk_norm=False)


def weights(cfg: config.Model) -> decoder.Params:
    """Random ones, larger than at the start of training, so that the next token depends on the text."""
    params = decoder.init(jax.random.key(0), cfg, VOCABULARY)
    return {**params, "layers": jax.tree.map(lambda leaf: leaf * 1.5, params["layers"])}


def prompts(random: np.random.Generator, longest: int) -> list[np.ndarray]:
    """Ragged prompts; id 0 is the padding, the last id the end."""
    sizes = random.integers(SHORTEST, longest + 1, BATCH)
    sizes[0] = longest
    return [random.integers(1, VOCABULARY - 1, size).astype(np.int32) for size in sizes]


def their_call(llama: Any, asked: list[np.ndarray], new: int, cache: str) -> Callable[[], np.ndarray]:
    """`generate` of left-padded prompts."""
    width = max(map(len, asked))
    ids = torch.zeros((len(asked), width), dtype=torch.long)
    seen = torch.zeros_like(ids)
    for row, prompt in enumerate(asked):
        ids[row, width - len(prompt) :], seen[row, width - len(prompt) :] = torch.from_numpy(prompt), 1
    settings = {"cache_implementation": "static", "disable_compile": True} if cache == "static" else {}

    def call() -> np.ndarray:
        with torch.inference_mode():
            out = llama.generate(
                ids,
                attention_mask=seen,
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=None,
                **settings,
            )
        return out[:, width:].numpy()

    return call


def our_call(params: decoder.Params, cfg: config.Model, asked: list[np.ndarray], new: int) -> Callable[[], np.ndarray]:
    """The same of `generation.generate`; no token ends an answer."""
    endless = constraints.Automaton(np.arange(END)[None], np.zeros((1, END), np.int32))
    requests = [Request(prompt[:0], [prompt], [endless]) for prompt in asked]
    settings = Settings(new, END, VOCABULARY, batch_size=BATCH)

    def call() -> np.ndarray:
        return np.stack([one.tokens for (one,) in generation.generate(params, cfg, requests, settings)])

    return call


def seconds(call: Callable[[], Any]) -> float:
    """How long one call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def alternated(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, one after the other again and again, after one that warms up."""
    for call in calls.values():
        call()
    taken = [[seconds(call) for call in calls.values()] for _ in range(repeats)]
    return dict(zip(calls, np.median(taken, axis=0).tolist(), strict=True))


def against_transformers(repeats: int, quick: bool) -> dict[str, Figure]:
    """The first table."""
    if torch is None:
        return {"decoding against transformers": Figure(None, "x", BAR, "above", note=in_transformers.MISSING)}
    cfg, new = model(quick), 8 if quick else NEW
    params = weights(cfg)
    asked = prompts(np.random.default_rng(0), 2 * SHORTEST if quick else LONGEST)
    llama = in_transformers.llama(cfg, jax.device_get(params), 4096, caches=True).eval()
    ours = our_call(params, cfg, asked, new)
    theirs = {cache: their_call(llama, asked, new, cache) for cache in ("dynamic", "static")}
    same = float(np.mean(ours()[:, :8] == theirs["dynamic"]()[:, :8]))  # later ones follow from the first that differs
    if same < AGREE:
        raise SystemExit(f"not the same model: {same:.1%} of the first tokens agree")
    calls = {"ours": ours, "ours, one token": our_call(params, cfg, asked, 1)}
    calls |= theirs | {f"{cache}, one token": their_call(llama, asked, 1, cache) for cache in theirs}
    taken = alternated(calls, repeats)
    best = min(theirs, key=lambda cache: taken[cache])
    count, rest = BATCH * new, BATCH * (new - 1)
    steps = {name: taken[name] - taken[f"{name}, one token"] for name in ("ours", best)}
    note = f"{best} cache, transformers {transformers.__version__}, torch {torch.__version__}, {same:.0%} agree"
    return {
        "decoding against transformers": Figure(taken[best] / taken["ours"], "x", BAR, "above", note=note),
        "decoding": Figure(count / taken["ours"], "tokens/s", note="whole calls, prompts included"),
        "decoding in transformers": Figure(count / taken[best], "tokens/s"),
        "without the prompts": Figure(steps[best] / steps["ours"], "x"),
        "without the prompts, ours": Figure(rest / steps["ours"], "tokens/s"),
        "without the prompts, transformers": Figure(rest / steps[best], "tokens/s"),
    }


def shared_trunks(repeats: int, quick: bool) -> dict[str, Figure]:
    """The second table."""
    cfg, random = model(quick), np.random.default_rng(1)
    params = weights(cfg)

    def some(size: int) -> np.ndarray:
        return random.integers(1, VOCABULARY - 1, size).astype(np.int32)

    requests = [Request(some(TRUNK), [some(QUESTION) for _ in range(QUESTIONS)]) for _ in range(1 if quick else 8)]
    prompts_alone = [np.concatenate([r.trunk, question]) for r in requests for question in r.questions]
    alone = [Request(prompt[:0], [prompt]) for prompt in prompts_alone]
    calls: dict[str, Callable[[], Any]] = {
        "shared": lambda: generation.generate(params, cfg, requests, Settings(ANSWER, END)),
        "alone": lambda: generation.generate(params, cfg, alone, Settings(ANSWER, END)),
    }
    taken = alternated(calls, repeats)
    note = f"{QUESTIONS} questions of {QUESTION} tokens, a trunk of {TRUNK}, {ANSWER} new tokens"
    return {
        "questions that share a trunk": Figure(len(alone) / taken["shared"], "questions/s", note=note),
        "each with its own trunk": Figure(len(alone) / taken["alone"], "questions/s"),
        "sharing": Figure(taken["alone"] / taken["shared"], "x"),
    }


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--repeats", type=int, default=5, help="alternated calls, of which the median counts")
    arguments.add_argument("--quick", action="store_true", help="a small model and few tokens: whether it runs")
    options = arguments.parse_args()
    repeats = min(options.repeats, 2) if options.quick else options.repeats
    figures = against_transformers(repeats, options.quick) | shared_trunks(repeats, options.quick)
    publish("decode", figures, options.json)


if __name__ == "__main__":
    main()
