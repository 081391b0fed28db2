"""When2Call: the likeliest answer is chosen by upstream's rule, and likelihoods are those of a plain forward pass."""

import hashlib
import json
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flanlib import pretrained
from flanlib.benchmarks import Prompt, scores, when2call
from flanlib.benchmarks.when2call import ACCURACY, CANNOT, CHOICES, DIRECT, HALLUCINATION, NORMALISED, REQUEST
from flanlib.benchmarks.when2call import TOOL_CALL as CALL
from flanlib.inference.continuations import Scorer
from flanlib.inference.generate import prompt_text
from flanlib.records import FlanError, Tool, say
from flanlib.text.templates import get_template
from flanlib.text.tokens import load_tokenizer
from flanlib.training.model import load

FARE = Tool("get_fare", "Find a fare.", {"properties": {"town": {"type": "string"}}, "required": ["town"]})
ANSWERS = {DIRECT: "It is 3 euros.", CALL: '{"name": "get_fare", "arguments": {"town": "Ulm"}}',
           REQUEST: "To which town?", CANNOT: "I have no tool for fares, so I cannot tell."}  # fmt: skip


def question(i, right, tools=(FARE,)):
    return when2call.Question(f"q{i}", f"Request {i}?", tuple(tools), ANSWERS, right)


def judged(*pairs, offered=1):
    """Rows for (right, chosen) pairs."""
    return pd.DataFrame([(str(i), right, chosen, chosen, offered) for i, (right, chosen) in enumerate(pairs)],
                        columns=["id", "right", "chosen", "normalised", "offered"])  # fmt: skip


def test_the_likeliest_answer_is_chosen_and_by_characters_where_lengths_are_made_equal():
    # Lengths 14, 50, 14, 43: per character -0.5, -0.2, -0.5, -0.1.
    assert [len(text) for text in ANSWERS.values()] == [14, 50, 14, 43]
    row = when2call.judge([question(0, CANNOT)], [[-7.0, -10.0, -7.0, -4.3]]).iloc[0]
    assert (row["chosen"], row["normalised"]) == (CANNOT, CANNOT)
    row = when2call.judge([question(0, CALL)], [[-3.0, -5.0, -2.9, -8.6]]).iloc[0]
    assert (row["chosen"], row["normalised"]) == (REQUEST, CALL)
    row = when2call.judge([question(0, CALL)], [[-3.0, -3.0, -3.0, -3.0]]).iloc[0]
    assert row["chosen"] == DIRECT  # the first of equals


def test_macro_f1_is_the_mean_over_classes_that_are_right_or_chosen():
    # call: 1 of 2 right, chosen once; ask: chosen twice, once right. 2/3, 2/3, and cannot 1.
    rows = judged((CALL, CALL), (CALL, REQUEST), (REQUEST, REQUEST), (CANNOT, CANNOT))
    assert when2call.macro_f1(rows).mean == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    # One more, answered directly: a fourth class with F1 0, and cannot falls to 2/3.
    rows = judged((CALL, CALL), (CALL, REQUEST), (REQUEST, REQUEST), (CANNOT, CANNOT), (CANNOT, DIRECT))
    value = when2call.macro_f1(rows)
    assert value.mean == pytest.approx((2 / 3 + 2 / 3 + 2 / 3 + 0) / 4)
    assert value.low <= value.mean <= value.high
    assert value.n == 5
    with pytest.raises(FlanError, match="no question"):
        when2call.macro_f1(judged())


PAIRS = st.lists(st.tuples(st.sampled_from(CHOICES[1:]), st.sampled_from(CHOICES)), min_size=1, max_size=30)


