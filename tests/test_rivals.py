"""Columns of Table 1 are means of single scores, worked by hand, and the overall score weighs every benchmark alike."""

import pandas as pd
import pytest

from flanlib.benchmarks.agent_h import score
from flanlib.records import CAPABILITIES, FlanError
from flanlib.report import rivals


def rows(model, score, values, *, seeds=1, prefix=""):
    """Judgements of one score: a value per task, the same for every seed."""
    return pd.DataFrame([(model, seed, f"{prefix or score}-{i}", score, value, None, None)
                         for seed in range(seeds) for i, value in enumerate(values)],
                        columns=["model", "seed", "id", "score", "value", "right", "chosen"])  # fmt: skip


def skill(model, share, *, seeds=1):
    """Each capability right in ``share`` of ten tasks."""
    values = [1] * round(10 * share) + [0] * (10 - round(10 * share))
    return pd.concat([rows(model, name, values, seeds=seeds, prefix="task") for name in CAPABILITIES])


def judged(**columns):
    """One row as judging gives it."""
    return {"model": "m", "seed": 0, "split": "held-out tools", "protocol": "chat", "type": "", "reply": "Well.",
            "value": 1} | columns  # fmt: skip


def test_every_benchmark_becomes_scores_of_its_own():
    sample = {"split": "Agent-H", "score": "agent_h", "level": "action", "cell": "c", "form": ""}
    frame = pd.DataFrame([
        *(judged(id="t", score=name) for name in CAPABILITIES), judged(id="t", score="episodes", value=0),
        *(judged(id="s", score=name, split="seen tools") for name in CAPABILITIES),
        judged(id="s", score="naming", split="seen tools"),
        judged(id="a", truth="plain", kind="plain reply", **sample),
        judged(id="b", truth="call", kind="invented tool", **sample),
        judged(id="i", score="bfcl", split="BFCL", truth="plain", kind="malformed", verdict="right"),
        judged(id="j", score="bfcl", split="BFCL", truth="call", kind="call", verdict=""),
        judged(id="w", score="when2call", split="When2Call", right="cannot_answer", chosen="tool_call", value=0),
        judged(id="g", score="general", split="general"),
    ])  # fmt: skip
    found = rivals.single(frame, ["seen tools", "held-out tools"])
    wanted = dict.fromkeys([*CAPABILITIES, *rivals.SCORES[rivals.HELD_IN], score.WORDS, rivals.CALLS, "general"], 1)
    wanted |= dict.fromkeys(["episodes", score.MADE, rivals.ABSTAINS, rivals.ACCURACY], 0)
    values = found.set_index("score")["value"].to_dict()
    assert {name: values[name] for name in wanted} == wanted
    assert len(found[found["score"].isin(wanted)]) == len(wanted), "one row each"
    table = rivals.table(found).set_index("column")["value"]
    # Skill 1, episodes 0, Agent-H (1 + 0) / 2, BFCL (1 + 0) / 2; a class that is chosen and one that is right have F1
    # 0 each.
    assert table[rivals.OVERALL] == pytest.approx((1 + 0 + 0.5 + 0.5) / 4)
    assert table[[rivals.HELD_IN, rivals.AGENT_H, rivals.F1]].to_list() == [1, 0.5, 0]


def test_what_was_not_measured_has_no_column_and_no_part_in_the_overall_score():
    found = pd.concat([skill("a", 0.8), rows("a", "episodes", [1, 0, 0, 0])])
    found = found[found["score"] != "reasoning"]  # data without thoughts
    assert rivals.measured(found) == [rivals.SKILL, rivals.EPISODES]
    table = rivals.table(found).set_index("column")["value"]
    assert table.to_dict() == pytest.approx({rivals.SKILL: 0.8, rivals.EPISODES: 0.25,
                                             rivals.OVERALL: (0.8 + 0.25) / 2})  # fmt: skip
    with pytest.raises(FlanError, match="no benchmark that is held out"):
        rivals.table(rows("a", "general", [1]))


def test_a_gain_is_in_points_and_fewer_keywords_are_a_gain():
    both = pd.concat([skill("a", 0.8), skill("b", 0.5)])
    assert rivals.gain(both, "a", "b", rivals.SKILL).mean == pytest.approx(30)
    keywords = pd.concat([rows(model, name, values) for name in score.BY_KEYWORDS
                          for model, values in (("a", [0, 0]), ("b", [1, 0]))])  # fmt: skip
    assert rivals.gain(keywords, "a", "b", score.HSCORE).mean == pytest.approx(50)


def test_a_point_above_the_line_gains_more_than_its_share():
    # From 0.2 to 1.0, a quarter of the way is 0.4; the untuned model has one seed only.
    parts = pd.concat([skill("none", 0.2), skill("quarter", 0.7, seeds=3), skill("all", 1.0, seeds=3)])
    above = rivals.above_line(parts, "none", "quarter", "all", share=0.25, column=rivals.SKILL)
    assert above.mean == pytest.approx(30)
    assert above.low <= above.mean <= above.high


def test_the_paper_s_scores_are_shares_of_gpt_4_s():
    found = rivals.published({"ours": "Agent-FLAN", "fire": "FireAct-7B"}, {"T-Eval": "t_eval", "Held-In": "held_in"})
    assert found[found["model"] == "ours"]["value"].to_list() == pytest.approx([66.0 / 86.4, 2.01 / 2.75])
    assert found[found["model"] == "fire"]["column"].to_list() == ["T-Eval"], "FireAct's held-in score is not reported"


def test_a_table_is_one_line_per_model_with_a_dash_for_what_is_missing():
    table = pd.concat(map(rivals.table, (skill("a", 0.8), pd.concat([skill("b", 0.5), rows("b", "general", [1])]))))
    wide = rivals.wide(table)
    assert wide["model"].to_list() == ["a", "b"]
    assert wide[rivals.SKILL][0].startswith("80.0 [")
    assert wide[rivals.GENERAL][0] == "–"
