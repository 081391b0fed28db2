"""Real public files, read in place: every row counted, and checked against a second, plainer reading."""

import json
from collections import Counter

import pyarrow.parquet
import pytest

from flanlib.records import Conversation, Trajectory
from flanlib.sources import read
from flanlib.tally import Tally

# Each file with the reasons its rows are dropped for.
FILES = {
    "fireact/gpt_format/hotpotqa.jsonl": {},
    "fireact/gpt_format/hotpotqa_multimethod.jsonl": {"failed episode"},
    "fireact/gpt_format/multitask.jsonl": {},
    "fireact/gpt_format/multitask_multimethod.jsonl": {"failed episode", "a turn without an action"},
    "fireact/alpaca_format/hotpotqa.json": {},
    "fireact/alpaca_format/hotpotqa_multimethod.json": {"failed episode"},
    "fireact/alpaca_format/multitask.json": {},
    "fireact/alpaca_format/multitask_multimethod.json": {"failed episode", "a turn without an action"},
    "licence_unclear/agentinstruct/db.jsonl": {},
    "agentinstruct_os/os_sample.jsonl": {},
    "natural/alpaca_en_demo.json": {},
    "fireact/hotpotqa_dev.json": {"no known format"},
    "natural/mt_bench_question.jsonl": {"no known format"},
    "natural/mt_bench_reference_gpt-4.jsonl": {"no known format"},
    "natural/oasst_gpt-3.5-oa-generations.jsonl": {},
    "natural/oasst_oa_questions.jsonl": {},
    "natural/openai_messages_kto_en_demo.json": {"a rejected answer (label false)"},
    "natural/sharegpt_dpo_en_demo.json": {},
    "natural/sharegpt_style_dummy_conversation.json": {},
    "openai_messages/reason_tool_use_demo_50.jsonl": {},
    "openai_messages/tau_MockAirlineDomainEnv-few_shot.jsonl": {"no known format"},
    "openai_messages/tau_gpt-4o-airline.json": {"failed episode"},
    "agentbench/alfworld/alfworld_multiturn_react_fc.json": {},
    "glaive/glaive_toolcall_en_demo.json": {},
    "glaive/glaive_toolcall_zh_demo.json": {"a result without a call"},
    "glaive/glaive_v2_openai_messages.jsonl": {},
    "bfcl_v4/BFCL_v4_simple_java.json": {"no known format"},  # JSON Lines in spite of its name
}


def read_file(folder, name):
    if not (folder / name).exists():
        pytest.skip(f"{name} is not among the real rows")
    tally = Tally(name)
    return list(read(folder / name, tally=tally)), tally


