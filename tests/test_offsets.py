"""Places of tokens from their byte lengths agree with the offsets of the tokenizers library."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_templates import tiny_tokenizer
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from flanlib.text import offsets
from flanlib.text.offsets import place
from flanlib.text.tokens import load_tokenizer

TINY = tiny_tokenizer()
TEXTS = st.lists(st.text(st.one_of(st.sampled_from("find it\n é日🙂മ്"), st.characters(exclude_categories=["Cs"]))))


def library(texts, tokenizer):
    """Ids and offsets from the library itself, one text at a time."""
    return [tokenizer(text, add_special_tokens=False, return_offsets_mapping=True) for text in texts]


def assert_covers(placed, expected):
    assert placed.ids.tolist() == expected.input_ids
    for (first, last), start, stop in zip(expected.offset_mapping, placed.starts, placed.stops, strict=True):
        assert start <= first <= last <= stop  # the library leaves out the space that a token begins or ends with


@given(TEXTS)
def test_every_character_that_a_token_holds_is_where_the_library_says(texts):
    for text, placed, expected in zip(texts, place(texts, TINY), library(texts, TINY), strict=True):
        assert_covers(placed, expected)
        for (first, last), start, stop in zip(expected.offset_mapping, placed.starts, placed.stops, strict=True):
            assert not (text[start:first] + text[last:stop]).strip()


@given(TEXTS)
def test_tokens_cover_a_text_without_a_gap(texts):
    for text, placed in zip(texts, place(texts, TINY), strict=True):
        edges = [0, *placed.stops]
        assert edges[-1] == len(text)
        assert all(start <= before <= stop for start, before, stop in zip(placed.starts, edges, placed.stops,
                                                                         strict=False))  # fmt: skip


def test_both_ways_agree_on_plain_words_and_marks(monkeypatch):
    texts = ["find the tool", "<|im_start|>user\nfind<|im_end|>", "naïve 東京 🙂", ""]
    fast = place(texts, TINY)
    monkeypatch.setattr(offsets, "_byte_lengths", lambda tokenizer, size: None)
    for one, other in zip(fast, place(texts, TINY), strict=True):
        assert all(map(np.array_equal, one, other))


@pytest.mark.parametrize("name", ["llama2-spm", "gpt2-bpe", "minimind-bpe"])
def test_a_real_tokenizer_is_placed_whether_or_not_it_is_byte_level(real_data, name):
    tokenizer = load_tokenizer(real_data / "tokenizers" / name)
    texts = ["Thought: I must find it.\n", "naïve 東京 🙂", '{"a": [1, 23]}']
    for text, placed, expected in zip(texts, place(texts, tokenizer), library(texts, tokenizer), strict=True):
        assert_covers(placed, expected)
        assert placed.stops[-1] == len(text)


def test_ids_may_have_gaps():
    backend = Tokenizer(models.BPE({"a": 0, "b": 7}, []))
    backend.decoder = decoders.ByteLevel()
    (placed,) = place(["ab"], PreTrainedTokenizerFast(tokenizer_object=backend))
    assert placed.ids.tolist() == [0, 7]
    assert placed.stops.tolist() == [1, 2]


def test_a_tokenizer_that_changes_a_text_falls_back_to_offsets():
    """An added token that takes the spaces around it stands for more bytes than its own."""
    from tokenizers import AddedToken

    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("[mark]", lstrip=True, rstrip=True)])
    (placed,), (expected,) = place(["find [mark] it"], tokenizer), library(["find [mark] it"], tokenizer)
    assert placed.ids.tolist() == expected.input_ids
    assert placed.stops[-1] == len("find [mark] it")
