"""Chat templates of the shapes that models are published with: their replies are labelled exactly, or refused."""

import copy
import functools
import importlib.util
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_templates import CHATML, chat, conversations, tiny_tokenizer

from flanlib import sources
from flanlib.benchmarks import Prompt
from flanlib.dialects import DIALECTS, render_all
from flanlib.inference.generate import Reply, _marks, _reply
from flanlib.presets import DATA
from flanlib.records import FlanError, say
from flanlib.tally import Tally
from flanlib.text.own_template import SWITCH, _tell, own_template
from flanlib.text.templates import prompt, render
from flanlib.text.tokens import encode_all

# Every template here is written for these tests, in the shape of the one that it is named after.
EACH = "{% for m in messages %}"
BLOCK = "'<think>\\n\\n</think>\\n\\n'"
# Earlier replies lose their thinking, and the last one gets an empty block.
ANSWER = "{{ m.content.split('</think>')[-1].lstrip('\\n') }}"
THINKING = (
    EACH + "<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% if loop.last %}{{ " + BLOCK + " }}{% endif %}" + ANSWER + "{% else %}{{ m.content }}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
)
SHAPES = {
    "qwen3": THINKING + "{% if enable_thinking is defined and not enable_thinking %}{{ " + BLOCK + " }}"
    "{% endif %}{% endif %}",
    "qwen3.5": THINKING + "{% if enable_thinking is defined and not enable_thinking %}{{ " + BLOCK + " }}"
    "{% else %}{{ '<think>\\n' }}{% endif %}{% endif %}",
    "qwen3-thinking": THINKING + "{{ '<think>\\n' }}{% endif %}",
    "gpt-oss": "<|start|>system<|message|>Today is {{ strftime_now('%Y-%m-%d') }}.<|end|>" + EACH
    + "{% if m.role == 'assistant' %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
    "{% if loop.last %}<|return|>{% else %}<|end|>{% endif %}"
    "{% else %}<|start|>{{ 'developer' if m.role == 'system' else m.role }}<|message|>{{ m.content }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}",
    "gemma": "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}<bos>" + EACH
    + "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    # The system text stands in the last user turn, wherever that is.
    "mistral": "<s>{% set system = messages[0].content if messages[0].role == 'system' else '' %}" + EACH
    + "{% if m.role == 'user' %}[INST] {% if system and loop.revindex <= 2 %}{{ system + '\n\n' }}{% endif %}"
    "{{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content | trim }}</s>{% endif %}{% endfor %}",
    "mistral-7b-v0.1": "<s>" + EACH + "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}{{ m.content }}</s>{% endif %}{% endfor %}",
    "glm": "[gMASK]<sop>" + EACH
    + "{% if m.role == 'assistant' %}<|assistant|>\n<think></think>\n{{ m.content | trim }}{% else %}"
    "<|{{ m.role }}|>\n{{ m.content }}{% if m.role == 'user' and enable_thinking is defined "
    "and not enable_thinking %}/nothink{% endif %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '\n<think></think>' }}{% endif %}{% endif %}",
    "deepseek-r1": "<bos>" + EACH + "{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}<|User|>"
    "{{ m.content }}{% else %}<|Assistant|>{{ m.content.split('</think>')[-1] }}<|end_of_sentence|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|Assistant|>{{ '<think>\n' }}{% endif %}",
    "phi": EACH + "<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}</s>{% endif %}",
    "llama3": "<|begin_of_text|>" + EACH + "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
}  # fmt: skip
OFF, OPENS = "enable_thinking=False", f"{BLOCK} opens every reply"
FOLDED = "the system text begins the first user turn"
# What is changed, and the lead and end of a reply.
EXPECTED = {
    "qwen3": ((OFF, OPENS), "", "<|im_end|>"),
    "qwen3.5": ((OFF, OPENS), "", "<|im_end|>"),
    "qwen3-thinking": ((OPENS,), "\n</think>\n\n", "<|im_end|>"),
    "gpt-oss": (("'<|end|>' ends the last reply too",), "<|channel|>final<|message|>", "<|end|>"),
    "gemma": ((FOLDED,), "", "<end_of_turn>"),
    "mistral": ((FOLDED,), " ", "</s>"),
    "mistral-7b-v0.1": ((FOLDED,), "", "</s>"),
    "glm": ((OFF, "'<|user|>' ends the last reply too"), "\n", "<|user|>"),
    "deepseek-r1": ((OPENS,), "\n</think>\n\n", "<|end_of_sentence|>"),
    "phi": ((), "", "<|end|>"),
    "llama3": ((), "", "<|eot_id|>"),
}
MARK = re.compile(r"<\|[^|<>\n]{1,40}\|>|<｜[^｜\n]{1,40}｜>|<(?:start|end)_of_turn>|<\|?(?:turn|channel)\|?>"
                  r"|\[/?(?:INST|gMASK)\]|<sop>|<bos>|<end_of_utterance>")  # fmt: skip


