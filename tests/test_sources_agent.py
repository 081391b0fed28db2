"""Rows of AgentInstruct, ToolBench and FireAct shape, written for these tests, one per trap."""

import dataclasses
import json

import pytest

from flanlib.sources import agentinstruct, read
from flanlib.tally import Tally


def outcome(tmp_path, *rows, format=None):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    tally = Tally("rows")
    records = list(read(path, tally=tally, format=format))
    assert tally.seen == len(rows)
    return records, tally


def kept(tmp_path, row):
    records, tally = outcome(tmp_path, row)
    assert len(records) == 1, str(tally)
    return records[0], tally.noted


def dropped(tmp_path, row):
    records, tally = outcome(tmp_path, row)
    assert not records
    return next(iter(tally.dropped))


def instruct(id, *turns, scripted=("Follow this format ...", "Ok.")):
    """Human and gpt texts in turn; the scripted ones first, with loss false."""
    return {"id": id, "conversations": [
        {"from": ("human", "gpt")[i % 2], "loss": (None, trained)[i % 2], "value": text}
        for texts, trained in ((scripted, False), (turns, True)) for i, text in enumerate(texts)]}


def calls(trajectory):
    return [(s.thought, s.tool, dict(s.arguments), s.observation) for s in trajectory.steps]


def test_os_joins_bash_blocks_and_drops_the_example(tmp_path):
    row = instruct(
        "os_7", "Now, I will start a new problem in a new OS. My problem is:\n\nHow many logs are here?",
        "Think: Look first.\n\nAct: bash\n\n```bash\ncd /var\n```\nand\n```bash\nls\n```",
        "The output of the OS:\n\n\x1b[01;34mlog\x1b[0m\nroot@host:/#",
        "Think: One.\n\nAct: answer(1 (one))",
        scripted=("You act as ...", "Think: t\n\nAct: bash\n\n```bash\nls /etc\n```", "The output of the OS:\n3",
                  "Think: 3.\n\nAct: answer(3)"))
    found, noted = kept(tmp_path, row)
    assert found.query == "How many logs are here?"
    assert calls(found) == [("Look first.", "bash", {"code": "cd /var\nls"}, "log\nroot@host:/#")]
    assert (found.answer, found.answer_thought) == ("1 (one)", "One.")
    assert noted == {"scripted turns left out": 1, "terminal colour codes removed": 1}
    assert found.source == "agentinstruct/os"


def test_os_finish_is_a_last_call_without_result(tmp_path):
    found, noted = kept(tmp_path, instruct("os_8", "Make a.txt.", "Think: Done already.\n\nAct: finish"))
    assert calls(found) == [("Done already.", "finish", {}, None)]
    assert found.answer is None
    assert noted["no answer"] == 1


def test_db_keeps_empty_results_and_the_exact_answer(tmp_path):
    found, _ = kept(tmp_path, instruct(
        "db_1", "How many rows? There is 1 table.",
        "Count.\nAction: Operation\n```sql\nSELECT COUNT(*) FROM t\n```", "",
        "None, it seems.\nAction: Answer\nFinal Answer: [\"0\", 1]"))
    assert calls(found) == [("Count.", "execute_sql", {"query": "SELECT COUNT(*) FROM t"}, "")]
    assert (found.answer, found.answer_thought) == ('["0", 1]', "None, it seems.")


def test_db_row_that_ends_in_an_operation_has_no_answer(tmp_path):
    found, noted = kept(tmp_path, instruct("db_2", "Update it.", "Now.\nAction: Operation\n```sql\nUPDATE t\n```"))
    assert found.answer is None
    assert found.steps[-1].observation is None
    assert noted["no answer"] == 1


