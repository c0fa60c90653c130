"""The verb `export`: a trained run for transformers and peft, as an adapter or merged into the model that it adapts."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_json, write_text
from biomechgpt_jax.model.decoder import Params
from biomechgpt_jax.pretrained import description, merging, peft, safetensors
from biomechgpt_jax.pretrained import text as text_files
from biomechgpt_jax.tasks import base as base_lib
from biomechgpt_jax.tasks import trained
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.tokenizer.hub import HubTokenizer
from biomechgpt_jax.tokenizer.vocabulary import SPECIALS, Vocabulary
from biomechgpt_jax.workdir import Workdir

# In a folder of their own: readers of models take every *.safetensors beside config.json for weights of the model.
MOTION_WEIGHTS, MOTION_FACTS = "motion/maps.safetensors", "motion/facts.json"
_LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "*TERMS*", "*terms*")


@dataclass(frozen=True)
class Run:
    """A trained run.

    Attributes:
        params: all parameters, the frozen ones among them.
        model: the decoder.
        words: its vocabulary.
        base: folder of the pretrained model.
        positions: as many as this model was made for.
    """

    params: Params
    model: config.Model
    words: Vocabulary
    base: Path
    positions: int

    @property
    def text_ids(self) -> int:
        """Ids of text and of our own special tokens; those up to the motion codes are unused."""
        return self.words.text.size + len(SPECIALS)


def run(workdir: Path, out: Path, is_merged: bool, dtype: str = "bfloat16") -> list[str]:
    """Export the newest model of a run; arguments, lines and errors as those of `write`.

    Args:
        workdir: of the run, which must hold a trained model; the folder that it starts from lies where it lay.
    """
    work, cfg = Workdir(workdir), workdirs.load_experiment(workdir).model
    if not cfg.pretrained:
        raise InputError(f"export: {workdir} starts from no pretrained model; give a run with model.pretrained")
    codec, words = vocabulary.load(work.tokenizer)
    frozen = base_lib.of(cfg).frozen.with_code_vectors(codec.code_vectors())
    params = trained.load_params(work.checkpoints, cfg, IdSpace.of(words), frozen=frozen)
    folder, described, _ = description.opened(Path(cfg.pretrained))
    return write(Run(params, cfg, words, folder.path, described.positions), out, is_merged, dtype)


def write(run: Run, out: Path, is_merged: bool, dtype: str = "bfloat16") -> list[str]:
    """Write the folder; it appears under its name when it is complete.

    Args:
        run: trained.
        out: a folder that does not exist.
        is_merged: merge adapters into the base, in a folder that transformers reads alone; False: the adapter for peft.
        dtype: of merged weights, a key of `merging.TYPES`; adapters stay in f32.

    Returns:
        Lines about what was written.

    Raises:
        InputError: the folder exists or cannot be made, the run has no tokenizer of a pretrained model, or no library
            has such a model.
    """
    text = run.words.text
    if not isinstance(text, HubTokenizer):
        raise InputError("export: the run starts from no pretrained model; give one that was trained with one")
    if out.exists():
        raise InputError(f"export: {out} exists already; give a folder that does not")
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"export: {partial} cannot be made ({error.strerror}); give another folder") from error
    try:
        own = [f"<biomechgpt:{name.strip('<>')}>" for name in SPECIALS]
        tokens = text_files.write(partial, text, own, run.positions)
        if is_merged:
            facts = {"positions": run.positions, "tokens": tokens}
            merging.write(partial, run.params, run.model, run.text_ids, facts, dtype)
        else:
            peft.write(partial, run.params, run.model, run.base.name)
        _write_motion(partial, run)
        for licence in _licences(run.base):
            shutil.copyfile(licence, partial / licence.name)
        lines = [*_words(run, out, is_merged, dtype)]
        write_text(partial / "README.md", "\n\n".join([f"# {out.name}", *lines, _how(run, is_merged)]) + "\n")
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return lines


def _write_motion(directory: Path, run: Run) -> None:
    """What turns the codes of a movement into inputs of the language model (examples/with_transformers.py)."""
    if "motion" not in run.params:
        return
    (directory / MOTION_WEIGHTS).parent.mkdir()
    arrays = dict(_flat(run.params["motion"]))
    declared = {name: ("F32", array.shape) for name, array in arrays.items()}
    with safetensors.Writer(directory / MOTION_WEIGHTS, declared, {"format": "pt"}) as writer:
        for name, array in arrays.items():
            writer.write(name, array)
    words, model = run.words, run.model
    facts = {
        "layers": words.layers,
        "codes": words.codes,
        "trunk": words.trunk,
        "question": words.question,
        "before": words.before,
        "after": words.after,
        "end": words.end,
        "text_ids": run.text_ids,
        "table_rows": words.motion_offset,
        "embedding_scale": model.model_size**0.5 if model.scale_embeddings else 1.0,
        "norm_epsilon": model.norm_epsilon,
        "codec": words.codec_digest,
        "vocabulary": words.digest,
    }
    write_json(directory / MOTION_FACTS, facts)


def _flat(tree: Params, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", np.asarray(value, np.float32)


def _licences(base: Path) -> list[Path]:
    """Files of a model's folder that say what may be done with it; they go where its weights go."""
    found = {path for pattern in _LICENCES for path in base.glob(pattern)}
    return sorted(path for path in found if path.is_file() and path.resolve().is_relative_to(base.resolve()))


def _words(run: Run, out: Path, is_merged: bool, dtype: str) -> Iterator[str]:
    if is_merged:
        yield f"{out}: {run.base.name} with all that was trained, merged in float32 and rounded once to {dtype}"
    else:
        adapter = run.model.adapter
        yield f"{out}: an adapter of rank {adapter.rank} for {run.base.name}, and its {_added(run)} added rows"
    if "motion" in run.params:
        yield (
            "motion tokens are vectors of codes, which no Hugging Face causal LM holds: the text model "
            f"is exact, and examples/with_transformers.py feeds movement to it by inputs_embeds, with {MOTION_WEIGHTS}"
        )


def _added(run: Run) -> int:
    return run.words.motion_offset - run.model.text_rows


def _how(run: Run, is_merged: bool) -> str:
    """Python that loads the folder."""
    rows = run.words.motion_offset
    lines = [
        "model = AutoModelForCausalLM.from_pretrained(FOLDER)"
        if is_merged
        else f"model = AutoModelForCausalLM.from_pretrained({json.dumps(run.base.name)})  # the base: give its folder",
    ]
    if not is_merged:
        lines += [
            f"model.resize_token_embeddings({rows}, mean_resizing=False)  # peft does not make the table longer",
            "model = PeftModel.from_pretrained(model, FOLDER)",
        ]
    return "\n".join(["```python", *lines, "```"])
