"""BFCL's rows become samples, and call, malformed call and abstaining are told apart, in whatever form."""

import json
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flanlib import store, wheels
from flanlib.benchmarks import bfcl, scores
from flanlib.benchmarks.agent_h import score
from flanlib.benchmarks.agent_h.ask import measure
from flanlib.benchmarks.bfcl import ABSTAIN, CALL, DEGENERATE, MALFORMED, RIGHT
from flanlib.records import FlanError
from flanlib.tally import Tally

FARE = {
    "name": "rail.fare", "description": "Find a fare.",
    "parameters": {"type": "dict", "required": ["town", "seats"], "properties": {
        "town": {"type": "string"}, "seats": {"type": "integer"}, "discount": {"type": "float"},
        "span": {"type": "tuple", "items": {"type": "float"}}, "who": {"type": "dict", "properties": {}}}}}  # fmt: skip
GOLD = [{"rail.fare": {"town": ["Ulm", "Ulm, Germany"], "seats": [2], "discount": [0.5, ""]}}]
OTHER = {"name": "weather", "description": "", "parameters": {"type": "dict", "properties": {}, "required": []}}


@given(st.text())
def test_any_text_is_read_without_an_error(text):
    assert isinstance(bfcl.stated(text), list)


def test_calls_are_read_in_the_forms_that_models_use():
    call = [("rail.fare", {"town": "Ulm", "n": 2})]
    arguments = json.dumps(call[0][1])
    for reply in ("rail.fare(town='Ulm', n=2)",
                  f"Thought: look\nAction: rail.fare\nAction Input: {arguments}\nObservation: 3",
                  f'{{"thought": "look", "name": "rail.fare", "arguments": {arguments}}}',
                  f'Well: [{{"name": "rail.fare", "parameters": {arguments}}}]',
                  '{"name": "rail.fare", "arguments": ' + json.dumps(arguments) + "}"):  # fmt: skip
        assert bfcl.stated(reply) == call, reply
    assert bfcl.stated("Action: rail.fare\nAction Input: Ulm") == []


@pytest.fixture
def folder(tmp_path):
    """A folder like BFCL's, with rows of our own."""
    rows = {
        "irrelevance": [row("irrelevance_0", "How tall is the tower?", FARE), row("irrelevance_1", "Hi", FARE)],
        "live_irrelevance": [row("live_irrelevance_0-0-0", "Sing!", FARE), row("live_irrelevance_1-1-0", "Sing!")],
        "live_relevance": [row("live_relevance_0-0-0", "Fare, please.", FARE, OTHER)],
        "multiple": [row(f"multiple_{i}", "A fare to Ulm for two.", OTHER, FARE) for i in range(3)],
    }
    for name, listed in rows.items():
        (tmp_path / f"BFCL_v4_{name}.json").write_text("\n".join(map(json.dumps, listed)))
    (tmp_path / "possible_answer").mkdir()
    answers = [{"id": one["id"], "ground_truth": GOLD} for one in rows["multiple"]]
    (tmp_path / "possible_answer" / "BFCL_v4_multiple.json").write_text("\n".join(map(json.dumps, answers)))
    return tmp_path


def row(id, text, *functions):
    return {"id": id, "question": [[{"role": "user", "content": text}]], "function": list(functions)}


def test_rows_become_samples_with_json_schemas_and_the_rest_is_counted(folder):
    tally = Tally("BFCL")
    cases = bfcl.read(folder, tally=tally)
    assert Counter(case.category for case in cases) == {"irrelevance": 2, "live_irrelevance": 1, "live_relevance": 1,
                                                        "multiple": 3}  # fmt: skip
    assert (tally.kept, tally.dropped) == (7, {"no tool is offered": 1})
    case = next(case for case in cases if case.category == "multiple")
    properties = case.sample.tools[1].properties
    assert [properties[name]["type"] for name in ("discount", "span", "who")] == ["number", "array", "object"]
    assert (case.sample.truth, case.sample.wanted, case.answers) == ("call", ("rail.fare",), tuple(GOLD))
    assert case.functions[1]["parameters"]["properties"]["span"]["type"] == "tuple"  # as the checker wants it


