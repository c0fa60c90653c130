"""Ask an exported model about a movement with transformers, without this program.

    biomechgpt export runs/mine OUT --merged
    python examples/with_transformers.py OUT codes.npy "How fast is this person walking?"

    biomechgpt export runs/mine OUT --adapter
    python examples/with_transformers.py OUT codes.npy "How fast is this person walking?" --base runs/smollm2

A motion token is several codes, and its embedding a map of the codes' vectors, with a convolution over the last tokens
and the mean and spread so far: no row of a table. `motion/` of the export has these maps, and
`inputs_embeds` takes what they make; the logits are those of this program. `codes.npy` holds i32[n, Q], the codes of a
movement by the run's own codec:

    codec, _ = biomechgpt_jax.tokenizer.vocabulary.load("runs/mine/tokenizer")
    numpy.save("codes.npy", codec.encode([coordinates], [observed])[0])  # f32[T, 40], bool[40]

Needs torch, transformers and safetensors, and peft for adapters.

Shapes: N motion tokens, Q codes of each, C size of a code's vector, V = Q C, W tokens of the context, D model.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

Tensors = dict[str, torch.Tensor]


def load_model(folder: Path, base: Path | None = None) -> Any:
    """The language model in float32: of a merged export, or of an adapter on its base."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base or folder, dtype=torch.float32).eval()
    if base is None:
        return model
    import peft

    rows = json.loads((folder / "motion" / "facts.json").read_text())["table_rows"]
    model.resize_token_embeddings(rows, mean_resizing=False)  # peft does not make the table longer
    return peft.PeftModel.from_pretrained(model, folder).eval()


def embed_movement(model: Any, motion: Tensors, facts: dict[str, Any], codes_NQ: np.ndarray) -> torch.Tensor:
    """Inputs f32[N + 1, D] of a movement: what begins a text, then its motion tokens."""
    codes = torch.as_tensor(np.asarray(codes_NQ, np.int64))
    vectors_NQC = motion["vectors"][torch.arange(codes.shape[1]), codes]
    x_ND = torch.einsum("nqc,qcd->nd", vectors_NQC, motion["kernel"]) * facts["embedding_scale"]
    begin_1D = model.get_input_embeddings()(torch.tensor([facts["trunk"]]))
    x_TD = torch.cat([begin_1D, x_ND])
    if "context.into.kernel" in motion:
        x_TD = x_TD + context(x_TD, motion, facts["norm_epsilon"])
    if "statistics.bias" in motion:
        x_TD[1:] += statistics(vectors_NQC.flatten(1), motion, facts["norm_epsilon"])
    return x_TD


def context(x_TD: torch.Tensor, motion: Tensors, epsilon: float) -> torch.Tensor:
    """What a causal convolution over the last W tokens adds."""
    into_WDF = motion["context.into.kernel"]
    before = [torch.nn.functional.pad(normed(x_TD, epsilon), (0, 0, w, 0))[: len(x_TD)] for w in range(len(into_WDF))]
    return gelu(torch.einsum("wtd,wdf->tf", torch.stack(before), into_WDF)) @ motion["context.out.kernel"]


def statistics(vectors_NV: torch.Tensor, motion: Tensors, epsilon: float) -> torch.Tensor:
    """What mean and standard deviation of the vectors so far add to each motion token."""
    values_NV = vectors_NV * vectors_NV.shape[1] ** 0.5
    count_N1 = torch.arange(1, len(values_NV) + 1)[:, None]
    mean_NV = values_NV.cumsum(0) / count_N1
    variance_NV = (values_NV.square().cumsum(0) / count_N1 - mean_NV.square()).clamp(min=0)
    found = torch.cat([mean_NV, (variance_NV + 0.01).sqrt()], 1) + motion["statistics.bias"]
    found = normed(found, epsilon)
    hidden = gelu(found @ motion["statistics.into.kernel"])
    return hidden @ motion["statistics.out.kernel"] + found @ motion["statistics.direct.kernel"]


def normed(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    """RMSNorm without a scale."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)


def gelu(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(x, approximate="tanh")


def question_ids(tokenizer: Any, facts: dict[str, Any], text: str) -> list[int]:
    """Ids of a question up to where its answer begins; what it spells is text, and no control token."""
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [facts["question"], *facts["before"], *ids, *facts["after"]]


@torch.no_grad()
def inputs(model: Any, motion: Tensors, facts: dict[str, Any], codes_NQ: np.ndarray, ids: list[int]) -> torch.Tensor:
    """Inputs f32[1, N + 1 + question, D]."""
    asked = model.get_input_embeddings()(torch.tensor(ids))
    return torch.cat([embed_movement(model, motion, facts, codes_NQ), asked])[None]


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask an exported model about a movement with transformers.")
    parser.add_argument("folder", type=Path, help="what `biomechgpt export` wrote")
    parser.add_argument("codes", type=Path, help="a .npy file of motion codes i32[n, Q]")
    parser.add_argument("question")
    parser.add_argument("--base", type=Path, help="folder of the base, for an adapter")
    given = parser.parse_args()
    model, tokenizer = load_model(given.folder, given.base), transformers.AutoTokenizer.from_pretrained(given.folder)
    motion, facts = (
        load_file(given.folder / "motion" / "maps.safetensors"),
        json.loads((given.folder / "motion" / "facts.json").read_text()),
    )
    ids = question_ids(tokenizer, facts, given.question)
    embeds = inputs(model, motion, facts, np.load(given.codes), ids)
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    answer = model.generate(
        inputs_embeds=embeds, attention_mask=mask, max_new_tokens=24, do_sample=False, eos_token_id=facts["end"]
    )
    print(tokenizer.decode([i for i in answer[0].tolist() if i != facts["end"] and i < facts["text_ids"]]).strip())


if __name__ == "__main__":
    main()