def test_kg_splits_arguments_unescapes_names_and_cuts_made_up_results(tmp_path):
    found, _ = kept(tmp_path, instruct(
        "kg_3", "A new question: which tea?\nEntities: [Tea, green]",
        "Thought: Look.\nAction: get\\_relations(Tea, green)\nObservation: [made.up]", "Observation: [a.b, c.d]",
        "Thought: Follow.\nAction: get_neighbors(Tea, green, a.b)",
        "Observation: variable #0, which are instances of x",
        "Thought: Done.\nFinal Answer: #0"))
    assert calls(found) == [("Look.", "get_relations", {"variable": "Tea, green"}, "[a.b, c.d]"),
                            ("Follow.", "get_neighbors", {"variable": "Tea, green", "relation": "a.b"},
                             "variable #0, which are instances of x")]
    assert (found.query, found.answer, found.answer_thought) == ("which tea?\nEntities: [Tea, green]", "#0", "Done.")


def test_alfworld_actions_with_and_without_thought(tmp_path):
    found, _ = kept(tmp_path, instruct("alfworld_1", "You are in a room.\nYour task is to: put a mug away.",
                                       "THOUGHT: Shelf first.\n ACTION: go to shelf 1", "Nothing happened",
                                       "ACTION: go to desk 1"))
    assert calls(found) == [("Shelf first.", "act", {"command": "go to shelf 1"}, "Nothing happened"),
                            ("", "act", {"command": "go to desk 1"}, None)]


def test_webshop_labels_on_their_own_line_and_nested_brackets(tmp_path):
    found, _ = kept(tmp_path, instruct(
        "webshop_1", 'Observation:\n"Instruction: [SEP] Find tea"\n\nAvailable Actions:\n{"has_search_bar": true}',
        "Thought:\nI search.\n\nAction:\nsearch[green tea]", 'Observation:\n"[SEP] tea"\n\nAvailable Actions:\n{}',
        "Thought:\nThis.\n\nAction:\nclick[tea [100 g]]"))
    assert found.query.startswith('"Instruction')
    assert calls(found)[0] == ("I search.", "search", {"query": "green tea"}, '"[SEP] tea"\n\nAvailable Actions:\n{}')
    assert calls(found)[1] == ("This.", "click", {"item": "tea [100 g]"}, None)


PAGE = "<html>...</html>\nTask: Book a table\n\nA. None of the above\nB. <select id=1>\nC. <a>"


def test_mind2web_choices_values_and_none_of_them(tmp_path):
    def one(text):
        return kept(tmp_path, instruct("mind2web_1", PAGE, text, scripted=()))[0]
    assert calls(one("Thought: Type.\nAnswer: B.\nAction: SELECT\nValue: Pickup")) == [
        ("Type.", "select", {"choice": "B", "value": "Pickup"}, None)]
    assert calls(one("Thought: Go.\nAnswer: C.\nAction: CLICK"))[0][1:3] == ("click", {"choice": "C"})
    none = one("Thought: Not here.\nAnswer: A.")
    assert (none.answer, none.answer_thought, none.steps) == ("None of the above", "Not here.", ())


@pytest.mark.parametrize(("row", "reason"), [
    (instruct("mind2web_1", PAGE, "", scripted=()), "an empty agent turn"),
    (instruct("mind2web_1", PAGE, "Thought: Wi-Fi.\nAnswer: D.\nAction: CLICK", scripted=()),
     "the chosen letter is not on the page"),
    (instruct("mind2web_1", PAGE, "Thought: t\nAnswer: B.\nAction: TYPE", scripted=()), "a choice without its value"),
    (instruct("db_1", "Q?", "I do not know."), "a turn without an action"),
    (instruct("kg_1", "Q?", "Thought: t\nAction: delete_all(x)"), "a call of no known function"),
    (instruct("os_1", "Q?", "Act: bash"), "a turn without an action"),
    (instruct("os_1", "Q?", "Act: answer( )"), "an empty answer"),
    (instruct("db_1"), "nothing to train"),
    (instruct("db_1", " ", "Action: Answer\nFinal Answer: []"), "empty query"),
])
def test_agentinstruct_rows_are_dropped_by_reason(tmp_path, row, reason):
    assert dropped(tmp_path, row) == reason