@given(PAIRS)
def test_macro_f1_agrees_with_precision_and_recall(pairs):
    each = []
    for name in {name for pair in pairs for name in pair}:
        hits = sum(pair == (name, name) for pair in pairs)
        precision = hits / max(1, sum(chosen == name for _, chosen in pairs))
        recall = hits / max(1, sum(right == name for right, _ in pairs))
        each.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    right, chosen = (np.array([CHOICES.index(pair[side]) for pair in pairs]) for side in (0, 1))
    assert when2call._macro_f1(right, chosen, np.ones(len(pairs), int)) == pytest.approx(np.mean(each))


def test_scores_count_the_questions_that_they_are_about():
    rows = pd.concat([judged((CANNOT, CALL), (CANNOT, CANNOT), (CANNOT, CALL), (CANNOT, DIRECT), offered=0),
                      judged((CANNOT, CALL), (CALL, CALL), (REQUEST, CALL)).assign(id=["a", "b", "c"])])  # fmt: skip
    rows.loc[rows["id"] == "c", "normalised"] = REQUEST
    rows.loc[rows["id"] == "a", "normalised"] = CANNOT
    rows.loc[rows["id"] == "1", "normalised"] = CALL  # no hallucination by the sum
    rows = pd.concat([rows, judged((REQUEST, CALL), offered=0).assign(id=["d"])])  # no tool, but an answer to be had
    table = scores.table(when2call.judgements(rows).assign(model="m"), ["model"]).set_index("score")
    assert table.loc[HALLUCINATION, ["value", "n"]].to_list() == [2 / 4, 4]
    assert table.loc[ACCURACY, ["value", "n"]].to_list() == [2 / 8, 8]
    assert table.loc[NORMALISED, ["value", "n"]].to_list() == [3 / 8, 8]


def test_calls_are_scored_in_the_form_of_the_protocol():
    asked = []

    def score(prompts, texts):
        asked.append((prompts, texts))
        return [[0.0, 1.0, 0.0, 0.0]] * len(prompts)

    forms = {"chat": "get_fare", "react": 'Action: get_fare\nAction Input: {"town": "Ulm"}',
             "json": '{"thought": "", "name": "get_fare", "arguments": {"town": "Ulm"}}'}  # fmt: skip
    for protocol, written in forms.items():
        rows = when2call.measure([question(0, CALL), question(1, CANNOT, [])], protocol, score)
        prompts, texts = asked.pop()
        assert texts[0] == [ANSWERS[DIRECT], written, ANSWERS[REQUEST], ANSWERS[CANNOT]]
        assert [len(prompt.turns) for prompt in prompts] == [2, 1]  # without tools there is nothing to say of them
        assert rows["chosen"].to_list() == [CALL, CALL]
        assert rows["offered"].to_list() == [1, 0]
    with pytest.raises(FlanError, match="protocol"):
        when2call.measure([], "yaml", score)


def row(**changes):
    function = {"name": "get_fare", "description": "A fare.", "parameters": {
        "type": "dict", "properties": {"town": {"type": "string"}, "discount": {"type": "float"}}, "required": []}}
    return {"uuid": "u", "question": "A fare?", "correct_answer": CANNOT, "answers": ANSWERS, "target_tool": None,
            "tools": [json.dumps(function)], "orig_tools": []} | changes  # fmt: skip


def test_rows_become_questions(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row()) + "\n" + json.dumps(row(uuid="v", tools=[])) + "\n")
    first, second = when2call.read(path)
    assert (first.id, first.right, first.answers) == ("u", CANNOT, ANSWERS)
    assert first.tools[0].properties["discount"]["type"] == "number"
    assert second.tools == ()


@pytest.mark.parametrize("broken", [
    {"uuid": None}, {"question": " "}, {"correct_answer": DIRECT}, {"correct_answer": "maybe"}, {"tools": ["{"]},
    {"tools": ["[]"]}, {"answers": {}}, {"answers": ANSWERS | {CALL: "get_fare()"}}, {"tools": None},
    {"answers": ANSWERS | {CALL: "{}"}}, {"answers": ANSWERS | {REQUEST: ""}},
])  # fmt: skip
def test_a_broken_row_is_one_line_that_names_it(tmp_path, broken):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n" + json.dumps(row(**broken)))
    with pytest.raises(FlanError, match=r"rows\.jsonl, line 2") as error:
        when2call.read(path)
    assert "\n" not in str(error.value)


