"""Pictures of loss: of texts before anything is trained, and of kinds and forms while a model learns."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from flanlib.records import FlanError
from flanlib.report.figures.parts import (
    below,
    counts,
    curve,
    dot_panels,
    errors,
    in_points,
    legend,
    thousands,
    token_axis,
)
from flanlib.report.figures.style import (
    INK,
    PAD,
    SPLITS,
    STYLE,
    Picture,
    draws,
    form_name,
    in_order,
    kinds_of,
    looks_of,
)

ORDER = ("instruction", "retrieval", "understanding", "reasoning")  # section 3: from fastest to slowest
NINE_TENTHS = "nine tenths of its fall"


@draws("text", "nats_per_byte", "low", "high", "n")
def distance(frame: pd.DataFrame) -> Figure:
    """Draw how far each text lies from the base model before any tuning: its loss, sorted, with intervals.

    Columns: text (label), nats_per_byte, low, high, n (conversations). A ``form`` column, if any, sets the marker.
    """
    rows = frame.sort_values("nats_per_byte", kind="stable").reset_index(drop=True)
    figure = Picture(figsize=(7.6, 1.2 + 0.42 * len(rows)))
    axes = figure.subplots()
    end = rows[["nats_per_byte", "high"]].max().max()
    for y, row in rows.iterrows():
        (look,) = looks_of([row.get("form")]).values()
        axes.errorbar(row["nats_per_byte"], y, xerr=[[e.iloc[0]] for e in errors(rows.loc[[y]], "nats_per_byte")],
                      fmt=look.marker, color=look.colour, markersize=7, capsize=3)  # fmt: skip
        axes.text(end * 1.04, y, f"{row['nats_per_byte']:.2f}   n = {row['n']:,.0f}", va="center", color=INK)
    axes.set(xlim=(0, end * 1.02), ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)), yticklabels=rows["text"],
             xlabel="loss of the untuned base model (nats per byte), 95 % interval over n conversations")  # fmt: skip
    axes.grid(axis="y", visible=False)
    return figure


@draws("form", "kind", "trained_tokens", "nats_per_token", "low", "high", "n")
def loss_by_kind(frame: pd.DataFrame, paper: Mapping[str, float] | None = None) -> Figure:
    """Draw loss by kind while a model is tuned: a panel per form, a line per kind, a band for the range over seeds.

    Columns: form, kind, trained_tokens, nats_per_token, low, high, n (seeds). ``paper`` gives reference lines by label,
    drawn in the react panel: the paper's final losses.
    """
    forms, kinds = list(looks_of(frame["form"])), kinds_of(frame, "loss_by_kind")
    limits = _limits([*frame["nats_per_token"], *(paper or {}).values()], frame["low"])
    figure = Picture(figsize=(1.2 + 4.3 * len(forms), 4.2))
    panels = figure.subplots(1, len(forms), sharey=True, squeeze=False)[0]
    for axes, form in zip(panels, forms, strict=True):
        lines = frame[frame["form"] == form].sort_values("trained_tokens")
        _losses(axes, lines, limits, lines["trained_tokens"].max())
        axes.set_title(form_name(form))
    panel = panels[forms.index("react")] if "react" in forms else panels[0]
    for (name, value), dash in zip((paper or {}).items(), ((0, (9, 3)), (0, (9, 3, 1, 3)), (0, (1, 2))), strict=False):
        panel.axhline(value, color=INK, linewidth=1, linestyle=dash, zorder=1, label=f"paper, {name}: {value:g}")
    panels[0].set_ylabel("loss (nats per token), log scale")
    labelled = {line.get_label(): line for axes in panels for line in axes.get_lines()}
    figure.legend(handles=[labelled[name] for name in in_order(labelled, kinds)], loc="outside lower center", ncols=3,
                  handlelength=4, title=f"band: range over {counts(frame['n'], 'seeds')}")  # fmt: skip
    return figure


@draws("form", "split", "kind", "trained_tokens", "nats_per_token", "low", "high", "share", "share_low",
       "share_high", "n")  # fmt: skip
def learning_speeds(frame: pd.DataFrame, form: str) -> Figure:
    """Draw how fast each kind is learned in one form: the share of its fall still to come above, its loss below.

    Columns: form, split (train, heldout), kind, trained_tokens, nats_per_token, low, high, share (of its own whole
    fall still to come: 1 at the start, 0 at the end; NaN for a kind without a fall, which is then named), share_low,
    share_high, n (seeds).
    """
    forms = list(looks_of(frame["form"]))
    if form not in forms:
        raise FlanError("figure learning_speeds", found=f"forms {', '.join(forms)} and form={form}",
                        expected="one form that is in the table", remedy="Name it: form='chat'.")  # fmt: skip
    frame = frame[frame["form"] == form].sort_values("trained_tokens", kind="stable")
    kinds, splits = kinds_of(frame, "learning_speeds"), in_order(frame["split"], SPLITS)
    end, limits = frame["trained_tokens"].max(), _limits(frame["nats_per_token"], frame["low"])
    figure = Picture(figsize=(1.2 + 4.3 * len(splits), 7.2))
    panels = figure.subplots(2, len(splits), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), split in zip(panels.T, splits, strict=True):
        lines = frame[frame["split"] == split]
        for kind in in_order(lines["kind"], STYLE):
            rows = lines[lines["kind"] == kind]
            curve(upper, rows, "share", STYLE[kind], kind, ("share_low", "share_high"), width=1.4)
        _losses(lower, lines, limits, end, width=1.4)
        upper.axhline(0.1, color=INK, linewidth=1, linestyle=(0, (9, 3)), zorder=1, label=NINE_TENTHS)
        if still := [k for k in kinds if (rows := lines[lines["kind"] == k]["share"]).size and rows.isna().all()]:
            upper.text(0.97, 0.95, f"hardly fell: {', '.join(still)}", transform=upper.transAxes, ha="right", va="top")
        upper.set_title(f"{form_name(form)}, {SPLITS.get(split, split)}")
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set(ylabel="share of its own fall still to come", yticks=[0, 0.1, 0.25, 0.5, 0.75, 1],
                     ylim=(max(low, -0.5), min(high, 1.5)))  # fmt: skip
    panels[1, 0].set_ylabel("loss (nats per token), log scale")
    labelled = {line.get_label(): line for axes in panels[0] for line in axes.get_lines()}
    below(figure, [labelled[name] for name in (*kinds, NINE_TENTHS)], f"band: range over {counts(frame['n'], 'seeds')}",
          length=4)  # fmt: skip
    return figure


@draws("form", "split", "kind", "tokens", "low", "high", "n")
def speeds(frame: pd.DataFrame) -> Figure:
    """Draw after how many trained tokens each kind has made nine tenths of its own fall, in the paper's order.

    Columns: form, split (train, heldout), kind, tokens, low, high, n (seeds). A thin line joins the kinds of a form:
    it leans to the right all the way down where the paper's order holds.
    """
    present, looks = kinds_of(frame, "speeds"), looks_of(frame["form"])
    kinds = [kind for kind in ORDER if kind in present]
    figure, panels = dot_panels(frame.rename(columns={"tokens": "value"}), panels=("split", SPLITS),
                                rows=("kind", kinds), series=("form", looks), missing="did not fall",
                                write=lambda tokens: thousands(tokens, 3))  # fmt: skip
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
    legend(figure, {form_name(form): look for form, look in looks.items()}, counts(frame["n"], "seeds"))
    return figure


@draws("form", "score", "trained_tokens", "value", "low", "high", "n")
def skill_by_tokens(frame: pd.DataFrame) -> Figure:
    """Draw skill on held-out tasks against trained tokens: a panel per score, a line per form.

    Columns: form, score, trained_tokens, value (0 to 1), low, high, n (tasks). Tokens are on a log scale, where the
    first measurement, before any training, stands at the left edge.
    """
    names, looks = in_order(frame["score"], ORDER), looks_of(frame["form"])
    figure = Picture(figsize=(1.2 + 4.3 * len(names), 4.2))
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    least, most = frame.loc[frame["trained_tokens"] > 0, "trained_tokens"].min(), frame["trained_tokens"].max()
    ticks = [tick for tick in (500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000) if least <= tick <= most]
    for axes, score in zip(panels, names, strict=True):
        for form, look in looks.items():
            rows = frame[(frame["score"] == score) & (frame["form"] == form)].sort_values("trained_tokens")
            rows = in_points(rows).assign(trained_tokens=rows["trained_tokens"].clip(lower=least / 2))
            curve(axes, rows, "value", look, form_name(form))
        axes.set(title=score, xlabel="trained tokens, log scale", xscale="log", ylim=(-3, 103))
        axes.set_xticks([least / 2, *ticks], ["0", *map(thousands, ticks)])
        axes.minorticks_off()
    panels[0].set_ylabel("right on held-out tasks (points of 100)")
    below(figure, panels[0].get_lines(), f"band: 95 % interval, {counts(frame['n'], 'tasks')}", length=4)
    return figure


@draws("form", "kind", "nats_per_byte", "low", "high", "n")
def content_by_form(frame: pd.DataFrame) -> Figure:
    """Draw the held-out loss of each content kind after equal trained tokens, the forms side by side.

    Columns: form, kind, nats_per_byte, low, high, n (conversations). Rows whose form is a paired difference, written
    ``react - chat``, are printed under their kind.
    """
    paired = frame["form"].str.contains(" - ", regex=False)
    frame, differences = frame[~paired], frame[paired]
    looks, kinds = looks_of(frame["form"]), kinds_of(frame, "content_by_form")
    figure = Picture(figsize=(2.2 + 1.9 * len(kinds), 4.2))
    axes = figure.subplots()
    for i, (form, look) in enumerate(looks.items()):
        rows = frame[frame["form"] == form]
        x = [kinds.index(kind) + 0.22 * (i - (len(looks) - 1) / 2) for kind in rows["kind"]]
        axes.errorbar(x, rows["nats_per_byte"], yerr=errors(rows, "nats_per_byte"), fmt=look.marker, color=look.colour,
                      markersize=6, capsize=4, linewidth=1.6, label=form_name(form))  # fmt: skip
        for at, value in zip(x, rows["nats_per_byte"], strict=True):
            side = -1 if i < len(looks) / 2 else 1
            axes.annotate(f"{value:.3g}", (at, value), (9 * side, 0), textcoords="offset points", color=INK,
                          ha="right" if side < 0 else "left", va="center", fontsize="small")  # fmt: skip
    labels = {kind: kind for kind in kinds}
    for row in differences.to_dict("records"):
        labels[row["kind"]] += f"\n{row['form']}: {row['nats_per_byte']:+.3f}\n[{row['low']:+.3f}, {row['high']:+.3f}]"
    axes.set(xlim=(-0.6, len(kinds) - 0.4), xticks=range(len(kinds)), xticklabels=list(labels.values()),
             ylabel="held-out loss (nats per byte)")  # fmt: skip
    top = frame[["nats_per_byte", "high"]].max().max() * 1.12
    axes.set_ylim(-0.03 * top, top)  # a point at zero stays whole
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=len(looks),
                  title=f"line: 95 % interval, {counts(frame['n'], 'conversations')}")  # fmt: skip
    return figure


def _losses(axes: Axes, lines: pd.DataFrame, limits: tuple[float, float], end: float, width: float = 1.8) -> None:
    """Draw the loss of each kind on a log scale, with its last value beside its end."""
    for kind in in_order(lines["kind"], STYLE):
        curve(axes, lines[lines["kind"] == kind], "nats_per_token", STYLE[kind], kind, width=width)
    axes.set(xlabel="trained tokens", yscale="log", xlim=(-0.02 * end, 1.12 * end), ylim=limits)
    token_axis(axes)
    axes.yaxis.set_major_locator(FixedLocator([m * 10.0**e for e in range(-6, 4) for m in (1, 2, 5)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    last, apart = sorted(lines.groupby("kind")["nats_per_token"].last()), (limits[1] / limits[0]) ** 0.05
    for value, y in zip(last, accumulate(last, lambda below, value: max(value, below * apart)), strict=True):
        axes.annotate(f"{value:.2g}", (lines["trained_tokens"].max(), y), (7, 0), textcoords="offset points",
                      va="center", fontsize="small", bbox=PAD)  # fmt: skip


def _limits(values: Iterable[float], bounds: Iterable[float]) -> tuple[float, float]:
    """Return limits of a log axis around values and their lower bounds, which may reach no lower than a quarter."""
    values = [v for v in values if v > 0]  # neither NaN nor zero
    return max(min(v for v in (*values, *bounds) if v > 0), min(values) / 4) * 0.7, max(values) * 2
