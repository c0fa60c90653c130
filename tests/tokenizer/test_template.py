"""Chat templates: what stands around a question, and templates that misbehave."""

import time
from pathlib import Path

import pytest

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.tokenizer.template import LONGEST, turn

# As SmolLM2-135M-Instruct has it (Apache-2.0).
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou "
    "are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + "
    "message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\n' }}{% endif %}"
)
# Written for this test, after what the templates of three families do.
DATED = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{{- "[system]" + date_string + "[eot]" }}
{%- for message in messages %}
    {%- if message.role not in ('user', 'assistant') %}
        {{- raise_exception("roles!") }}
    {%- endif %}
    {{- '[' + message['role'] + ']' + message['content'] | trim + '[eot]' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[assistant]' }}
{%- endif %}"""
THINKING = """{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '[user]' + message.content + '[eot]\n' }}
        {%- continue %}
    {%- endif %}
    {{- '[assistant]<think>\n\n</think>\n\n' + message.content + '[eot]\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[assistant]' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"""


def test_the_text_around_a_question() -> None:
    system = (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\n"
    )
    assert turn(SMOLLM2) == (system, "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n")
    dated = turn(DATED, "[bos]")
    assert dated == ("[bos][system]26 Jul 2024[eot][user]", "[eot][assistant]", "[eot]")  # whatever day it is
    assert turn(THINKING) == ("[user]", "[eot]\n[assistant]<think>\n\n</think>\n\n", "[eot]\n")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for", "chat template: "),
        ("{{ raise_exception('no system here') }}", "the template says: no system here"),
        ("{{ nothing.more }}", "undefined"),
        ("hello", "drops, repeats or changes"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "drops, repeats or changes"),
        ("{{ messages[0].content | urlencode }}", "drops, repeats or changes"),
        (THINKING.replace("enable_thinking is false", "false"), "does not begin where"),
        ("x" * (LONGEST + 1), "more than the 65,536 that are read"),
        ("{% for i in range(99999) %}too much{% endfor %}", "writes more than"),
        ("{{ 'x' * 10**10 }}", "memory"),
        ("{{ range(10**9) | list }}", "Range too big|memory"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe|not safe"),
        ("{% include '/etc/passwd' %}", "chat template: "),
        ("{% import 'os' as os %}", "chat template: "),
    ],
)
def test_a_template_that_misbehaves_is_refused_in_one_line(template: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        turn(template)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


def test_a_template_that_never_ends_is_stopped() -> None:
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}"
    begin = time.process_time()
    with pytest.raises(InputError, match="not rendered within"):
        turn(loop + "{% endfor %}")
    assert time.process_time() - begin < 2  # this process only waits


def test_nothing_of_the_current_folder_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jinja2.py", "json.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert turn(THINKING).end == "[eot]\n"
    assert not (tmp_path / "ran").exists()
