"""Real weights, read by our loader into our decoder, give the logits of transformers (figures stored in tests/data)."""

import pytest
import real_models

from biomechgpt_jax.pretrained import description, gguf

pytestmark = pytest.mark.pretrained


@pytest.mark.parametrize("which", gguf.SOURCES)
def test_logits_likelihood_and_greedy_ids(real_folder, which) -> None:
    apart = real_models.compare(real_folder(which), which)
    assert apart.logits <= 2e-4
    assert apart.argmax == 0
    assert apart.likelihood <= 1e-4
    assert apart.greedy == real_models.ADDED


def test_what_is_said_of_smollm2(real_folder) -> None:
    facts = description.describe(real_folder("smollm2"))
    assert (facts["family"], facts["parameters"], facts["rows"]) == ("llama", 134_515_008, 49_152)
    assert facts["token_ids"] == 49_152 and facts["tied_embeddings"] and facts["chat_template"]
    assert "Apache" in facts["licence"]


def test_tokenizer_of_smollm2(real_folder) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer.from_file(str(real_folder("smollm2") / "tokenizer.json"))
    row = real_models.read_truth("smollm2")["row"].tolist()
    assert made.encode(real_models.PARAGRAPH).ids == row  # as transformers encodes it
    for text in ("1.25 m/s", "naïve é 🙂 – newline\n  and spaces", "ankle–foot orthosis"):
        assert made.decode(made.encode(text).ids, skip_special_tokens=False) == text
    assert made.encode("<|im_end|>").ids == [2]
