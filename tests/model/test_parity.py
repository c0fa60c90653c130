"""Logits equal those of transformers for random small models of the three families, with the same weights."""

import jax
import numpy as np
import pytest

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import constraints, decoder, generation
from biomechgpt_jax.model.requests import Request, Settings
from biomechgpt_jax.pretrained import names as pretrained_names

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

LAYERS, HEADS, GROUPS, SIZE, WIDTH, HIDDEN, VOCABULARY = 6, 4, 2, 16, 48, 96, 120
OURS = {
    "layers": LAYERS,
    "model_size": WIDTH,
    "heads": HEADS,
    "kv_heads": GROUPS,
    "head_size": SIZE,
    "hidden_size": HIDDEN,
    "compute_dtype": "float32",
}
THEIRS = {
    "num_hidden_layers": LAYERS,
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "num_key_value_heads": GROUPS,
    "head_dim": SIZE,
    "intermediate_size": HIDDEN,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "attn_implementation": "eager",
}
LLAMA_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAMILIES = {
    "llama": (
        config.Model(
            **OURS,
            qk_norm=False,
            tied_embeddings=False,
            norm_epsilon=1e-5,
            rope_theta=500.0,
            rope_scaling="llama3",
            rope_factor=4.0,
            rope_length=32,
        ),
        (
            "Llama",
            {"rms_norm_eps": 1e-5, "rope_parameters": LLAMA_ROPE},
        ),
    ),
    "qwen": (
        config.Model(**OURS, rope_theta=1e6),
        ("Qwen3", {"tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    ),
    "gemma": (
        config.Model(
            **OURS,
            activation="gelu",
            post_norms=True,
            unit_norms=True,
            scale_embeddings=True,
            query_size=24.0,
            window=8,
            global_every=3,
            rope_theta=1e6,
            local_rope_theta=1e4,
            rope_scaling="linear",
        ),
        (
            "Gemma3",
            {
                "query_pre_attn_scalar": 24,
                "sliding_window": 8,
                "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                },
            },
        ),
    ),
    "gemma 2": (
        config.Model(
            **OURS,
            activation="gelu",
            qk_norm=False,
            post_norms=True,
            unit_norms=True,
            scale_embeddings=True,
            query_size=24.0,
            window=8,
            global_every=2,
            attention_soft_cap=1.5,
            logit_soft_cap=2.0,
        ),
        (
            "Gemma2",
            {
                "query_pre_attn_scalar": 24,
                "sliding_window": 8,
                "attn_logit_softcapping": 1.5,
                "final_logit_softcapping": 2.0,
            },
        ),
    ),
}


def theirs(family: str, settings: dict):
    """A random model whose norms are not all alike, and whose scores are large enough to matter."""
    torch.manual_seed(0)
    names = {"Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM")}
    cfg, model = names.get(family, (f"{family}Config", f"{family}ForCausalLM"))
    made = getattr(transformers, model)(getattr(transformers, cfg)(**THEIRS, **settings)).eval()
    with torch.no_grad():
        for name, tensor in made.named_parameters():
            spread = 0.2 if "norm" in name else tensor.shape[-1] ** -0.5
            tensor.add_(spread * torch.randn_like(tensor))
    return made


@pytest.fixture(params=list(FAMILIES), scope="module")
def pair(request):
    cfg, (family, settings) = FAMILIES[request.param]
    model = theirs(family, settings)
    params = pretrained_names.params({name: x.numpy() for name, x in model.state_dict().items()}, cfg)
    return cfg, params, model


def test_logits_equal_those_of_transformers(pair):
    cfg, params, model = pair
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (2, 90)).astype(np.int32)
    with torch.no_grad():
        want = model(torch.tensor(tokens, dtype=torch.long)).logits.numpy()
    index = np.arange(90, dtype=np.int32)[None].repeat(2, 0)
    batch = {"tokens": tokens, "positions": index, "segments": 0 * index + 1, "branches": 0 * index}
    got = np.asarray(jax.jit(decoder.apply, static_argnames="cfg")(params, batch, cfg))
    assert want.std() > 0.1
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_cached_decoding_chooses_what_transformers_chooses(pair):
    cfg, params, model = pair
    prompt = np.random.default_rng(1).integers(2, VOCABULARY, 30).astype(np.int32)
    not_the_end = constraints.Automaton(np.arange(1, VOCABULARY)[None], np.zeros((1, VOCABULARY - 1), np.int32))
    request = Request(prompt[:0], [prompt], [not_the_end])
    [[(tokens, _)]] = generation.generate(params, cfg, [request], Settings(12, end_id=0))
    row = list(prompt)
    for token in tokens:
        with torch.no_grad():
            logits = model(torch.tensor([row], dtype=torch.long)).logits[0, -1].numpy()
        assert token == 1 + np.argmax(logits[1:])
        row.append(int(token))


def test_a_checkpoint_of_another_family_is_refused():
    model = theirs(*FAMILIES["qwen"][1])
    tensors = {name: x.numpy() for name, x in model.state_dict().items()}
    with pytest.raises(InputError, match=r"no tensor 'model.layers.0.pre_feedforward_layernorm.weight'"):
        pretrained_names.params(tensors, FAMILIES["gemma"][0])
    with pytest.raises(InputError, match=r"mlp.down_proj.weight' is"):
        pretrained_names.params(tensors, config.Model(**{**OURS, "hidden_size": 64}))