def plain(path):
    """Every row of a JSON or JSON Lines file, with nothing but json."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl" or "bfcl" in path.parts[-2]:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    value = json.loads(text)
    return value if isinstance(value, list) else list(value.values())


@pytest.mark.parametrize("name", FILES)
def test_every_row_of_a_real_file_is_counted(real_data, name):
    records, tally = read_file(real_data, name)
    assert tally.seen == len(plain(real_data / name))
    assert tally.kept <= len(records)  # a row with several requests gives a record for each
    assert set(tally.dropped) == set(FILES[name]), str(tally)


@pytest.mark.parametrize("name", ["toolbench/answer", "stabletoolbench/answer"])
def test_answer_files_give_the_chain_that_the_tree_holds(real_data, name):
    records, tally = read_file(real_data, name)
    files = sorted((real_data / name).rglob("*.json"))
    generations = {path.relative_to(real_data / name).as_posix(): json.loads(path.read_text()) for path in files}
    assert tally.seen == len(files)
    assert tally.kept == sum(bool(m["win"]) for m in generations.values())
    for record in records:
        ours = [[(s.thought, s.tool, dict(s.arguments), s.observation) for s in record.steps], record.answer]
        assert ours in [chain(nodes) for nodes in chains(generations[record.id])], record.id


def chains(generation):
    """Node lists from the root to every final answer, by a walk of our own."""
    if "trys" in generation:
        return [t["chain"] for t in generation["trys"]]
    found, stack = [], [(generation["tree"]["tree"], ())]
    while stack:
        node, above = stack.pop()
        if node.get("observation_code") == 3:
            found.append((*above, node))
        stack += [(child, (*above, node)) for child in node["children"]]
    return found


def chain(nodes):
    steps, thoughts, name = [], [], None
    for node in nodes:
        if node["node_type"] == "Thought":
            thoughts.append(node["description"].strip())
        elif node["node_type"] == "Action":
            name = node["description"]
        elif name:
            given = json.loads(node["description"], strict=False)
            steps.append(("\n".join(thoughts), name, given, node["observation"]))
            thoughts = []
    return [steps[:-1], steps[-1][2]["final_answer"]]


@pytest.mark.parametrize(("name", "only_alpaca"), [("hotpotqa", 0), ("hotpotqa_multimethod", 1), ("multitask", 0),
                                                    ("multitask_multimethod", 1)])
def test_both_fireact_layouts_of_a_question_give_equal_records(real_data, name, only_alpaca):
    def key(record):  # the layouts differ in spaces at line ends
        query = "\n".join(line.rstrip() for line in record.query.split("\n"))
        return repr((query, record.steps, record.answer, record.answer_thought))
    gpt = Counter(map(key, read_file(real_data, f"fireact/gpt_format/{name}.jsonl")[0]))
    alpaca = Counter(map(key, read_file(real_data, f"fireact/alpaca_format/{name}.json")[0]))
    assert not gpt - alpaca
    assert (alpaca - gpt).total() == only_alpaca  # one question that only the Alpaca file has


def test_no_grade_and_no_label_survives_in_fireact(real_data):
    records, _ = read_file(real_data, "fireact/gpt_format/multitask_multimethod.jsonl")
    texts = [text for r in records for text in (r.query, r.answer, r.answer_thought, *(s.thought for s in r.steps))]
    assert len(texts) > 4000
    assert not [text for text in texts if text and any(
        mark in text for mark in ("reward =", "Thought:", "Action:", "Observation:", "Question: "))]


def test_agentinstruct_db_counts_match_the_raw_text(real_data):
    records, tally = read_file(real_data, "licence_unclear/agentinstruct/db.jsonl")
    texts = [turn["value"] for row in plain(real_data / "licence_unclear/agentinstruct/db.jsonl")
             for turn in row["conversations"] if turn["from"] == "gpt"]
    assert sum(len(r.steps) for r in records) == sum("Action: Operation" in text for text in texts)
    assert sum(r.answer is not None for r in records) == sum("Final Answer:" in text for text in texts)
    assert tally.noted["no answer"] == sum(r.answer is None for r in records)
    assert all(isinstance(json.loads(r.answer), list) for r in records if r.answer)
    assert not any(mark in repr(r) for r in records for mark in ("Action: ", "Final Answer", "```"))


def test_parquet_gives_the_records_of_json_lines(real_data, tmp_path):
    name = "licence_unclear/agentinstruct/db.jsonl"
    records, _ = read_file(real_data, name)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(plain(real_data / name)), tmp_path / "db.parquet")
    assert list(read(tmp_path, tally=Tally("parquet"))) == records


def test_alfworld_games_in_the_agentinstruct_shape_match_their_function_call_twins(real_data):
    folder = real_data / "agentbench/alfworld"
    if not folder.exists():
        pytest.skip("no alfworld among the real rows")
    from flanlib.sources import agentinstruct
    twins, _ = read_file(real_data, "agentbench/alfworld/alfworld_multiturn_react_fc.json")
    games = json.loads((folder / "alfworld_multiturn_react.json").read_text())
    assert len(games) == len(twins)
    for twin in twins:
        name = twin.id.split("[")[1].rstrip("]")
        row = {"id": "alfworld_1", "conversations": [
            {"from": ("human", "gpt")[i % 2], "loss": (None, True)[i % 2], "value": text}
            for i, text in enumerate(games[name])]}
        found = agentinstruct.convert(row, name, str)
        pairs = [(bool(s.thought), s.arguments["command"], (s.observation or "").strip()) for s in found.steps]
        # Upstream mended spelling in the twins' thoughts.
        assert pairs == [(bool(s.thought), s.arguments["action"], (s.observation or "").strip()) for s in twin.steps]


def test_mind2web_examples_in_the_agentinstruct_shape_are_read(real_data):
    path = real_data / "agentbench/mind2web/llm_prompt_cot.json"
    if not path.exists():
        pytest.skip("no mind2web among the real rows")
    from flanlib.sources import agentinstruct
    turns = [m for m in json.loads(path.read_text()) if m["role"] != "system"]
    found = []
    for request, reply in zip(turns[::2], turns[1::2], strict=False):
        row = {"id": "mind2web_1", "conversations": [{"from": "human", "loss": None, "value": request["content"]},
                                                     {"from": "gpt", "loss": True, "value": reply["content"]}]}
        found.append(agentinstruct.convert(row, "m", str))
    assert [(s.tool, s.arguments["choice"]) for r in found for s in r.steps] == [("select", "C"), ("click", "D")]
    assert [r.answer for r in found if r.answer] == ["None of the above"]


def test_oasst_texts_have_as_many_requests_as_marks(real_data):
    records, _ = read_file(real_data, "natural/oasst_oa_questions.jsonl")
    marks = [row["input"].count("### Human:") for row in plain(real_data / "natural/oasst_oa_questions.jsonl")]
    assert [sum(t.role == "user" for t in r.turns) for r in records] == marks


def test_tool_rows_become_trajectories_and_plain_rows_conversations(real_data):
    records, _ = read_file(real_data, "glaive/glaive_toolcall_en_demo.json")
    rows = plain(real_data / "glaive/glaive_toolcall_en_demo.json")
    called = [any(t["from"] == "function_call" for t in row["conversations"]) for row in rows]
    assert [isinstance(r, Trajectory) for r in records if "/" not in r.id] == called
    calls = sum(t["from"] == "function_call" for row in rows for t in row["conversations"])
    assert sum(len(r.steps) for r in records if isinstance(r, Trajectory)) == calls
    assert sum(isinstance(r, Conversation) and bool(r.tools) for r in records) > 0
    assert all(s.tool in {t.name for t in r.tools} for r in records if isinstance(r, Trajectory) for s in r.steps)