def test_the_environment_is_told_by_the_text_when_the_id_does_not(tmp_path):
    row = instruct("x", "Q?", "So.\nAction: Answer\nFinal Answer: [1]")
    assert kept(tmp_path, row)[0].source == "agentinstruct/db"


def without_flags(row, system=None):
    """The row as a copy has it: ``messages`` of role and content, no loss flags."""
    turns = [{"role": {"human": "user", "gpt": "assistant"}[t["from"]], "content": t["value"]}
             for t in row["conversations"]]
    return {"id": row["id"], "messages": [{"role": "system", "content": system}] * bool(system) + turns}


OS_EXAMPLE = ("You are an assistant that will act like a person, ...", "Think: t\n\nAct: bash\n\n```bash\nls /etc\n```",
              "The output of the OS:\n3", "Think: 3.\n\nAct: answer(3)")


@pytest.mark.parametrize("row", [
    instruct("os_7", "Now, I will start a new problem in a new OS. My problem is:\n\nHow many logs?",
             "Think: One.\n\nAct: answer(1)", scripted=OS_EXAMPLE),
    instruct("db_1", "How many rows?", "Count.\nAction: Operation\n```sql\nSELECT 1\n```", "[(1,)]",
             "So.\nAction: Answer\nFinal Answer: [1]",
             scripted=("I will ask you a question, then you should help me operate a MySQL database ...", "Ok.")),
    instruct("kg_3", "A new question: which tea?", "Thought: Done.\nFinal Answer: #0", scripted=(
        "You are an agent that answers questions based on the knowledge stored ...",
        "I've understood your instruction, start please.", "Question: x?", "Thought: t\nFinal Answer: #3")),
    instruct("alfworld_1", "You are in a room.", "ACTION: go to desk 1", scripted=(
        "Interact with a household to solve a task. ...", "OK. I'll follow your instructions and try my best.")),
    instruct("webshop_1", "Instruction: [SEP] tea", "Thought:\nSo.\n\nAction:\nsearch[tea]",
             scripted=("You are web shopping. ...", "Ok.")),
    instruct("mind2web_1", "'''\n<html></html>\n'''\nTask: Go\n\nA. None\nB. <a>",
             "Thought: t\nAnswer: B.\nAction: CLICK", scripted=()),
], ids=lambda row: row["id"])
def test_rows_without_loss_flags_give_the_record_of_those_with_flags(tmp_path, row):
    found, noted = kept(tmp_path, row)
    for id in (row["id"], "x"):
        bare, bare_noted = kept(tmp_path, without_flags(row | {"id": id}, "You are helpful."))
        assert dataclasses.replace(bare, id=found.id) == found
        assert bare_noted["no loss flags, the scripted opening told by its text"] == 1
        assert bare_noted.get("scripted turns left out") == noted.get("scripted turns left out")
    null = row | {"conversations": [turn | {"loss": None} for turn in row["conversations"]]}
    assert kept(tmp_path, null)[0] == found


def test_an_id_alone_makes_no_agentinstruct_row():
    row = {"id": "os_3", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}
    assert not agentinstruct.matches(row)


def test_household_commands_of_agentgym_are_read(tmp_path):
    row = instruct("x", "You are in a room.", "Thought:\nDesk first.\n\nAction:\ngo to desk 1", "Nothing.",
                   "Thought:\nTake it.\n\nAction:\ntake mug 1 from desk 1")
    row["item_id"] = f"alfworld_{len(row.pop('id'))}"
    assert calls(kept(tmp_path, row)[0]) == [("Desk first.", "act", {"command": "go to desk 1"}, "Nothing."),
                                             ("Take it.", "act", {"command": "take mug 1 from desk 1"}, None)]


def test_untrained_turn_inside_the_task_is_noted(tmp_path):
    row = instruct("db_1", "Q?", "Action: Operation\n```sql\nS\n```", "r", "Action: Answer\nFinal Answer: [1]")
    row["conversations"][-1]["loss"] = False
    assert kept(tmp_path, row)[1]["untrained turn inside the task"] == 1


