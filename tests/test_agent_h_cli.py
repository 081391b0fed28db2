"""Agent-H from the command line: samples are written, replies of any kind are scored, and errors take one line."""

import json
import sys

import pandas as pd
import pytest

from flanlib.benchmarks.agent_h import answers, build, samples
from flanlib.benchmarks.agent_h.__main__ import main
from flanlib.records import FlanError
from flanlib.tally import Tally

REPLIES = ("It is Ulm.", "", "I cannot do that.", "Thought: I know.\nFinal Answer: Ulm.", "- Ulm\n- Bonn", "ü\u2028\"{",
        'Action: find_it\nAction Input: {"a": 1}', '{"name": "find_it", "arguments": {}}', '{"name": "find_it", "argu',
        "I need to call a tool for that.", "I will use find_it to look.", "find_it(a=1)", "<tool_call>", "{" * 50,
        '{"answer": 1}', "a: 1", "<a>1</a>", "a,b\n1,2", "1. one\n2. two", "x" * 9000)  # fmt: skip


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the command in a temporary folder and return its output; an exit is raised."""
    monkeypatch.chdir(tmp_path)

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["agent_h", *map(str, options)])
        main()
        return capsys.readouterr().out

    return run


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def replies(path, made, reply):
    return write(path, [{"id": one.id, "reply": reply(i, one)} for i, one in enumerate(made)])


@pytest.fixture(scope="module")
def composed():
    return build.build(build.lab_pool(60, seed=3), 60, seed=3, tally=Tally("t"))


@pytest.fixture
def made(composed, tmp_path):
    samples.write(tmp_path / "agent_h.jsonl", composed)
    return composed


def scored(path):
    table = pd.read_csv(path)
    return table[table["cell"] == "all"].set_index("score")["value"].to_dict()


def test_samples_are_written_to_the_given_path(run, composed, tmp_path):
    out = run("build", "--n", 60, "--seed", 3, "--out", "deep/er/own.jsonl")
    made = samples.read(tmp_path / "deep" / "er" / "own.jsonl")
    assert len(made) == 60
    assert "own.jsonl: 60 samples" in out
    assert "60 kept, 0 dropped" in out
    manifest = json.loads((tmp_path / "deep" / "er" / "own.manifest.json").read_text(encoding="utf-8"))
    assert {key: manifest[key] for key in ("samples", "source", "seed", "asked")} == {
        "samples": 60, "source": "lab", "seed": 3, "asked": 60}  # fmt: skip
    run("build", "--n", 60, "--seed", 3)
    assert (tmp_path / "agent_h.jsonl").read_bytes() == (tmp_path / "deep" / "er" / "own.jsonl").read_bytes()
    assert made == composed


def test_a_small_file_of_your_own_gives_as_many_samples_as_it_allows(run, tmp_path):
    tool = {"type": "function", "function": {"name": "find_town", "description": "Find a town.", "parameters": {}}}
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "find_town", "arguments": "{}"}}]}
    rows = [{"messages": [{"role": "user", "content": f"Tell me about {i}."}, {"role": "assistant", "content": "Ok."}]}
            for i in range(20)]  # fmt: skip
    rows += [{"messages": [{"role": "user", "content": f"Find {i}."}, call], "tools": [tool]} for i in range(9)]
    out = run("build", "--source", write(tmp_path / "own.jsonl", [*rows, {"no": "turns"}, rows[0]]))
    assert "31 seen, 30 kept, 1 dropped" in out
    assert "30 seen, 29 kept, 1 dropped (a query met before 1" in out
    made = samples.read(tmp_path / "agent_h.jsonl")
    assert f"samples left out for want of requests, of 1845 {1845 - len(made)}" in out
    assert len(made) >= 26
    assert {one.source for one in made} == {"glaive"}


def test_replies_of_every_kind_are_scored(run, made, tmp_path):
    path = replies(tmp_path / "model.v1.jsonl", made, lambda i, one: REPLIES[i % len(REPLIES)])
    out = run("score", "--samples", "agent_h.jsonl", "--replies", path)
    assert "60 of 60 samples answered" in out
    assert "by cell: " in out
    table = pd.read_csv(tmp_path / "model.v1.scores.csv")
    assert list(table.columns) == ["cell", "score", "value", "low", "high", "n", "seeds"]
    assert set(table["score"]) == {"plain reply", "tool called", "format followed", "H_ReAct", "H_General",
                                   "balanced", "HScore"}  # fmt: skip
    assert set(table["cell"]) == {"all", *(one.cell for one in made)}
    assert (table["low"] <= table["value"] + 1e-9).all()
    assert (table["value"] <= table["high"] + 1e-9).all()
    plain = sum(one.truth not in ("call", "react") for one in made)
    whole = table[table["cell"] == "all"].set_index("score")["n"]
    assert whole[["plain reply", "H_ReAct"]].to_list() == [plain, plain]
    assert whole["tool called"] == sum(one.truth == "call" for one in made)


def test_models_of_known_behaviour_get_the_expected_scores(run, made, tmp_path):
    def call(_, one):
        return json.dumps({"name": one.wanted[0] if one.wanted else "find_it", "arguments": {}})

    for name, reply, expected in (
        ("silent", lambda i, one: "I would rather not say.",
         {"plain reply": 1, "tool called": 0, "balanced": 0.5, "HScore": 1}),
        ("eager", call, {"plain reply": 0, "tool called": 1, "balanced": 0.5, "HScore": 1}),
        ("worded", lambda i, one: "Thought: I need to call a tool.", {"HScore": 0, "tool called": 0}),
        ("right", lambda i, one: call(i, one) if one.truth == "call" else "It is so.",
         {"plain reply": 1, "tool called": 1, "balanced": 1}),
    ):  # fmt: skip
        run("score", "--samples", "agent_h.jsonl", "--replies", replies(tmp_path / "r.jsonl", made, reply), "--out",
            tmp_path / "out" / f"{name}.csv")  # fmt: skip
        found = scored(tmp_path / "out" / f"{name}.csv")
        assert {key: found[key] for key in expected} == pytest.approx(expected), name


@pytest.mark.parametrize("truths", [("plain",), ("call",), ("json", "react"), ("plain", "call")])
def test_partial_replies_are_scored_and_counted(run, made, tmp_path, truths):
    some = [one for one in made if one.truth in truths][:7]
    path = replies(tmp_path / "some.jsonl", some, lambda i, one: "It is so.")
    assert f"{len(some)} of 60 samples answered" in run("score", "--samples", "agent_h.jsonl", "--replies", path)
    table = pd.read_csv(tmp_path / "some.scores.csv")
    assert table["n"].max() <= len(some)
    assert set(table["cell"]) == {"all", *(one.cell for one in some)}


def test_the_same_replies_give_the_same_table(run, made, tmp_path):
    path = replies(tmp_path / "a.jsonl", made, lambda i, one: REPLIES[i % 7])
    first = run("score", "--samples", "agent_h.jsonl", "--replies", path, "--out", "first.csv")
    path = replies(tmp_path / "a.jsonl", made[::-1], lambda i, one: REPLIES[(59 - i) % 7])
    again = run("score", "--samples", "agent_h.jsonl", "--replies", path, "--out", "again.csv")
    assert first.replace("first", "again") == again
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()


@pytest.mark.parametrize(("rows", "message"), [
    (["{"], "line 2: found "), (["[]"], "expected a JSON object"), (['{"id": "%s"}'], "expected {id, reply}"),
    (['{"id": 3, "reply": "a"}'], "expected {id, reply}"), (['{"id": "%s", "reply": null}'], "expected {id, reply}"),
    (['{"id": "%s", "reply": NaN}'], "expected {id, reply}"),
    (['{"id": "%s", "reply": "a"}'] * 2, "line 3: found"),
    (['{"id": "x", "reply": "a"}'], "line 2: found the id 'x', which no sample has"),
    (['{"id": "%s", "reply": "a", "digest": "other"}'], "of a sample with another text"),
    ([], "no reply"), (["\udcff"], "not UTF-8"),
])  # fmt: skip
def test_invalid_replies_are_refused_in_one_line(run, made, tmp_path, rows, message):
    lines = "\n".join(["", *(line.replace("%s", made[0].id) for line in rows)])
    (tmp_path / "r.jsonl").write_bytes(lines.encode("utf-8", "surrogateescape"))
    with pytest.raises(SystemExit) as exit:
        run("score", "--samples", "agent_h.jsonl", "--replies", "r.jsonl")
    assert exit.value.code.startswith("error: ")
    assert message in exit.value.code
    assert len(exit.value.code.splitlines()) == 1
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize(("options", "message"), [
    (("build", "--n", 11), "--n: found 11; expected 12 or more"), (("build", "--n", -5), "--n: found -5"),
    (("build", "--n", 12, "--seed", -1), "--seed: found -1"),
    (("build", "--n", 12, "--out", "."), "--out: found the folder ."),
    (("build", "--n", 12, "--out", "few.jsonl/a"), "few.jsonl"), (("build", "--source", "none.jsonl"), "no such file"),
    (("build", "--source", "few.jsonl"), "1 plain and 0 served"),
    (("build", "--n", 12, "--out", "few.jsonl"), "few.jsonl: found that it exists; expected a new file. Name another"),
    (("score", "--samples", "none.jsonl", "--replies", "few.jsonl"), "no such file"),
    (("ask", "--samples", "none.jsonl", "--model", "random"), "expected both"),
    (("ask", "--samples", "none.jsonl"), "nothing to do"),
    (("ask", "--samples", "few.jsonl", "--prompts", "p.jsonl"), "few.jsonl, line 1: found"),
    (("score", "--samples", "few.jsonl", "--replies", "few.jsonl"), "few.jsonl, line 1: found"),
])  # fmt: skip
def test_invalid_options_and_files_are_refused_in_one_line(run, tmp_path, options, message):
    write(tmp_path / "few.jsonl", [{"instruction": "Hello", "output": "Hi"}])
    with pytest.raises(SystemExit) as exit:
        run(*options)
    assert exit.value.code.startswith("error: ")
    assert message in exit.value.code
    assert len(exit.value.code.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["few.jsonl"]


def test_files_that_are_there_are_written_over_only_by_force(run, made, tmp_path):
    path = replies(tmp_path / "r.jsonl", made, lambda i, one: "It is so.")
    score, prompts = ("score", "--samples", "agent_h.jsonl", "--replies", path), ("ask", "--samples", "agent_h.jsonl")
    for options in (score, (*prompts, "--prompts", "p.jsonl")):
        run(*options)
        with pytest.raises(SystemExit, match=r"found that it exists.*pass --force"):
            run(*options)
        run(*options, "--force")


def test_prompts_are_what_services_take_and_lead_back_to_their_samples(run, made, tmp_path):
    run("ask", "--samples", "agent_h.jsonl", "--prompts", "p.jsonl")
    asked = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    listed = [json.loads(line) for line in (tmp_path / "agent_h.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["messages"] for one in asked] == [one["messages"] for one in listed]
    assert [one.get("tools", []) for one in asked] == [one["tools"] for one in listed]
    assert not any("truth" in one or one.get("tools") == [] for one in asked)
    path = write(tmp_path / "r.jsonl", [one | {"message": message(content="So.")} for one in asked])
    assert "60 of 60 samples answered" in run("score", "--samples", "agent_h.jsonl", "--replies", path)


def test_arguments_that_do_not_exist_are_usage_errors(monkeypatch, capsys):
    for options in ([], ["build", "--n", "many"], ["score"], ["ask"]):
        monkeypatch.setattr(sys, "argv", ["agent_h", *options])
        with pytest.raises(SystemExit) as exit:
            main()
        assert exit.value.code == 2
        assert "usage: python -m flanlib.benchmarks.agent_h" in capsys.readouterr().err


def message(*calls, **parts):
    return {"role": "assistant", "content": None, **parts, **({"tool_calls": list(calls)} if calls else {})}


FIND = {"name": "find_it", "arguments": "{}"}
CALL = {"id": "c", "type": "function", "function": FIND}
CALLED = json.dumps({"tool_calls": [FIND]})
TEXT, USE = {"type": "text", "text": "So."}, {"type": "tool_use", "id": "c", "name": "find_it", "input": {"a": 1}}
ITEMS = [{"type": "reasoning", "summary": []}, {"type": "function_call", "call_id": "c", **FIND}]


def response(**parts):
    """Make a whole response of OpenAI's chat completions."""
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"index": 0, "message": message(**parts)}]}