def test_a_draw_is_even_over_categories_and_the_same_for_a_seed(folder):
    cases = bfcl.read(folder, tally=Tally("BFCL"))
    drawn = bfcl.draw(cases, 2, seed=1)
    assert [case.category for case in drawn] == ["irrelevance", "live_irrelevance", "multiple", "live_relevance"]
    assert drawn == bfcl.draw(cases, 2, seed=1)
    assert len({bfcl.draw(cases, 1, seed=seed)[1].sample.id for seed in range(9)}) > 1
    assert sorted(case.sample.id for case in bfcl.draw(cases, None)) == sorted(case.sample.id for case in cases)


def test_a_draw_is_named_without_the_data_and_read_from_it(folder, monkeypatch):
    draw = bfcl.Draw(2, 1)
    assert bfcl.WHEEL.sha256 in repr(draw)
    monkeypatch.setattr(bfcl, "FOLDER", folder / "nothing")
    with pytest.raises(FlanError, match=r"python -m flanlib\.benchmarks\.bfcl"):
        draw.read()
    (folder / "nothing").mkdir()
    for name in ("irrelevance", "live_irrelevance", "live_relevance"):
        store.write(folder / "nothing" / "data" / f"BFCL_v4_{name}.json",
                    (folder / f"BFCL_v4_{name}.json").read_bytes())  # fmt: skip
    assert draw.read() == bfcl.draw(bfcl.read(tally=Tally("BFCL")), 2, seed=1)
    assert len(draw.read()) == 3 < draw.size == 4


def judged(folder, replies):
    """The kind and upstream's verdict for replies, each to the first case of its category."""
    cases = {case.category: case for case in reversed(bfcl.read(folder, tally=Tally("BFCL")))}
    rows = bfcl.judge([*cases.values()], {cases[name].sample.id: reply for name, reply in replies.items()})
    return {name: (part["kind"].iloc[0], part.set_index("score")["value"].get(RIGHT))
            for name, part in rows.groupby("category")}  # fmt: skip


def test_call_malformed_call_and_abstaining_are_told_apart(folder):
    call = "[rail.fare(town='Ulm', seats=2)]"
    broken = '<tool_call>{"name": "rail.fare", "arguments": {"town": </tool_call>'
    words = "I will use the rail.fare tool for this."
    final = "Thought: no tool does this\nFinal Answer: I can't tell."
    assert judged(folder, {"irrelevance": call, "multiple": call, "live_relevance": call}) == {
        "irrelevance": (CALL, 0), "multiple": (CALL, 1), "live_relevance": (CALL, 1)}  # fmt: skip
    assert judged(folder, {"irrelevance": "[sing(song='Ulm')]"})["irrelevance"] == (CALL, 0)  # an invented tool
    for reply, kind in ((broken, MALFORMED), (words, MALFORMED), (final, ABSTAIN), ("It is tall.", ABSTAIN),
                        ("", DEGENERATE)):  # fmt: skip
        # Upstream: whatever cannot be decoded is right where no tool fits.
        assert judged(folder, {"irrelevance": reply, "multiple": reply, "live_relevance": reply}) == {
            "irrelevance": (kind, 1), "multiple": (kind, 0), "live_relevance": (kind, 0)}, reply  # fmt: skip


def test_python_in_prose_that_answers_a_question_is_no_call(folder):
    prose = ("You can work it out in Python:\n\n```python\nimport math\n\nheight = math.sqrt(3) * 20\nprint(height)\n"
             "```\n\nThis prints about 34.6 metres.")  # fmt: skip
    function = "```python\ndef area(a, b):\n    return a * b\n\nprint(area(2, b=3))\n```"
    for reply in (prose, function):
        assert judged(folder, {"irrelevance": reply})["irrelevance"] == (ABSTAIN, 1), reply


