"""What is shown is escaped, complete, and readable without colour."""

import html
import json
import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flanlib import store
from flanlib.intervals import Interval
from flanlib.records import KINDS, Conversation, FlanError, Turn, say, spans
from flanlib.report import show
from flanlib.report.claims import check
from flanlib.report.figures import BANNER, STYLE
from flanlib.tally import Tally


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, newest last, as bundles of MIME types."""
    bundles = []
    monkeypatch.setattr(show, "display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def talk(text="Thought: ", thought="I should look it up.", user="When does <b>it</b> open?"):
    answer = Turn("assistant", spans((text, "instruction"), (thought, "reasoning")), trained=True)
    return Conversation("c1", "lab", (say("user", user), answer))


def visible(page):
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def test_conversation_marks_each_span_with_colour_underline_and_name(shown):
    show.conversation(talk(), "a <title>")
    page = shown[0]["text/html"]
    for kind in ("instruction", "reasoning"):
        mark = re.search(rf'<span title="{kind}" style="([^"]*)">', page)[1]
        assert "rgba(" in mark
        assert f"underline {STYLE[kind].underline} {STYLE[kind].colour}" in mark
    assert "&lt;b&gt;it&lt;/b&gt;" in page
    assert "a &lt;title&gt;" in page
    assert "assistant, trained" in page
    assert "[assistant, trained] <instruction>Thought: <reasoning>I should look it up." in shown[0]["text/plain"]


def test_legend_names_only_the_kinds_that_occur(shown):
    show.conversation(talk())
    named = set(re.findall(r'title="(\w+)"', shown[0]["text/html"]))
    assert named == {"instruction", "reasoning", "context"}


def test_long_turns_are_cut_and_say_so(shown):
    show.conversation(talk(text="x" * 30, thought="y" * 1500), limit=50)
    page = visible(shown[0]["text/html"])
    assert "x" * 30 + "y" * 20 + "... (1,480 characters more)" in page
    assert "y" * 21 not in page
    assert "characters more" in shown[0]["text/plain"]


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])), st.integers(1, 40))
def test_no_text_becomes_markup_and_none_is_lost(text, limit):
    shown, more = show._cut(say("user", text), limit)
    assert "".join(span.text for span in shown) + text[limit:] == text
    assert more == max(0, len(text) - limit)
    mark = show._mark(text, "reasoning")
    assert visible(mark) == text
    assert mark.count("<") == 2


def test_every_kind_has_a_look_of_its_own_besides_colour():
    assert list(STYLE) == list(KINDS)
    for aspect in ("colour", "dash", "marker", "underline"):
        assert len({getattr(look, aspect) for look in STYLE.values()}) == len(KINDS)


def test_a_notebook_of_long_rows_stays_small(shown):
    turns = [say(("user", "assistant")[i % 2], f"turn {i}") for i in range(100)]
    show.conversation(Conversation("1", "doc", tuple(turns)))
    page = str(shown[0])
    assert "turn 39" in page
    assert "turn 40" not in page
    assert "60 turns more" in page
    show.table(pd.DataFrame({"text": ["x" * 600, "short"], "n": [1, 2]}))
    page = str(shown[1])
    assert "x" * 500 + "... (100 characters more)" in page
    assert "x" * 501 not in page
    assert "short" in page


def test_tally_shows_every_reason(shown):
    counts = Tally("rows.jsonl")
    counts.keep(3)
    counts.drop("no <answer>", "rows.jsonl:4")
    show.tally(counts)
    page = visible(shown[0]["text/html"])
    assert "dropped: no <answer>" in page
    assert "rows.jsonl:4" in page
    assert shown[0]["text/plain"] == str(counts)


def test_table_rounds_numbers_and_escapes_text(shown):
    show.table(pd.DataFrame({"<i>": ["a&b", "c"], "x": [0.123456, float("nan")], "n": [24703, 5]}))
    page = shown[0]["text/html"]
    assert "&lt;i&gt;" in page
    assert "a&amp;b" in page
    assert [">0.123<" in page, ">–<" in page, ">24,703<" in page] == [True, True, True]
    assert "0.123" in shown[0]["text/plain"]


def test_reading_fills_in_numbers_and_escapes_text(shown):
    show.reading("**{kind}** fell to {loss}, {share:.0%} of {n}.", kind="<b>", loss=0.042137, share=0.066, n=12000)
    assert shown[0]["text/markdown"] == "**&lt;b&gt;** fell to 0.0421, 7% of 12,000."


@pytest.mark.parametrize("text", ["{gone}", "{}"])
def test_reading_without_a_value_is_refused(shown, text):
    with pytest.raises(FlanError, match="no value for"):
        show.reading(text, here=1)
    assert shown == []


def test_claims_tell_the_verdict_in_words_and_warn_under_smoke(shown, monkeypatch):
    rows = [check("01", f"gap {high}", material="lab", paper=0.5, ours=Interval(high - 1, high - 2, high, 40),
                  seeds=3, above=0.0) for high in (3.0, 1.0, -1.0)]  # fmt: skip
    monkeypatch.delenv("FLAN_PRESET", raising=False)
    show.claims(rows)
    page = visible(shown[0]["text/html"])
    assert [word in page for word in ("✓ holds", "? unclear", "✗ differs", "2 [1, 3]")] == [True] * 4
    assert BANNER not in page
    monkeypatch.setenv("FLAN_PRESET", "smoke")
    show.claims(rows)
    assert BANNER in shown[1]["text/html"]
    assert BANNER in shown[1]["text/plain"]


@pytest.fixture
def results(tmp_path, monkeypatch):
    """An empty folder of shipped results, and a function that puts one there."""
    monkeypatch.setattr(store, "RESULTS", tmp_path)

    def put(name, machine, date, **facts):
        facts = {"machine": machine, "date": date, "versions": dict.fromkeys(store.LIBRARIES, "1.2"), **facts}
        store.write(tmp_path / name / "manifest.json", json.dumps(facts))

    return put


def test_where_nothing_ships_the_notebook_says_so(shown, results):
    show.origin()
    assert shown[0]["text/plain"].startswith("No results ship for this: everything is made here")


def test_what_ships_is_told_with_machine_dates_and_versions_in_a_fixed_order(shown, results, monkeypatch):
    results("b-2", "Apple M4", "2026-02-01")
    show.origin()
    assert shown.pop()["text/plain"].startswith("1 results ship with the kit, made on 2026-02-01 on Apple M4, with")
    results("a-1", "Xeon <8>", "2026-02-03", computed_in="bfloat16")
    results("c-3", "Apple M4", "2026-01-31", computed_in="float32")
    show.origin()
    assert shown[0]["text/markdown"] == (
        "3 results ship with the kit, made from 2026-01-31 to 2026-02-03 on Apple M4 and Xeon &lt;8&gt; in bfloat16 "
        "and float32, with peft 1.2, torch 1.2, transformers 1.2. They are used where they belong to just these "
        "inputs; everything else is made here.")  # fmt: skip
    show.origin()
    assert shown[1] == shown[0]
    monkeypatch.setenv("FLAN_FRESH", "1")
    show.origin()
    assert shown[2]["text/plain"].startswith("No shipped result is used (FRESH=1)")


def test_a_live_picture_replaces_the_last_one_and_goes_at_the_end(monkeypatch):
    calls = []
    monkeypatch.setattr(show, "display", calls.append)
    monkeypatch.setattr(show, "clear_output", lambda wait=False: calls.append("wait" if wait else "gone"))
    with show.live(lambda frame: f"picture of {len(frame)}") as watch:
        watch(pd.DataFrame({"x": [1]}))
        watch(pd.DataFrame({"x": [1, 2]}))
    assert calls == ["wait", "picture of 1", "wait", "picture of 2", "gone"]


@pytest.mark.parametrize(("low", "high", "told"), [
    (1, 3, "A by 2.0 [1.0, 3.0]"), (-3, -1, "B by 2.0 [1.0, 3.0]"), (-1, 5, "nobody: 2.0 [-1.0, 5.0]"),
    (0, 4, "nobody: 2.0 [0.0, 4.0]"), (float("nan"), float("nan"), "nobody: 2.0 [–, –]"),
])  # fmt: skip
def test_no_sentence_crowns_an_interval_that_reaches_its_bound(low, high, told):
    gap = Interval((low + high) / 2 if low == low else 2.0, low, high, 40)
    assert show.outcome(gap, above="A by {size:.1f}", below="B by {size:.1f}", unclear="nobody: {gap:.1f}") == told


def test_what_was_found_fills_the_place_that_was_kept(monkeypatch):
    calls = []
    for name in ("display", "update_display"):
        monkeypatch.setattr(show, name, lambda bundle, raw, display_id, name=name:
                            calls.append((name, display_id, bundle["text/markdown"])))  # fmt: skip
    show.found()
    show.found("It fell.", "It rose.")
    (kept, first_id, _), (filled, second_id, text) = calls
    assert (kept, filled) == ("display", "update_display")
    assert first_id == second_id
    assert text == "**What we found.** It fell. It rose."


def test_a_folded_table_has_its_title_and_all_rows(shown):
    show.table(pd.DataFrame({"a": ["x < y"]}), fold="More & more")
    page = shown[0]["text/html"]
    assert page.startswith("<details><summary>More &amp; more</summary><table>")
    assert "x &lt; y" in page
    assert page.endswith("</table></details>")
