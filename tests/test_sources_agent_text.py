"""Agents' texts in chat rows become calls, results and answers; what only resembles them stays plain chat."""

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flanlib.records import Tool
from flanlib.sources import agent_text, prescribed
from flanlib.sources.common import Drop
from flanlib.sources.messages import Call, Message

TIDE = Tool("tide_table", "", {"properties": {"harbour": {"type": "string"}}, "required": ["harbour"]})
FORMAT = "Use this format:\nThought: ..\nAction: one of [tide_table]\nAction Input: ..\nObservation: ..\n" \
         "Final Answer: .."


def talk(*texts, system=None):
    """Texts of the user and the assistant in turn."""
    head = [Message("system", system)] if system is not None else []
    return head + [Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)]


def read(messages, tools=()):
    """The dialogue as (role, text, thought, name, arguments), with its notes."""
    notes = []
    found = agent_text.structured(messages, notes.append, tools)
    if found is None:
        return None, notes
    return [(m.role, m.text, m.thought, *((m.calls[0].name, m.calls[0].arguments) if m.calls else ()))
            for m in found], notes  # fmt: skip


CALL = ("assistant", "", "I look.", "tide_table", {"harbour": "Cork"})
EPISODE = [("user", "When?", ""), CALL, ("tool", "14:20", ""), ("assistant", "At 14:20.", "Now I know.")]
ANSWER = "Thought: Now I know.\nFinal Answer: At 14:20."


@pytest.mark.parametrize("action", [
    'Action: tide_table\nAction Input: {"harbour": "Cork"}',
    "Action: tide_table\nAction Input: {'harbour': 'Cork'}",
    'Action: `tide_table`\nAction Input:\n```json\n{"harbour": "Cork"}\n```',
    "Action: tide_table\nAction Input: Cork",
    "Action: tide_table[Cork]",
    'Action: tide_table(harbour="Cork")',
    'Action: tide_table("Cork")',
    "Action: tide\\_table(Cork)",
    "Action: tide_table with Action Input: Cork",
    'Action:\n```json\n{"action": "tide_table", "action_input": {"harbour": "Cork"}}\n```',
    'Action: {"name": "tide_table", "arguments": {"harbour": "Cork"}}',
    'Action: ```json\n[{"tool_name": "tide_table", "parameters": {"harbour": "Cork"}}]\n```',
    "Action:\ntide_table[Cork]",
])
def test_every_way_to_write_an_action_gives_the_same_call(action):
    called = f"Thought: I look.\n{action}"
    inside = f"{called}\nObservation: 14:20\n{ANSWER}"
    for messages in (talk("When?", called, "Observation: 14:20", ANSWER), talk("When?", inside),
                     [*talk("When?", called), Message("tool", "14:20"), Message("assistant", ANSWER)]):  # fmt: skip
        assert read(messages, (TIDE,))[0] == EPISODE


@pytest.mark.parametrize("mark", ["{}:", "{} 1:", "{}1:", "**{}:**", "**{}**:", "### {}:", "  {} :"])
@pytest.mark.parametrize("case", [str, str.upper])
def test_labels_can_be_numbered_bold_or_in_capitals(mark, case):
    thought, action, observation, answer = (
        mark.format(case(label)) for label in ("Thought", "Action", "Observation", "Final Answer"))
    called, last = f"{thought} I look.\n{action} tide_table[Cork]", f"{thought} Now I know.\n{answer} At 14:20."
    assert read(talk("When?", called, f"{observation} 14:20", last), (TIDE,))[0] == EPISODE


@pytest.mark.parametrize("closing", [
    "Action: finish[At 14:20.]", 'Action: Finish(answer="At 14:20.")', "Action: finish('At 14:20.')",
    'Action: FinalAction\nAction Input: {"return_type": "give_answer", "final_answer": "At 14:20."}',
    "Action: submit\nAction Input: At 14:20.", "Action: Answer\nFinal Answer: At 14:20.",
    'Action:\n```\n{"action": "Final Answer", "action_input": "At 14:20."}\n```',
])
def test_a_tool_that_only_ends_the_episode_becomes_the_answer(closing):
    episode = talk("When?", "Thought: I look.\nAction: tide_table[Cork]", "Observation: 14:20",
                   f"Thought: Now I know.\n{closing}", "Observation: Episode finished, reward = True")
    found, notes = read(episode, (TIDE,))
    assert found == EPISODE
    assert notes == ["a result after the answer left out"]


def test_failed_and_given_up_episodes_are_dropped():
    called = "Action: search[tide]", "Observation: none"
    with pytest.raises(Drop, match="failed episode"):
        read(talk("When?", *called, "Action: finish[x]", "Observation: Episode finished, reward = 0"))
    with pytest.raises(Drop, match="gave up"):
        read(talk("When?", *called, 'Action: Finish\nAction Input: {"return_type": "give_up_and_restart"}'))


