import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.masking_utils import find_packed_sequence_indices

from flanlib.records import KINDS, FlanError
from flanlib.text.packing import fill, pack
from flanlib.text.tokens import CONTEXT, Example

PAD = 0


def examples(lengths, seed=0):
    """Examples of given lengths: random ids from 1 to 63, random kinds after a first token of context."""
    rng = np.random.default_rng(seed)
    made = []
    for i, n in enumerate(lengths):
        kinds = np.r_[CONTEXT, rng.integers(0, len(KINDS), n - 1)]
        sizes = np.where(kinds == CONTEXT, 0, rng.integers(1, 9, n))
        made.append(Example(str(i), rng.integers(1, 64, n), kinds, sizes))
    return made


def documents(row):
    """The conversations of a row, cut out by their lengths."""
    stops = np.cumsum(row.lengths)
    return [slice(stop - n, stop) for n, stop in zip(row.lengths, stops, strict=True)]


def key(ids, kinds, sizes):
    return ids.tobytes(), kinds.tobytes(), sizes.tobytes()


lengths = st.lists(st.integers(1, 24), max_size=40)


@settings(max_examples=100, deadline=None)
@given(lengths, st.integers(24, 60))
def test_every_example_is_in_exactly_one_row_whole(lengths, row_tokens):
    given_examples = examples(lengths)
    rows = pack(given_examples, row_tokens=row_tokens, pad_id=PAD)
    found = Counter(key(row.ids[d], row.kinds[d], row.bytes[d]) for row in rows for d in documents(row))
    assert found == Counter(key(example.ids, example.kinds, example.bytes) for example in given_examples)


@settings(max_examples=100, deadline=None)
@given(lengths, st.integers(24, 60))
def test_rows_have_one_length_and_positions_restart_with_every_document(lengths, row_tokens):
    for row in pack(examples(lengths), row_tokens=row_tokens, pad_id=PAD):
        assert {len(a) for a in (row.ids, row.positions, row.kinds, row.bytes)} == {row_tokens}
        used = sum(row.lengths)
        expected = [i for n in (*row.lengths, row_tokens - used) for i in range(n)]
        assert row.positions.tolist() == expected
        assert (row.ids[used:] == PAD).all()
        assert (row.kinds[used:] == CONTEXT).all()
        assert not row.bytes[used:].any()
        assert (row.kinds[row.positions == 0] == CONTEXT).all()  # no document's first token is a target
        # transformers sees the documents that were put in, padding as one more
        indices = find_packed_sequence_indices(torch.tensor(row.positions)[None])
        indices = np.zeros(row_tokens, int) if indices is None else indices[0].numpy()
        numbers = [i for i, n in enumerate((*row.lengths, row_tokens - used)) for _ in range(n)]
        assert indices.tolist() == numbers


@settings(max_examples=100, deadline=None)
@given(lengths, st.integers(24, 60))
def test_no_two_rows_could_be_one(lengths, row_tokens):
    rows = pack(examples(lengths), row_tokens=row_tokens, pad_id=PAD)
    used = sorted(sum(row.lengths) for row in rows)
    assert len(used) < 2 or used[0] + used[1] > row_tokens
    share = fill(rows)
    assert math.isnan(share) if not rows else share == sum(lengths) / (len(rows) * row_tokens)


def test_long_examples_come_first_and_each_goes_where_the_least_room_is_left():
    rows = pack(examples([3, 7, 5, 4, 1]), row_tokens=10, pad_id=PAD)
    assert [row.lengths for row in rows] == [(7, 3), (5, 4, 1)]
    assert fill(rows) == 1.0
    rows = pack(examples([8, 7, 2]), row_tokens=10, pad_id=PAD)
    assert [row.lengths for row in rows] == [(8, 2), (7,)]
    assert fill(rows) == 17 / 20


def test_packing_is_the_same_every_time():
    given_examples = examples([5, 9, 5, 5, 2, 9, 1] * 5)
    first, second = (pack(given_examples, row_tokens=16, pad_id=PAD) for _ in range(2))
    assert [row.ids.tolist() for row in first] == [row.ids.tolist() for row in second]


def test_ordinary_lengths_leave_little_padding():
    rng = np.random.default_rng(0)
    drawn = np.clip(rng.lognormal(5, 0.7, 2000).astype(int), 2, 1024)
    assert fill(pack(examples(drawn), row_tokens=1024, pad_id=PAD)) > 0.99


def test_example_longer_than_a_row_is_refused():
    with pytest.raises(FlanError, match="example 1: found 9 tokens; expected at most 8"):
        pack(examples([3, 9]), row_tokens=8, pad_id=PAD)


def test_no_examples_give_no_rows():
    assert pack([], row_tokens=8, pad_id=PAD) == []
    assert math.isnan(fill([]))


# What the model sees


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
                         initializer_range=0.2)  # fmt: skip
    return LlamaForCausalLM(config).eval()


@torch.no_grad()
def losses(model, ids, positions=None, **inputs):
    """Loss of every token but the first, as predicted from what stands before it."""
    ids = torch.as_tensor(ids)[None].long()
    if positions is not None:
        inputs["position_ids"] = torch.as_tensor(positions)[None].long()
    logits = model(input_ids=ids, use_cache=False, **inputs).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").numpy()


RAGGED = [17, 2, 9, 1, 30, 5, 12, 3]


def test_packed_losses_are_those_of_every_example_alone(model):
    given_examples = examples(RAGGED)
    alone = {example.ids.tobytes(): losses(model, example.ids) for example in given_examples}
    rows = pack(given_examples, row_tokens=48, pad_id=PAD)
    assert len(rows) < len(given_examples)
    for row in rows:
        packed = losses(model, row.ids, row.positions)
        for d in documents(row):
            np.testing.assert_allclose(packed[d.start : d.stop - 1], alone[row.ids[d].tobytes()], atol=1e-5)


def test_packed_rows_never_attend_to_neighbours(model):
    row = max(pack(examples(RAGGED), row_tokens=48, pad_id=PAD), key=lambda row: len(row.lengths))
    before = losses(model, row.ids, row.positions)
    for changed in documents(row):
        ids = row.ids.copy()
        ids[changed] = 64 - ids[changed]
        after = losses(model, ids, row.positions)
        for d in documents(row):
            inside = slice(d.start, d.stop - 1)
            if d != changed:
                np.testing.assert_allclose(after[inside], before[inside], atol=1e-6)
            elif d.stop - d.start > 2:
                assert not np.allclose(after[inside], before[inside], atol=1e-2)


def test_an_attention_mask_of_ones_would_mix_neighbours(model):
    row = max(pack(examples(RAGGED), row_tokens=48, pad_id=PAD), key=lambda row: len(row.lengths))
    second = documents(row)[1]
    inside = slice(second.start, second.stop - 1)
    mask = torch.ones(1, len(row.ids), dtype=torch.long)
    mixed = losses(model, row.ids, row.positions, attention_mask=mask)
    assert not np.allclose(mixed[inside], losses(model, row.ids, row.positions)[inside], atol=1e-2)
