"""A working directory that can be asked questions, made in moments: nothing in it was trained."""

from pathlib import Path

import jax
from small_codecs import untrained

from biomechgpt_jax import config
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.parallel import mesh as mesh_lib
from biomechgpt_jax.questions import registry
from biomechgpt_jax.tasks import trained
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.parameters import NOTHING, Parameters
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.tokenizer.sentencepiece import SentencePieceTokenizer
from biomechgpt_jax.training import frozen
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
    parameters = Parameters(CFG.model, IdSpace.of(words), NOTHING.with_code_vectors(codec.code_vectors()))
    mesh = mesh_lib.make(config.Mesh(), jax.devices()[:1])
    identity = trained.identity(CFG.model, parameters.ids) | frozen.identity(parameters.load_frozen(mesh))
    checkpoints = Checkpoints(work.checkpoints, identity, keep_last=1)
    checkpoints.save(1, {"params": parameters.init(jax.random.key(0), mesh)})
    checkpoints.close()


def write_walk(path: Path) -> None:
    """Write a second of a crude walk as an OpenSim motion file."""
    rows = "".join(f"{frame / 100}\t{1.2 * frame / 100}\t0\t0.95\t{10 + 0.2 * frame}\n" for frame in range(131))
    path.write_text("inDegrees=yes\nendheader\ntime\tpelvis_tx\tpelvis_tz\tpelvis_ty\thip_flexion_r\n" + rows)
