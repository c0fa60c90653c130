"""What a pretrained model writes on, printed as it comes: to see that a folder of weights is read as it should be.

    python examples/pretrained_text.py runs/smollm2 "The heart pumps blood through" --tokens 30
    python examples/pretrained_text.py runs/smollm2 "What does the heart do?" --chat

The decoder, its cached decoding and the tokenizer are those of training and of `ask`; the most probable token is chosen
each time.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from biomechgpt_jax.model import decoder, generation
from biomechgpt_jax.model.requests import Request, Settings
from biomechgpt_jax.pretrained import description, loading
from biomechgpt_jax.pretrained.text import tokenizer_of

AT_ONCE = 8  # tokens between two looks at what was written


def write_on(folder: Path, text: str, tokens: int, chat: bool) -> None:
    """Print up to so many tokens that follow a text."""
    opened, described, _ = description.opened(folder)
    shapes = decoder.abstract(described.model, described.rows)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    params = loading.load(opened, described.model, described.rows, shapes, jax.tree.map(lambda _: here, shapes))
    words = tokenizer_of(opened, described.rows, chat)
    ids = [*([words.begin] if words.begin >= 0 else []), *words.before, *words.encode(text), *words.after]
    # Where no token ends a text, an unused one of the table's end stands for it.
    settings = Settings(AT_ONCE, words.stop if words.stop >= 0 else described.rows - 1, bucket=64)
    step = words.stream()
    for _ in range(-(-tokens // AT_ONCE)):
        request = Request(np.zeros(0, np.int32), [np.array(ids, np.int32)])
        [[answer]] = generation.generate(params, described.model, [request], settings)
        new = [int(i) for i in answer.tokens if i != settings.end_id]
        print("".join(map(step, new)), end="", flush=True)
        ids += new
        if len(new) < AT_ONCE:
            break
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description="What a pretrained model writes on.")
    parser.add_argument("folder", type=Path, help="config.json, safetensors and tokenizer.json")
    parser.add_argument("text")
    parser.add_argument("--tokens", type=int, default=32, help="at most so many (%(default)s)")
    parser.add_argument("--chat", action="store_true", help="put the text into the model's chat template")
    given = parser.parse_args()
    write_on(given.folder, given.text, given.tokens, given.chat)


if __name__ == "__main__":
    main()
