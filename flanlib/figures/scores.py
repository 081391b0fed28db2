"""Pictures of scores: of models, of forms, and of the arms of the balancing experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flanlib.figures.parts import counts, dot_panels, dots, legend, span, thousands
from flanlib.figures.style import (
    FORMS,
    INK,
    MATCHES,
    MODELS,
    OTHER,
    STYLE,
    Picture,
    form_name,
    in_order,
    kinds_of,
    need,
    styled,
)

SCORES = ("overall", "instruction", "retrieval", "understanding", "reasoning", "episodes", "general")
PRINTED = replace(OTHER, marker="P")  # the paper's numbers, beside the lab's


@styled
def report_card(frame: pd.DataFrame, aims: Mapping[str, float] | None = None, *, of: str = "tasks") -> Figure:
    """Draw what models can do: a panel per split, a line per score, a mark per model.

    Columns: model, split, protocol (the form in which the model is asked, one per model), score, value (0 to 1), low,
    high, n (``of`` what). ``aims`` gives a score the value (0 to 1) at which to draw a thin tick.
    """
    need(frame, "report_card", "model", "split", "protocol", "score", "value", "low", "high", "n")
    scores, models = in_order(frame["score"], SCORES), in_order(frame["model"], MODELS)
    looks = {model: MODELS.get(model, OTHER) for model in models}
    figure, panels = dot_panels(_points(frame), "value", panels=("split", {}), rows=("score", scores),
                                series=("model", looks), write=_point)  # fmt: skip
    tick = {"color": INK, "linewidth": 1.2, "linestyle": (0, (2, 1))}
    for split, axes in panels.items():
        judged = set(frame[frame["split"] == split]["score"])
        for score, aim in (aims or {}).items():
            if score in judged:
                axes.plot([100 * aim] * 2, [scores.index(score) + side for side in (-0.42, 0.42)], zorder=1, **tick)
        axes.set(xlim=(-3, 122), xticks=range(0, 101, 20), xlabel="score (points of 100)")
    asked = frame.drop_duplicates("model").set_index("model")["protocol"]
    more = [Line2D([], [], label="aim", **tick)] if aims else []
    legend(figure, {f"{model}, asked in {form_name(asked[model])}": look for model, look in looks.items()},
           f"line: 95 % interval, {counts(frame['n'], of)}", *more)  # fmt: skip
    return figure


@styled
def scores_by_form(frame: pd.DataFrame, *, of: str = "seeds") -> Figure:
    """Draw whether a form raises scores: a panel per way of making the forms equal, a line per score.

    Columns: score, form, match (equal rows, equal trained tokens), value (0 to 1), low, high, n (``of`` what).
    """
    need(frame, "scores_by_form", "score", "form", "match", "value", "low", "high", "n")
    looks = {form: FORMS.get(form, OTHER) for form in in_order(frame["form"], FORMS)}
    figure, panels = dot_panels(_points(frame), "value", panels=("match", dict(zip(MATCHES, MATCHES, strict=True))),
                                rows=("score", in_order(frame["score"], SCORES)), series=("form", looks),
                                write=_point)  # fmt: skip
    for axes in panels.values():
        axes.set(xlim=(-3, 122), xticks=range(0, 101, 20), xlabel="score (points of 100)")
    legend(figure, {form_name(form): look for form, look in looks.items()},
           f"line: 95 % interval, {counts(frame['n'], of)}")  # fmt: skip
    return figure


@styled
def table2(frame: pd.DataFrame, paper: pd.DataFrame | None = None, *, of: str = "seeds") -> Figure:
    """Draw the lab's Table 2: the overall score of every arm beside the paper's T-Eval, the single scores below.

    Columns: arm (labels, from top to bottom as they come), match (equal rows, equal trained tokens), score (overall
    and single ones), value (0 to 1), low, high, n (``of`` what), trained_tokens. ``paper`` has arm and value, the
    paper's T-Eval in points; arms it lacks or leaves empty are marked so.
    """
    need(frame, "table2", "arm", "match", "score", "value", "low", "high", "n", "trained_tokens")
    points, arms = _points(frame), list(dict.fromkeys(frame["arm"]))
    looks = {match: MATCHES.get(match, OTHER) for match in in_order(frame["match"], MATCHES)}
    scores = in_order(frame["score"], SCORES)
    single = [score for score in scores if score != "overall"]
    lines = [line for line in ([*scores[: len(scores) - len(single)], *(["paper"] if paper is not None else [])],
                               single) if line]  # fmt: skip
    columns = math.lcm(*map(len, lines))
    height = 0.5 + len(arms) * (0.2 + 0.19 * len(looks))
    figure = Picture(figsize=(10, 0.7 + height * len(lines)), layout="constrained")
    grid = figure.add_gridspec(len(lines), columns)
    for i, line in enumerate(lines):
        for j, name in enumerate(line):
            width = columns // len(line)
            axes = figure.add_subplot(grid[i, width * j : width * (j + 1)])
            if name == "paper":
                rows = pd.DataFrame({"arm": arms}).merge(paper[["arm", "value"]], how="left")
                rows = rows.assign(score=name, low=math.nan, high=math.nan)
                dots(axes, rows, "value", rows=("arm", arms), series=("score", {name: PRINTED}), write=_point,
                     missing="not reported")  # fmt: skip
                axes.set(title="the paper", xlabel="T-Eval (points of 100)")
            else:
                rows = points[points["score"] == name]
                dots(axes, rows, "value", rows=("arm", arms), series=("match", looks),
                     write=_point_and_tokens if name == "overall" else _point)  # fmt: skip
                axes.set(title=f"the lab, {name}" if name == "overall" else name, xlabel="score (points of 100)")
            low, high = span(rows, "value", 0.6 if name == "overall" else 0.45)
            axes.set_xlim(low, high)
            axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= min(high, 100)])
            axes.tick_params(labelleft=j == 0)
    legend(figure, looks, f"line: 95 % interval, {counts(frame['n'], of)}")
    return figure


@styled
def worth(frame: pd.DataFrame, *, of: str = "seeds") -> Figure:
    """Draw what a capability's training data is worth: points of overall score per 1,000 of its trained tokens.

    Columns: kind, worth, low, high, n (``of`` what), and match (equal rows, equal trained tokens) if there are both.
    """
    need(frame, "worth", "kind", "worth", "low", "high", "n")
    kinds = kinds_of(frame, "worth")
    rows = frame if "match" in frame else frame.assign(match="equal trained tokens")
    looks = {match: MATCHES.get(match, OTHER) for match in in_order(rows["match"], MATCHES)}
    figure = Picture(figsize=(7.6, 1.4 + len(kinds) * (0.2 + 0.21 * len(looks))), layout="constrained")
    axes = figure.subplots()
    for kind in kinds:
        own = {match: replace(STYLE[kind], filled=look.filled) for match, look in looks.items()}
        dots(axes, rows[rows["kind"] == kind], "worth", rows=("kind", kinds), series=("match", own),
             write=lambda point: f"{point['worth']:+.2f}")  # fmt: skip
    left, right = span(rows, "worth", 0.15)
    axes.axvline(0, color=INK, linewidth=1.2, zorder=1)
    axes.set(xlim=(min(left, 0), max(right, 0)), xlabel="points of overall score per 1,000 trained tokens of the kind")
    title = f"line: 95 % interval, {counts(frame['n'], of)}"
    legend(figure, looks if "match" in frame else {}, title)
    return figure


def _points(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{column: 100 * frame[column] for column in ("value", "low", "high")})


def _point(point: dict) -> str:
    return f"{point['value']:.1f}"


def _point_and_tokens(point: dict) -> str:
    tokens = point["trained_tokens"]
    return _point(point) + ("" if math.isnan(tokens) else f",  {thousands(tokens, 3)} tokens")
