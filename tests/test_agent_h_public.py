"""Public negatives become samples: each rule on rows of our own, and all real rows counted in a second way."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flanlib.benchmarks.agent_h import samples
from flanlib.benchmarks.agent_h.public import api_name, read
from flanlib.records import FlanError, thaw
from flanlib.tally import Tally

NONE, ONE = "tools, none needed", "tools, one needed"


def function(name, **properties):
    return {"name": name, "description": f"Does {name}.",
            "parameters": {"type": "dict", "properties": properties, "required": list(properties)}}  # fmt: skip


BOIL = function("boil.water")


def bfcl(own="irrelevance_0", *texts, functions=(BOIL,)):
    """Make a row of BFCL; each message is a user's text, or (role, text)."""
    messages = [{"role": "user", "content": s} if isinstance(s, str) else {"role": s[0], "content": s[1]}
                for s in texts or ("Paint the fence.",)]  # fmt: skip
    return {"id": own, "question": [messages], "function": list(functions)}


def api(name, *required, optional=(), tool="Tea Room"):
    listed = [{"name": p, "type": "STRING", "description": f"The {p}", "default": ""} for p in required]
    return {"category_name": "Food", "tool_name": tool, "api_name": name, "api_description": f" About {name} ",
            "required_parameters": listed, "optional_parameters": list(optional), "method": "GET"}  # fmt: skip


BREW = api("Brew", "leaf")


def rely(own=1, wanted=(("Tea Room", "Brew"),), offered=(BREW,), query="Brew me some tea.", **more):
    return {"api_list": list(offered), "query": query, "relevant APIs": [list(pair) for pair in wanted],
            "query_id": own, **more}  # fmt: skip


@pytest.fixture
def reading(tmp_path):
    """Write rows to a file and read it: BFCL rows as JSON Lines without a final line end, others as a list."""

    def read_rows(name, *rows, answers=None):
        lines = all(isinstance(row, dict) and "question" in row for row in rows)
        text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
        (tmp_path / name).write_text(text, encoding="utf-8")
        if answers is not None:
            (tmp_path / "possible_answer").mkdir(exist_ok=True)
            (tmp_path / "possible_answer" / name).write_text("\n".join(map(json.dumps, answers)), encoding="utf-8")
        tally = Tally(name)
        found = read(tmp_path / name, tally=tally)
        assert (tally.seen, tally.kept) == (len(rows), len(found))
        assert [samples.sample(samples.row(one)) for one in found] == found
        return SimpleNamespace(samples=found, dropped=dict(tally.dropped), noted=dict(tally.noted), folder=tmp_path)

    return read_rows


@pytest.mark.parametrize("category", ["irrelevance", "live_irrelevance"])
def test_irrelevance_rows_expect_a_plain_reply(reading, category):
    (one,) = reading(f"BFCL_v4_{category}.json", bfcl(f"{category}_3-0-1")).samples
    assert (one.level, one.cell, one.truth, one.variety) == ("action", NONE, "plain", "bfcl irrelevance")
    assert (one.source, one.wanted, one.query) == ("bfcl", (), "Paint the fence.")
    assert one.id == f"BFCL_v4_{category}/{category}_3-0-1"
    assert f"{category}_3-0-1" in one.origin
    assert f"BFCL_v4_{category}.json" in one.origin


@pytest.mark.parametrize(("own", "variety"), [
    ("simple_python_0", "bfcl simple"), ("simple_java_12", "bfcl simple"), ("live_simple_1-1-0", "bfcl simple"),
    ("multiple_5", "bfcl multiple"), ("live_multiple_4-1-3", "bfcl multiple"), ("parallel_8", "bfcl parallel"),
    ("parallel_multiple_2", "bfcl parallel_multiple"), ("live_relevance_3-3-0", "bfcl relevance")])  # fmt: skip
def test_other_categories_expect_a_call(reading, own, variety):
    (one,) = reading("rows.json", bfcl(own)).samples
    assert (one.cell, one.truth, one.variety, one.wanted) == (ONE, "call", variety, ("boil.water",))


def test_the_file_name_tells_the_category_where_the_id_does_not(reading):
    (one,) = reading("BFCL_v4_live_irrelevance.json", bfcl("q7")).samples
    assert one.variety == "bfcl irrelevance"
    assert reading("BFCL_v4_multi_turn_base.json", bfcl("multi_turn_base_0")).dropped == {
        "a category that is not read": 1}  # fmt: skip


