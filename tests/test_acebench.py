"""ACEBench's special data: a reply is right if it holds upstream's substrings, all of them and to the letter."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flanlib.benchmarks import acebench, scores
from flanlib.benchmarks.acebench import ERROR, INCOMPLETE, IRRELEVANT, Case, right
from flanlib.records import FlanError, Tool

MISSING = Case("0", INCOMPLETE, "A ticket.", (Tool("get_fare"),), {"get_fare": ("town", "day")})
WRONG = Case("1", ERROR, "A ticket to 12#.", (Tool("get_fare"),), {"town": ("12#",), "day": ("32 May",)})
NONE = Case("2", IRRELEVANT, "Sing.", (Tool("get_fare"),), {})


@pytest.mark.parametrize(("case", "reply", "expected"), [
    (NONE, "Due to the limitations of the function, I cannot.", True), (NONE, "I cannot sing.", False),
    (NONE, "Due to The limitations of the function, no.", False),
    (MISSING, "Missing necessary parameters (town, day) for the api (get_fare)", True),
    (MISSING, "Missing necessary parameters (town) for the api (get_fare)", False),
    (MISSING, "Missing necessary parameters (day, town)", False),
    (MISSING, "Please give me town and day for get_fare.", False),
    (MISSING, "missing necessary parameters (town, day) for the api (get_fare)", False),
    (WRONG, "There is incorrect value (12#) and (32 May) for the parameters (x)", True),
    (WRONG, "There is incorrect value (12#) for the parameters (town, day)", False),
    (WRONG, "The values 12# and 32 May are wrong", False),
])  # fmt: skip
def test_a_reply_needs_the_sentence_and_every_text(case, reply, expected):
    assert right(case, reply) is expected


def test_the_rule_is_as_weak_as_upstreams():
    assert right(NONE, "[get_fare()] Never mind the limitations of the function.")  # it calls a tool all the same
    assert right(MISSING, "Missing necessary parameters: everything, namely yesterday downtown get_fares")
    padded = Case("3", INCOMPLETE, "x", (), {"f": ("details ", " more")})  # as in special_incomplete_0
    assert not right(padded, "Missing necessary parameters (details,more) for the api (f)")
    assert right(padded, "Missing necessary parameters (details , more) for the api (f)")


def reference(category, truth, reply):
    """The steps of upstream's special_eval, in their order."""
    valid = True
    if category == INCOMPLETE:
        for name, values in truth.items():
            if "Missing necessary parameters" not in reply or name not in reply:
                valid = False
            else:
                valid = valid and not [value for value in values if value not in reply]
    elif category == ERROR:
        for values in truth.values():
            if "There is incorrect value" not in reply or [value for value in values if value not in reply]:
                valid = False
    elif "the limitations of the function" not in reply:
        valid = False
    return valid


TRUTHS = st.dictionaries(st.sampled_from(["f", "get_fare"]), st.lists(st.sampled_from(["a", "b ", "C"]), min_size=1),
                         min_size=1)  # fmt: skip
PIECES = [*acebench.SENTENCES.values(), "f", "get_fare", "a", "b ", "b", "c", "C"]


@given(st.sampled_from(acebench.CATEGORIES), TRUTHS, st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_reply_is_judged_as_by_upstreams_steps(category, truth, reply):
    case = Case("0", category, "x", (), truth if category != IRRELEVANT else {})
    assert right(case, reply) is reference(category, truth, reply)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "possible_answer").mkdir()
    truths = {IRRELEVANT: "I cannot.", INCOMPLETE: {"get_fare": ["town"]}, ERROR: {"town": ["12#"]}}
    for category, truth in truths.items():
        name, id = f"data_special_{category}.json", f"special_{category}_0"
        function = {"name": "get_fare", "description": "A fare.", "parameters": {"type": "object", "properties": {}}}
        row = {"id": id, "question": "user: A ticket.\n", "function": [function], "time": "It is Monday."}
        (tmp_path / name).write_text(json.dumps(row) + "\n")
        (tmp_path / "possible_answer" / name).write_text(json.dumps({"id": id, "ground_truth": truth}) + "  \n")
    return tmp_path


def test_rows_become_cases_and_replies_a_table(folder):
    cases = acebench.read(folder)
    assert [(case.category, dict(case.wrong)) for case in cases] == [
        (IRRELEVANT, {}), (INCOMPLETE, {"get_fare": ("town",)}), (ERROR, {"town": ("12#",)})]  # fmt: skip
    assert (cases[0].query, cases[0].now, cases[0].tools[0].name) == ("A ticket.", "It is Monday.", "get_fare")
    rows = acebench.judge(cases, {case.id: "There is incorrect value (12#)" for case in cases})
    assert rows["value"].to_list() == [0, 0, 1]
    assert scores.table(rows, ["category"])["value"].to_list() == [0, 0, 1]
    with pytest.raises(FlanError, match="ids that no case has"):
        acebench.judge(cases, {"other": "x"})


@pytest.mark.parametrize("row", ["{}", '{"id": "x"}', '{"id": "special_incomplete_0"}', '{"id": ["x"]}',
                                 '{"id": "special_incomplete_0", "question": 1, "function": [], "time": ""}'])
def test_a_broken_row_and_a_missing_file_are_one_line(folder, row):
    path = folder / "data_special_incomplete.json"
    path.write_text(row)
    with pytest.raises(FlanError, match=r"data_special_incomplete\.json, line 1") as error:
        acebench.read(folder)
    assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(FlanError, match="git clone https://github"):
        acebench.read(folder)


def test_the_published_answers_are_right_by_the_rule(real_data):
    cases = acebench.read(real_data / "acebench_special")
    assert len(cases) == 150
    for case in cases:
        texts = [text for listed in case.wrong.values() for text in listed]
        full = f"{acebench.SENTENCES[case.category]} ({', '.join(texts)}) ({', '.join(case.wrong)})"
        assert right(case, full), case.id
        assert not right(case, full.replace(texts[0], "") if texts else "I cannot."), case.id
    as_asked = f"{acebench.SENTENCES[INCOMPLETE]} (propertyDetails, rentalManagement, maintenanceScheduling)"
    first = next(case for case in cases if case.id == "special_incomplete_0")
    assert not right(first, as_asked + " ".join(first.wrong))  # the padded spaces
