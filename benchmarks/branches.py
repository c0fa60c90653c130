"""Questions trained per second: one movement with all its questions in a row, against one question per sequence.

    python benchmarks/branches.py [--rounds 9] [--steps 150] [--quick] [--json]

The questions are those of the quickstart: its activities and etiologies, its crops and up to eight questions a crop,
on movements of a few simulated people. The codec is the DCT one, which needs no training, at the quickstart's rate of
7.5 tokens a second.

Throughput: the 10m model of configs/sizes.py (without QK-norm, so that it is a Llama), a whole step of ours
(tasks/language.py) on rows of 512 tokens:
  trunk and branches   packed rows as `pack` writes them;
  one per sequence     the same questions, each with its own copy of the movement, packed into the same rows;
  transformers         the same questions, each a sequence of LlamaForCausalLM with our parameters, padded to the
                       longest of its batch: forward, loss on answers, backward, fused AdamW. Losses are compared
                       before anything is timed. Batches of like lengths are reported beside it.
Steps alternate in one process over the same four batches of each; the median over rounds counts.

Held-out loss: the quickstart's model is trained twice from one start, for as many steps of as many questions each: on
packed rows, and on packed sequences of one question that are drawn one by one, so that a step's questions come from
more movements. Both losses are of the same rows of held-out people, and the bar is on their difference.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import in_transformers
import jax
import numpy as np
import optax
from figures import Figure, parser, publish
from in_transformers import IGNORED, torch
from quickstart_rows import pack, quickstart

from biomechgpt_jax import config, overrides
from biomechgpt_jax.data import loader
from biomechgpt_jax.model import decoder
from biomechgpt_jax.packing.rows import Branch, Item, assign_rows, lay_out_row
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.parameters import Parameters

_CONFIGS = Path(__file__).parents[1] / "configs"
ROWS, LENGTH, SEQUENCES, BATCHES = 8, 512, 32, 4
BAR_TRANSFORMERS, BAR_OURS, BAR_LOSS, CLOSE = 5.0, 3.0, 2.0, 1e-4
Rows = dict[str, np.ndarray]


def read(directory: Path, split: str) -> list[Rows]:
    """All packed rows of a split, in the order on disk."""
    rows, _ = loader.open_rows(directory, split)
    return [{key: np.asarray(value) for key, value in row.items()} for row in rows.__getitems__(range(len(rows)))]


def questions(rows: Sequence[Rows]) -> list[Item]:
    """Every question of packed rows with a copy of its movement, as an item of its own."""
    found = []
    for row in rows:
        for segment in range(1, int(row["segments"].max()) + 1):
            here = row["segments"] == segment
            trunk = row["tokens"][here & (row["branches"] == 0)][:, None]
            for number in range(1, int(row["branches"][here].max()) + 1):
                of = here & (row["branches"] == number)
                answer = int(np.argmax(row["loss_weights"][of] > 0))
                found.append(Item(trunk, (Branch(row["tokens"][of], answer),)))
    return found


def packed(items: Sequence[Item], pad: int) -> list[Rows]:
    """Items in rows, by the packing of the project."""
    order = assign_rows([item.length for item in items], LENGTH)
    return [lay_out_row([items[i] for i in row], LENGTH, pad) for row in order]


def stacked(rows: Sequence[Rows]) -> Rows:
    """Rows as a batch."""
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def asked(rows: Sequence[Rows]) -> int:
    """Number of questions in rows."""
    return sum(
        len(np.unique(np.stack([row["segments"], row["branches"]])[:, row["branches"] > 0], axis=1).T) for row in rows
    )


def shuffled(rows: Sequence[Rows], size: int) -> Iterator[Rows]:
    """Batches without end, each epoch in another order."""
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(rows))
        for first in range(0, len(rows) - size + 1, size):
            yield stacked([rows[i] for i in order[first : first + size]])


class Ours:
    """Our training step."""

    def __init__(self, experiment: config.Experiment, words: Any, steps: int) -> None:
        self.model, self._ids = experiment.model, words.motion_offset
        self._mesh = meshes.make(config.Mesh(), jax.devices()[:1])
        parameters = Parameters(experiment.model, IdSpace.of(words))
        self._state = language.init_state(jax.random.key(0), experiment, parameters, self._mesh)
        self._step = language.make_step(experiment, IdSpace.of(words), self._mesh, steps)
        self.params = jax.device_get(self._state["params"])
        self._loss = jax.jit(self._sums, static_argnums=2)

    def step(self, batch: Rows) -> float:
        """One step; returns the loss before it."""
        with jax.set_mesh(self._mesh):
            self._state, metrics = jax.block_until_ready(self._step(self._state, {}, batch))
        return float(metrics["loss"])

    def loss(self, batches: Sequence[Rows], ids: int | None = None) -> float:
        """Mean loss of answer tokens in nats, over text ids as in training or over so many; changes nothing."""
        with jax.set_mesh(self._mesh):
            sums = [self._loss(self._state["params"], batch, ids or self._ids) for batch in batches]
        total, weight = np.sum(jax.device_get(sums), axis=0)
        return float(total / weight)

    def _sums(self, params: Any, batch: Rows, ids: int) -> tuple[jax.Array, jax.Array]:
        hidden_BLD = decoder.hidden(params, batch, self.model)[:, :-1]
        logits_BLV = decoder.logits(hidden_BLD, decoder.head(params, ids), self.model)
        loss_BL = optax.softmax_cross_entropy_with_integer_labels(logits_BLV, batch["tokens"][:, 1:])
        weights_BL = batch["loss_weights"][:, 1:]
        return jax.numpy.sum(weights_BL * jax.numpy.where(weights_BL > 0, loss_BL, 0.0)), jax.numpy.sum(weights_BL)


class InTorch:
    """The same model in transformers on padded sequences of one question."""

    def __init__(self, experiment: config.Experiment, params: Any) -> None:
        self._model = in_transformers.llama(experiment.model, params, LENGTH)
        cfg = experiment.optimizer
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=1e-5, betas=(cfg.b1, cfg.b2), weight_decay=cfg.weight_decay, fused=True
        )

    def loss(self, items: Sequence[Item]) -> Any:
        """Mean loss of the answer tokens of a batch."""
        longest = max(item.length for item in items)
        tokens, labels = np.zeros((len(items), longest), np.int64), np.full((len(items), longest), IGNORED, np.int64)
        seen = np.zeros((len(items), longest), np.int64)
        for row, item in enumerate(items):
            (branch,), trunk = item.branches, len(item.trunk)
            tokens[row, :trunk], tokens[row, trunk : item.length] = item.trunk[:, 0], branch.tokens
            labels[row, trunk + branch.answer_start : item.length] = branch.tokens[branch.answer_start :]
            seen[row, : item.length] = 1
        tensors = (torch.from_numpy(array) for array in (tokens, seen, labels))
        return self._model(**dict(zip(("input_ids", "attention_mask", "labels"), tensors, strict=True))).loss

    def step(self, items: Sequence[Item]) -> float:
        """One step; returns the loss before it."""
        value = self.loss(items)
        self._optimizer.zero_grad(set_to_none=True)
        value.backward()
        self._optimizer.step()
        return value.item()


def rates(
    contestants: dict[str, tuple[Callable[[Any], float], list[tuple[Any, int]]]], rounds: int
) -> dict[str, float]:
    """Questions per second of each, from the median over rounds of the time of a question; the first is warm-up."""
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(-1, rounds):
        for name, (step, batches) in contestants.items():
            for batch, count in batches if turn < 0 else [batches[turn % len(batches)]]:
                begin = time.perf_counter()
                step(batch)
                if turn >= 0:
                    spent[name].append((time.perf_counter() - begin) / count)
    return {name: float(1 / np.median(times)) for name, times in spent.items()}


def throughput(size: str, ours: list[Rows], items: list[Item], words: Any, rounds: int) -> dict[str, Figure]:
    """Questions per second of the three layouts, and their ratios."""
    given = overrides.load(f"{_CONFIGS / 'sizes.py'}:{size}")
    model = dataclasses.replace(given.model, qk_norm=False, tied_embeddings=True)
    experiment = dataclasses.replace(given, model=model)
    rng = np.random.default_rng(1)
    mixed = [items[i] for i in rng.permutation(len(items))]
    single = [
        row for _, row in zip(range(ROWS * BATCHES), packed(mixed, words.pad)[:: max(1, len(ours) // 8)], strict=False)
    ]
    single = [single[i] for i in rng.permutation(len(single))]
    whole = [ours[i] for i in rng.permutation(len(ours))]
    trainer = Ours(experiment, words, 1000)
    contestants: dict[str, tuple[Callable[[Any], float], list[tuple[Any, int]]]] = {}
    for name, rows in (("trunk and branches", whole), ("one per sequence", single)):
        cut = [rows[i * ROWS : (i + 1) * ROWS] for i in range(BATCHES)]
        contestants[name] = trainer.step, [(stacked(some), asked(some)) for some in cut]
    note = in_transformers.MISSING
    if torch is not None:
        peer = InTorch(experiment, trainer.params)
        sequences = [mixed[i * SEQUENCES : (i + 1) * SEQUENCES] for i in range(BATCHES)]
        alone = stacked([lay_out_row([item], LENGTH, words.pad) for item in sequences[0]])
        with torch.no_grad():
            apart = abs(peer.loss(sequences[0]).item() / trainer.loss([alone], words.size) - 1)
        if apart > CLOSE:
            raise RuntimeError(f"the two losses differ by {apart:.1e}: this is not the same model")
        note = f"losses before the first step differ by {apart:.0e}"
        contestants["transformers"] = peer.step, [(some, SEQUENCES) for some in sequences]
        alike = sorted(mixed, key=lambda item: item.length)
        starts = [(2 * i + 1) * len(alike) // (2 * BATCHES) for i in range(BATCHES)]
        cut_alike = [alike[max(0, at - SEQUENCES // 2) :][:SEQUENCES] for at in starts]
        contestants["transformers, batches of like lengths"] = peer.step, [(some, len(some)) for some in cut_alike]
    found = rates(contestants, rounds)
    figures = {f"{size}: {name}": Figure(rate, "questions/s", better="above") for name, rate in found.items()}
    best = found["trunk and branches"]

    def against(name: str, bar: float | None, note: str) -> Figure:
        return Figure(best / found[name] if name in found else None, "x", bar, "above", note)

    figures["against transformers, padded"] = against("transformers", BAR_TRANSFORMERS, note)
    figures["against transformers, batches of like lengths"] = against(
        "transformers, batches of like lengths", None, ""
    )
    figures["against one per sequence, packed, ours"] = against("one per sequence", BAR_OURS, "")
    return figures


def held_out(
    cfg: config.Experiment, ours: list[Rows], items: list[Item], test: list[Rows], words: Any, steps: int
) -> dict[str, Figure]:
    """Held-out loss of the two layouts after as many steps of as many questions."""
    rng = np.random.default_rng(2)
    single = packed([items[i] for i in rng.permutation(len(items))], words.pad)
    each = asked(ours) / len(ours) * ROWS  # questions of a step
    count = max(1, round(each / (len(items) / len(single))))
    padded = [
        stacked([*some, *[lay_out_row([], LENGTH, words.pad)] * (ROWS - len(some))])
        for some in (test[first : first + ROWS] for first in range(0, len(test), ROWS))
    ]
    losses, seen = {}, {}
    for name, rows, size in (("trunk and branches", ours, ROWS), ("one per sequence", single, count)):
        trainer, batches = Ours(cfg, words, steps), shuffled(rows, size)
        for _ in range(steps):
            trainer.step(next(batches))
        losses[name], seen[name] = trainer.loss(padded), asked(rows) / len(rows) * size * steps
    one, other = losses.values()
    return {
        **{
            f"held-out loss, {name}": Figure(value, "nats", note=f"after {seen[name]:,.0f} questions in {steps} steps")
            for name, value in losses.items()
        },
        "held-out loss, above one per sequence": Figure(
            100 * (one / other - 1), "%", BAR_LOSS, note=f"{asked(test)} questions of held-out people"
        ),
    }


def main() -> None:
    """Simulate and pack once, then time and train."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--size", default="10m", help="of the model whose steps are timed, in configs/sizes.py")
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--steps", type=int, default=150, help="of the two trainings")
    arguments.add_argument("--participants", type=int, default=64)
    arguments.add_argument("--quick", action="store_true", help="a small model, fewer people, rounds and steps")
    options = arguments.parse_args()
    if options.quick:
        options.size, options.rounds, options.steps, options.participants = "1m", 3, 12, 24
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        cfg = quickstart(options.participants)
        reports, words = pack(cfg, (LENGTH,), root)
        ours, test = (read(root / str(LENGTH), split) for split in ("train", "validation"))
    items = questions(ours)
    movement = [len(item.trunk) for item in items]
    text = [item.length - len(item.trunk) for item in items]
    figures = {
        "questions of a movement": Figure(asked(ours) / sum(int(row["segments"].max()) for row in ours)),
        "tokens of a movement, mean over questions": Figure(float(np.mean(movement))),
        "tokens of a question with its answer": Figure(float(np.mean(text))),
        "fill of packed rows": Figure(100 * reports[LENGTH]["fill"]["train"], "%", 98.0, "above"),
    }
    figures |= throughput(options.size, ours, items, words, options.rounds)
    figures |= held_out(cfg, ours, items, test, words, options.steps)
    publish("branches", figures, options.json)


if __name__ == "__main__":
    main()