def test_wanted_tools_come_from_the_possible_answers(reading):
    two = (function("boil"), function("pour"))
    answers = [{"id": "multiple_0", "ground_truth": [{"pour": {"cup": ["blue"]}}, {"pour": {"cup": ["red"]}}]},
               {"id": "multiple_1", "ground_truth": [{"steep": {}}]}, {"id": "multiple_2"}]  # fmt: skip
    got = reading("BFCL_v4_multiple.json", *(bfcl(f"multiple_{i}", functions=two) for i in range(3)), answers=answers)
    assert [one.wanted for one in got.samples] == [("pour",)]
    assert got.dropped == {"no wanted tool is offered": 1, "no possible answer tells which tool is wanted": 1}
    assert got.noted == {"a possible answer that cannot be read": 1}
    tally = Tally("folder")
    assert read(got.folder, tally=tally) == got.samples  # the folder's answers are no rows
    assert tally.seen == 3


def test_any_offered_tool_will_do_for_relevance(reading):
    (one,) = reading("r.json", bfcl("live_relevance_0-0-0", functions=(function("boil"), function("pour")))).samples
    assert one.wanted == ("boil", "pour")


def test_system_messages_are_instructions_and_user_messages_one_request(reading):
    got = reading("b.json", bfcl("irrelevance_0", ("system", "Be brief."), "The fence is grey.", "Paint it."),
                  bfcl("irrelevance_1", "Hello", ("assistant", "Hi!"), "Paint the fence."),
                  bfcl("irrelevance_2") | {"question": [[{"role": "user", "content": "One"}]] * 2},
                  bfcl("irrelevance_3") | {"question": []}, bfcl("irrelevance_4", ("system", "Be brief.")))  # fmt: skip
    (one,) = got.samples
    assert (one.instructions, one.query) == ("Be brief.", "The fence is grey.\n\nPaint it.")
    assert got.dropped == {"a conversation before the request": 1, "several turns": 1, "no turns": 1, "empty query": 1}
    assert got.noted == {"user messages joined": 1}


def test_types_are_renamed_to_those_of_json_schema(reading):
    nested = {"type": "dict", "properties": {"heat": {"type": "float", "default": "float"}}}
    spec = function("boil", pot=nested, times={"type": "tuple", "items": {"type": "float"}}, type={"type": "any"},
                    lid={"type": "ArrayList"})  # fmt: skip
    (one,) = reading("b.json", bfcl("simple_java_0", functions=(spec,))).samples
    assert thaw(one.tools[0].parameters) == {
        "type": "object",
        "properties": {
            "pot": {"type": "object", "properties": {"heat": {"type": "number", "default": "float"}}},
            "times": {"type": "array", "items": {"type": "number"}},
            "type": {"type": "any"},
            "lid": {"type": "ArrayList"},
        },
        "required": ["pot", "times", "type", "lid"],
    }


def test_unusable_rows_are_dropped_one_by_one(reading):
    got = reading("b.json", bfcl("irrelevance_0"), bfcl("irrelevance_0", "Again."), bfcl("irrelevance_1", functions=()),
                  bfcl("irrelevance_2", "A broken \ud800 letter."), bfcl("irrelevance_3", " "))  # fmt: skip
    assert len(got.samples) == 1
    assert got.dropped == {"an id that repeats": 1, "no tool is offered": 1, "broken Unicode": 1, "empty query": 1}
    assert reading("other.json", {"prompt": "Hi"}, "text").dropped == {"no known format": 1, "not an object": 1}


def test_unmatched_rows_want_tools_that_are_not_offered(reading):
    away = (api("Grind", "bean", tool="Coffee"),)
    got = reading("G1_with_unmatched_tools.json", rely(1, offered=away), rely(2, offered=(*away, BREW)))
    (one,) = got.samples
    assert (one.cell, one.truth, one.variety) == (NONE, "plain", "relytoolbench unmatched")
    assert (one.source, one.id) == ("relytoolbench", "G1_with_unmatched_tools/1")
    assert (one.wanted, [tool.name for tool in one.tools]) == (("brew_for_tea_room",), ["grind_for_coffee"])
    assert got.dropped == {"a wanted tool is offered": 1}