def test_an_offered_tool_named_submit_is_a_call():
    assert read(talk("Send it.", "Thought: So.\nAction: submit[form]"), (Tool("submit"),))[0][1][3] == "submit"


def test_a_closing_call_without_text_gives_no_answer():
    listed = "You fix code.\n\nYou have access to:\n---- BEGIN FUNCTION #1: bash ----\nRuns it.\n" \
             "---- END FUNCTION #1 ----\n\nReply so:\n<function=name>\n</function>\n<IMPORTANT>\nx\n</IMPORTANT>"
    found, notes = read(talk(
        "Fix it.", "Look.\n\n<function=bash>\n<parameter=command>ls</parameter>\n</function>", "OBSERVATION:\na.py",
        "Done.\n\n<function=submit>\n</function>", system=listed))
    assert found == [("system", "You fix code.", ""), ("user", "Fix it.", ""),
                     ("assistant", "", "Look.", "bash", {"command": "ls"}), ("tool", "a.py", "")]
    assert notes == ["instructions about the reply format cut", "a closing call without an answer left out"]


def test_a_made_up_result_gives_way_to_the_real_one():
    found, notes = read(talk("When?", "Thought: I look.\nAction: tide_table[Cork]\nObservation: 9:00",
                             "Observation: 14:20", ANSWER), (TIDE,))
    assert found == EPISODE
    assert notes == ["a made-up result left out"]


def test_results_without_a_label_follow_their_calls_and_requests_stay_requests():
    found, notes = read(talk("When?", "Thought: I look.\nAction: tide_table[Cork]", "14:20", ANSWER, "Thanks. Why?",
                             "Final Answer: The moon."), (TIDE,))
    assert found == [*EPISODE, ("user", "Thanks. Why?", ""), ("assistant", "The moon.", "")]
    assert notes == ["a turn after a call read as its result"]


def test_a_prompt_that_holds_everything_is_parted():
    prompt = f"You can use tools.\n\ntide_table: High tide.\n\n{FORMAT}\n... (this can repeat N times)\n\nBegin!\n\n" \
             "Question: When?\nThought:"
    found, _ = read(talk(prompt, " I look.\nAction: tide_table\nAction Input: Cork", "Observation: 14:20", ANSWER),
                    (TIDE,))
    assert found == [("system", "You can use tools.\n\ntide_table: High tide.", ""), *EPISODE]


def test_the_reply_format_is_cut_from_the_system_text_and_the_question_loses_its_label():
    found, notes = read(talk("Question: When?", "Thought: I look.\nAction: tide_table[Cork]", "Observation: 14:20",
                             ANSWER, system=f"Be brief.\n\n{FORMAT}\n\nToday is Monday."), (TIDE,))
    assert found == [("system", "Be brief.\n\nToday is Monday.", ""), *EPISODE]
    assert notes == ["instructions about the reply format cut"]


def test_an_opening_that_agrees_on_the_format_becomes_system_text():
    found, notes = read(talk(f"Play along.\n{FORMAT}", "OK.", "When?", "Thought: I look.\nAction: tide_table[Cork]",
                             "Observation: 14:20", ANSWER), (TIDE,))
    assert found == [("system", "Play along.", ""), *EPISODE]
    assert notes == ["scripted turns left out"]


def test_searches_in_tags():
    begin, end = "<|begin_search_{}|>".format, "<|end_search_{}|>".format
    for texts in (
        ["I look.<search>tide</search>\n<information>14:20</information>\nNow I know.<answer>At 14:20.</answer>"],
        ["I look. <search> tide </search>", "<result>14:20</result>", "Now I know. <answer>At 14:20.</answer>"],
        [f"I look. {begin('query')}tide{end('query')}{begin('result')}14:20{end('result')}"
         "<think>Now I know.</think><answer>At 14:20.</answer>"],
    ):  # fmt: skip
        assert read(talk("When?", *texts))[0] == [
            EPISODE[0], ("assistant", "", "I look.", "search", {"query": "tide"}), *EPISODE[2:]]


def test_one_shell_block_per_turn_with_its_output_in_the_next():
    look, done = "THOUGHT: Look.\n\n```bash\nls\n```", "THOUGHT: Done.\n\n```bash\nsubmit\n```"
    for output in ("<returncode>0</returncode>\n<output>\na.py\n</output>", "a.py\n(Open file: n/a)\nbash-$"):
        found, _ = read(talk("Fix it.", look, output, done))
        assert found == [("user", "Fix it.", ""), ("assistant", "", "Look.", "bash", {"command": "ls"}),
                         ("tool", output, ""), ("assistant", "", "Done.", "bash", {"command": "submit"})]
    assert read(talk("Fix it.", look, system="Reply with exactly one bash block."))[0][2][3] == "bash"
    assert read(talk("How?", "So:\n```bash\nls\n```\nIt lists them.", "Thanks.", "Welcome.")) == (None, [])


