"""Every layout of rows that the kit reads: an example of each, written for this list, and what becomes of it.

``tests/test_sources_formats.py`` holds the readers to it. ``python tests/formats.py`` writes it as ``data/formats.md``.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from flanlib.records import Trajectory, thaw
from flanlib.sources import read
from flanlib.tally import Tally

PAGE = Path(__file__).resolve().parents[1] / "data" / "formats.md"
SHELF = {"name": "find_shelf", "description": "Find the shelf of a book.", "parameters": {
    "type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}}  # fmt: skip
TOOLS = [{"type": "function", "function": SHELF}]
CALL = {"name": "find_shelf", "arguments": {"title": "Emma"}}
OPENAI = {"id": "c1", "type": "function", "function": {"name": "find_shelf", "arguments": '{"title": "Emma"}'}}
ASK, SEEN = "Where is Emma?", "shelf 4"
USER, ANSWER = {"role": "user", "content": ASK}, {"role": "assistant", "content": "On shelf 4."}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": SEEN}
CALLED = {"role": "assistant", "content": "", "tool_calls": [OPENAI]}
# What most examples become: a request, a call with its result, and the answer.
STEP = 'call find_shelf {"title": "Emma"} -> shelf 4'
DONE = f"ask {ASK} | {STEP} | answer On shelf 4."
PLAIN = f"user {ASK} | assistant* On shelf 4."


class Example(NamedTuple):
    """Rows of one layout, and what each becomes: a record in the form of :func:`shown`, or "dropped: reason"."""

    group: str
    name: str
    rows: tuple[Any, ...]
    becomes: tuple[str, ...]


def shown(record: Any) -> str:
    """Write a record on one line: requests, thoughts, calls with results, answers; an asterisk marks trained turns."""
    if isinstance(record, Trajectory):
        parts = [f"given {record.instructions}"] * bool(record.instructions) + [f"ask {record.query}"]
        for step in record.steps:
            parts += [f"think {step.thought}"] * bool(step.thought)
            result = "" if step.observation is None else f" -> {step.observation}"
            parts.append(f"call {step.tool} {json.dumps(thaw(step.arguments), ensure_ascii=False)}{result}")
        parts += [f"think {record.answer_thought}"] * bool(record.answer_thought)
        parts += [f"answer {record.answer}"] * (record.answer is not None)
    else:
        parts = [f"{turn.role}{'*' * turn.trained} {turn.text}" for turn in record.turns]
    return re.sub(r"\n+", " / ", " | ".join(parts))


def outcome(rows: Any, suffix: str = ".jsonl") -> tuple[list[Any], Tally]:
    """Read rows through a file, as a user's rows are read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows{suffix}"
        path.write_text("\n".join(json.dumps(row) for row in rows))
        tally = Tally("rows")
        return list(read(path, tally=tally)), tally


def becomes(row: Any) -> list[str]:
    """Return what a row becomes, in the form of :class:`Example`."""
    records, tally = outcome([row])
    return [shown(record) for record in records] or [f"dropped: {reason}" for reason in tally.dropped]