def test_rows_with_missing_arguments_expect_a_plain_reply(reading):
    whole = "Brew me some green tea."
    got = reading("changed.json", rely(1, orig_query=whole), rely(2, query=whole, orig_query=whole),
                  rely(3, orig_query=whole, wanted=[("Tea Room", "Brew"), ("Tea Room", "Menu")],
                       offered=[BREW, api("Menu")]))  # fmt: skip
    (one,) = got.samples
    assert (one.cell, one.truth, one.variety) == (NONE, "plain", "relytoolbench missing arguments")
    assert (one.query, one.wanted) == ("Brew me some tea.", ("brew_for_tea_room",))
    assert got.dropped == {"nothing is missing from the query": 1, "a wanted tool needs no argument": 1}
    (named,) = reading("G1_missing_arguments.json", rely()).samples
    assert named.variety == "relytoolbench missing arguments"


def test_solvable_rows_expect_a_call_of_an_offered_tool(reading):
    both = [("Tea Room", "Serve"), ("Tea Room", "Brew")]
    got = reading("G1_instruction.json", rely(1, wanted=both), rely(2, wanted=both[:1]))
    (one,) = got.samples
    assert (one.cell, one.truth, one.variety) == (ONE, "call", "relytoolbench solvable")
    assert one.wanted == ("brew_for_tea_room",)
    assert got.dropped == {"no wanted tool is offered": 1}


def test_api_entries_become_functions(reading):
    optional = [{"name": "Cup Size", "type": "NUMBER", "description": " Millilitres ", "default": 200},
                {"name": "leaf", "type": "BOOLEAN", "description": "", "default": ""}]  # fmt: skip
    got = reading("G1.json", rely(offered=[api("Brew", "leaf", optional=optional), api("brew", "pot")]))
    (tool,) = got.samples[0].tools
    assert (tool.name, tool.description) == ("brew_for_tea_room", "About Brew")
    assert thaw(tool.parameters) == {
        "type": "object",
        "properties": {
            "leaf": {"type": "string", "description": "The leaf"},
            "cup_size": {"type": "number", "description": "Millilitres", "example_value": 200},
        },
        "required": ["leaf"],
    }
    assert got.noted == {"a parameter listed twice, the first kept": 1, "a tool listed twice, the first kept": 1}


@pytest.mark.parametrize(("broken", "reason"), [
    ({"api_list": []}, "no tool is offered"), ({"api_list": "Brew"}, "no tool is offered"),
    ({"api_list": [{"api_name": "Brew"}]}, "an API without a name"), ({"api_list": [7]}, "an API without a name"),
    ({"api_list": [api("Brew") | {"required_parameters": 3}]}, "parameters that are not a list"),
    ({"api_list": [api("Brew") | {"optional_parameters": [{"type": "STRING"}]}]}, "a parameter without a name"),
    ({"relevant APIs": []}, "relevant APIs are not pairs of names"), ({"query": None}, "the query is not text"),
    ({"relevant APIs": [["Brew"]]}, "relevant APIs are not pairs of names"),
    ({"query": ""}, "empty query")])  # fmt: skip
def test_broken_query_rows_are_dropped_with_a_reason(reading, broken, reason):
    got = reading("G1.json", rely(1), rely(2) | broken)
    assert (len(got.samples), got.dropped) == (1, {reason: 1})


@given(st.text(), st.text())
def test_function_names_are_words_of_at_most_64_characters(tool, api):
    name = api_name(tool, api)
    assert len(name) <= 64
    assert name == name.lower()
    assert all(letter.isalnum() or letter == "_" for letter in name)


def test_a_missing_file_is_an_error(tmp_path):
    for data in (tmp_path / "none.json", "owner/name"):
        with pytest.raises(FlanError, match="no such file"):
            read(data, tally=Tally("none"))