def test_marked_calls_with_parallel_results_in_one_turn_or_inside_the_turn():
    tag = '<tool_call>\n{{"name": "{}", "arguments": {{"n": {}}}}}\n</tool_call>'.format
    both = f"I look.\n{tag('f', 1)}\n{tag('g', 2)}"
    results = "<tool_response>\none\n</tool_response>\n<tool_response>\ntwo\n</tool_response>"
    expected = [("user", "Go.", ""), ("assistant", "", "I look.", "f", {"n": 1}), ("assistant", "", "", "g", {"n": 2}),
                ("tool", "one", ""), ("tool", "two", ""), ("assistant", "Done.", "")]
    assert read(talk("Go.", both, results, "Done."))[0] == expected
    assert read(talk("Go.", f"{both}\n{results}\nDone."))[0] == expected
    tools = [*talk("Go.", both), Message("tool", "one"), Message("tool", "two"), Message("assistant", "Done.")]
    assert read(tools)[0] == expected


def test_a_list_of_calls_counts_only_with_other_evidence():
    listed = '[Tide Table(harbour="Cork")]'
    assert read(talk("When?", listed), (Tool("Tide Table"),))[0][1][3:] == ("Tide Table", {"harbour": "Cork"})
    assert read([*talk("When?", listed), Message("tool", "14:20")])[0][1][3] == "Tide Table"
    assert read(talk("When?", listed))[0] is None


@pytest.mark.parametrize("messages", [
    talk("A room.", "Thought:\nGo.\n\nAction:\ngo to desk", "A mug.", "Thought:\nTake.\n\nAction:\ntake mug"),
    talk("When?", "Thought: I look.\nAction: I will look it up", system=FORMAT),
    talk(f"{FORMAT}\n\nWhen?", "Thought: I look.\nAction: I will look it up"),
    talk("When?", "I look.\nAction: hm, the table", "Observation: nothing", "I give up."),
    talk("When?", "Thought: I look.\nAction: tide_table[Cork]", "Observation: 14:20", "Thought: Hm."),
    talk("Go.", '<tool_call>\n{"name": "f", "arguments": {"n": \n</tool_call>', "<tool_response>x</tool_response>"),
])
def test_an_agents_text_that_cannot_be_read_is_counted(messages):
    with pytest.raises(Drop, match=agent_text.AGENT):
        read(messages)


LESSON = "ReAct takes turns:\n\nThought: I need the date.\nAction: search[date]\nObservation: 3 May\nThought: So.\n" \
         "Final Answer: 3 May\n\nEach observation comes from outside."