def sharegpt(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": text} for role, text in turns], **more}


def chat(*turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(turns), **more}


REACT = "Thought: Look it up.\nAction: find_shelf\nAction Input: {\"title\": \"Emma\"}"
FINAL = "Thought: It is there.\nFinal Answer: On shelf 4."
THOUGHTFUL = f"ask {ASK} | think Look it up. | {STEP} | think It is there. | answer On shelf 4."
LISTED = f"system You can use these tools: / - Find the shelf of a book: find_shelf /   title (string) | {PLAIN}"
DATABASE = [("human", "I will ask you a question, then you should help me operate a MySQL database", None),
            ("gpt", "Ok.", False), ("human", "How many books are there?", None),
            ("gpt", "Count.\nAction: Operation\n```sql\nSELECT COUNT(*) FROM books\n```", True),
            ("human", "[(9,)]", None), ("gpt", "Nine.\nAction: Answer\nFinal Answer: [\"9\"]", True)]
BROKEN = "Thought: Look it up.\nAction: find_shelf\nAction Input: {\"title\": "
EXAMPLES = (
    Example("Plain chat", "ShareGPT: `conversations` of `from` and `value`",
            (sharegpt(("human", ASK), ("gpt", "On shelf 4.")),), (PLAIN,)),
    Example("Plain chat", "OpenAI: `messages` of `role` and `content`", (chat(USER, ANSWER),), (PLAIN,)),
    Example("Plain chat", "A list of turns as JSON text in the column",
            ({"messages": json.dumps([USER, ANSWER])},), (PLAIN,)),
    Example("Plain chat", "`prompt` with `completion` or `response`, as text or as turns; `question`, `query`",
            ({"prompt": ASK, "completion": "On shelf 4."}, {"prompt": [USER], "completion": [ANSWER]},
             {"question": ASK, "response": "On shelf 4."}), (PLAIN,) * 3),
    Example("Plain chat", "A question with an answer in a sentence; a bare label, as benchmarks have it, is no reply",
            ({"question": ASK, "answer": "It is on shelf 4."}, {"question": ASK, "answer": "shelf 4"},
             {"question": ASK, "answer": "It is on shelf 4.", "level": "easy"}),
            (f"user {ASK} | assistant* It is on shelf 4.", *("dropped: no known format",) * 2)),
    Example("Plain chat", "Alpaca: `instruction`, `input`, `output`, with `history` and `system`",
            ({"instruction": "Where is", "input": "Emma?", "output": "On shelf 4."},
             {"instruction": ASK, "output": "On shelf 4.", "history": [["Hello", "Hello."]], "system": "Be brief."}),
            ("user Where is / Emma? | assistant* On shelf 4.",
             f"system Be brief. | user Hello | assistant* Hello. | {PLAIN}")),
    Example("Plain chat", "Preferences: the chosen answer is kept, with the prompt in a column or in the answer's list",
            ({"prompt": ASK, "chosen": "On shelf 4.", "rejected": "No."},
             {"chosen": [USER, ANSWER], "rejected": [USER, {"role": "assistant", "content": "No."}]}), (PLAIN,) * 2),
    Example("Plain chat", "One text with the marks of a chat template, or with names before the turns",
            ({"text": f"<|im_start|>user\n{ASK}<|im_end|>\n<|im_start|>assistant\nOn shelf 4.<|im_end|>\n"},
             {"text": f"<s>[INST] {ASK} [/INST] On shelf 4.</s>"},
             {"text": f"### Human: {ASK} ### Assistant: On shelf 4."}), (PLAIN,) * 3),
    Example("Plain chat", "System turns: `developer` too; several are joined, one further on opens the next turn",
            (chat({"role": "developer", "content": "Be brief."}, {"role": "system", "content": "It is May."}, USER,
                  ANSWER),
             chat(USER, ANSWER, {"role": "system", "content": "A child asks."}, {"role": "user", "content": "Where?"},
                  {"role": "assistant", "content": "There."})),
            (f"system Be brief. / It is May. | {PLAIN}",
             f"{PLAIN} | user A child asks. / Where? | assistant* There.")),
    Example("Plain chat", "Loss flags: `loss`, `loss_weight`, `weight`, `train`, `training`, `loss_mask`, `trainable`, "
            "`loss_scale`", tuple(chat(USER, ANSWER | {flag: off}, {"role": "user", "content": "Sure?"},
                                       {"role": "assistant", "content": "Yes."})
                                  for flag, off in (("loss", False), ("weight", 0), ("trainable", False))),
            (f"user {ASK} | assistant On shelf 4. | user Sure? | assistant* Yes.",) * 3),
    Example("Plain chat", "Thinking before a plain reply is left out, and noted",
            (chat(USER, {"role": "assistant", "content": "<think>\nA novel.\n</think>\n\nOn shelf 4."}),), (PLAIN,)),
    Example("Plain chat", "Tools that are offered and never called stand in the system turn",
            (chat(USER, ANSWER, tools=TOOLS),), (LISTED,)),
    Example("Plain chat", "Images and sounds", (chat({"role": "user", "content": [
        {"type": "text", "text": ASK}, {"type": "image_url", "image_url": {"url": "a.png"}}]}, ANSWER),
        chat(USER, ANSWER, images=["a.png"])),
            ("dropped: an image, sound or file in a turn", "dropped: images or sounds beside the text")),
    Example("Plain chat", "Rejected answers", (chat(USER, ANSWER, label=False),),
            ("dropped: a rejected answer (label false)",)),

    Example("Calls in fields", "OpenAI: `tool_calls`, and the older `function_call`",
            (chat(USER, CALLED, RESULT, ANSWER, tools=TOOLS),
             chat(USER, {"role": "assistant", "content": None, "function_call": CALL},
                  {"role": "function", "name": "find_shelf", "content": SEEN}, ANSWER, functions=[SHELF])),
            (DONE,) * 2),
    Example("Calls in fields", "Several calls at once, with results by id; where a row ends with calls, all are kept",
            (chat(USER, {"role": "assistant", "tool_calls": [OPENAI, OPENAI | {"id": "c2"}]},
                  RESULT | {"tool_call_id": "c2", "content": "two"}, RESULT, ANSWER, tools=TOOLS),
             chat(USER, {"role": "assistant", "tool_calls": [OPENAI, OPENAI | {"id": "c2"}]}, tools=TOOLS)),
            (f'ask {ASK} | {STEP} | call find_shelf {{"title": "Emma"}} -> two | answer On shelf 4.',
             f'ask {ASK} | call find_shelf {{"title": "Emma"}} | call find_shelf {{"title": "Emma"}}')),
    Example("Calls in fields", "Several requests: a trajectory for each, with what came before as context",
            (chat(USER, CALLED, RESULT, ANSWER, {"role": "user", "content": "And now?"}, CALLED, RESULT,
                  {"role": "assistant", "content": "Still there."}, tools=TOOLS),),
            (DONE, f"given Earlier in this conversation: / User: {ASK} / Assistant called: find_shelf "
             '{"title": "Emma"} / Result: shelf 4 / Assistant: On shelf 4. | '
             f"ask And now? | {STEP} | answer Still there.")),
    Example("Calls in fields", "What a user says right after a result is read with it",
            (chat(USER, CALLED, RESULT, {"role": "user", "content": "In short, please."}, ANSWER, tools=TOOLS),),
            (f"ask {ASK} | {STEP} / In short, please. | answer On shelf 4.",)),
    Example("Calls in fields", "OLMo: functions in the system turn, calls as in Python, results from the environment",
            (chat({"role": "system", "content": "", "functions": json.dumps([SHELF])}, USER,
                  {"role": "assistant", "content": None, "function_calls": 'find_shelf(title="Emma")'},
                  {"role": "environment", "content": SEEN}, ANSWER),), (DONE,)),
    Example("Calls in fields", "LLaMA-Factory and ms-swift: roles `function_call`, `tool_call`, `observation`, "
            "`tool_response`",
            (sharegpt(("human", ASK), ("function_call", json.dumps(CALL)), ("observation", SEEN),
                      ("gpt", "On shelf 4."), tools=json.dumps([SHELF])),
             chat(USER, {"role": "tool_call", "content": json.dumps(CALL)}, {"role": "tool_response", "content": SEEN},
                  ANSWER, tools=json.dumps(TOOLS))), (DONE,) * 2),
    Example("Calls in fields", "OpenAI's Responses items", ({"input": [
        USER, {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Look it up."}]},
        {"type": "function_call", "call_id": "c1", "name": "find_shelf", "arguments": '{"title": "Emma"}'},
        {"type": "function_call_output", "call_id": "c1", "output": SEEN},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "On shelf 4."}]}],
        "tools": [{"type": "function", **SHELF}]},),
            (f"ask {ASK} | think Look it up. | {STEP} | answer On shelf 4.",)),
    Example("Calls in fields", "Anthropic's content blocks", (chat(
        USER, {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Look it up.", "signature": "s"},
            {"type": "tool_use", "id": "t1", "name": "find_shelf", "input": {"title": "Emma"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": SEEN}]},
        {"role": "assistant", "content": [{"type": "text", "text": "On shelf 4."}]},
        tools=[{"name": "find_shelf", "description": "Find the shelf of a book.",
                "input_schema": SHELF["parameters"]}]),),
            (f"ask {ASK} | think Look it up. | {STEP} | answer On shelf 4.",)),
    Example("Calls in fields", "Gemini's `contents` of `parts`", ({"contents": [
        {"role": "user", "parts": [{"text": ASK}]},
        {"role": "model", "parts": [{"functionCall": {"name": "find_shelf", "args": {"title": "Emma"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "find_shelf", "response": {"shelf": 4}}}]},
        {"role": "model", "parts": [{"text": "On shelf 4."}]}],
        "tools": [{"functionDeclarations": [SHELF]}]},),
            (f'ask {ASK} | call find_shelf {{"title": "Emma"}} -> {{"shelf": 4}} | answer On shelf 4.',)),
    Example("Calls in fields", "xLAM: `query`, `tools` and `answers`", ({"query": ASK, "answers": json.dumps([CALL]),
            "tools": json.dumps([{"name": "find_shelf", "description": "Find the shelf of a book.", "parameters": {
                "title": {"type": "str", "description": "Title"}}}])},),
            (f'ask {ASK} | call find_shelf {{"title": "Emma"}}',)),
    Example("Calls in fields", "Thinking in `reasoning_content`, `reasoning`, `thinking`, or between `<think>` marks",
            tuple(chat(USER, CALLED | more, RESULT, ANSWER, tools=TOOLS) for more in (
                {"reasoning_content": "Look it up."}, {"reasoning": "Look it up."}, {"thinking": "Look it up."},
                {"content": "<think>\nLook it up.\n</think>\n\n"})),
            (f"ask {ASK} | think Look it up. | {STEP} | answer On shelf 4.",) * 4),
    Example("Calls in fields", "Results that are objects or lists are written as JSON",
            (chat(USER, CALLED, RESULT | {"content": {"shelf": 4, "free": True}}, ANSWER, tools=TOOLS),),
            (f'ask {ASK} | call find_shelf {{"title": "Emma"}} -> {{"shelf": 4, "free": true}} | answer On shelf 4.',)),
    Example("Calls in fields", "Nulls that Arrow adds are removed from arguments and schemas", (chat(
        USER, {"role": "assistant", "content": "", "tool_calls": [
            {"function": {"name": "find_shelf", "arguments": {"title": "Emma", "day": None}}}]}, RESULT, ANSWER,
        tools=[{"type": "function", "function": SHELF | {"parameters": {"type": "object", "required": ["title"],
                "properties": {"title": {"type": "string", "enum": None}, "day": None}}}}]),), (DONE,)),
    Example("Calls in fields", "Failed episodes: `reward`, `resolved`, `success`, `passed`",
            (chat(USER, CALLED, RESULT, ANSWER, tools=TOOLS, reward=0.0),
             chat(USER, CALLED, RESULT, ANSWER, tools=TOOLS, resolved=False)), ("dropped: failed episode",) * 2),
    Example("Calls in fields", "A result without a call", (chat(USER, RESULT, ANSWER),),
            ("dropped: a result without a call",)),

    Example("Calls in text", "ReAct, with results in user turns or in the same turn, for any tools",
            (sharegpt(("human", ASK), ("gpt", REACT), ("human", f"Observation: {SEEN}"), ("gpt", FINAL)),
             chat(USER, {"role": "assistant", "content": f"{REACT}\nObservation: {SEEN}\n{FINAL}"})),
            (THOUGHTFUL,) * 2),
    Example("Calls in text", "Tags around JSON, a list of calls as in Python, or XML", tuple(
        chat(USER, {"role": "assistant", "content": text}, RESULT, ANSWER, tools=TOOLS) for text in (
            f"<tool_call>\n{json.dumps(CALL)}\n</tool_call>", f"<TOOLCALL>[{json.dumps(CALL)}]</TOOLCALL>",
            '[find_shelf(title="Emma")]',
            "<function=find_shelf>\n<parameter=title>Emma</parameter>\n</function>")), (DONE,) * 4),
    Example("Calls in text", "Glaive: `system` and `chat` in one text each, calls after `<functioncall>`", ({
        "system": "SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"
        + json.dumps(SHELF), "chat": f"USER: {ASK}\n\n\nASSISTANT: <functioncall> "
        """{"name": "find_shelf", "arguments": '{"title": "Emma"}'} <|endoftext|>\n\n\n"""
        f"FUNCTION RESPONSE: {SEEN}\n\n\nASSISTANT: On shelf 4. <|endoftext|>"},), (DONE,)),
    Example("Calls in text", "A shell agent: one block of bash a turn, its output in the next", (chat(
        USER, {"role": "assistant", "content": "THOUGHT: Look it up.\n\n```bash\ngrep Emma shelves\n```"},
        {"role": "user", "content": "<returncode>0</returncode>\n<output>\nshelf 4\n</output>"},
        {"role": "assistant", "content": "THOUGHT: It is there.\n\n```bash\necho COMPLETE\n```"}),),
            (f'ask {ASK} | think Look it up. | call bash {{"command": "grep Emma shelves"}} -> '
             '<returncode>0</returncode> / <output> / shelf 4 / </output> | think It is there. | '
             'call bash {"command": "echo COMPLETE"}',)),
    Example("Calls in text", "Search tags, with what was found in the same turn", (chat(
        USER, {"role": "assistant", "content": "<think>Look it up.</think>\n<search>Emma shelf</search>\n"
               "<information>shelf 4</information>\n<think>It is there.</think>\n<answer>On shelf 4.</answer>"}),),
            (f'ask {ASK} | think Look it up. | call search {{"query": "Emma shelf"}} -> shelf 4 | think It is there. | '
             "answer On shelf 4.",)),
    Example("Calls in text", "Agent text that cannot be read never passes as chat", (
        chat(USER, {"role": "assistant", "content": BROKEN}, {"role": "user", "content": "Observation: shelf 4"},
             ANSWER),
        chat({"role": "system", "content": "Reply with Thought: and Action: lines, one action at a time."}, USER,
             {"role": "assistant", "content": "Thought: Look it up.\nAction: walk to the shelf, then look"},
             {"role": "user", "content": "shelf 4"},
             {"role": "assistant", "content": "Thought: It is there.\nAction: stop"})),
            ("dropped: arguments are not JSON", "dropped: looks like an agent trace")),

    Example("Agent data sets", "FireAct: `messages`, `instruction` and `output`, or `traj`; the grade is cut",
            ({"traj": [USER, {"role": "assistant", "content": "Thought: Look it up.\nAction: search[Emma shelf]"},
                       {"role": "user", "content": "Observation: shelf 4"},
                       {"role": "assistant", "content": "Thought: It is there.\nAction: finish[shelf 4]"},
                       {"role": "user", "content": "Observation: Episode finished, reward = True"}], "reward": True},
             {"instruction": ASK, "input": "", "output": "Thought: Look it up.\nAction: search[Emma shelf]\n"
              "Observation: shelf 4\nThought: It is there.\nAction: finish[shelf 4]\n"
              "Observation: Episode finished, reward = True"}),
            ("given You answer a question, looking up what you need. | " + f"ask {ASK} | think Look it up. | "
             'call search {"query": "Emma shelf"} -> shelf 4 | think It is there. | answer shelf 4',) * 2),
    Example("Agent data sets", "AgentInstruct: six environments, with loss flags or without; the script is cut",
            ({"id": "db_1", "conversations": [{"from": who, "value": text, "loss": loss}
                                               for who, text, loss in DATABASE]},
             {"id": "db_1", "messages": [{"role": who, "content": said} for who, said, _ in DATABASE]}),
            ("given You work with a MySQL database. An answer is the list of the values asked for. | "
             'ask How many books are there? | think Count. | call execute_sql {"query": "SELECT COUNT(*) FROM books"} '
             '-> [(9,)] | think Nine. | answer ["9"]',) * 2),
    Example("Agent data sets", "ToolBench: training rows, of which the longest prefix is kept, and answer files",
            (sharegpt(("system", "You are AutoGPT, you can use many tools(functions). Specifically, you have access to "
                       "the following APIs: " + repr([SHELF])), ("user", f"\n{ASK}\nBegin!\n"),
                      ("assistant", f"\n{REACT}"),
                      ("function", SEEN), ("assistant", "\nThought: \nAction: Finish\nAction Input: "
                       '{"return_type": "give_answer", "final_answer": "On shelf 4."}'), id="Step 2: Where"),),
            (f"given You help with a request by calling web APIs, then answer with what they returned. | ask {ASK} | "
             f"think Look it up. | {STEP} | answer On shelf 4.",)),
)


def page() -> str:
    """Write the page: every layout with its example and what becomes of it."""
    lines = ["# What the kit reads", "", "Written by `python tests/formats.py` from the examples that the tests check. "
             "A record stands on one line: `ask` the request, `think` a thought, `call` a tool with its arguments and "
             "`->` its result, `answer` the answer, `given` what came before; in plain chat each turn with its role, "
             "trained ones with an asterisk.", "", "Files are JSON (a list, an object of id -> row, one row, or rows "
             "under `data`, `rows` or the names of splits), JSON Lines, CSV, Parquet or Arrow, each alone, in folders, "
             "or as saved by `datasets`; .json and .jsonl also as .gz."]
    group = ""
    for example in EXAMPLES:
        lines += ["", f"## {example.group}"] * (example.group != group)
        group = example.group
        lines += ["", f"**{example.name}**", "", "```json"]
        lines += [json.dumps(row, ensure_ascii=False) for row in example.rows[:5]]
        lines += ["```", ""]
        lines += [f"- `{text}`" for text in dict.fromkeys(example.becomes)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(PAGE.parents[1]))
    PAGE.write_text(page(), encoding="utf-8")
