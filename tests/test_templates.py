import functools
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from flanlib.records import Conversation, FlanError, Turn, say, spans
from flanlib.text.templates import AGENT_FLAN, LLAMA2_CHAT, TEMPLATES, get_template, jinja, own_template, prompt, render

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Strips every content, and puts a trained space before and after a reply, as Llama-2's published template does.
STRIPPING = (
    "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content | trim }} </s>"
    "{% else %}<s>[INST] {{ m.content | trim }} [/INST]{% endif %}{% endfor %}"
)


@functools.cache
def tiny_tokenizer(chat_template=CHATML):
    """A byte-level BPE with Unicode-blind merges, so that tokens split characters and words at will."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    marks = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(["the tool finds the weather: search and find it now", "é日本🙂 മലയാളം"] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="<|im_end|>",
                                   additional_special_tokens=marks, chat_template=chat_template)  # fmt: skip


def chat(*turns, id="1"):
    return Conversation(id, "test", turns)


YES = say("assistant", "Yes", "general", trained=True)
TWO = chat(
    say("system", "Be kind."),
    say("user", "Weather?"),
    Turn("assistant", spans(("Thought: ", "instruction"), ("look", "reasoning")), trained=True),
    say("user", "Sunny."),
    say("assistant", "Good.", "general", trained=True),
)


def test_llama2_chat_writes_the_text_of_the_reference_code():
    text, pieces, ends = render(TWO, LLAMA2_CHAT)
    assert text == (
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nWeather? [/INST] Thought: look </s>"
        "<s>[INST] Sunny. [/INST] Good. </s>"
    )
    assert [(text[a:b], kind) for a, b, kind in pieces] == [
        (" ", "instruction"), ("Thought: ", "instruction"), ("look", "reasoning"), (" </s>", "instruction"),
        (" ", "general"), ("Good.", "general"), (" </s>", "general"),
    ]  # fmt: skip
    assert ends == (text.index("<s>[INST] Sunny"), len(text))


def test_agent_flan_writes_the_text_of_the_model_card():
    text, pieces, ends = render(TWO, AGENT_FLAN)
    assert text == (
        "<|Human|>\u0d46Be kind.\n <|Human|>\u0d46Weather?\n <|Assistant|>\u0d46Thought: look\u0d3f\n "
        "<|Human|>\u0d46Sunny.\n <|Assistant|>\u0d46Good.\u0d3f\n "
    )
    assert [(text[a:b], kind) for a, b, kind in pieces] == [
        ("Thought: ", "instruction"), ("look", "reasoning"), ("\u0d3f", "instruction"),
        ("Good.", "general"), ("\u0d3f", "general"),
    ]  # fmt: skip
    assert [text[:end][-1] for end in ends] == ["\u0d3f", "\u0d3f"]


def test_own_template_trains_content_and_end_token_only():
    text, pieces, _ = render(TWO, own_template(tiny_tokenizer()))
    assert text.startswith("<|im_start|>system\nBe kind.<|im_end|>\n")
    assert [text[a:b] for a, b, _ in pieces] == ["Thought: ", "look", "<|im_end|>", "Good.", "<|im_end|>"]


def test_own_template_that_strips_content_trains_what_is_left_and_the_space_before_it():
    template = own_template(tiny_tokenizer(STRIPPING))
    pieces = spans((" \n", "instruction"), ("look ", "reasoning"), ("\n", "instruction"))
    reply = Turn("assistant", pieces, trained=True)
    text, pieces, _ = render(chat(say("user", " Hi "), reply), template)
    assert text == "<s>[INST] Hi [/INST] look </s>"
    assert [(text[a:b], k) for a, b, k in pieces] == [
        (" ", "instruction"), ("look", "reasoning"), (" </s>", "instruction"),
    ]  # fmt: skip


# Templates that cannot be labelled, by what is wrong with them.
THINKING_CUT = CHATML.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}")
LAST = "{% if m.role == 'assistant' and loop.last %}<think>{% endif %}{{ m.content"
THINKING_LAST = CHATML.replace("{{ m.content", LAST)
MOVING = CHATML.replace("\n{{ m", "\n{% if m.role == 'user' and loop.revindex <= 2 %}Be brief. {% endif %}{{ m")
FINICKY = "{% if messages[-1].content == 'b' %}{{ raise_exception('no b') }}{% endif %}" + CHATML


@pytest.mark.parametrize(
    ("source", "found"),
    [(THINKING_CUT, "drops or alters"), (THINKING_LAST, "drops or alters"), (MOVING, "does not continue its prompt"),
     (FINICKY, "a refusal by the chat template: no b")],
)  # fmt: skip
def test_template_that_loses_content_refuses_the_conversation(source, found):
    template = own_template(tiny_tokenizer(source))
    reply = say("assistant", "<think>long</think>Yes", "general", trained=True)
    with pytest.raises(FlanError, match=found) as error:
        render(chat(say("system", "S"), say("user", "a"), reply, say("user", "b"), reply, id="7"), template)
    assert error.value.where.startswith("conversation 7")
    assert "Yes" in render(chat(say("user", "a"), YES), template).text


def test_untrained_turn_that_the_template_alters_is_refused_too():
    template = own_template(tiny_tokenizer(THINKING_CUT))
    turns = say("user", "a"), say("assistant", "<think>x</think>Yes"), say("user", "b")
    with pytest.raises(FlanError, match=r"turn 2: .* drops or alters"):
        render(chat(*turns, say("assistant", "No", "general", trained=True)), template)


@pytest.mark.parametrize(
    ("source", "found"),
    [(None, "without one"),
     (CHATML.replace("assistant\n{% endif", "assistant\n<plan>{% endif"), "does not continue its prompt"),
     (CHATML.replace("<|im_end|>", "").replace("<|im_start|>", "#"), "a special token that ends it")],
)  # fmt: skip
def test_chat_template_that_cannot_be_split_is_refused_at_once(source, found):
    with pytest.raises(FlanError, match=found):
        own_template(tiny_tokenizer(source))


def templates():
    return [*(get_template(name, tiny_tokenizer()) for name in TEMPLATES), own_template(tiny_tokenizer()),
            own_template(tiny_tokenizer(STRIPPING))]  # fmt: skip


texts = st.text(st.sampled_from('ab \n:{"é日🙂\u0d2e'), min_size=1, max_size=8)
kinds = st.sampled_from(["reasoning", "retrieval", "understanding", "instruction", "general", "context"])


@st.composite
def conversations(draw):
    turns = [say("system", draw(texts))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        pieces = spans(*draw(st.lists(st.tuples(texts, kinds), min_size=1, max_size=4)))
        trained = draw(st.booleans()) and any(span.kind != "context" for span in pieces)
        turns += [say("user", draw(texts)), Turn("assistant", pieces, trained)]
    return chat(*turns)


@settings(max_examples=60, deadline=None)
@given(conversations(), st.sampled_from(sorted(TEMPLATES)), st.booleans())
def test_a_template_written_for_tokenizers_gives_the_same_text(conversation, name, reply):
    template, turns = TEMPLATES[name], conversation.turns
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    text, marked = render_jinja_template([messages], chat_template=jinja(template), add_generation_prompt=reply,
                                         return_assistant_tokens_mask=True)  # fmt: skip
    assert text[0] == template.text(turns, "here", reply=reply)
    replies = [template.lead + turn.text + template.end for turn in turns if turn.role == "assistant"]
    assert [text[0][start:stop] for start, stop in marked[0]] == replies


@settings(max_examples=60, deadline=None)
@given(conversations())
def test_prompt_is_the_text_before_every_reply(conversation):
    for template in templates():
        text, _, ends = render(conversation, template)
        at = [i for i, turn in enumerate(conversation.turns) if turn.trained]
        for i, end in zip(at, ends, strict=True):
            before = prompt(conversation.turns[:i], template)
            reply = conversation.turns[i].text
            written = reply.strip() if template.lead == " " and template.name == "own" else reply
            assert text[:end] == before + template.lead + written + template.end


@settings(max_examples=60, deadline=None)
@given(conversations())
def test_spans_tile_the_trained_text_and_keep_its_kinds(conversation):
    for template in templates()[:-1]:  # without the one that strips
        text, found, _ = render(conversation, template)
        expected = []
        for turn in (turn for turn in conversation.turns if turn.trained):
            frame = "general" if {span.kind for span in turn.spans} <= {"general", "context"} else "instruction"
            lead = "context" if turn.spans[0].kind == "context" else frame
            pieces = [(template.lead, lead), *((s.text, s.kind) for s in turn.spans), (template.end, frame)]
            expected += [(piece, kind) for piece, kind in pieces if piece and kind != "context"]
        assert [(text[a:b], kind) for a, b, kind in found] == expected
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("template", [*TEMPLATES.values(), "own"], ids=str)
def test_text_that_looks_like_the_template_is_refused_in_any_turn(template):
    template = own_template(tiny_tokenizer()) if template == "own" else template
    for mark in template.marks:
        for turns in [
            (say("user", f"a{mark}b"), YES),
            (say("system", mark), say("user", "a"), YES),
            (say("user", "a"), say("assistant", mark), say("user", "b"), YES),
        ]:
            with pytest.raises(FlanError, match="a template mark in the content"):
                render(chat(*turns), template)
        with pytest.raises(FlanError, match=re.escape(ascii(mark))):
            prompt([say("user", mark)], template)


def test_agent_flan_refuses_its_end_sign_only_in_trained_replies():
    word = "\u0d2e\u0d3f"  # Malayalam text is full of the sign U+0D3F
    ask = say("user", word)
    assert word in render(chat(ask, YES), AGENT_FLAN).text
    assert word in render(chat(ask, say("assistant", word), ask, YES), AGENT_FLAN).text
    with pytest.raises(FlanError, match="a template mark"):
        render(chat(ask, say("assistant", word, "general", trained=True)), AGENT_FLAN)


def test_templates_are_found_by_name_and_fitted_to_the_tokenizer():
    tokenizer = tiny_tokenizer()
    assert get_template("agent_flan", tokenizer).begin == "<s>"
    assert get_template("llama2_chat", tokenizer).begin == ""
    assert "<|im_end|>" in get_template("llama2_chat", tokenizer).marks
    assert get_template("own", tokenizer).end == "<|im_end|>"
    with pytest.raises(FlanError, match=f"one of {', '.join(TEMPLATES)}, own"):
        get_template("chatml", tokenizer)


def test_digest_names_the_texts_and_nothing_else():
    fitted = [get_template(name, tiny_tokenizer()) for name in ("agent_flan", "llama2_chat", "own")]
    assert len({template.digest for template in [*fitted, AGENT_FLAN, own_template(tiny_tokenizer(STRIPPING))]}) == 5
    assert fitted[1].digest == LLAMA2_CHAT.digest  # more forbidden marks, same texts
    assert all(re.fullmatch("[0-9a-f]{12}", template.digest) for template in fitted)


@pytest.mark.parametrize("turns", [[], [say("system", "s")], [say("user", "a"), say("assistant", "b")]])
def test_prompt_needs_a_user_turn_to_reply_to(turns):
    with pytest.raises(FlanError, match="expected a user turn"):
        prompt(turns, AGENT_FLAN)
