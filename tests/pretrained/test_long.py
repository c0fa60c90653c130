"""Folders that we write, read by transformers and by us: the same logits at 3,000 positions, far past the windows."""

import dataclasses

import jax
import numpy as np
import pytest
import small_folders

from biomechgpt_jax.model import decoder
from biomechgpt_jax.pretrained import description

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

LENGTH = 3000


@pytest.fixture(params=small_folders.FAMILIES, scope="module")
def both(request, tmp_path_factory):
    """Our configuration and parameters, the ids, and their logits in float32, all of one folder of random weights."""
    directory = tmp_path_factory.mktemp(request.param)
    model = small_folders.FAMILIES[request.param]
    tensors = small_folders.random_tensors(model)
    # About the size of trained ones: norms near 1 (Gemma's are stored less 1), matrices that keep a vector's length.
    for tensor in tensors.values():
        tensor *= 1 if tensor.ndim == 1 else tensor.shape[1] ** -0.5 / 0.3
        if tensor.ndim == 1 and not model.unit_norms:
            tensor += 1
    small_folders.write_model(directory, model, tensors, files=2)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    row = np.random.default_rng(0).integers(0, small_folders.ROWS, LENGTH).astype(np.int32)
    with torch.no_grad():
        logits = theirs(torch.tensor(row[None], dtype=torch.long)).logits[0].numpy()
    found, described, _ = description.opened(directory)
    return described.model, small_folders.load_whole(found, described), row, logits


def ours(cfg, params, row) -> np.ndarray:
    index = np.arange(len(row), dtype=np.int32)[None]
    batch = {"tokens": row[None], "positions": index, "segments": 0 * index + 1, "branches": 0 * index}
    return np.asarray(jax.jit(decoder.apply, static_argnames="cfg")(params, batch, cfg))[0]


def test_logits_in_float32(both) -> None:
    cfg, params, row, want = both
    got = ours(dataclasses.replace(cfg, compute_dtype="float32", attention="blockwise"), params, row)
    assert want.std() > 0.3
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_distributions_in_bfloat16(both) -> None:
    cfg, params, row, want = both
    got = ours(dataclasses.replace(cfg, compute_dtype="bfloat16", attention="blockwise"), params, row)
    log_want, log_got = (jax.nn.log_softmax(x.astype(np.float64), axis=-1) for x in (want, got))
    divergence = np.sum(np.exp(log_want) * (log_want - log_got), axis=-1)
    assert divergence.mean() <= 2e-3
