"""Pictures of loss while a model learns, by kind and form."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from flanlib.figures.parts import (
    below,
    counts,
    curve,
    dot_panels,
    end_values,
    errors,
    legend,
    log_limits,
    plain_log_ticks,
    thousands,
    token_axis,
)
from flanlib.figures.style import (
    FORMS,
    INK,
    OTHER,
    SPLITS,
    STYLE,
    Picture,
    form_name,
    in_order,
    kinds_of,
    need,
    styled,
)
from flanlib.records import FlanError

ORDER = ("instruction", "retrieval", "understanding", "reasoning")  # section 3: from fastest to slowest
NINE_TENTHS = "nine tenths of its fall"


@styled
def loss_by_kind(frame: pd.DataFrame, paper: Mapping[str, float] | None = None) -> Figure:
    """Draw loss by kind while a model is tuned: a panel per form, a line per kind, a band for the range over seeds.

    Columns: form, kind, trained_tokens, nats_per_byte or nats_per_token, low, high, n (seeds). ``paper`` gives
    reference lines by label, drawn in the react panel: the paper's final losses.
    """
    need(frame, "loss_by_kind", "form", "kind", "trained_tokens", "low", "high", "n")
    column, label = _loss_column(frame, "loss_by_kind")
    forms, kinds = in_order(frame["form"], FORMS), kinds_of(frame, "loss_by_kind")
    limits = log_limits([*frame[column], *(paper or {}).values()], frame["low"])
    figure = Picture(figsize=(1.2 + 4.3 * len(forms), 4.2), layout="constrained")
    panels = figure.subplots(1, len(forms), sharey=True, squeeze=False)[0]
    for axes, form in zip(panels, forms, strict=True):
        lines = frame[frame["form"] == form].sort_values("trained_tokens")
        for kind in (k for k in kinds if (lines["kind"] == k).any()):
            curve(axes, lines[lines["kind"] == kind], column, STYLE[kind], kind)
        end = lines["trained_tokens"].max()
        axes.set(title=form_name(form), xlabel="trained tokens", yscale="log", xlim=(-0.02 * end, 1.12 * end),
                 ylim=limits)  # fmt: skip
        token_axis(axes)
        end_values(axes, lines, column, limits)
    panel = panels[forms.index("react")] if "react" in forms else panels[0]
    for (name, value), dash in zip((paper or {}).items(), ((0, (9, 3)), (0, (9, 3, 1, 3)), (0, (1, 2))), strict=False):
        panel.axhline(value, color=INK, linewidth=1, linestyle=dash, zorder=1, label=f"paper, {name}: {value:g}")
    panels[0].set_ylabel(f"{label}, log scale")
    plain_log_ticks(panels[0])
    labelled = {line.get_label(): line for axes in panels for line in axes.get_lines()}
    handles = [labelled[k] for k in kinds] + [line for name, line in labelled.items() if name not in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, handlelength=4,
                  title=f"band: range over {counts(frame['n'], 'seeds')}")  # fmt: skip
    return figure


@styled
def learning_speeds(frame: pd.DataFrame, form: str | None = None) -> Figure:
    """Draw how fast each kind is learned in one form: the share of its fall still to come above, its loss below.

    Columns: form, split (train, heldout), kind, trained_tokens, nats_per_token, low, high, share (of its own whole
    fall still to come: 1 at the start, 0 at the end; NaN for a kind without a fall, which is then named), share_low,
    share_high, n (seeds). A table of several forms needs ``form``.
    """
    need(frame, "learning_speeds", "form", "split", "kind", "trained_tokens", "nats_per_token", "low", "high", "share",
         "share_low", "share_high", "n")  # fmt: skip
    forms = in_order(frame["form"], FORMS)
    if (form is None and len(forms) > 1) or form not in (None, *forms):
        raise FlanError("figure learning_speeds", found=f"forms {', '.join(forms)} and form={form}",
                        expected="one form that is in the table", remedy="Name it: form='chat'.")  # fmt: skip
    form = form or forms[0]
    frame = frame[frame["form"] == form].sort_values("trained_tokens", kind="stable")
    kinds, splits = kinds_of(frame, "learning_speeds"), in_order(frame["split"], SPLITS)
    end, limits = frame["trained_tokens"].max(), log_limits(list(frame["nats_per_token"]), frame["low"])
    figure = Picture(figsize=(1.2 + 4.3 * len(splits), 7.2), layout="constrained")
    panels = figure.subplots(2, len(splits), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), split in zip(panels.T, splits, strict=True):
        lines = frame[frame["split"] == split]
        for kind in (k for k in kinds if (lines["kind"] == k).any()):
            rows = lines[lines["kind"] == kind]
            curve(upper, rows, "share", STYLE[kind], kind, ("share_low", "share_high"), width=1.4)
            curve(lower, rows, "nats_per_token", STYLE[kind], kind, width=1.4)
        upper.axhline(0.1, color=INK, linewidth=1, linestyle=(0, (9, 3)), zorder=1, label=NINE_TENTHS)
        if still := [k for k in kinds if (rows := lines[lines["kind"] == k]["share"]).size and rows.isna().all()]:
            upper.text(0.97, 0.95, f"hardly fell: {', '.join(still)}", transform=upper.transAxes, ha="right", va="top")
        upper.set_title(f"{form_name(form)}, {SPLITS.get(split, split)}")
        lower.set(xlabel="trained tokens", yscale="log", xlim=(-0.02 * end, 1.12 * end), ylim=limits)
        end_values(lower, lines, "nats_per_token", limits)
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set(ylabel="share of its own fall still to come", yticks=[0, 0.1, 0.25, 0.5, 0.75, 1],
                     ylim=(max(low, -0.5), min(high, 1.5)))  # fmt: skip
    panels[1, 0].set_ylabel("loss (nats per token), log scale")
    plain_log_ticks(panels[1, 0])
    token_axis(panels[1, 0])
    labelled = {line.get_label(): line for axes in panels[0] for line in axes.get_lines()}
    below(figure, [labelled[name] for name in (*kinds, NINE_TENTHS)], f"band: range over {counts(frame['n'], 'seeds')}",
          length=4)  # fmt: skip
    return figure


@styled
def speeds(frame: pd.DataFrame) -> Figure:
    """Draw after how many trained tokens each kind has made nine tenths of its own fall, in the paper's order.

    Columns: form, split (train, heldout), kind, tokens, low, high, n (seeds). A thin line joins the kinds of a form:
    it leans to the right all the way down where the paper's order holds.
    """
    need(frame, "speeds", "form", "split", "kind", "tokens", "low", "high", "n")
    present = kinds_of(frame, "speeds")
    kinds = [kind for kind in ORDER if kind in present]
    looks = {form: FORMS.get(form, OTHER) for form in in_order(frame["form"], FORMS)}
    figure, panels = dot_panels(frame, "tokens", panels=("split", SPLITS), rows=("kind", kinds),
                                series=("form", looks), missing="did not fall",
                                write=lambda point: thousands(point["tokens"], 3))  # fmt: skip
    end = frame[["tokens", "high"]].max().max() * 1.2  # room for the numbers
    for axes in panels.values():
        for line, look in zip(axes.containers, looks.values(), strict=True):
            x, y = line.lines[0].get_data()
            down = y.argsort()
            axes.plot(x[down], y[down], color=look.colour, linestyle=look.dash, linewidth=1, alpha=0.6, zorder=1)
        token_axis(axes)
        axes.set(xlim=(0, end if end > 0 else 1), xlabel="trained tokens to nine tenths of its own fall")
    if len(kinds) > 2:  # an order to look for
        next(iter(panels.values())).set_ylabel("in the paper: fastest first")
    legend(figure, {form_name(form): look for form, look in looks.items()},
           f"line: 95 % interval, {counts(frame['n'], 'seeds')}")  # fmt: skip
    return figure


@styled
def skill_by_tokens(frame: pd.DataFrame) -> Figure:
    """Draw skill on held-out tasks against trained tokens: a panel per score, a line per form.

    Columns: form, score, trained_tokens, value (0 to 1), low, high, n (tasks). Tokens are on a log scale, where the
    first measurement, before any training, stands at the left edge.
    """
    need(frame, "skill_by_tokens", "form", "score", "trained_tokens", "value", "low", "high", "n")
    names = in_order(frame["score"], ORDER)
    looks = {form: FORMS.get(form, OTHER) for form in in_order(frame["form"], FORMS)}
    figure = Picture(figsize=(1.2 + 4.3 * len(names), 4.2), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    least = frame.loc[frame["trained_tokens"] > 0, "trained_tokens"].min()
    for axes, score in zip(panels, names, strict=True):
        for form, look in looks.items():
            rows = frame[(frame["score"] == score) & (frame["form"] == form)].sort_values("trained_tokens")
            rows = rows.assign(trained_tokens=rows["trained_tokens"].clip(lower=least / 2),
                               **{name: 100 * rows[name] for name in ("value", "low", "high")})  # fmt: skip
            curve(axes, rows, "value", look, form_name(form))
        axes.set(title=score, xlabel="trained tokens, log scale", xscale="log", ylim=(-3, 103))
        ticks = [tick for tick in (500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000) if least <= tick
                 <= frame["trained_tokens"].max()]  # fmt: skip
        axes.set_xticks([least / 2, *ticks], ["0", *map(thousands, ticks)])
        axes.minorticks_off()
    panels[0].set_ylabel("right on held-out tasks (points of 100)")
    below(figure, panels[0].get_lines(), f"band: 95 % interval, {counts(frame['n'], 'tasks')}", length=4)
    return figure


@styled
def content_by_form(frame: pd.DataFrame) -> Figure:
    """Draw the held-out loss of each content kind after equal trained tokens, the forms side by side.

    Columns: form, kind, nats_per_byte (or nats_per_token), low, high, n (conversations). Rows whose form is a paired
    difference, written ``react - chat``, are printed under their kind.
    """
    need(frame, "content_by_form", "form", "kind", "low", "high", "n")
    column, label = _loss_column(frame, "content_by_form")
    paired = frame["form"].str.contains(" - ", regex=False)
    frame, differences = frame[~paired], frame[paired]
    forms, kinds = in_order(frame["form"], FORMS), kinds_of(frame, "content_by_form")
    figure = Picture(figsize=(2.2 + 1.9 * len(kinds), 4.2), layout="constrained")
    axes = figure.subplots()
    for i, form in enumerate(forms):
        rows, look = frame[frame["form"] == form], FORMS.get(form, OTHER)
        x = [kinds.index(kind) + 0.22 * (i - (len(forms) - 1) / 2) for kind in rows["kind"]]
        axes.errorbar(x, rows[column], yerr=errors(rows, column), fmt=look.marker, color=look.colour, markersize=6,
                      capsize=4, linewidth=1.6, label=form_name(form))  # fmt: skip
        for at, value in zip(x, rows[column], strict=True):
            side = -1 if i < len(forms) / 2 else 1
            axes.annotate(f"{value:.3g}", (at, value), (9 * side, 0), textcoords="offset points", color=INK,
                          ha="right" if side < 0 else "left", va="center", fontsize="small")  # fmt: skip
    labels = {kind: kind for kind in kinds}
    for row in differences.to_dict("records"):
        labels[row["kind"]] += f"\n{row['form']}: {row[column]:+.3f}\n[{row['low']:+.3f}, {row['high']:+.3f}]"
    axes.set(xlim=(-0.6, len(kinds) - 0.4), xticks=range(len(kinds)), xticklabels=list(labels.values()),
             ylabel=f"held-out {label}")  # fmt: skip
    top = frame[[column, "high"]].max().max() * 1.12
    axes.set_ylim(-0.03 * top, top)  # a point at zero stays whole
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=len(forms), frameon=False,
                  title=f"line: 95 % interval, {counts(frame['n'], 'conversations')}")  # fmt: skip
    return figure


def _loss_column(frame: pd.DataFrame, picture: str) -> tuple[str, str]:
    """Find the loss column and its axis label."""
    for column in ("nats_per_byte", "nats_per_token"):
        if column in frame.columns:
            return column, f"loss (nats per {column.rsplit('_', 1)[1]})"
    raise FlanError(f"figure {picture}", found="no loss column", expected="nats_per_byte or nats_per_token",
                    remedy="Name the unit in the column.")  # fmt: skip