@pytest.mark.parametrize(("row", "text"), [
    ({"reply": "So."}, "So."), ({"response": "So."}, "So."), ({"content": "So."}, "So."), ({"output": "So."}, "So."),
    ({"reply": ""}, ""), ({"reply": message(content="So.")}, "So."), ({"message": message(content="So.")}, "So."),
    ({"reply": "So \ud83d."}, "So ?."), ({"reply": [TEXT]}, "So."), ({"reply": message(content="")}, ""),
    ({"content": [{"type": "thinking", "thinking": "Hm."}, TEXT]}, "So."),
    ({"reply": message(CALL)}, CALLED), (message(CALL), CALLED), ({"message": message(CALL)}, CALLED),
    ({"reply": message(CALL, content="So.")}, f"So.\n{CALLED}"), ({"reply": message(function_call=FIND)}, CALLED),
    ({"content": [TEXT, USE]}, 'So.\n{"tool_calls": [{"name": "find_it", "arguments": {"a": 1}}]}'),
    ({"reply": message(content="So.", reasoning_content="I will use find_it.")}, "So."),
    ({"reply": message(reasoning_content="I will use find_it.")}, ""), ({"reply": message(refusal="No.")}, "No."),
    (response(content="So.") | {"id": "a"}, "So."), ({"response": response(tool_calls=[CALL])}, CALLED),
    ({"id": "b", "custom_id": "a", "response": {"status_code": 200, "body": response(tool_calls=[CALL])}}, CALLED),
    ({"response": {"object": "response", "output": ITEMS}}, CALLED), ({"choices": [{"text": "So."}]}, "So."),
    ({"response": {"candidates": [{"content": {"role": "model", "parts": [{"functionCall": {"name": "find_it"}}]}}]}},
     '{"tool_calls": [{"name": "find_it", "arguments": {}}]}'),
])  # fmt: skip
def test_replies_may_be_texts_or_messages_under_any_usual_key(tmp_path, row, text):
    assert answers.read(write(tmp_path / "r.jsonl", [{"id": "a", **row}]), tally=Tally("t")) == {"a": text}