PLAIN = {
    "recipe": talk("How do I make pudding?", "Action: pour the milk\nAction: stir it", "And then?", "Serve it."),
    "steps": talk("How?", "Warm it.\n\nAction: pour the milk\n\nThen stir.", "Then?", "Action: cool it.\nDone."),
    "thought record": talk("Fill it in.", "Thought: I always fail.\nFeeling: sad\nAction: call a friend"),
    "lesson": talk("Explain the ReAct format.", LESSON),
    "trace": talk("What does a ReAct trace look like?", "Thought: Look.\nAction: search[x]\nObservation: y"),
    "fenced": talk("How would it be written?", "Like this:\n```\nThought: Look.\nAction: search[x]\n```"),
    "screenplay": talk("Write a scene.", "Kitchen.\nThought: he waits.\nAction: He opens the door (slowly).\nM: Hi."),
    "play": talk("Sum up the play.", "Act 1: The ghost comes.\nAct 2: They spy.\nAct 3: A play in the play."),
    "game": talk("You enter.", "Action: I draw my sword.", "A bat!", "Action: I duck."),
    "shell": talk("List files?", "```bash\nls -lS\n```", "It prints nothing.", "Try:\n```bash\nls -la\n```"),
    "readme": talk("Mend my README.", "`<search>query</search>` starts it, `<information>` holds the result."),
    "html": talk("A search form?", "```html\n<search>\n<form></form>\n</search>\n```"),
    "element": talk("What is the element for?", "Write <search>Form here</search> around the form."),
    "json": talk("A person as JSON.", '{"name": "Mara", "age": 31}'),
    "call as data": talk("One call as JSON.", '[{"name": "f", "arguments": {"n": 1}}]'),
    "hermes": talk("How are calls written?", 'So: `<tool_call>{"name": "f", "arguments": {}}</tool_call>`.'),
    "hermes fenced": talk("How?", 'So:\n```\n<tool_call>{"name": "f", "arguments": {}}</tool_call>\n```'),
    "sum": talk("2 + 2?", "I add.\n\nFinal Answer: 4"),
    "answer tag": talk("2 + 2?", "<answer>4</answer>"),
    "agent without calls": talk("When?", "I cannot know.", system=FORMAT),
    "package": talk("package.json?", '```json\n{"name": "app", "version": "1.0"}\n```'),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_only_resembles_an_agent_stays_plain_chat(name):
    assert read(PLAIN[name]) == (None, [])


def test_messages_with_calls_of_their_own_are_left_alone():
    messages = [*talk("Go.", "Thought: x\nAction: f[1]"), Message("assistant", "", calls=(Call("f", {}),))]
    assert read(messages) == (None, [])


WORD = st.text("abcdefgh", min_size=1, max_size=8)
TEXT = st.lists(WORD, min_size=1, max_size=6).map(" ".join)
NAME = st.tuples(WORD, WORD).map("_".join)
STEP = st.tuples(TEXT, NAME, st.dictionaries(WORD, TEXT | st.integers(0, 999), min_size=1, max_size=3), TEXT)
STYLES = ["input", "json", "call", "hermes", "xml"]


def written_as(style, name, arguments):
    given = json.dumps(arguments)
    return {"input": f"Action: {name}\nAction Input: {given}",
            "json": f'Action:\n```json\n{{"action": "{name}", "action_input": {given}}}\n```',
            "call": f"Action: {name}(" + ", ".join(f"{k}={v!r}" for k, v in arguments.items()) + ")",
            "hermes": f'<tool_call>\n{{"name": "{name}", "arguments": {given}}}\n</tool_call>',
            "xml": f"<function={name}>\n" + "".join(f"<parameter={k}>{v}</parameter>\n"
                                                    for k, v in arguments.items()) + "</function>"}[style]  # fmt: skip


@given(st.lists(STEP, min_size=1, max_size=3), TEXT, TEXT, st.sampled_from(STYLES), st.booleans())
def test_any_episode_is_read_back_from_any_syntax(steps, thought, answer, style, inside):
    react = style in ("input", "json", "call")
    label, result = ("Thought: ", "Observation: {}") if react else ("", "<tool_response>{}</tool_response>")
    texts = []
    for about, name, arguments, seen in steps:
        texts += [f"{label}{about}\n{written_as(style, name, arguments)}", result.format(seen)]
    texts.append(f"Thought: {thought}\nFinal Answer: {answer}" if react else answer)
    found, _ = read(talk("Go.", "\n".join(texts)) if inside else talk("Go.", *texts))
    expected = [("user", "Go.", "")]
    for about, name, arguments, seen in steps:
        expected += [("assistant", "", about, name, arguments), ("tool", seen, "")]
    assert found == [*expected, ("assistant", answer, thought if react else "")]


MARKS = ["Thought:", "Action:", "Action Input:", "Observation:", "Final Answer:", "\n", " ", "f", *'[](){}"',
         "<search>", "</search>", "<result>", "</result>", "<answer>", "</answer>", "<tool_call>", "</tool_call>",
         "<function=f>", "</function>", "```", "bash\n", "THOUGHT:", "Begin!", "Question:",
         "---- BEGIN FUNCTION #1", "**"]  # fmt: skip


@given(st.lists(st.sampled_from(MARKS), max_size=30).map("".join), st.text(max_size=20))
def test_junk_never_raises_anything_but_drop(junk, text):
    for messages in (talk(junk, junk, text, junk, system=junk), talk(text, junk + text, junk, text)):
        try:
            found = agent_text.structured(messages, str)
        except Drop:
            continue
        assert found is None or all(isinstance(m, Message) for m in found)
    prescribed.without_format(junk)


@pytest.mark.parametrize("mark", ["<search>", "Thought:\n", "```bash\n", "Action: f[", "thought: ", "<tool_response>",
                                  "---- BEGIN FUNCTION #", "Question:\n", "Action: f_f "])  # fmt: skip
def test_long_junk_takes_linear_time(mark):
    text = mark * 20_000
    with contextlib.suppress(Drop):
        agent_text.structured(talk(text, text, system=text), str)
    prescribed.request(text)


def test_real_plain_chat_stays_plain(real_data):
    from flanlib.sources import columns
    from flanlib.sources.files import rows
    from flanlib.sources.messages import parsed
    from flanlib.tally import Tally
    seen = 0
    for path in sorted((real_data / "natural").glob("*.json*")):
        for _, row in rows(path, tally=Tally("natural")):
            turns = columns.turns_of(row, str)
            if turns:
                seen += 1
                assert agent_text.structured(parsed(turns, str), str) is None, (path.name, row)
    assert seen > 100 or not (real_data / "natural").exists()


def test_the_reason_names_no_row():
    assert re.fullmatch(r"[a-z ]+", agent_text.AGENT)