@functools.cache
def tokenizer(source):
    """A tokenizer with a chat template, the marks in its source being special tokens."""
    made = copy.deepcopy(tiny_tokenizer())
    marks = [*dict.fromkeys(MARK.findall(source)), "<|system|>", "<|user|>", "<bos>"]
    made.add_special_tokens({"additional_special_tokens": marks, "bos_token": "<bos>"})
    made.chat_template = source
    return made


@functools.cache
def examples(n):
    rows = list(islice(sources.read(DATA / "example" / "trajectories.jsonl", tally=Tally("t")), n))
    return {dialect: render_all(rows, dialect) for dialect in DIALECTS}


def replies(conversation, template):
    """Check that every trained reply continues its prompt, and return what follows the prompts."""
    text, _, ends = render(conversation, template)
    found = []
    for i, end in zip([i for i, turn in enumerate(conversation.turns) if turn.trained], ends, strict=True):
        before = prompt(conversation.turns[:i], template)
        assert text.startswith(before)
        found.append(text[len(before) : end])
    return found


shapes = pytest.mark.parametrize("name", SHAPES)


@shapes
def test_agent_rows_are_all_labelled_in_every_dialect(name):
    fitted = tokenizer(SHAPES[name])
    template = own_template(fitted)
    assert (template.changes, template.lead, template.end) == EXPECTED[name]
    for dialect, rows in examples(6).items():
        tally = Tally(dialect)
        labelled = encode_all(rows, fitted, template, max_tokens=100_000, tally=tally)
        assert (tally.kept, tally.dropped.total()) == (len(rows), 0), str(tally)
        for row, example in zip(rows, labelled, strict=True):
            trained = [turn.text.strip() for turn in row.turns if turn.trained]
            assert [reply[len(template.lead) : -len(template.end)] for reply in replies(row, template)] == trained
            ids = example.ids[example.kinds != 5].tolist()
            assert fitted.decode(ids).count(template.end) == len(trained)


@shapes
@settings(max_examples=25, deadline=None)
@given(conversation=conversations())
def test_any_conversation_continues_its_prompts_or_is_refused(name, conversation):
    template = own_template(tokenizer(SHAPES[name]))
    contents = [turn.text.strip() for turn in conversation.turns if turn.trained]
    with suppress(FlanError):
        for reply, content in zip(replies(conversation, template), contents, strict=True):
            assert reply.removeprefix(template.lead).removesuffix(template.end).strip() == content


@shapes
def test_a_first_prompt_is_what_the_published_template_asks_with(name):
    fitted = tokenizer(SHAPES[name])
    template = own_template(fitted)
    asked = fitted.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False,
                                       add_generation_prompt=True, **dict(template.switches))  # fmt: skip
    mine = prompt([say("user", "Hello")], template)
    assert re.sub(r"20\d\d-\d\d-\d\d", "DATE", mine) == re.sub(r"20\d\d-\d\d-\d\d", "DATE", asked)


def test_empty_thinking_is_context_where_a_prompt_has_it_and_trained_where_the_model_must_close_it():
    turns = say("user", "a"), say("assistant", "b", "general", trained=True), say("user", "c"), \
        say("assistant", "d", "general", trained=True)  # fmt: skip
    trained = {}
    for name in ("qwen3", "deepseek-r1"):
        text, spans, _ = render(chat(*turns), own_template(tokenizer(SHAPES[name])))
        assert text.count("<think>\n\n</think>\n\n") == 2
        trained[name] = [text[start:stop] for start, stop, _ in spans]
    assert trained["qwen3"] == ["b", "<|im_end|>", "d", "<|im_end|>"]
    assert trained["deepseek-r1"][:3] == ["\n</think>\n\n", "b", "<|end_of_sentence|>"]


def test_a_block_that_no_prompt_has_is_left_out():
    template = own_template(tokenizer(THINKING + "{% endif %}"))
    assert template.changes == (f"{BLOCK} opens no reply",)
    assert replies(chat(say("user", "a"), say("assistant", "b", "general", trained=True)), template) == ["b<|im_end|>"]


def test_thinking_in_a_row_is_refused_where_the_template_would_cut_it():
    template = own_template(tokenizer(SHAPES["qwen3"]))
    reply = say("assistant", "<think>long</think>Yes", "general", trained=True)
    with pytest.raises(FlanError, match="drops or alters"):
        render(chat(say("user", "a"), reply), template)


