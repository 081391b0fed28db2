import functools
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import sentencepiece
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_templates import TWO, chat, conversations, tiny_tokenizer
from tokenizers import Tokenizer, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from flanlib.records import KINDS, FlanError, Turn, say, spans
from flanlib.tally import Tally
from flanlib.text.templates import AGENT_FLAN, LLAMA2_CHAT, bind, get_template, prompt, render, special_tokens
from flanlib.text.tokens import CONTEXT, Example, encode_all, label, load_tokenizer

loaded = functools.cache(load_tokenizer)
CELLS = [("tiny", name) for name in ("agent_flan", "llama2_chat", "own")] + [
    ("llama2-spm", "agent_flan"), ("llama2-spm", "llama2_chat"), ("gpt2-bpe", "agent_flan"),
    ("minimind-bpe", "agent_flan"), ("minimind-bpe", "own"),
]  # fmt: skip


def encode(conversation, tokenizer, template, *, max_tokens):
    """Tokenise one conversation, raising the error that would count it as dropped."""
    [result] = label([conversation], tokenizer, bind(template, tokenizer), max_tokens)
    if isinstance(result, FlanError):
        raise result
    return result.example


def general(text):
    return [say("user", "Hi"), say("assistant", text, "general", trained=True)]


def act(tool="search"):
    pieces = spans(("Thought: ", "instruction"), ("find it", "reasoning"), ("\nAction: ", "instruction"),
                   (tool, "retrieval"), ("\nAction Input: ", "instruction"), ('{"q": "x"}', "understanding"))
    return Turn("assistant", pieces, trained=True)


SHAPES = {
    "one turn": general("Hello there, friend."),
    "system": [say("system", "Be kind."), *general("Yes.")],
    "many turns": [say("user", "a"), act(), say("user", "b"), act("get_x"), *general("Done.")],
    "untrained in the middle": [say("user", "a"), act(), say("user", "b"), say("assistant", "Not me."),
                                say("user", "c"), act()],
    "unicode": general("Zürich – naïve 東京 Привет"),
    "emoji": general("🙂🚀👩‍👩‍👧"),
    "Malayalam": general("മലയാളം"),
    "Malayalam with the end sign": general("മലയാളി"),
    "Malayalam from the user": [say("user", "മലയാളി"), general("Yes.")[1]],
    "newlines at the ends": general("\n\nHello\n\n"),
    "spaces at the ends": general("   Hello  "),
    "only a space": general(" "),
    "only a newline": general("\n"),
    "tabs and returns": general("\tx = 1\r\n\ty\u2028"),
    "braces first": general('{"a": [1]}'),
    "brackets first": general(")]}>|>"),
    "combining sign first": general("\u0301e\u0301 \u0d3e"),
    "looks like marks": [say("user", "<|Human|> INST"), general("[INS] <|Assistant|> < s> im_end|> </")[1]],
    "zero character": general("a\x00b"),
    "kinds change inside a word": [say("user", "a"), Turn("assistant", spans(
        ("un", "reasoning"), ("believ", "instruction"), ("abl", "retrieval"), ("e", "understanding")), True)],
    "kinds change inside an emoji's neighbours": [say("user", "a"), Turn("assistant", spans(
        ("caf", "reasoning"), ("é", "retrieval"), ("🙂", "instruction"), ("日", "understanding")), True)],
    "context inside a reply": [say("user", "a"), Turn("assistant", spans(
        ("find", "reasoning"), ("\n", "context"), ("it", "retrieval"), ("\n", "context")), True)],
    "context first": [say("user", "a"), Turn("assistant", spans(
        ("Call:\n", "context"), ("find", "retrieval")), True)],
    "context up to a space": [say("user", "a"), Turn("assistant", spans(
        ("Call ", "context"), ("find", "retrieval")), True)],
}  # fmt: skip
BORDER, MARK = "a token across the border of trained text", "a template mark in the content"
REJECTED = {
    ("agent_flan", "Malayalam with the end sign"): MARK,  # U+0D3F ends a reply
    **{(cell, "context up to a space"): BORDER for cell in ("agent_flan", "llama2_chat", "own")},  # " find" is a token
    # The context's two newlines and the reply's first space are one token.
    ("minimind-bpe", "own", "spaces at the ends"): BORDER,
    ("minimind-bpe", "own", "only a space"): BORDER,
}


def find(tokenizer, request):
    return tiny_tokenizer() if tokenizer == "tiny" else loaded(
        request.getfixturevalue("real_data") / "tokenizers" / tokenizer)  # fmt: skip


