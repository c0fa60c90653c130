"""What leaves this program computes the same in transformers and peft, and what peft trains computes the same here."""

import functools
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
import toy_base
from toy_pretrained import CODES, LAYERS, toy_run, whole

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder, parameters
from biomechgpt_jax.pretrained import description, loading, merging, peft
from biomechgpt_jax.stages import export
from biomechgpt_jax.tokenizer import prompt
from biomechgpt_jax.training import frozen

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peers = pytest.importorskip("peft")
pytestmark = pytest.mark.parity

LLAMA = replace(toy_base.MODEL, qk_norm=False, tied_embeddings=False, compute_dtype="float32")
QWEN = replace(LLAMA, qk_norm=True, tied_embeddings=True, adapter=config.Adapter(3, 4.0, True, on=("query", "down")))
GEMMA = replace(
    QWEN,
    activation="gelu",
    post_norms=True,
    unit_norms=True,
    scale_embeddings=True,
    query_size=24.0,
    window=8,
    global_every=2,
    local_rope_theta=1e4,
)
FAMILIES = {"llama": LLAMA, "qwen": QWEN, "gemma": GEMMA}
KNOWN, ALL = toy_base.TEXT_ROWS, toy_base.ROWS
BAR = 2e-4


def ours(params: Any, cfg: config.Model, tokens: np.ndarray) -> np.ndarray:
    index = np.arange(tokens.shape[1], dtype=np.int32)[None].repeat(len(tokens), 0)
    batch = {"tokens": tokens, "positions": index, "segments": 0 * index + 1, "branches": 0 * index}
    return np.asarray(jax.jit(decoder.apply, static_argnames="cfg")(params, batch, cfg))


@functools.cache
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, ALL, (2, 60)).astype(np.int32)


def theirs(model: Any, row: np.ndarray | None = None) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor(tokens() if row is None else row, dtype=torch.long)).logits.numpy()


def base_folder(directory: Path, params: Any, cfg: config.Model) -> Path:
    """The base without adapter and added rows, as transformers stores it."""
    directory.mkdir()
    without = replace(cfg, adapter=config.Adapter())
    facts: dict[str, Any] = {"positions": 512, "tokens": {"bos_token_id": None, "eos_token_id": None}}
    merging.write(directory, parameters.base_of(params, cfg), without, cfg.text_rows, facts, "float32")
    return directory


def load(folder: Path, rows: int = 0) -> Any:
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    if rows:
        model.resize_token_embeddings(rows, mean_resizing=False)
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_our_adapter_and_rows_have_our_logits_in_peft(family: str, tmp_path: Path) -> None:
    cfg = FAMILIES[family]
    params = whole(cfg)
    model = load(base_folder(tmp_path / "base", params, cfg), ALL)
    before = theirs(model)
    (tmp_path / "adapter").mkdir()
    peft.write(tmp_path / "adapter", params, cfg, "base")
    want = ours(params, cfg, tokens())
    found = theirs(peers.PeftModel.from_pretrained(model, tmp_path / "adapter").eval())
    assert np.abs(before - want).max() > 0.1
    np.testing.assert_allclose(found, want, atol=BAR)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_that_peft_stored_has_its_logits_here(family: str, tmp_path: Path) -> None:
    cfg = FAMILIES[family]
    params = whole(cfg)
    model = load(base_folder(tmp_path / "base", params, cfg), ALL)
    modules = {"embed_tokens": list(range(KNOWN, ALL))} | (
        {} if cfg.tied_embeddings else {"lm_head": list(range(KNOWN, ALL))}
    )
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
    settings = peers.LoraConfig(
        r=cfg.adapter.rank,
        lora_alpha=cfg.adapter.alpha,
        use_rslora=cfg.adapter.rank_stabilised,
        target_modules=[names.get(name, f"{name}_proj") for name in cfg.adapter.on],
        trainable_token_indices=modules,
        task_type="CAUSAL_LM",
    )
    adapted = peers.get_peft_model(model, settings)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, tensor in adapted.named_parameters():
            if "lora_" in name or "trainable_tokens" in name:
                tensor.add_(0.125 * torch.randn_like(tensor))
    adapted.eval().save_pretrained(tmp_path / "adapter")
    found = peft.read(tmp_path / "adapter", cfg, ALL)
    assert found.keys() == {"layers", "rows"} | ({"head_rows"} if not cfg.tied_embeddings else set())
    assert np.abs(ours(params, cfg, tokens()) - theirs(adapted)).max() > 0.1
    np.testing.assert_allclose(ours(overlaid(params, found), cfg, tokens()), theirs(adapted), atol=BAR)


