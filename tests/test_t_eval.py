"""T-Eval: each rule by hand, and the command. For agreement with others, see test_t_eval_upstream."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from t_eval_rows import CALL, GOLD, TEMPLATES, TOOLS, plan, row

from flanlib.benchmarks.t_eval import __main__ as command
from flanlib.benchmarks.t_eval import embedding, literals, plans, reading, score, single
from flanlib.records import FlanError


def scored(predicted, gold=GOLD):
    return plans.score(plans.steps(predicted), plans.steps(gold), embedding.by_letters)


# --- plans


def test_the_right_plan_scores_1_in_any_writing():
    text = json.dumps(GOLD)
    for reply in (GOLD, text, str(GOLD), f"My plan:\n```json\n{text}\n```", f"It is {text}.", json.dumps(GOLD[::-1]),
                  json.dumps(GOLD[:-1])):  # fmt: skip
        assert scored(reply)["f1"] == scored(reply)["f1 of matches"] == 1, reply


def test_a_missing_and_an_extra_step_cost_recall_and_precision():
    short, long = scored(plan(*TOOLS[:3])), scored(plan(*TOOLS[:4], "Post.send"))
    assert (short["precision"], short["recall"]) == (1, 0.75)
    assert (long["precision"], long["recall"]) == (0.8, 1)
    assert short["f1"] == pytest.approx(6 / 7)
    assert long["f1"] == pytest.approx(8 / 9)


def test_matches_out_of_order_do_not_count():
    swapped = [dict(step, id=i) for i, step in enumerate([GOLD[1], GOLD[0], *GOLD[2:]])]
    assert scored(swapped)["precision"] == 0.75


def test_a_plan_without_a_match_counts_as_one_match_as_upstream_and_as_none_beside_it():
    found = scored(plan("Zoo.qqq", "Zoo.www"))
    assert (found["f1"], found["f1 of matches"], found["parsed"]) == (2 / 6, 0, 1)


def test_finish_is_taken_off_only_at_the_end():
    assert scored([dict(GOLD[-1], id=-1), *GOLD[:-1]])["precision"] == 0.8


@pytest.mark.parametrize("reply", ["", "I can't.", "[", "[]", "{}", "[1, 2]", "[{'name': 'a'}]", "[{'id': 'x', "
                                   "'name': 'a', 'args': 1}]", "[" * 5000 + "]" * 5000, "[" + "-" * 90000 + "1]",
                                   "[" + "9" * 9000 + "]", "[NaN]", "[{'id': 1e999, 'name': 1, 'args': 1}]", "\0[1]\0"])
def test_what_is_no_plan_scores_0(reply):
    assert set(scored(reply).values()) == {0}


def test_a_plan_of_nothing_but_finish_scores_0_on_either_side():
    finish = [dict(GOLD[-1], id=0)]
    assert scored(finish)["f1"] == scored(GOLD, finish)["f1"] == 0
    assert scored(finish)["parsed"] == 1


def test_a_told_plan_takes_the_first_named_tool_of_each_sentence():
    told = plans.told("Find it. Use Bank.pay after Bank.balance. Or Map.route.\nThen Post.send", TOOLS)
    assert [(s.id, s.name) for s in told] == [(0, "Bank.pay"), (1, "Map.route"), (2, "Post.send")]


@pytest.mark.parametrize(("name", "args", "threshold", "matched"), [
    ("b", "a", 0.8, 0), ("b", "a", 0.7, 1), ("a", "b", 0.8, 1), ("a", "b", 0.93, 0)])  # fmt: skip
def test_likeness_is_three_quarters_the_names_and_must_be_above_the_threshold(name, args, threshold, matched):
    def embed(texts):  # the cosine of "a" and "b" is 0.7, so likeness is 0.775 and 0.925
        return np.array([{"a": [1, 0], "b": [0.7, 0.51**0.5]}[text] for text in texts])

    predicted, gold = [plans.Step(0, "a", "a")], [plans.Step(0, name, args)]
    assert plans.score(predicted, gold, embed, threshold=threshold)["f1 of matches"] == matched
    if threshold == 0.8:
        assert plans.score(predicted, gold, embed)["f1 of matches"] == matched, "the default is version 2's"


@pytest.mark.parametrize("text", [
    "As in [1]:\n```json\n[{\"id\": 0, \"name\": \"A.b\", \"args\": \"\"}]\n```",
    "[{'id': 0, 'name': 'A.b', 'args': ''}]", "[{'id': 0, 'name': 'A.b', 'args': '', 'more': null}]"])  # fmt: skip
def test_a_plan_is_read_from_a_fence_and_with_single_quotes(text):
    assert plans.steps(text) == [plans.Step(0, "A.b", "")]


# --- single calls


@pytest.mark.parametrize(("reply", "form", "args"), [
    ({"goal": "", "name": "Map.find_town", "args": {"place": "Ulm", "n": 2}}, 1, 1),
    ({"goal": "", "name": "Map.find_town", "args": {"place": "Ulm", "n": 2, "more": 1}}, 1, 1),
    ({"goal": "", "name": "Map.find_town", "args": {"place": "Ulm", "n": "2"}}, 1, 2 / 3),
    ({"goal": "", "name": "Map.route", "args": "Ulm"}, 1, 0),
    ({"name": "Map.find_town", "args": {"place": "Ulm", "n": 2}}, 0, 0),
    ([], 0, 0)])  # fmt: skip
def test_instruct_wants_all_keys_and_counts_the_name_and_each_argument(reply, form, args):
    gold = row(reading.INSTRUCT, form="json")
    found = score.one(reading.INSTRUCT, gold, json.dumps(reply), None)
    assert (found["json format"], found["json args"]) == (form, pytest.approx(args))


@pytest.mark.parametrize(("reply", "form", "args"), [
    ("goal: go\n\nname: Map.find_town\n\nargs: {'place': 'Ulm', 'n': 2}", 1, 1),
    ("Sure!\ngoal: goal: go\n\nname: x\n\nname: Map.find_town\n\nargs: {'place': 'Ulm'}", 1, 2 / 3),
    ("goal: go\n\nname: Map.find_town\n\nargs: Ulm", 1, 1 / 3),
    ("goal: go\nname: Map.find_town\nargs: {}", 0, 0),
    ("name: Map.find_town\n\nargs: {}", 0, 0),
    ("", 0, 0)])  # fmt: skip
def test_instruct_finds_the_texts_of_its_template(reply, form, args):
    found = score.one(reading.INSTRUCT, row(reading.INSTRUCT, form="string"), reply, None)
    assert (found["string format"], found["string args"]) == (form, pytest.approx(args))


def test_a_template_is_literal_text_not_a_pattern():
    odd = TEMPLATES["string"] | {"thought_start": "goal (why?):"}
    found = single.instruct("goal (why?): go\n\nname: A.b\n\nargs: {}", {"action": "A.b", "args": {}}, odd, json=False)
    assert found == {"string format": 1, "string args": 1}


def test_a_call_compares_arguments_as_text_and_thoughts_by_likeness():
    found = single.call(str(CALL | {"args": {"place": "Ulm", "n": "2", "k": 0}}), CALL, embedding.by_letters)
    assert found == {"parsed": 1, "thought": pytest.approx(1), "name": 1, "args": pytest.approx(1, abs=1e-4)}
    assert single.call("none", CALL, embedding.by_letters) == {"parsed": 0, "thought": 0, "name": 0, "args": 0}
    for args, value in ({}, 1), ({"n": 1}, 0):
        assert single.call(str(CALL | {"args": args}), CALL | {"args": {}}, embedding.by_letters)["args"] == value


@pytest.mark.parametrize(("reply", "right"), [("Map.find_town", 1), ("Use Map.find_town!", 1), ("find_town", 0),
                                              ("Map.find_town or Map.route", 0), ("Map.find_town, FinishAction", 0)])
def test_retrieve_wants_the_right_name_and_no_other(reply, right):
    assert score.one(reading.RETRIEVE, row(reading.RETRIEVE), reply, None)["name"] == right


@pytest.mark.parametrize("reply", ["Ulm", "'Ulm'", '"Ulm"', "'\"Ulm\"'"])
def test_understand_wants_the_text_itself_or_quoted(reply):
    gold = row(reading.UNDERSTAND, CALL | {"args": "Ulm"})
    assert score.one(reading.UNDERSTAND, gold, reply, None)["args"] == 1
    assert score.one(reading.UNDERSTAND, gold, reply + ".", None)["args"] == 0


@pytest.mark.parametrize(("reply", "parsed", "right"), [
    ("Answer: B, not: C", 1, 0), ("Answer: C", 1, 1), ("C", 1, 1), ("C: input error", 0, 0), ("Answer: (C)", 0, 0),
    ("answer:\n\nC.", 1, 1), ("Can't say", 1, 1), ("c", 0, 0), ("", 0, 0), ("Answer: B", 1, 0),
    ("Answer: F", 0, 0)])  # fmt: skip
def test_review_reads_the_first_character_after_the_first_colon(reply, parsed, right):
    assert score.one(reading.REVIEW, row(reading.REVIEW), reply, None) == {"parsed": parsed, "review": right}


@given(st.text(max_size=200))
def test_every_text_has_scores_from_0_to_1_in_every_part(reply):
    for part in reading.PARTS:
        for form in ("json", "string") if part == reading.INSTRUCT else ("",):
            for value in score.one(part, row(part, form=form), reply, embedding.by_letters).values():
                assert 0 <= value <= 1 + 1e-9


@given(st.text(alphabet="`\n abc<|im_end|>user[INST]json"))
def test_cutting_leaves_nothing_of_the_next_turn(reply):
    cut = literals.clean(reply)
    assert len(cut) <= len(reply)
    assert "<|im_end|>" not in cut
    assert "[INST]" not in cut


# --- the whole and the command


@pytest.mark.parametrize("part", [reading.REVIEW, reading.PLAN_JSON, reading.PLAN_STR])
def test_published_rows_are_read_and_right_replies_are_parsed(part, real_data):
    rows = reading.read(next((real_data / "teval_v1").glob(f"{part}*.json"))).rows
    for published in list(rows.values())[:40]:
        gold = published["ground_truth"]
        if part == reading.REVIEW:
            reply = f"Answer: {gold['answer']}"
        else:
            reply = json.dumps(gold) if part == reading.PLAN_JSON else "\n".join(step["name"] for step in gold)
        scores = score.one(part, published, reply, embedding.by_letters)
        assert scores["parsed"] == scores.get("review", 1) == 1


def test_abilities_are_plain_means_and_overall_needs_all_six():
    rows = [(part, name, 0.5) for averaged in score.ABILITIES.values() for part, name in averaged]
    table = pd.DataFrame(rows, columns=["part", "score", "value"])
    assert score.abilities(table) == dict.fromkeys((*score.ABILITIES, "overall"), 50)
    assert set(score.abilities(table[table["part"] != reading.REVIEW])) == set(score.ABILITIES) - {"review"}


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["t_eval", "score", *map(str, words)])
    command.main()


@pytest.fixture
def review(tmp_path):
    data, replies = tmp_path / "review_str_v1.json", tmp_path / "replies.jsonl"
    data.write_text(json.dumps({f"q{i}": row(reading.REVIEW) for i in range(4)}))
    replies.write_text("".join(json.dumps({"id": f"q{i}", "reply": f"Answer: {c}<|im_end|>"}) + "\n"
                               for i, c in enumerate("CCB")))  # fmt: skip
    return data, replies


def test_the_command_prints_the_table_counts_the_unanswered_and_writes_a_csv(review, monkeypatch, capsys):
    run(monkeypatch, *review)
    shown = capsys.readouterr().out
    assert "3 of 4 rows answered" in shown
    assert "review: 66.7" in shown
    table = pd.read_csv(review[1].with_name("replies.t_eval.csv"))
    assert dict(zip(table["score"], table["value"], strict=True)) == {"parsed": 1, "review": pytest.approx(2 / 3)}


def test_folders_are_scored_together_and_predictions_are_read_too(review, tmp_path, monkeypatch, capsys):
    folders = tmp_path / "data", tmp_path / "replies"
    for folder in folders:
        folder.mkdir()
    review[0].rename(folders[0] / review[0].name)
    review[1].rename(folders[1] / "review_str_model.jsonl")
    (folders[0] / "plan_json_v2.json").write_text(json.dumps({"a": row(reading.PLAN_JSON)}))
    predicted = {"a": row(reading.PLAN_JSON) | {"prediction": str(GOLD)}}
    (folders[1] / "plan_json_model.json").write_text(json.dumps(predicted))
    run(monkeypatch, *folders, "--embedder", embedding.LETTERS)
    shown = capsys.readouterr().out
    assert "not comparable" in shown
    assert "1 of 1 rows answered" in shown
    assert len(pd.read_csv(tmp_path / "replies.t_eval.csv")) == 7


@pytest.mark.parametrize(("name", "content", "message"), [
    ("review_str.json", "{", "invalid JSON"), ("review_str.json", "[]", "expected a JSON object"),
    ("rows.json", '{"a": {}}', "no part of T-Eval"), ("review_str.json", '{"a": 3}', "expected a JSON object"),
    ("review_str.json", json.dumps({"a": row(reading.REVIEW, {"answer": "F"})}), "an answer from A to E"),
    ("plan_str.json", json.dumps({"a": row(reading.PLAN_JSON)}), "'json'}\"; expected the form str"),
    ("instruct.json", json.dumps({"a": row(reading.INSTRUCT, form="json") | {"template": ""}}), "expected a template"),
    ("review_str.json", json.dumps({"b": row(reading.REVIEW)}), "ids that no row has")])  # fmt: skip
def test_bad_input_ends_with_one_line(name, content, message, tmp_path, monkeypatch):
    data, replies = tmp_path / name, tmp_path / "replies.jsonl"
    data.write_text(content)
    replies.write_text('{"id": "a", "reply": "Answer: C"}\n')
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, data, replies)
    assert message in str(stopped.value)
    assert str(stopped.value).count("\n") == 0


def test_bad_replies_and_a_missing_embedder_end_with_one_line(review, tmp_path, monkeypatch):
    for text in ("", '{"id": "q0"}', '{"id": "q0", "reply": "C"}\n' * 2, "no json"):
        review[1].write_text(text)
        with pytest.raises(SystemExit, match=r"error: .*replies\.jsonl.*found"):
            run(monkeypatch, *review)
    for words, message in ((("none.json", review[1]), "no such file"), ((review[0], tmp_path), "two files, or two"),
                           ((*review, "--threshold", "nan"), "expected 0 to 1"),
                           ((*review, "--out", tmp_path), "expected a file")):  # fmt: skip
        with pytest.raises(SystemExit, match=message):
            run(monkeypatch, *words)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(FlanError, match="--embedder letters"):
        embedding.load(embedding.PUBLISHED)