def stretches(conversation, template, tokenizer):
    """Trained text between pieces of context, from the turns alone."""
    found = [""]
    for turn in (turn for turn in conversation.turns if turn.trained):
        pieces = [(span.text, span.kind != "context") for span in turn.spans]
        if tokenizer == "minimind-bpe" and template.name == "own":  # its template cuts a reply's first newlines
            pieces[0] = pieces[0][0].lstrip("\n"), pieces[0][1]
        for text, trained in [("", False), (template.lead, pieces[0][1]), *pieces, (template.end, True), ("", False)]:
            found = [*found[:-1], found[-1] + text] if trained else [*found, ""]
    return [text for text in found if text]


def assert_exact(conversation, example, tokenizer, template, name=""):
    """Check an example against the decoder, and against kinds counted character by character."""
    ids, trained = example.ids.tolist(), example.kinds != CONTEXT
    text, pieces, _ = render(conversation, template)
    batch = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    assert batch.input_ids == ids
    edges = np.flatnonzero(np.diff(trained, prepend=False, append=False)).reshape(-1, 2)
    decode = functools.partial(tokenizer.decode, clean_up_tokenization_spaces=False)
    decoded = [decode(ids[:stop]).removeprefix(decode(ids[:start])) for start, stop in edges]
    expected = stretches(conversation, template, name)
    assert decoded == expected
    assert example.bytes.sum() == sum(len(t.encode()) for t in expected)
    assert not example.bytes[~trained].any()
    kind_of = {i: kind for start, stop, kind in pieces for i in range(start, stop)}
    for kind, (start, stop) in zip(example.kinds, batch.offset_mapping, strict=True):
        counts = Counter(kind_of.get(i, "context") for i in range(start, stop))
        best = [kind_of.get(i, "context") for i in range(start, stop)
                if counts[kind_of.get(i, "context")] == max(counts.values())]  # fmt: skip
        assert KINDS[kind] == best[-1]
    for i in (i for i, turn in enumerate(conversation.turns) if turn.trained):
        prompt_ids = tokenizer(prompt(conversation.turns[:i], template), add_special_tokens=False).input_ids
        assert ids[: len(prompt_ids)] == prompt_ids


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("tokenizer", "name"), CELLS, ids=map("-".join, CELLS))
def test_trained_ids_are_exactly_the_trained_text(tokenizer, name, shape, request):
    backend = find(tokenizer, request)
    template, conversation = get_template(name, backend), chat(*SHAPES[shape])
    reason = REJECTED.get((name, shape)) or REJECTED.get((tokenizer, name, shape))
    if reason:
        with pytest.raises(FlanError, match=reason):
            encode(conversation, backend, template, max_tokens=500)
    else:
        example = encode(conversation, backend, template, max_tokens=500)
        assert_exact(conversation, example, backend, template, tokenizer)


@settings(max_examples=100, deadline=None)
@given(conversations(), st.sampled_from(["agent_flan", "llama2_chat", "own"]))
def test_any_conversation_is_labelled_exactly_or_rejected_with_a_reason(conversation, name):
    tokenizer = tiny_tokenizer()
    template = get_template(name, tokenizer)
    tally = Tally("any")
    for example in encode_all([conversation], tokenizer, template, max_tokens=10_000, tally=tally):
        assert_exact(conversation, example, tokenizer, template)
    assert set(tally.dropped) <= {BORDER if conversation.trained else "nothing to train"}
    assert tally.seen == 1


def test_token_of_two_kinds_takes_the_larger_part_and_the_later_of_equals():
    tokenizer = tiny_tokenizer()
    for cut, kind in ((1, "retrieval"), (2, "retrieval"), (3, "reasoning")):
        word = spans((" the"[:cut], "reasoning"), (" the"[cut:], "retrieval"))
        example = encode(chat(say("user", "a"), Turn("assistant", spans(("x", "general")) + word, True)), tokenizer,
                         AGENT_FLAN, max_tokens=99)  # fmt: skip
        at = example.ids.tolist().index(tokenizer.convert_tokens_to_ids("Ġthe"))
        assert (KINDS[example.kinds[at]], example.bytes[at]) == (kind, 4)


def test_bytes_of_a_split_character_go_to_its_first_token():
    example = encode(chat(*general("ü")), tiny_tokenizer(), AGENT_FLAN, max_tokens=99)
    assert example.bytes[example.kinds != CONTEXT].tolist()[:2] == [2, 0]