@pytest.mark.pretrained
def test_an_adapter_of_smollm2_has_our_logits_in_peft(real_folder, tmp_path: Path) -> None:
    folder, described, _ = description.opened(real_folder("smollm2"))
    cfg = replace(
        described.model,
        text_rows=described.rows,
        adapter=config.Adapter(8, 16.0),
        compute_dtype="float32",
        remat="none",
    )
    count = cfg.text_rows + 128
    shapes = decoder.abstract(cfg, count)
    held = parameters.base_of(shapes, cfg)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    base = loading.load(folder, cfg, cfg.text_rows, held, jax.tree.map(lambda _: here, held))
    draw = np.random.default_rng(3)
    own = jax.tree.map(
        lambda leaf: np.float32(0.05) * draw.standard_normal(leaf.shape, np.float32), frozen.split(shapes, held).trained
    )
    own["rows"] += np.asarray(base["embedding"]).mean(0)
    params = frozen.merge(own, base)
    peft.write(tmp_path, params, cfg, "smollm2")
    row = draw.integers(0, count, (1, 32)).astype(np.int32)
    want = ours(params, cfg, row)
    model = load(folder.path, count)
    before = theirs(model, row)
    found = theirs(peers.PeftModel.from_pretrained(model, tmp_path).eval(), row)
    assert np.abs(before - want).max() > 1
    np.testing.assert_allclose(found, want, atol=BAR)


def overlaid(params: Any, found: Any) -> Any:
    if not isinstance(found, dict):
        return found
    return params | {name: overlaid(params.get(name), value) for name, value in found.items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("older", [False, True], ids=["5", "4"])
def test_the_merged_folder_loads_strictly_and_has_our_logits(family: str, older: bool, tmp_path: Path) -> None:
    cfg = FAMILIES[family]
    if family == "llama":
        cfg = replace(cfg, rope_scaling="llama3", rope_length=32, rope_factor=4.0, rope_theta=500.0)
    params = whole(cfg)
    facts: dict[str, Any] = {"positions": 512, "tokens": {"bos_token_id": 1, "eos_token_id": 2}}
    merging.write(tmp_path, params, cfg, ALL, facts, "float32")
    if older:  # what a reader sees that knows rope_theta and rope_scaling alone
        path = tmp_path / "config.json"
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "rope_parameters"}))
    np.testing.assert_allclose(theirs(load(tmp_path)), ours(params, cfg, tokens()), atol=BAR)


@functools.cache
def example() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "with_transformers.py"
    spec = importlib.util.spec_from_file_location("with_transformers", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("is_merged", "family"), [(True, "gemma"), (False, "llama")])
def test_the_example_has_our_logits_about_a_movement(
    is_merged: bool, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run(tmp_path, replace(FAMILIES[family], motion_context=3, motion_statistics=8))
    out, codes = tmp_path / "out", np.random.default_rng(2).integers(0, CODES, (9, LAYERS)).astype(np.int32)
    export.write(run, out, is_merged, "float32")
    base = None if is_merged else base_folder(tmp_path / "folder", run.params, run.model)
    line = "how far? 125 <|end of turn|>"
    asked, trunk = prompt.question(run.words, line), prompt.trunk(run.words, codes)
    ids = np.full((len(trunk) + len(asked), LAYERS), prompt.NO_CODE, np.int32)
    ids[: len(trunk)], ids[len(trunk) :, 0] = trunk, asked
    index = np.arange(len(ids), dtype=np.int32)[None]
    batch = {"tokens": ids[None, :, 0], "codes_1": ids[None, :, 1], "positions": index, "segments": 0 * index + 1}
    batch["branches"] = (index >= len(trunk)).astype(np.int32)
    kept = run.text_ids if is_merged else run.words.motion_offset
    want = np.asarray(decoder.apply(run.params, batch, run.model))[0, :, :kept]

    ask = example()
    model, facts = ask.load_model(out, base), json.loads((out / "motion" / "facts.json").read_text())
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert ask.question_ids(tokenizer, facts, line) == asked.tolist()
    motion = ask.load_file(out / "motion" / "maps.safetensors")
    embeds = ask.inputs(model, motion, facts, codes, asked.tolist())
    with torch.no_grad():
        found = model(inputs_embeds=embeds).logits[0].numpy()
    assert want.std() > 0.1
    np.testing.assert_allclose(found, want, atol=BAR)

    np.save(tmp_path / "codes.npy", codes)
    words = [str(out), str(tmp_path / "codes.npy"), line] + ([] if base is None else ["--base", str(base)])
    monkeypatch.setattr(sys, "argv", ["with_transformers.py", *words])
    ask.main()
    assert capsys.readouterr().out.endswith("\n")
