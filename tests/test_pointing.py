import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flanlib.lab import talk
from flanlib.model import llama
from flanlib.presets import LAB_BASE
from flanlib.pretrain.pointing import SPAN, Pointing, sources
from flanlib.pretrain.tokenizer import without_spaces
from flanlib.tokens import load_tokenizer


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_a_source_is_the_one_place_in_the_context_with_the_same_tokens(tokens, every):
    ids, trained = [token for token, _ in tokens], [target for _, target in tokens]
    starts = list(range(0, len(ids), every))
    for here, there in sources(ids, trained, starts):
        document = here // every
        assert document == there // every
        span = ids[here + 1 : here + 1 + SPAN]
        assert trained[here + 1]
        places = [i for i in range(document * every, here + 1)
                  if ids[i : i + SPAN] == span and not any(trained[i : i + SPAN]) and i + SPAN <= here + 1]
        assert places == [there]


def test_what_goes_on_with_a_copied_span_is_no_span_of_its_own():
    ids = [1, 2, 3, 4, 5, 9, 1, 2, 3, 4, 5]
    assert sources(ids, [False] * 6 + [True] * 5, [0]) == [(5, 0)]


def test_a_span_that_stands_twice_in_the_context_has_no_source():
    assert sources([1, 2, 3, 1, 2, 3, 9, 1, 2, 3], [False] * 7 + [True] * 3, [0]) == []


@pytest.fixture
def model():
    return llama(64, width=32, layers=3, head=8, bias=True, seed=1).eval()


def batch(ids, trained, starts=(0,)):
    ids = torch.tensor(ids)[None]
    positions = torch.cat([torch.arange(b - a) for a, b in zip(starts, [*starts[1:], ids.shape[1]], strict=True)])[None]
    labels = torch.where(torch.tensor(trained)[None], ids, -100)
    return {"input_ids": ids, "position_ids": positions, "labels": labels}


def test_the_loss_is_minus_the_log_of_the_attention_that_transformers_gives_to_the_source(model):
    of = batch([5, 6, 7, 8, 9, 6, 7, 8], [False] * 5 + [True] * 3)
    pointing = Pointing(model, ((1, 2), (2, 0)), np.arange(64))
    model.set_attn_implementation("eager")
    with torch.no_grad():
        looks = model(of["input_ids"], output_attentions=True).attentions
    by_hand = -torch.log(torch.stack([looks[1][0, 2, 4, 1], looks[2][0, 0, 4, 1]])).mean()
    assert pointing(of).item() == pytest.approx(by_hand.item(), abs=1e-5)


def test_a_document_never_points_into_its_neighbour(model):
    alone, beside = batch([5, 6, 7, 8, 9, 6, 7, 8], [False] * 5 + [True] * 3), [6, 7, 8, 30, 31]
    pointing, found = Pointing(model, ((1, 2),), np.arange(64)), []
    with torch.no_grad():
        for of in (alone, batch(beside + alone["input_ids"][0].tolist(), [False] * 10 + [True] * 3, (0, 5))):
            model(of["input_ids"], position_ids=of["position_ids"], use_cache=False)
            found.append(pointing(of).item())
    assert found[1] == pytest.approx(found[0], abs=1e-5)


def test_training_on_the_loss_moves_the_attention_to_the_source(model):
    of, pointing = batch([5, 6, 7, 8, 9, 6, 7, 8], [False] * 5 + [True] * 3), Pointing(model, ((1, 2),), np.arange(64))
    optimizer, found = torch.optim.Adam(model.parameters(), 1e-2), []
    for _ in range(20):
        model(of["input_ids"])
        loss = pointing(of)
        found.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert found[-1] < 0.1 * found[0]


def test_a_batch_that_copies_nothing_costs_nothing(model):
    of = batch([1, 2, 3, 4, 5], [False, False, True, True, True])
    model(of["input_ids"])
    assert Pointing(model, ((1, 2),), np.arange(64))(of) == 0


def test_a_word_is_the_same_with_a_space_before_it_and_without():
    tokenizer = load_tokenizer(LAB_BASE)
    same = without_spaces(tokenizer)
    assert np.all(same[same] == same)
    name = next(word for c in talk.conversations(20, rng=np.random.default_rng(0), families=["choosing"])
                for word in c.turns[-1].text.split() if "_" in word)
    with_space, without = (same[tokenizer.encode(text, add_special_tokens=False)].tolist()
                           for text in (f"a {name}", name))
    assert with_space[-len(without):] == without