def test_no_reply_format_survives_in_an_agentinstruct_record(tmp_path):
    bash = "Think: t\n\nAct: bash\n\n```bash\nls\n```"
    found, _ = kept(tmp_path, instruct("os_1", "Q?", bash, "o", "Act: answer(1)"))
    assert not any(mark in repr(found) for mark in ("Think:", "Act:", "```"))


APIS = "[{'name': 'tea_for_shop', 'description': \"it's tea\", 'parameters': {'type': 'object', 'properties': " \
       "{'kind': {'type': 'string'}}, 'required': ['kind'], 'optional': []}}, {'name': 'Finish', 'parameters': {}}]"


def tool_llama(*turns, query="Any tea?", apis=APIS):
    system = {"from": "system", "value": f"You are AutoGPT, ... you have access to the following APIs: {apis}"}
    roles = ("assistant", "function")
    return {"id": f"Step {len(turns)}: {query}", "conversations": [
        system, {"from": "user", "value": f"\n{query}\nBegin!\n"},
        *({"from": roles[i % 2], "value": value} for i, value in enumerate(turns))]}


CALL = '\nThought: Try.\nAction: tea_for_shop\nAction Input: {\n  "kind": "green"\n}'
SEEN = '{"error": "", "response": "{\'tea\'..."}'


def finish(**given):
    return "\nThought: Done.\nAction: Finish\nAction Input: " + json.dumps(given, indent=2)


GOOD = finish(return_type="give_answer", final_answer="Sencha.")


def test_toolbench_keeps_only_the_longest_prefix_of_a_trajectory(tmp_path):
    long = tool_llama(CALL, SEEN, GOOD)
    other = tool_llama(CALL, SEEN, GOOD, query="Any coffee?")
    records, tally = outcome(tmp_path, tool_llama(CALL), long, tool_llama(CALL), other)
    assert [r.query for r in records] == ["Any tea?", "Any coffee?"]
    assert tally.dropped == {"a prefix of another row": 2}
    found = records[0]
    assert calls(found) == [("Try.", "tea_for_shop", {"kind": "green"}, SEEN)]
    assert (found.id, found.answer, found.answer_thought) == ("Any tea?", "Sencha.", "Done.")
    assert [(t.name, t.description, t.required) for t in found.tools] == [("tea_for_shop", "it's tea", ("kind",))]


def test_branches_of_one_query_are_both_kept(tmp_path):
    records, _ = outcome(tmp_path, tool_llama(CALL, SEEN, GOOD), tool_llama(CALL, "other", GOOD))
    assert [r.steps[0].observation for r in records] == [SEEN, "other"]


def test_a_search_prompt_in_a_training_row_is_left_out(tmp_path):
    row = tool_llama(CALL, SEEN, GOOD)
    prompt = {"from": "user", "value": "This is not the first time you try this task, all others failed ..."}
    row["conversations"].insert(2, prompt)
    found, noted = kept(tmp_path, row)
    assert (found.query, noted["search prompt left out"]) == ("Any tea?", 1)
    records, tally = outcome(tmp_path, tool_llama(CALL), row)
    assert len(records) == 1
    assert tally.dropped == {"a prefix of another row": 1}


@pytest.mark.parametrize(("row", "reason"), [
    (tool_llama(CALL, SEEN, finish(return_type="give_up_and_restart")), "gave up"),
    (tool_llama(CALL, SEEN, finish(return_type="give_answer", final_answer=" ")), "no final answer"),
    (tool_llama(CALL, SEEN), "no final answer"),
    (tool_llama(CALL.replace('"kind"', "kind"), SEEN, GOOD), "arguments are not JSON"),
    (tool_llama("\nThought: t\nAction: x", SEEN, GOOD), "a turn without Thought, Action and Action Input"),
    (tool_llama(CALL, SEEN, GOOD, apis="[print('x')]"), "the tool list does not parse"),
    (tool_llama(CALL, SEEN, GOOD, apis="[" + "0," * 250_000 + "]"), "the tool list is too long"),
    (tool_llama(CALL, SEEN, GOOD, apis="[" * 300 + "]" * 300), "the tool list does not parse"),
    (tool_llama(CALL, SEEN, GOOD, query=" "), "empty query"),
    ({"answer_generation": {"valid_data": True, "finish_type": "give_up", "train_messages": [[]]}}, "gave up"),
    ({"answer_generation": {"valid_data": False, "finish_type": "give_answer"}},
     "no final answer (valid_data is false)"),
    ({"answer_generation": {"valid_data": True, "train_messages": [[]]}}, "no turns"),
])
def test_toolbench_rows_are_dropped_by_reason(tmp_path, row, reason):
    assert dropped(tmp_path, row) == reason


