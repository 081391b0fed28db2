"""Replies in Relign's taxonomy: an example of each class in each form, and upstream's order of the classes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flanlib.benchmarks.agent_h.relign import CLASSES, NO_CALL, classify
from flanlib.benchmarks.agent_h.replies import INVENTED, MALFORMED, OFFERED, read
from flanlib.records import Tool

SAIL = Tool("plan_sail", parameters={"properties": {
    "pier": {"type": "string"}, "hours": {"type": "number"}, "crew": {"type": "integer"}, "at": {"type": ["string",
    "null"]},
    "free": {}, "odd": {"type": "date"}, "night": {"type": "boolean"}}, "required": ["pier"]})  # fmt: skip
WRITERS = {
    "json": lambda name, given: json.dumps({"name": name, "arguments": given}),
    "react": lambda name, given: f"Thought: Hm.\nAction: {name}\nAction Input: {json.dumps(given)}",
    "tag": lambda name, given: f"[TOOL_CALLS]{name}[ARGS]{json.dumps(given)}",
    "code": lambda name, given: f"[{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})]",
}
BY_CLASS = [
    ("tool_name_hallucination", "find_boat", {"pier": "Cork"}), ("parameter_required_missing", "plan_sail",
    {"hours": 3}),
    ("parameter_name_hallucination", "plan_sail", {"pier": "Cork", "town": "Ulm"}),
    *(("parameter_value_type_error", "plan_sail", {"pier": "Cork", **wrong}) for wrong in (
        {"pier": 3}, {"hours": "3"}, {"hours": True}, {"crew": 2.5}, {"crew": True}, {"at": 3}, {"night": 1})),
    *(("no_hallucination", "plan_sail", {"pier": "Cork", **right}) for right in (
        {}, {"hours": 3}, {"hours": 2.5}, {"crew": 2}, {"at": None}, {"free": [1]}, {"free": True}, {"odd": 3},
        {"odd": True}, {"night": True})),
]  # fmt: skip


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize(("expected", "name", "given_"), BY_CLASS, ids=str)
def test_each_call_gets_its_class(form, expected, name, given_):
    assert classify(WRITERS[form](name, given_), [SAIL]) == expected


@pytest.mark.parametrize(("reply", "expected"), [
    ('{"name": "plan_sail", "arguments": {"pier": ', "parameter_json_format_hallucination"),
    ("Thought: Hm.\nAction: plan_sail\nAction Input: Cork", "parameter_json_format_hallucination"),
    ("<tool_call>Hm.", "parameter_json_format_hallucination"), ("plan_sail('Cork')",
    "parameter_json_format_hallucination"),
    ('{"name": "find_boat", "arguments": {"pier": ', "tool_name_hallucination"), ("Let me call plan_sail.", NO_CALL),
    ("I need to call a tool.", NO_CALL), ("The boat sails at nine.", NO_CALL), ("Thought: Hm.\nFinal Answer: 9",
    NO_CALL),
    ("", NO_CALL), ("<think>plan_sail()</think>No.", NO_CALL),
    ("[plan_sail(pier='Cork'), plan_sail(pier='Cork')]", "tool_duplicated_hallucination"),
    ("[plan_sail(pier='Cork'), plan_sail(pier='Ulm')]", "no_hallucination"),
    ("[plan_sail(pier='Cork'), find_boat(pier='Ulm')]", "tool_name_hallucination"),
    ("[plan_sail(pier=3), plan_sail(pier=3)]", "parameter_value_type_error"),
])  # fmt: skip
def test_other_replies_get_the_first_class_that_fits(reply, expected):
    assert classify(reply, [SAIL]) == expected


@given(st.sampled_from([*WRITERS.values()]), st.sampled_from(["plan_sail", "find_boat"]),
       st.dictionaries(st.sampled_from(["pier", "hours", "town"]), st.integers(0, 9) | st.sampled_from(["Ulm",
       "Cork"])),
       st.floats(0, 1))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_classes_agree_with_agent_hs_own(writer, name, given_, part):
    reply = writer(name, given_)
    reply = reply[: round(part * len(reply))]
    kind, found = read(reply, [SAIL]).kind, classify(reply, [SAIL])
    assert found in (*CLASSES, NO_CALL)
    assert kind != INVENTED or found == CLASSES[0]
    assert kind != MALFORMED or found in (CLASSES[0], CLASSES[2])
    assert found == NO_CALL or kind in (OFFERED, INVENTED, MALFORMED)
