"""Formats a user may ask for: right examples fit, wrong ones do not, and no text hangs or breaks a parser."""

import csv
import io
import json
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import values

from flanlib.benchmarks.agent_h.formats import FORMATS, fits
from flanlib.benchmarks.agent_h.replies import LONGEST
from flanlib.benchmarks.agent_h.samples import REACT

EXAMPLES = {
    '{"answer": "It is red."}': {"json"},
    '[{"a": 1}, {"a": 2}]': {"json"},
    '```json\n{"answer": 3}\n```': {"json"},
    "<answer>It is red.</answer>": {"xml"},
    '<?xml version="1.0" encoding="UTF-8"?>\n<a><b c="d"/></a>': {"xml"},
    "answer: It is red.": {"yaml"},
    "answer: 'see *this* and R&D'\nparts:\n  - one\n  - [two, {three: 3}]": {"yaml"},
    "```yaml\n- name: Ulm\n- name: Bonn\n```": {"yaml", "bullets"},
    "a: !!bool x\nb: !!int ''\nc: 2024-99-99": {"yaml"},
    "town,people\nUlm,126000\nBonn,331000": {"csv"},
    'town,said\nUlm,"Hello, you"': {"csv"},
    "- one\n- two": {"bullets"},
    "* one\n\n\u2022 two": {"bullets"},
    "1. one\n2) two": {"numbered"},
    "Thought: It is about red.\nFinal Answer: Red.": {REACT, "yaml"},
    "It is red.": {"prose"},
    "It is red, I think (3 - 1 = 2).\nThe rest, I fear, is blue.": {"prose"},
    "Hello, Bob.\nThat is fine, really.": {"prose"},
    "Dear Bob,\nthanks, all is well.": {"prose"},
    "42": {"prose"},
    "": set(),
    " \n": set(),
    "Answer:\n- one\n- two": {"yaml"},
    "# Title\nText": set(),
    '{"answer": 3': set(),
    "{'answer': 3}": {"yaml"},
    'Here it is: {"answer": 3}.': {"prose"},
    "<a><b></a>": set(),
    "The answer is simple: red.": {"prose", "yaml"},
    "a: [b, c]\nd: &e f": set(),
    "answer: [one, two": set(),
    "town,people\nUlm,126000,1": {"prose"},
    "- one\ntwo": set(),
    "1. one\n- two": set(),
    "Thought: x\nAction: get_fare\nAction Input: {}": {"yaml"},
    "I will call the get_fare tool.\nFinal Answer: Red.": set(),
    '[get_fare(town="Ulm")]': set(),
}


@pytest.mark.parametrize("reply", EXAMPLES, ids=repr)
def test_a_reply_is_in_the_formats_that_a_person_sees_in_it(reply):
    assert {name for name in FORMATS if fits(reply, name)} == EXAMPLES[reply]


def test_every_format_has_examples_and_wordings():
    assert set().union(*EXAMPLES.values()) == set(FORMATS)
    asks = [ask for format_ in FORMATS.values() for ask in format_.asks]
    assert len(set(asks)) == len(asks) == 3 * len(FORMATS)


LAUGHS = "".join(f"b{i}: &b{i} [*b{i - 1}, *b{i - 1}, *b{i - 1}]\n" for i in range(1, 60))
MERGED = ",".join(f"&b{i} {{<<: [{','.join([f'*b{i - 1}'] * 9)}]}}" for i in range(1, 60))
ENTITIES = "".join(f'<!ENTITY b{i} "{f"&b{i - 1};" * 9}">' for i in range(1, 60))
HOSTILE = {
    "yaml anchors": "b0: &b0 [ha]\n" + LAUGHS,
    "yaml merges": "[&b0 {k: 1}," + MERGED + "]",
    "yaml loop": "a: &a [*a]",
    "xml entities": f'<!DOCTYPE a [<!ENTITY b0 "ha">{ENTITIES}]><a>&b50;</a>',
    "xml file": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><a>&b;</a>',
    "xml deep": "<a>" * 100_000,
    "lists": "[" * 100_000,
    "closed lists": "[" * 1990 + "]" * 1990,
    "spaced lists": "[ " * 50_000,
    "objects": '{"a":' * 20_000,
    "flow": "{a: " * 1000,
    "quotes": '"' * 100_000,
    "nulls": "\0" * 100_000,
    "surrogate": "a: \ud800",
    "spaces": " " * 100_000 + "x",
    "escape": 'a: "\\UFFFFFFFF"',
    "object": "a: !!python/object/apply:os.getcwd []\nb: &b [*b]",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_replies_are_refused_quickly(text):
    begun = time.process_time()
    found = {name for name in FORMATS if fits(text, name)}
    assert found.isdisjoint({"json", "xml", "yaml", REACT})
    assert time.process_time() - begun < 0.5


PIECES = [
    *"\n\t\0[]{}<>&*!?|>'\"`:,.=-#%@", ": ", "- ", "\n- ", "!!int ", "!!timestamp ", "!!bool ", "<a>", "</a>", "<?xml ",
    "```", "Thought: ", "\nFinal Answer: ", "1. ", "<<: ", "*a", "---\n", "=", "0x", "2024-13-01", "\ud800", "%YAML 1.",
    '"\\U99999999"',
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=10).map("".join))
@settings(max_examples=100, deadline=None)
def test_every_reply_can_be_checked(reply):
    assert all(isinstance(fits(reply, name), bool) for name in FORMATS)


@given(st.dictionaries(st.text(max_size=5), values, min_size=1, max_size=3), st.sampled_from([None, 2]))
@settings(max_examples=50, deadline=None)
def test_serialised_json_is_json_and_no_other_format(value, indent):
    reply = json.dumps(value, indent=indent, ensure_ascii=False)
    assume(len(reply) <= LONGEST - len("```json\n"))
    assert {name for name in FORMATS if fits(reply, name)} == {"json"}
    assert fits(f"```json\n{reply}\n```", "json")


cell = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"], exclude_characters="-#>*"), max_size=8)


@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_table_with_a_header_is_csv_whatever_its_cells_hold(rows):
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([("town", "people", "mayor"), *rows])
    assert fits(written.getvalue(), "csv")
    assert not fits(written.getvalue(), "prose")