def test_a_system_text_is_folded_into_the_first_user_turn_in_training_and_in_prompts():
    turns = say("system", "S"), say("user", "a"), say("assistant", "b", "general", trained=True)
    template = own_template(tokenizer(SHAPES["gemma"]))
    assert render(chat(*turns), template).text == (
        "<bos><start_of_turn>user\nS\n\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n")  # fmt: skip
    assert prompt(turns[:2], template) == "<bos><start_of_turn>user\nS\n\na<end_of_turn>\n<start_of_turn>model\n"
    dropped = CHATML.replace(EACH, "{% for m in messages if m.role != 'system' %}")
    assert own_template(tokenizer(dropped)).changes == (FOLDED,)


def test_the_date_is_the_same_on_every_day():
    text = render(chat(say("user", "a"), say("assistant", "b", "general", trained=True)),
                  own_template(tokenizer(SHAPES["gpt-oss"]))).text  # fmt: skip
    assert text.startswith("<|start|>system<|message|>Today is 2024-07-26.<|end|>")


def test_generation_reads_over_the_marks_that_a_reply_begins_with():
    template, asked = own_template(tokenizer(SHAPES["gpt-oss"])), Prompt("p", (say("user", "a"),))
    written = "<|channel|>final<|message|>Yes<|end|><|start|>"
    assert _reply(written, asked, template, _marks(asked, template)) == Reply("Yes", "end")


def test_changes_are_told_once_and_are_part_of_the_digest(capsys):
    _tell.cache_clear()
    fitted = tokenizer(SHAPES["qwen3"])
    first, second = own_template(fitted), own_template(fitted)
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert OFF in told
    assert OPENS in told
    assert first.digest == second.digest
    own_template(tokenizer(SHAPES["llama3"]))
    assert not capsys.readouterr().out
    assert own_template(tokenizer(SHAPES["qwen3-thinking"])).digest != first.digest


ENDLESS = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"
FAULTY = ["{{ 1 + m.content }}", "{{ m.content[99].x }}", "{{ 1 / 0 }}", ENDLESS, "{{ m.__class__.__mro__ }}"]


@pytest.mark.parametrize("code", FAULTY)
def test_an_error_inside_a_template_is_a_refusal(code):
    with pytest.raises(FlanError, match="a refusal by the chat template"):
        own_template(tokenizer(CHATML.replace(EACH, EACH + code)))


def test_of_several_templates_the_default_one_is_used():
    fitted = copy.deepcopy(tiny_tokenizer())
    fitted.chat_template = {"default": CHATML, "tool_use": "x"}
    assert own_template(fitted).end == "<|im_end|>"
    fitted.chat_template = {"one": CHATML, "two": CHATML}
    with pytest.raises(FlanError, match="several chat templates, none of them"):
        own_template(fitted)


def test_a_template_that_needs_no_change_keeps_its_digest():
    assert own_template(tiny_tokenizer.__wrapped__()).digest == "95c13939bc4f"  # a new one: others may add tokens


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(SHAPES)), st.text(st.sampled_from("ab{}%#' <|>\n"), max_size=12))
def test_a_damaged_template_is_refused_in_one_line_or_labels_exactly(name, junk):
    source = SHAPES[name]
    damaged = tokenizer(source[: len(source) // 2] + junk + source[len(source) // 2 :])
    with suppress(FlanError):
        replies(chat(say("user", "a"), say("assistant", "b", "general", trained=True)), own_template(damaged))


def trl_templates():
    found = importlib.util.find_spec("trl")
    return sorted((Path(found.origin).parent / "chat_templates").glob("*.jinja")) if found else []


PARTS = ("idefics", "llava", "smolvlm")  # their turns are lists of texts and images


@pytest.mark.skipif(not trl_templates(), reason="TRL is not installed (pip install trl), or ships no chat templates")
def test_templates_that_trl_ships_label_rows_or_are_refused_in_one_line():
    refused = {}
    for path in trl_templates():
        fitted = tokenizer(path.read_text(encoding="utf-8"))
        try:
            template = own_template(fitted)
        except FlanError as error:
            refused[path.stem] = str(error)
            continue
        for dialect, rows in examples(2).items():
            tally = Tally(f"{path.stem}, {dialect}")
            encode_all(rows, fitted, template, max_tokens=100_000, tally=tally)
            assert tally.kept == len(rows), str(tally)
    assert all(name.startswith(PARTS) and "\n" not in line for name, line in refused.items()), refused


@pytest.mark.skipif(not trl_templates(), reason="TRL is not installed (pip install trl), or ships no chat templates")
@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think", "glm4moe"])
def test_text_is_that_of_the_template_which_trl_trains_with(name):
    paths = {path.stem: path for path in trl_templates()}
    if not {name, f"{name}_training"} <= set(paths):
        pytest.skip(f"this TRL has no {name}")
    mine, theirs = (own_template(tokenizer(paths[stem].read_text())) for stem in (name, f"{name}_training"))
    for rows in examples(2).values():
        assert [render(row, mine).text for row in rows] == [render(row, theirs).text for row in rows]
    assert theirs.changes == (f"{SWITCH}=False",)