def test_offsets_that_leave_out_spaces_change_nothing():
    trimming = tiny_tokenizer.__wrapped__()
    trimming.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    for shape in ("many turns", "spaces at the ends", "kinds change inside a word"):
        a, b = (encode(chat(*SHAPES[shape]), t, AGENT_FLAN, max_tokens=99) for t in (trimming, tiny_tokenizer()))
        assert (a.ids.tolist(), a.kinds.tolist(), a.bytes.tolist()) == (
            b.ids.tolist(), b.kinds.tolist(), b.bytes.tolist()
        )  # fmt: skip


def test_text_that_the_tokenizer_changes_is_rejected():
    changing = tiny_tokenizer.__wrapped__()
    changing.backend_tokenizer.normalizer = normalizers.NFC()
    encode(chat(*general("caf\u00e9")), changing, AGENT_FLAN, max_tokens=99)
    with pytest.raises(FlanError, match="trained text that the tokenizer changes"):
        encode(chat(*general("cafe\u0301")), changing, AGENT_FLAN, max_tokens=99)


def test_special_token_in_the_content_never_becomes_one():
    tokenizer = tiny_tokenizer()
    for turns in ([say("user", "what is </s>?"), general("An end.")[1]], general("It is <|im_end|>")):
        with pytest.raises(FlanError, match=MARK):
            encode(chat(*turns), tokenizer, AGENT_FLAN, max_tokens=99)  # a template not fitted to the tokenizer


def test_template_of_another_tokenizer_is_refused_at_once(real_data):
    with pytest.raises(FlanError, match="a tokenizer without </s> and <s>"):
        encode_all([], loaded(real_data / "tokenizers" / "gpt2-bpe"), LLAMA2_CHAT, max_tokens=9, tally=Tally("t"))


@pytest.mark.parametrize("name", ["agent_flan", "llama2_chat", "own"])
def test_truncation_drops_whole_exchanges_from_the_end(name):
    tokenizer = tiny_tokenizer()
    template = get_template(name, tokenizer)
    turns = SHAPES["untrained in the middle"]
    whole = encode(chat(*turns), tokenizer, template, max_tokens=500)
    first = prompt(turns[:1], template) + template.lead + turns[1].text + template.end
    n = len(tokenizer(first, add_special_tokens=False).input_ids)
    for limit in (n, len(whole) - 9):  # the untrained exchange alone is not worth its tokens
        short = encode(chat(*turns), tokenizer, template, max_tokens=limit)
        assert len(short) == n
        assert short.ids.tolist() == whole.ids[:n].tolist()
        assert short.kinds.tolist() == whole.kinds[:n].tolist()
        assert short.bytes.sum() == len((template.lead + turns[1].text + template.end).encode())
    with pytest.raises(FlanError, match="a context too long for one turn"):
        encode(chat(*turns), tokenizer, template, max_tokens=n - 1)


def test_cut_off_part_cannot_reject_what_is_kept():
    bad = Turn("assistant", spans(("Call ", "context"), ("find", "retrieval")), True)
    turns = [*SHAPES["one turn"], say("user", "b" * 50), bad]
    kept = encode(chat(*turns[:2]), tiny_tokenizer(), AGENT_FLAN, max_tokens=500)
    example = encode(chat(*turns), tiny_tokenizer(), AGENT_FLAN, max_tokens=len(kept))
    assert (example.kinds != CONTEXT).sum() == (kept.kinds != CONTEXT).sum()


def test_every_conversation_is_kept_in_order_or_counted():
    tokenizer, tally = tiny_tokenizer(), Tally("rows")
    long = [say("user", "a"), act()] * 4
    rows = [
        chat(*general("Yes."), id="a"),
        chat(*general("</s>"), id="b"),
        chat(say("user", "a"), say("assistant", "b"), id="c"),
        chat(*long, id="d"),
        chat(say("user", "a" * 200), general("b")[1], id="e"),
        chat(*SHAPES["context up to a space"], id="f"),
        chat(*general("No."), id="g"),
    ] * 100  # more than one chunk
    examples = encode_all(rows, tokenizer, AGENT_FLAN, max_tokens=150, tally=tally)
    assert [example.id for example in examples] == ["a", "d", "g"] * 100
    assert tally.dropped == {MARK: 100, "nothing to train": 100, "a context too long for one turn": 100, BORDER: 100}
    assert (tally.kept, tally.seen, tally.noted) == (300, 700, {"last exchanges cut to fit": 100})
    assert tally.first["nothing to train"] == "test c"
    alone = encode(rows[3], tokenizer, AGENT_FLAN, max_tokens=150)
    assert alone.ids.tolist() == examples[1].ids.tolist()
    assert encode_all([], tokenizer, AGENT_FLAN, max_tokens=9, tally=Tally("none")) == []