def test_without_the_file_one_line_says_how_to_get_it(tmp_path):
    with pytest.raises(FlanError, match="git clone https://github") as error:
        when2call.read(tmp_path / "when2call_test_mcq.jsonl")
    assert "\n" not in str(error.value)


def test_a_draw_takes_the_first_questions_of_each_answer_from_the_very_file(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    rights = [CALL, CANNOT, CANNOT, CALL, REQUEST, CALL]
    lines = [json.dumps(row(uuid=str(i), correct_answer=right)) for i, right in enumerate(rights)]
    path.write_text("\n".join(lines))
    monkeypatch.setattr(when2call, "FILE", path)
    draw = when2call.Draw(2, hashlib.sha256(path.read_bytes()).hexdigest())
    assert [one.id for one in draw.read()] == ["0", "3", "4", "1", "2"]
    assert draw.size == 6
    with pytest.raises(FlanError, match="found other rows"):
        when2call.Draw(2).read()


def test_the_published_rows_are_read(real_data):
    questions = when2call.read(real_data / "when2call" / "when2call_test_llm_judge.jsonl")
    assert len(questions) == 176
    assert {one.right for one in questions} == set(CHOICES[1:])
    assert {one.right for one in questions if not one.tools} == {CANNOT}


@lru_cache
def random_model():
    tokenizer = load_tokenizer(pretrained.folder("random"))
    return load("random", bits=16), tokenizer, get_template("own", tokenizer)


PROMPTS = [Prompt("a", (say("user", "What is the fare to Ulm?"),)),
           Prompt("b", (say("system", "Be brief. " * 30), say("user", "A ticket, please."))),
           Prompt("c", (say("user", "And now?"),), begun="It is")]  # fmt: skip
TEXTS = [["It is 3 euros.", "I cannot tell.", "x"], ["Where to?", '{"name": "get_fare", "arguments": {}}'],
         [" noon.", " 3"]]  # fmt: skip


@pytest.mark.parametrize("tokens", [1, 4096])
def test_log_probabilities_are_those_of_a_plain_forward_pass(tokens):
    model, tokenizer, template = random_model()
    ours = Scorer(model, tokenizer, template, tokens_per_pass=tokens)(PROMPTS, TEXTS)
    for prompt, texts, values in zip(PROMPTS, TEXTS, ours, strict=True):
        before = prompt_text(prompt, template) + ("" if prompt.begun else template.lead)
        for text, value in zip(texts, values, strict=True):
            ids = torch.tensor(tokenizer(before + text, add_special_tokens=False).input_ids)
            start = len(tokenizer(before.rstrip(), add_special_tokens=False).input_ids)
            with torch.inference_mode():
                logs = model(ids[None], use_cache=False).logits[0].float().log_softmax(-1)
            expected = logs[range(start - 1, len(ids) - 1), ids[start:]].sum().item()
            assert value == pytest.approx(expected, abs=1e-3)


def test_a_continuation_that_is_too_long_is_one_line():
    model, tokenizer, template = random_model()
    with pytest.raises(FlanError, match=r"prompt a: found \d+ tokens with a continuation") as error:
        Scorer(model, tokenizer, template)(PROMPTS[:1], [["1 2 " * 5000]])
    assert "\n" not in str(error.value)
    assert Scorer(model, tokenizer, template)([], []) == []


def test_a_model_is_measured_from_end_to_end():
    model, tokenizer, template = random_model()
    rows = when2call.measure([question(i, CANNOT, []) for i in range(3)], "react", Scorer(model, tokenizer, template))
    assert len(rows) == 3
    assert set(rows["chosen"]) <= set(CHOICES)