def test_toolbench_oddities_are_repaired_and_noted(tmp_path):
    row = tool_llama('Action: invalid_name\nAction Input: Here: {"kind": "a\nb"} there', SEEN, GOOD)
    row["conversations"].insert(4, {"from": "user", "value": "This is not the first time ...", "valid": False})
    found, noted = kept(tmp_path, row)
    assert calls(found) == [("", "invalid_name", {"kind": "a\nb"}, SEEN)]
    assert noted == {"arguments cut out of other text": 1, "search prompt left out": 1, "step without a thought": 1,
                     "call of a tool not offered": 1}


def test_answer_file_keeps_thoughts_that_stand_beside_calls(tmp_path):
    messages = [
        {"role": "system", "content": "You are AutoGPT"}, {"role": "user", "content": "\nAny tea?\nBegin!\n"},
        {"role": "assistant", "content": "Look.", "function_call": {"name": "tea", "arguments": "{}"}},
        {"role": "function", "name": "tea", "content": SEEN},
        {"role": "assistant", "content": "Found it."},
        {"role": "assistant", "content": None, "function_call": {"name": "Finish", "arguments": json.dumps(
            {"return_type": "give_answer", "final_answer": "Sencha."})}}]
    row = {"win": True, "answer_generation": {"valid_data": True, "train_messages": [messages[:3], messages],
                                              "function": [{"name": "tea"}, {"name": "Finish"}]}}
    found, noted = kept(tmp_path, row)
    assert calls(found) == [("Look.", "tea", {}, SEEN)]
    assert (found.answer, found.answer_thought) == ("Sencha.", "Found it.")
    assert noted == {"thought kept beside its call": 1, "thought in a turn of its own": 1}
    assert [t.name for t in found.tools] == ["tea"]


def episode(*turns, question="Which tea?"):
    """FireAct's two layouts of one episode: agent and result texts in turn."""
    roles = ("assistant", "user")
    gpt = [{"role": "user", "content": question}]
    gpt += [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]
    return {"messages": gpt}, {"instruction": question, "input": "", "output": "\n".join(turns) + "\n"}


SEARCH, RESULT, WON = "Thought: Look.\nAction: search[tea [green]]", "Observation: Many.", "Episode finished, reward = "


@pytest.mark.parametrize("layout", [0, 1])
def test_fireact_layouts_give_the_same_record_without_the_grade(tmp_path, layout):
    found, noted = kept(tmp_path, episode(
        SEARCH, RESULT, "Thought: So.\nAction: finish[Sencha]", f"Observation: {WON}True")[layout])
    assert calls(found) == [("Look.", "search", {"query": "tea [green]"}, "Many.")]
    assert (found.query, found.answer, found.answer_thought) == ("Which tea?", "Sencha", "So.")
    assert "reward" not in repr(found)
    assert noted == {"grade cut": 1}


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize(("turns", "reason"), [
    (["Thought: a\nAction: finish[x]", f"Observation: {WON}False"], "failed episode"),
    (["Thought: a\nAction: finish[x]", f"Observation: {WON}0."], "failed episode"),
    ([SEARCH, RESULT, "Thought: no action", RESULT, "Action: finish[x]"], "a turn without an action"),
    (["Action: finish[ ]", f"Observation: {WON}1"], "an empty answer"),
])
def test_fireact_rows_are_dropped_by_reason(tmp_path, layout, turns, reason):
    assert dropped(tmp_path, episode(*turns)[layout]) == reason


