"""Chat templates: what stands before a question and after it where a model was tuned on conversations.

A template is a program in Jinja's language that came with the weights. It is rendered once, when a tokenizer is made,
in Jinja's sandbox and in a process of its own with limits on time, memory and output: a loop over a loop or a number
with a billion digits is no escape from a sandbox, but would hang or fill this machine. Training and answering use the
stored result, so that both have the same ids, whatever day it is.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from biomechgpt_jax.errors import InputError

LONGEST = 65_536  # characters of a template, and of what it may write
EXTRA = "pip install 'biomechgpt-jax[pretrained]'"
QUESTION, ANSWER = "\ue010", "\ue011"  # stand for the texts; private use, so that no template writes them itself
# Llama 3.1 and later write today's date into the system's turn. This is the one they write where they know no clock.
_TODAY = "26 Jul 2024"
_LIMIT_S, _LIMIT_BYTES = 5, 2**30
_WALL_S = 60.0  # on a busy machine; the limit above is of the processor's time
_FAILED, _NOT_INSTALLED = 3, 4


class Turn(NamedTuple):
    """The texts before and after a question, its answer's beginning included, and the one that ends the answer."""

    before: str
    after: str
    end: str


def turn(template: str, bos: str = "", eos: str = "") -> Turn:
    """What a template writes around one question and one answer: no system's words of ours, no tools, no thinking.

    Args:
        template: of a model's `tokenizer_config.json` or `chat_template.jinja`.
        bos: the token that begins a text, which the template may write.
        eos: the one that ends it.

    Raises:
        InputError: the template is damaged, fails, takes too much time or memory, does not hold the question or the
            answer as they are, or lets answers begin otherwise than it asks for them; or Jinja is not installed.
    """
    if len(template) > LONGEST:
        raise InputError(f"chat template: {len(template):,} characters, more than the {LONGEST:,} that are read")
    asked, answered = _rendered(template, bos, eos)
    if asked.count(QUESTION) != 1 or answered.count(QUESTION) != 1 or answered.count(ANSWER) != 1:
        raise InputError(
            "chat template: it drops, repeats or changes what the user says; leave tokenizer.chat_template off"
        )
    start, _, end = answered.partition(ANSWER)
    if start != asked:
        raise InputError(
            "chat template: an answer does not begin where the template asks for one (it may think first, and cannot "
            "be told not to); leave tokenizer.chat_template off"
        )
    before, _, after = asked.partition(QUESTION)
    return Turn(before, after, end)


def _rendered(template: str, bos: str, eos: str) -> tuple[str, str]:
    """A question that waits for its answer, and one that has it, as another process renders them."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    given = json.dumps({"template": template, "bos_token": bos, "eos_token": eos})
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__],  # -P: nothing of the folder where the user stands is imported
            input=given.encode(),
            capture_output=True,
            timeout=_WALL_S,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"chat template: not rendered within {_WALL_S:.0f} s") from error
    if done.returncode == _NOT_INSTALLED:
        raise InputError(f"chat template: Jinja is not installed; {EXTRA}")
    if done.returncode == -getattr(signal, "SIGXCPU", 0) or done.returncode == -getattr(signal, "SIGKILL", 0):
        raise InputError(f"chat template: not rendered within {_LIMIT_S} s of the processor's time")
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"chat template: {lines[-1] if lines else 'rendering it crashed'}")
    asked, answered = json.loads(done.stdout)
    return asked, answered


def _render(template: str, bos_token: str, eos_token: str) -> list[str]:
    """The two texts of `_rendered`; runs in the other process."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise ValueError(f"the template says: {message}")

    jinja = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )  # as transformers reads templates
    jinja.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    jinja.globals |= {"raise_exception": refuse, "strftime_now": lambda form: _TODAY}
    compiled = jinja.from_string(template)
    user, model = {"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}
    common = {
        "bos_token": bos_token,
        "eos_token": eos_token,
        "enable_thinking": False,
        "tools": None,
        "documents": None,
    }
    return [
        _within_limit(compiled.generate(messages=messages, add_generation_prompt=waits, **common))
        for messages, waits in (([user], True), ([user, model], False))
    ]


def _within_limit(pieces: Iterable[str]) -> str:
    text = ""
    for piece in pieces:
        text += piece
        if len(text) > LONGEST:
            raise ValueError(f"it writes more than {LONGEST:,} characters")
    return text


def _main() -> int:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (_LIMIT_S, _LIMIT_S + 1))
    except (ImportError, ValueError, OSError):
        pass  # the system has no such limits
    given: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    try:
        texts = _render(**given)
    except ImportError:
        return _NOT_INSTALLED
    except MemoryError:
        print("it takes too much memory", file=sys.stderr)
        return _FAILED
    except Exception as error:  # whatever Jinja raises becomes the reason, in one line
        print(" ".join(str(error).split())[:200] or type(error).__name__, file=sys.stderr)
        return _FAILED
    sys.stdout.write(json.dumps(texts))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