@pytest.mark.parametrize("value", [None, 3, True, {}, {"content": 3}, {"role": "assistant", "content": None}, [3],
                                   [None], [{"type": "image"}], {"choices": []}, {"role": "user", "content": "So."},
                                   {"tool_calls": [{"function": {"arguments": "{}"}}]}])  # fmt: skip
def test_a_row_without_a_reply_is_refused(tmp_path, value):
    with pytest.raises(FlanError, match="line 1: found"):
        answers.read(write(tmp_path / "r.jsonl", [{"id": "a", "reply": value}]), tally=Tally("t"))


def test_a_byte_order_mark_and_the_line_ends_of_any_system_are_read(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "r.jsonl").write_bytes(b"\xef\xbb\xbf" + end.join(
            json.dumps({"id": name, "reply": "a\rb"}) for name in "ab").encode())  # fmt: skip
        assert answers.read(tmp_path / "r.jsonl", tally=Tally("t")) == dict.fromkeys("ab", "a\rb")


def test_calls_are_counted_in_relign_classes_and_mended_replies_noted(run, made, tmp_path):
    path = replies(tmp_path / "r.jsonl", made, lambda i, one: [message(CALL), "So \ud800."][i % 2])
    out = run("score", "--samples", "agent_h.jsonl", "--replies", path)
    assert "noted: replies with half a character, read as a question mark 30" in out
    (line,) = [line.split() for line in out.splitlines() if "tool_name_hallucination" in line]
    assert line[1:] == ["30", "0"]
