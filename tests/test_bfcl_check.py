"""BFCL's checker: an answer is right where upstream's says so, by cases worked by hand and beside upstream itself."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flanlib.benchmarks import bfcl
from flanlib.benchmarks.bfcl_check import decode, matches
from flanlib.tally import Tally

FARE = {
    "name": "rail.fare", "description": "Find a fare.",
    "parameters": {"type": "dict", "required": ["town", "seats"], "properties": {
        "town": {"type": "string"}, "seats": {"type": "integer"}, "class": {"type": "string"},
        "discount": {"type": "float"}, "days": {"type": "array", "items": {"type": "string"}},
        "span": {"type": "tuple", "items": {"type": "float"}}, "bike": {"type": "boolean"},
        "who": {"type": "dict", "properties": {}}, "stops": {"type": "array", "items": {"type": "dict"}},
        "note": {"type": "any"}}}}  # fmt: skip
CANDIDATES = {
    "town": ["Ulm", "Ulm, Germany"], "seats": [2, 1], "class": ["first", ""], "discount": [0.5, ""],
    "days": [["Mon.", "Tue"], ["all"], ""], "span": [[1.0, 2.5], ""], "bike": [True, ""],
    "who": [{"age": [30, 31], "name": ["Ann", ""]}, ""], "stops": [[{"at": ["Bonn"]}, {"at": ["Trier"]}], ""],
    "note": ["quiet", ""]}  # fmt: skip
GOLD = [{"rail.fare": CANDIDATES}]
OTHER = {"name": "weather", "description": "", "parameters": {"type": "dict", "properties": {}, "required": []}}


def right(name="rail.fare", **arguments):
    return matches([(name, {"town": "Ulm", "seats": 2} | arguments)], [OTHER, FARE], GOLD)


ARGUMENTS = [
    ({}, True), ({"town": "ulm - germany"}, True), ({"town": "U.L^M"}, True), ({"town": "Bonn"}, False),
    ({"seats": 3}, False), ({"seats": 2.0}, False), ({"seats": "2"}, False), ({"seats": True}, False),
    ({"class": "FIRST"}, True), ({"class": "second"}, False), ({"class": "."}, True), ({"class": None}, False),
    ({"discount": 0.5}, True), ({"discount": 1}, False), ({"platform": "3"}, False),
    ({"days": ["mon", "TUE"]}, True), ({"days": ["tue", "mon"]}, False), ({"days": ["all"]}, True),
    ({"days": "all"}, False), ({"days": ("all",)}, False), ({"days": [1]}, False),
    ({"span": (1.0, 2.5)}, True), ({"span": [1.0, 2.5]}, True), ({"span": (2.5, 1.0)}, False),
    ({"bike": True}, True), ({"bike": False}, False), ({"bike": 1}, False),
    ({"who": {"age": 31}}, True), ({"who": {"age": 30, "name": "ann"}}, True), ({"who": {"name": "Ann"}}, False),
    ({"who": {"age": 30, "pet": "cat"}}, False), ({"who": {"age": 29}}, False), ({"who": {}}, False),
    ({"stops": [{"at": "bonn"}, {"at": "Trier"}]}, True), ({"stops": [{"at": "Trier"}, {"at": "Bonn"}]}, False),
    ({"stops": [{"at": "Bonn"}]}, False), ({"note": "Quiet"}, True), ({"note": 1}, False),
    ({"days": []}, True), ({"stops": []}, True),  # upstream takes the gap "" for an empty text or list
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "expected"), ARGUMENTS)
def test_arguments_are_right_if_upstream_would_take_them(arguments, expected):
    assert right(**arguments) is expected


def test_a_call_needs_the_name_and_all_that_is_required_and_stands_alone():
    call = ("rail.fare", {"town": "Ulm", "seats": 2})
    assert matches([call], [OTHER, FARE], GOLD)
    assert not right("rail_fare")
    assert not matches([], [FARE], GOLD)
    assert not matches([call, call], [FARE], GOLD)
    assert not matches([("rail.fare", {"town": "Ulm"})], [FARE], GOLD)
    assert not matches([call], [OTHER], GOLD)
    strict = [{"rail.fare": CANDIDATES | {"class": ["first"]}}]  # not required by the tool, but by the answer
    assert not matches([call], [FARE], strict)
    assert matches([("rail.fare", {"town": "Ulm", "seats": 2, "class": "first"})], [FARE], strict)


def test_a_name_of_a_variable_is_right_only_to_the_letter():
    gold = [{"rail.fare": CANDIDATES | {"seats": ["seat_count"]}}]
    assert matches([("rail.fare", {"town": "Ulm", "seats": "seat_count"})], [FARE], gold)
    assert not matches([("rail.fare", {"town": "Ulm", "seats": "Seat_Count"})], [FARE], gold)
    assert not matches([("rail.fare", {"town": "Ulm", "seats": 2})], [FARE], gold)


TYPED = [
    ({"type": "float"}, [3.0], 3, True), ({"type": "float"}, [3.0], True, False),
    ({"type": "array", "items": {"type": "integer"}}, [[1, 2]], [1.0, 2.0], False),  # equal, but of another type
    ({"type": "array", "items": {"type": "float"}}, [[1, 2]], [1, 2], True),  # of the candidate's type
    ({"type": "array", "items": {"type": "float"}}, [[1.0, 2]], [1, 2], False),
    ({"type": "string"}, [5, "Five"], "Five", True), ({"type": "string"}, [5, "Five"], "five", False),
    ({"type": "string"}, [None, "Five"], "five", False), ({"type": "string"}, ["", "Five"], "five", True),
    ({"type": "string"}, ["it's"], 'IT"S', True),
    ({"type": "dict"}, [{"a": [1]}, {"b": [2]}], {"b": 2}, True), ({"type": "dict"}, ["", {"b": [2]}], {"b": 2}, True),
    ({"type": "dict"}, [{"a": [1]}, {"b": [2]}], {"a": 1, "b": 2}, False),
    ({"type": "array", "items": {"type": "dict"}}, [[{"a": [1]}]], ["a"], False),
    ({"type": "color"}, ["red"], "red", False), ({"type": "array"}, [["red"]], ["red"], False),  # upstream breaks off
]  # fmt: skip


@pytest.mark.parametrize(("schema", "candidates", "value", "expected"), TYPED)
def test_a_value_is_right_by_its_type_and_then_by_its_candidates(schema, candidates, value, expected):
    assert matches([("f", {"x": value})], [one_parameter(schema)], [{"f": {"x": candidates}}]) is expected


def one_parameter(schema):
    return {"name": "f", "parameters": {"properties": {"x": schema}, "required": []}}


def test_what_is_required_or_unknown_is_decided_by_function_and_answer_alike():
    gold = [{"rail.fare": CANDIDATES | {"town": ["Ulm", ""], "zone": ["A", ""]}}]
    assert matches([("rail.fare", {"town": "Ulm", "seats": 2})], [FARE], gold)
    assert not matches([("rail.fare", {"seats": 2})], [FARE], gold)  # the answer lets it out, the function does not
    assert not matches([("rail.fare", {"town": "Ulm", "seats": 2, "zone": "A"})], [FARE], gold)


@pytest.mark.parametrize(("reply", "calls"), [
    ("[f(a=1, b='x')]", [("f", {"a": 1, "b": "x"})]), ("f(a=1)", [("f", {"a": 1})]), ("```\n[f()]\n```", [("f", {})]),
    ("[f(a=1), g.h(b=[True, None, -2.5])]", [("f", {"a": 1}), ("g.h", {"b": [True, None, -2.5]})]),
    ("[f('dropped', a=(1, 2))]", [("f", {"a": (1, 2)})]), ("[f(a={'k': [1]})]", [("f", {"a": {"k": [1]}})]),
    ("[f(a=town)]", [("f", {"a": "town"})]), ("[f(a=g(1), b=g(x=1), c=h[0])]",
                                              [("f", {"a": "g(1)", "b": {"g": {"x": 1}}, "c": "h[0]"})]),
    ("[f(a=2*10**3 + 1, b=...)]", [("f", {"a": 2001, "b": "..."})]), ("[]", []), ("", []),
])  # fmt: skip
def test_a_list_of_calls_is_decoded(reply, calls):
    assert decode(reply) == calls


@pytest.mark.parametrize("reply", [
    "The fare is 3 euros.", "[1]", "[f(a=lambda: 1)]", "f(a=1", '{"name": "f", "arguments": {}}', "[f(a=9**9**9)]",
    "[f(a=99**99)]", "[f(a='x' * 10**9)]", "[f(a=1/0)]", "[" * 3000, "f(a=" + "-" * 5000 + "1)",
    "[f(a=[x for x in y])]", "\0", "\ud800", "f(" + " " * 30_000 + ")",
])  # fmt: skip
def test_other_texts_are_no_calls_and_nothing_is_run(reply):
    with pytest.raises(ValueError, match="not a list of calls"):
        decode(reply)


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                      | st.text(st.characters(exclude_categories=["Cs"])),
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
                      max_leaves=8)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["town", "seats", "n"]), VALUES))
def test_a_written_call_is_decoded_to_the_same_arguments(arguments):
    written = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    assert decode(f"[rail.fare({written})]") == [("rail.fare", arguments)]


@given(st.dictionaries(st.sampled_from([*CANDIDATES]), VALUES))
def test_any_arguments_are_checked_without_an_error(arguments):
    assert matches([("rail.fare", arguments)], [FARE], GOLD) in (True, False)


@pytest.mark.skipif(not bfcl.FOLDER.exists(), reason="no BFCL here: python -m flanlib.benchmarks.bfcl fetches it")
def test_the_published_rows_are_read_and_every_possible_answer_is_right():
    tally = Tally("BFCL")
    cases = bfcl.read(tally=tally)
    assert (tally.seen, tally.dropped.total()) == (3051, 12)
    rng, wrong = np.random.default_rng(0), []
    for case in cases:
        if case.answers:
            calls = call_of(case, rng)
            if not matches(calls, case.functions, case.answers):
                wrong.append(case.sample.id)
    assert len(wrong) <= 30, wrong  # answers that contradict their own function's types


def call_of(case, rng):
    """A right call: a candidate for each parameter, drawn at random, or none where it may be left out."""
    [(name, candidates)] = case.answers[0].items()
    return [(name, filled(candidates, rng))]


def filled(candidates, rng):
    """A value by key, from the candidates of each. A candidate that is a dict, or has some, holds candidates itself."""
    arguments = {}
    if not all(isinstance(values, list) for values in candidates.values()):
        return candidates  # deeper down, values stand for themselves
    for key, values in candidates.items():
        values = [value for value in values if value != ""]
        if values and (rng.random() < 0.5 or "" not in candidates[key]):
            value = values[rng.integers(len(values))]
            items = [filled(item, rng) if isinstance(item, dict) else item
                     for item in (value if isinstance(value, list) else [value])]  # fmt: skip
            arguments[key] = items if isinstance(value, list) else items[0]
    return arguments


def other_values(value, rng):
    """Values near a value: of other types, written otherwise, in another order, or with less or more in them."""
    yield from (None, "", [], {}, str(value), [value], (value,), {"key": value}, True, 1, 0.5, "anything")
    if isinstance(value, str):
        yield from (value.upper(), f" {value}.", value + "s", value[:-1], value.replace(" ", "_"), list(value))
    if isinstance(value, (int, float)):
        yield from (value + 1, -value, float(value), int(value), bool(value), value * 1.0)
    if isinstance(value, list):
        yield from (value[::-1], value[1:], [*value, "more"], tuple(value), [str(one) for one in value], value * 2)
        for item in value[:1]:
            yield from ([other, *value[1:]] for other in other_values(item, rng))
    if isinstance(value, dict):
        yield from ({**value, "more": 1}, dict(list(value.items())[1:]))
        for key in list(value)[:1]:
            yield from ({**value, key: other} for other in other_values(value[key], rng))


def mutated(call, rng):
    """Yield (kind of change, calls) for a right call."""
    name, arguments = call
    yield "as it is", [call]
    yield from (("no call", []), ("called twice", [call, call]), ("another name", [(name + "_", arguments)]),
                ("a dot", [(name.replace(".", "_"), arguments)]), ("no arguments", [(name, {})]),
                ("unknown argument", [(name, {**arguments, "unknown_": 1})]))  # fmt: skip
    for key, value in arguments.items():
        yield "argument left out", [(name, {k: v for k, v in arguments.items() if k != key})]
        for other in other_values(value, rng):
            yield f"{type(value).__name__} to {type(other).__name__}", [(name, {**arguments, key: other})]


@pytest.fixture
def upstream(monkeypatch):
    """Upstream's checker. Its table of models, which imports every vendor's client, is exchanged for an empty one."""
    if not importlib.util.find_spec("bfcl_eval"):
        pytest.skip("no bfcl_eval to compare with: pip install --no-deps bfcl-eval==2026.3.23 into a folder of its own")
    table = SimpleNamespace(MODEL_CONFIG_MAPPING={"model": SimpleNamespace(underscore_to_dot=False)})
    monkeypatch.setitem(sys.modules, "bfcl_eval.constants.model_config", table)
    checker = pytest.importorskip("bfcl_eval.eval_checker.ast_eval.ast_checker", exc_type=ImportError)

    def check(case, calls):
        try:
            return checker.ast_checker(list(case.functions), [{name: arguments} for name, arguments in calls],
                                       list(case.answers), checker.Language.PYTHON, case.category, "model")["valid"]
        except (TypeError, AttributeError, KeyError, IndexError):
            return False  # it breaks off at values that no candidate has the type of

    return check


def test_upstream_says_the_same_of_the_cases_above(upstream):
    fare = SimpleNamespace(functions=[OTHER, FARE], answers=GOLD, category="multiple")
    for arguments, expected in ARGUMENTS:
        assert upstream(fare, [("rail.fare", {"town": "Ulm", "seats": 2} | arguments)]) is expected, arguments
    for schema, candidates, value, expected in TYPED:
        case = SimpleNamespace(functions=[one_parameter(schema)], answers=[{"f": {"x": candidates}}], category="simple")
        assert upstream(case, [("f", {"x": value})]) is expected, (schema, candidates, value)


def test_the_checker_agrees_with_upstreams_on_right_and_changed_answers(upstream):
    folder = Path(importlib.util.find_spec("bfcl_eval").origin).parent / "data"
    cases = [case for case in bfcl.read(folder, tally=Tally("BFCL")) if case.answers]
    rng, counts, differ = np.random.default_rng(0), Counter(), []
    for i in rng.permutation(len(cases))[:400]:
        for kind, calls in mutated(call_of(cases[i], rng)[0], rng):
            ours, theirs = matches(calls, cases[i].functions, cases[i].answers), upstream(cases[i], calls)
            counts[kind, theirs] += 1
            if ours != theirs:
                differ.append((cases[i].sample.id, kind, calls, ours))
    assert not differ, (len(differ), differ[:5])
    by_verdict = pd.Series(counts).groupby(level=1).sum()
    print(f"\n{len(counts)} kinds of change and verdict; right {by_verdict[True]}, wrong {by_verdict[False]}")
    assert by_verdict[True] > 1000
    assert by_verdict[False] > 1000