def test_example_refuses_arrays_that_do_not_fit():
    with pytest.raises(FlanError, match="2 ids, 1 kinds, 2 bytes"):
        Example("1", [1, 2], [CONTEXT], [0, 0])
    with pytest.raises(FlanError, match="a trained first token"):
        Example("1", [1, 2], [0, 0], [1, 1])


def test_library_loads_without_torch_and_transformers():
    code = ("import sys, flanlib.text.tokens, flanlib.text.packing; "
            "print(sorted({'torch', 'transformers'} & set(sys.modules)))")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# Loading


def vectors(real_data):
    stem = real_data / "tokenizers" / "test_vectors" / "ggml-vocab-llama-spm.gguf"
    texts = stem.with_name(stem.name + ".inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")
    ids = [[int(i) for i in line.split()] for line in stem.with_name(stem.name + ".out").read_text().split("\n")]
    return list(zip(texts, ids, strict=True))


def test_bare_sentencepiece_folder_gives_the_published_ids(real_data):
    tokenizer = loaded(real_data / "tokenizers" / "llama2-spm")
    known = vectors(real_data)
    assert len(known) >= 46
    assert [tokenizer(text).input_ids for text, _ in known] == [ids for _, ids in known]
    assert [tokenizer.decode(ids) for _, ids in known] == [text for text, _ in known]


def test_sentencepiece_ids_agree_on_any_text(real_data):
    folder = real_data / "tokenizers" / "llama2-spm"
    tokenizer = loaded(folder)
    original = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))

    @settings(max_examples=100, deadline=None)
    @given(st.text(st.one_of(st.sampled_from(" \n▁\tthe🙂é"), st.characters(codec="utf-8")), max_size=40))
    def agree(text):
        assume(not any(token in text for token in special_tokens(tokenizer)))  # sentencepiece spells these
        assert tokenizer(text).input_ids == original.encode(text)

    agree()


def test_text_between_special_tokens_begins_as_the_reference_code_encodes_it(real_data):
    folder = real_data / "tokenizers" / "llama2-spm"
    tokenizer = loaded(folder)
    original = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    example = encode(TWO, tokenizer, LLAMA2_CHAT, max_tokens=99)
    dialogue = ["[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nWeather? [/INST] Thought: look ", "[INST] Sunny. [/INST] Good. "]
    assert example.ids.tolist() == [i for part in dialogue for i in (1, *original.encode(part), 2)]


def test_saved_tokenizer_json_keeps_ids_and_adds_no_special_tokens(real_data, tmp_path):
    first = loaded(real_data / "tokenizers" / "llama2-spm")
    first.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}  # as Llama-2's own folder has it
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    again = load_tokenizer(tmp_path)
    assert [again(text).input_ids for text, _ in vectors(real_data)] == [ids for _, ids in vectors(real_data)]


def test_chat_template_beside_a_sentencepiece_model_is_read(real_data, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes((real_data / "tokenizers/llama2-spm/tokenizer.model").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "chat_template": "{{ messages[0].content }}",
    }))  # fmt: skip
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.chat_template == "{{ messages[0].content }}"
    assert tokenizer(" Hello").input_ids == [29871, 15043]


def test_gpt2_files_give_gpt2_ids_and_padding_falls_back_to_the_end_token(real_data):
    tokenizer = loaded(real_data / "tokenizers" / "gpt2-bpe")
    assert tokenizer("Hello world").input_ids == [15496, 995]
    assert (len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token) == (50257, 50256, "<|endoftext|>")


def test_pad_token_of_its_own_is_kept(real_data):
    tokenizer = loaded(real_data / "tokenizers" / "minimind-bpe")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_almost_empty_tokenizer_is_refused(tmp_path):
    empty = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), eos_token="</s>")
    empty.save_pretrained(tmp_path)
    with pytest.raises(FlanError, match="1 tokens that turn"):
        load_tokenizer(tmp_path)


def test_tokenizer_without_an_end_token_is_refused(tmp_path):
    PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer().backend_tokenizer).save_pretrained(tmp_path)
    with pytest.raises(FlanError, match="no end token"):
        load_tokenizer(tmp_path)


def test_missing_or_broken_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FlanError, match="no tokenizer files"):
        load_tokenizer(tmp_path)
    with pytest.raises(FlanError, match="no such folder"):
        load_tokenizer("no-such-owner/no-such-model")
    (tmp_path / "tokenizer.model").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FlanError, match="no sentencepiece model"):
        load_tokenizer(tmp_path)