def test_answers_are_tabulated_as_agent_h_s(folder):
    cases = bfcl.draw(bfcl.read(folder, tally=Tally("BFCL")))  # 3 where no tool fits, 4 where one does
    replies = dict.fromkeys((case.sample.id for case in cases), "rail.fare(town='Ulm', seats=2)")
    rows = bfcl.rated(cases, score.judge([case.sample for case in cases], replies))
    rows = pd.concat([rows.assign(model="calls"), rows.assign(model="is mute", kind=ABSTAIN)])
    table = bfcl.answers(rows).set_index(["model", "cell", "answer"])
    shares = table[table["share"] > 0]["share"].to_dict()
    assert shares == {("calls", "no tool fits", score.CALLED): 1, ("calls", "a tool fits", score.RIGHT): 1,
                      ("is mute", "no tool fits", score.RIGHT): 1, ("is mute", "a tool fits", score.NO_CALL): 1}
    assert table["n"].to_dict()["calls", "a tool fits", score.RIGHT] == 4


def test_a_wrong_argument_is_a_call_and_not_right(folder):
    assert judged(folder, {"multiple": "[rail.fare(town='Ulm', seats=3)]"})["multiple"] == (CALL, 0)
    assert judged(folder, {"multiple": "[weather()]"})["multiple"] == (CALL, 0)


def test_judgements_can_be_tabulated_with_intervals(folder):
    cases = bfcl.draw(bfcl.read(folder, tally=Tally("BFCL")))
    rows = bfcl.judge(cases, {case.sample.id: "rail.fare(town='Ulm', seats=2)" for case in cases})
    assert rows.groupby("id")["value"].agg(["size", "sum"]).max().to_list() == [5, 2]
    table = scores.table(rows, ["truth"]).set_index(["truth", "score"])
    assert table.loc[("call", RIGHT), "value"] == table.loc[("plain", CALL), "value"] == 1
    assert table.loc[("plain", RIGHT), "value"] == 0
    assert (table["low"] <= table["value"]).all()
    assert table.loc[("call", CALL), "n"] == 4
    with pytest.raises(FlanError, match="ids that no sample has"):
        bfcl.judge(cases, {"nothing": "x"})


def test_a_model_is_measured_in_its_own_protocol(folder):
    cases = bfcl.draw(bfcl.read(folder, tally=Tally("BFCL")))
    samples = [case.sample for case in cases]
    react = measure(samples, "react", lambda prompts: [
        'Thought: a fare\nAction: rail.fare\nAction Input: {"town": "Ulm", "seats": 2}'] * len(prompts))  # fmt: skip
    assert bfcl.judgements(bfcl.rated(cases, react)).query("score == 'right' and category == 'multiple'")["value"].all()
    chat = measure(samples, "chat", lambda prompts: [
        "rail.fare" if prompt.id.endswith("tool") else "I should look up the fare." for prompt in prompts],
        plans=lambda text: True)  # fmt: skip
    rows = bfcl.judgements(bfcl.rated(cases, chat))
    assert set(rows["kind"]) == {CALL}
    assert set(rows.loc[rows["score"] == RIGHT, "category"]) == {"irrelevance", "live_irrelevance", "live_relevance"}


def test_without_the_data_one_line_says_which_command_fetches_it(tmp_path, monkeypatch, capsys):
    with pytest.raises(FlanError, match=r"python -m flanlib\.benchmarks\.bfcl") as error:
        bfcl.read(tmp_path, tally=Tally("BFCL"))
    assert "\n" not in str(error.value)
    monkeypatch.setattr(wheels, "DOWNLOADS", tmp_path / "downloads")
    monkeypatch.setattr(bfcl, "FOLDER", tmp_path / "downloads" / "bfcl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert bfcl.main() == 1
    assert "pip download --no-deps bfcl-eval==2026.3.23" in capsys.readouterr().err
