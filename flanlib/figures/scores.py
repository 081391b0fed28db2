"""Pictures of scores: of models, of forms, and of the arms of the balancing experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flanlib.figures.parts import counts, dot_panels, dots, legend, span
from flanlib.figures.style import (
    FORMS,
    INK,
    MODELS,
    OTHER,
    Picture,
    form_name,
    in_order,
    need,
    styled,
)

SCORES = ("overall", "instruction", "retrieval", "naming", "understanding", "reasoning", "episodes", "general")
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
    """Draw whether a form raises scores: a line per score, a mark per form.

    Columns: score, form, value (0 to 1), low, high, n (``of`` what).
    """
    need(frame, "scores_by_form", "score", "form", "value", "low", "high", "n")
    looks = {form: FORMS.get(form, OTHER) for form in in_order(frame["form"], FORMS)}
    names = in_order(frame["score"], SCORES)
    figure = Picture(figsize=(7.6, 1.5 + len(names) * (0.2 + 0.21 * len(looks))), layout="constrained")
    axes = figure.subplots()
    dots(axes, _points(frame), "value", rows=("score", names), series=("form", looks), write=_point)
    axes.set(xlim=(-3, 112), xticks=range(0, 101, 20), xlabel="score (points of 100)")
    legend(figure, {form_name(form): look for form, look in looks.items()},
           f"line: 95 % interval, {counts(frame['n'], of)}")  # fmt: skip
    return figure


@styled
def table2(frame: pd.DataFrame, paper: pd.DataFrame | None = None, *, of: str = "seeds") -> Figure:
    """Draw our Table 2: every arm's scores, the overall one first, and the paper's T-Eval beside them.

    Columns: arm (labels, from top to bottom as they come), score (overall and single ones), value (0 to 1), low, high,
    n (``of`` what), trained_tokens. ``paper`` has arm and value, the paper's T-Eval in points; arms it lacks or leaves
    empty are marked so.
    """
    need(frame, "table2", "arm", "score", "value", "low", "high", "n", "trained_tokens")
    points, arms = _points(frame), list(dict.fromkeys(frame["arm"]))
    names = [*in_order(frame["score"], SCORES), *(["paper"] if paper is not None else [])]
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = Picture(figsize=(10, 0.6 + lines * (0.8 + 0.38 * len(arms))), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    for axes, name in zip(panels, names, strict=False):
        if name == "paper":
            rows = pd.DataFrame({"arm": arms}).merge(paper[["arm", "value"]], how="left")
            rows = rows.assign(score=name, low=math.nan, high=math.nan)
        else:
            rows = points[points["score"] == name]
        dots(axes, rows, "value", rows=("arm", arms), series=("score", {name: PRINTED if name == "paper" else OTHER}),
             write=_point, missing="not reported" if name == "paper" else "no value")  # fmt: skip
        axes.set(title="the paper" if name == "paper" else name,
                 xlabel="T-Eval (points)" if name == "paper" else "points of 100")  # fmt: skip
        axes.set_xlim(*span(rows, "value", 0.45))
    for axes in list(figure.axes)[len(names) :]:
        axes.set_axis_off()
    legend(figure, {}, f"line: 95 % interval, {counts(frame['n'], of)}")
    return figure


def _points(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{column: 100 * frame[column] for column in ("value", "low", "high")})


def _point(point: dict) -> str:
    return f"{point['value']:.1f}"