# Real files, read in place: variety, truth, and which reasons rows are dropped for.
MISSING = ("relytoolbench missing arguments", "plain", {"a wanted tool needs no argument"})
SOLVABLE = ("relytoolbench solvable", "call", set())
FILES = {
    "bfcl_v4/BFCL_v4_irrelevance.json": ("bfcl irrelevance", "plain", set()),
    "bfcl_v4/BFCL_v4_simple_python.json": ("bfcl simple", "call", set()),
    "bfcl_v4/BFCL_v4_simple_java.json": ("bfcl simple", "call", set()),
    "bfcl_v4/BFCL_v4_simple_javascript.json": ("bfcl simple", "call", set()),
    "bfcl_v4/BFCL_v4_multiple.json": ("bfcl multiple", "call", set()),
    "bfcl_v4/BFCL_v4_parallel.json": ("bfcl parallel", "call", set()),
    "bfcl_v4/BFCL_v4_parallel_multiple.json": ("bfcl parallel_multiple", "call", set()),
    "relytoolbench/G1_instruction_missing_all_arguments.json": MISSING,
    "relytoolbench/G1_instruction_missing_arguments.json": ("relytoolbench missing arguments", "plain", set()),
    "relytoolbench/G1_instruction_with_unmatched_tools.json": ("relytoolbench unmatched", "plain", set()),
    "stabletoolbench/solvable_queries/G1_category.json": SOLVABLE,
    "stabletoolbench/solvable_queries/G1_instruction.json": SOLVABLE,
    "stabletoolbench/solvable_queries/G1_tool.json": SOLVABLE,
}


def plain(path):
    """Read every row of a file with the json module alone."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.split("\n") if line]


def expected(folder, name):
    """Select from the raw rows those that should be kept: {own id: wanted names}."""
    kept = {}
    if name.startswith("bfcl"):
        beside = (folder / name).parent / "possible_answer" / (folder / name).name
        answers = {row["id"]: row["ground_truth"] for row in (plain(beside) if beside.exists() else [])}
        return {row["id"]: {key for call in answers.get(row["id"], []) for key in call} for row in plain(folder / name)}
    for row in plain(folder / name):
        asks = {(a["tool_name"], a["api_name"]): a["required_parameters"] for a in row["api_list"]}
        offered = [asks[tuple(pair)] for pair in row["relevant APIs"] if tuple(pair) in asks]
        if not offered if "unmatched" in name else all(offered) if "missing" in name else offered:
            kept[str(row["query_id"])] = {api_name(*pair) for pair in row["relevant APIs"]}
    return kept


@pytest.mark.parametrize("name", FILES)
def test_real_rows_are_kept_or_counted(real_data, name):
    if not (real_data / name).exists():
        pytest.skip(f"{name} is not among the real rows")
    variety, truth, reasons = FILES[name]
    tally = Tally(name)
    found = read(real_data / name, tally=tally)
    assert tally.seen == len(plain(real_data / name)) == len(found) + tally.dropped.total()
    assert set(tally.dropped) == reasons
    assert {one.id.split("/")[1]: set(one.wanted) for one in found} == expected(real_data, name)
    cell = ONE if truth == "call" else NONE
    assert Counter((one.level, one.cell, one.truth, one.variety) for one in found) == {
        ("action", cell, truth, variety): len(found)}  # fmt: skip
    for one in found:
        offered = {tool.name for tool in one.tools}
        assert one.tools
        assert offered.isdisjoint(one.wanted) == (variety in ("bfcl irrelevance", "relytoolbench unmatched"))
        assert samples.sample(json.loads(json.dumps(samples.row(one)))) == one
        assert not {"dict", "float", "tuple"} & {p.get("type") for tool in one.tools for p in tool.properties.values()}


def test_real_functions_are_named_as_upstream_named_them(real_data):
    answers = sorted((real_data / "stabletoolbench" / "answer" / "virtual_chatgpt_cot").rglob("*.json"))
    queries = real_data / "stabletoolbench" / "solvable_queries" / "G1_instruction.json"
    if not answers or not queries.exists():
        pytest.skip("no answers beside their queries among the real rows")
    offered = {one.id.split("/")[1]: one.tools for one in read(queries, tally=Tally("G1"))}
    for path in answers:
        functions = json.loads(path.read_text(encoding="utf-8"))["answer_generation"]["function"][:-1]  # without Finish
        tools = offered[path.name.split("_")[0]]
        assert [tool.name for tool in tools] == [function["name"] for function in functions]
        for tool, upstream in zip(tools, functions, strict=True):
            assert set(upstream["parameters"]["properties"]) <= set(tool.properties)
            assert list(tool.required) == upstream["parameters"]["required"]
