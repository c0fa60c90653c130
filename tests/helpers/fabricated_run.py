"""A working directory that can be asked questions, made in moments: nothing in it was trained."""

from pathlib import Path

import jax
from small_codecs import untrained

from biomechgpt_jax import config
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.model import decoder
from biomechgpt_jax.questions import registry
from biomechgpt_jax.tasks import trained
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.tokenizer.sentencepiece import SentencePieceTokenizer
from biomechgpt_jax.training.checkpoint import Checkpoints

CFG = config.Experiment(
    name="untrained",
    tokenizer=config.Tokenizer(width=16, depth=1),
    model=config.Model(layers=2, model_size=32, heads=2, kv_heads=1, head_size=16, hidden_size=64),
)


def write(root: Path) -> None:
    """Write codec, vocabulary, configuration and one checkpoint below `root`."""
    work = workdirs.open_workdir(CFG, root)
    codec = untrained(CFG.tokenizer)
    text = SentencePieceTokenizer.train(registry.corpus(), CFG.tokenizer.text_pieces)
    words = vocabulary.Vocabulary(text, codec.codes, codec.digest, codec.layers)
    vocabulary.save(work.tokenizer, codec, words)
    checkpoints = Checkpoints(work.checkpoints, trained.identity(CFG.model, words), keep_last=1)
    checkpoints.save(1, {"params": decoder.init(jax.random.key(0), CFG.model, words.size)})
    checkpoints.close()


def write_walk(path: Path) -> None:
    """Write a second of a crude walk as an OpenSim motion file."""
    rows = "".join(f"{frame / 100}\t{1.2 * frame / 100}\t0\t0.95\t{10 + 0.2 * frame}\n" for frame in range(131))
    path.write_text("inDegrees=yes\nendheader\ntime\tpelvis_tx\tpelvis_tz\tpelvis_ty\thip_flexion_r\n" + rows)