def test_fireact_oddities_are_repaired_and_noted(tmp_path):
    gpt, _ = episode("Thought: Wrap up. Action: finish[b]\nAction: finish[b]\nAction: finish[c]",
                     f"Observation: {WON}1")
    gpt["messages"].insert(2, {"role": "assistant", "content": f"Observation: {WON}0"})
    found, noted = kept(tmp_path, gpt)
    assert (found.answer, found.answer_thought) == ("b", "Wrap up.")
    assert noted == {"two actions in a turn, the first kept": 1, "action repeated in the thought, cut there": 1,
                     "result in an assistant turn": 1, "grade cut": 1}


def test_fireact_thought_inside_the_answer_and_labels_inside_thoughts(tmp_path):
    row = {"messages": [{"role": "assistant", "content": "Tea or not?\nAction: finish[Thought: Tea is. Answer: yes.]"},
                        {"role": "user", "content": f"Observation: {WON}1"}]}
    found, _ = kept(tmp_path, row)
    assert (found.query, found.answer, found.answer_thought) == ("Tea or not?", "yes.", "Tea is.")
    gpt, _ = episode("Thought: Reflect. Thought: Then look.\nAction: search[t", RESULT)
    found, noted = kept(tmp_path, gpt)
    assert calls(found) == [("Reflect. Then look.", "search", {"query": "t"}, "Many.")]
    assert set(noted) == {"label inside a thought removed", "an action without its closing bracket", "no grade",
                          "no answer"}


def test_fireact_direct_answers_system_turns_and_traj_give_the_same_record(tmp_path):
    act, won = "Thought: So.\nAction: finish[Sencha]", f"Observation: {WON}True"
    gpt, alpaca = episode(act, won)
    text = f"Preface.\n\n### Instruction:\n{alpaca['instruction']}\n\n### Response:\n{alpaca['output']}"
    found, _ = kept(tmp_path, gpt)
    assert (found.query, found.steps, found.answer, found.answer_thought) == ("Which tea?", (), "Sencha", "So.")
    system = [{"role": "system", "content": "Think, then act."}]
    for row in ({"messages": gpt["messages"][:2]}, {"messages": system + gpt["messages"]}, alpaca,
                {"traj": gpt["messages"], "reward": True}, {"traj": text, "reward": True}):
        other, _ = kept(tmp_path, row)
        assert dataclasses.replace(other, id=found.id) == found
    for traj in (gpt["messages"], text):
        assert dropped(tmp_path, {"traj": traj, "reward": False}) == "failed episode"


@pytest.mark.parametrize("layout", [0, 1])
def test_an_episode_with_other_actions_is_read_as_any_agents(tmp_path, layout):
    row = episode(SEARCH, RESULT, "Thought: Buy.\nAction: buy[Sencha]", "Observation: Done.",
                  "Thought: So.\nAction: finish[Sencha]", f"Observation: {WON}1")[layout]  # fmt: skip
    found, _ = kept(tmp_path, row)
    assert calls(found) == [("Look.", "search", {"input": "tea [green]"}, "Many."),
                            ("Buy.", "buy", {"input": "Sencha"}, "Done.")]
    assert (found.source, found.answer, found.answer_thought) == ("chat", "Sencha", "So.")


def test_alpaca_options_return_to_the_query(tmp_path):
    act, won, options = "Thought: B.\nAction: finish[B]", f"Observation: {WON}1", "A. no\nB. yes"
    gpt, _ = episode(act, won, question=f"Question: Tea?\n{options}")
    _, alpaca = episode(f"{options}\n{act}", won, question="Question: Tea?")
    (one, _), (two, noted) = kept(tmp_path, gpt), kept(tmp_path, alpaca)
    assert one.query == two.query == "Tea?\nA. no\nB. yes"
    assert one.answer_thought == two.answer_thought
    assert noted["start of the episode moved to the query"] == 1
