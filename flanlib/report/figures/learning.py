"""Pictures of losses: those of the untuned model, and how they fall while a model is tuned."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter

from flanlib.records import FlanError
from flanlib.report.figures import parts
from flanlib.report.figures.style import INK, PAD, STYLE, Picture, draws, form_name, in_order, kinds_of, looks_of

ORDER = ("instruction", "retrieval", "understanding", "reasoning")  # section 3: from fastest to slowest
NINE_TENTHS = "nine tenths of its fall"
SPLITS = {"train": "training data", "heldout": "held-out data"}


@draws("text", "nats_per_byte", "low", "high", "n")
def distance(frame: pd.DataFrame) -> Figure:
    """Draw the loss of the untuned base model on each text, sorted. An optional column ``form`` sets the marker."""
    rows = frame.sort_values("nats_per_byte", kind="stable").reset_index(drop=True)
    figure = Picture(figsize=(7.6, 1.2 + 0.42 * len(rows)))
    axes = figure.subplots()
    end = rows[["nats_per_byte", "high"]].max().max()
    to_low, to_high = parts.errors(rows, "nats_per_byte")
    for y, row in rows.iterrows():
        (look,) = looks_of([row.get("form")]).values()
        axes.errorbar(row["nats_per_byte"], y, xerr=[[to_low[y]], [to_high[y]]], fmt=look.marker, color=look.colour,
                      markersize=7, capsize=3)  # fmt: skip
        axes.text(end * 1.04, y, f"{row['nats_per_byte']:.2f}   n = {row['n']:,.0f}", va="center", color=INK)
    axes.set(xlim=(0, end * 1.02), ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)), yticklabels=rows["text"],
             xlabel="loss of the untuned base model (nats per byte), 95 % interval over n conversations")  # fmt: skip
    axes.grid(axis="y", visible=False)
    return figure


@draws("form", "kind", "trained_tokens", "nats_per_token", "low", "high", "n")
def loss_by_kind(frame: pd.DataFrame, paper: Mapping[str, float] | None = None) -> Figure:
    """Draw loss by kind while a model is tuned: a panel per form, a line per kind, a band for the range over seeds.

    ``paper`` gives the paper's final losses by label, drawn as horizontal lines in the ReAct panel.
    """
    forms, kinds = list(looks_of(frame["form"])), kinds_of(frame, "loss_by_kind")
    limits = _limits([*frame["nats_per_token"], *(paper or {}).values()], frame["low"])
    figure, [panels] = parts.curve_panels(len(forms))
    for axes, form in zip(panels, forms, strict=True):
        lines = parts.tokens_axis(axes, frame, frame["form"] == form)
        parts.curves(axes, lines, "nats_per_token", by="kind", looks=STYLE)
        axes.set(title=form_name(form), yscale="log", ylim=limits)
        axes.yaxis.set_major_locator(FixedLocator([m * 10.0**e for e in range(-6, 4) for m in (1, 2, 5)]))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        _last_values(axes, lines, limits)
    panel = panels[forms.index("react")] if "react" in forms else panels[0]
    for (name, value), dash in zip((paper or {}).items(), ((0, (9, 3)), (0, (9, 3, 1, 3)), (0, (1, 2))), strict=False):
        panel.axhline(value, color=INK, linewidth=1, linestyle=dash, zorder=1, label=f"paper, {name}: {value:g}")
    panels[0].set_ylabel("loss (nats per token), log scale")
    lines = parts.by_label(panels)
    parts.below(figure, [lines[name] for name in in_order(lines, kinds)], parts.over_seeds(frame["n"]), length=4)
    return figure


@draws("form", "split", "kind", "trained_tokens", "share", "share_low", "share_high", "n")
def learning_speeds(frame: pd.DataFrame) -> Figure:
    """Draw how fast each kind is learned, as the share of its fall still to come on held-out data: a panel per form.

    Kinds whose shares are NaN are named in the picture. Raises FlanError without held-out losses.
    """
    frame = frame[frame["split"] == "heldout"]
    if frame.empty:
        raise FlanError("figure learning_speeds", found="no held-out loss", expected="rows of the split heldout",
                        remedy="Train with held-out texts.")  # fmt: skip
    forms, kinds = list(looks_of(frame["form"])), kinds_of(frame, "learning_speeds")
    figure, [panels] = parts.curve_panels(len(forms))
    for axes, form in zip(panels, forms, strict=True):
        lines = parts.tokens_axis(axes, frame, frame["form"] == form)
        parts.curves(axes, lines, "share", by="kind", looks=STYLE, band=("share_low", "share_high"))
        axes.axhline(0.1, color=INK, linewidth=1, linestyle=(0, (9, 3)), zorder=1, label=NINE_TENTHS)
        shares_known = lines["share"].notna().groupby(lines["kind"]).any()
        if flat := [kind for kind in kinds if not shares_known.get(kind, True)]:
            axes.text(0.97, 0.95, f"hardly fell: {', '.join(flat)}", transform=axes.transAxes, ha="right", va="top")
        axes.set_title(f"{form_name(form)}, held-out data")
    low, high = panels[0].get_ylim()
    panels[0].set(ylabel="share of its own fall still to come", yticks=[0, 0.1, 0.25, 0.5, 0.75, 1],
                  ylim=(max(low, -0.2), min(high, 1.5)))  # fmt: skip
    lines = parts.by_label(panels)
    parts.below(figure, [lines[name] for name in (*kinds, NINE_TENTHS)], parts.over_seeds(frame["n"]), length=4)
    return figure


@draws("form", "split", "kind", "tokens", "low", "high", "n")
def speeds(frame: pd.DataFrame) -> Figure:
    """Draw after how many trained tokens each kind has made nine tenths of its own fall, in the paper's order."""
    present, looks = kinds_of(frame, "speeds"), looks_of(frame["form"])
    kinds = [kind for kind in ORDER if kind in present]
    figure, panels = parts.dot_panels(
        frame.rename(columns={"tokens": "value"}), panels=("split", SPLITS), rows=("kind", kinds),
        series=("form", looks), missing="did not fall", write=lambda tokens: parts.thousands(tokens, 3))  # fmt: skip
    end = frame[["tokens", "high"]].max().max()
    for axes in panels.values():
        axes.xaxis.set_major_formatter(lambda tokens, _: parts.thousands(tokens))
        axes.set_xlabel("trained tokens to nine tenths of its own fall")
        parts.room_for_numbers(axes, 0, end if end > 0 else 1)
    if len(kinds) > 2:
        next(iter(panels.values())).set_ylabel("in the paper: fastest first")
    parts.legend(figure, {form_name(form): look for form, look in looks.items()}, parts.counts(frame["n"], "seeds"))
    return figure


@draws("form", "kind", "nats_per_byte", "low", "high", "n")
def content_by_form(frame: pd.DataFrame) -> Figure:
    """Draw the held-out loss of each content kind after equal trained tokens, the forms side by side.

    A form such as ``react - chat`` marks a paired difference, which is printed under its kind.
    """
    is_difference = frame["form"].str.contains(" - ", regex=False)
    frame, differences = frame[~is_difference], frame[is_difference]
    looks, kinds = looks_of(frame["form"]), kinds_of(frame, "content_by_form")
    figure = Picture(figsize=(2.2 + 1.9 * len(kinds), 4.2))
    axes = figure.subplots()
    for i, (form, look) in enumerate(looks.items()):
        rows = frame[frame["form"] == form]
        x = [kinds.index(kind) + 0.22 * (i - (len(looks) - 1) / 2) for kind in rows["kind"]]
        axes.errorbar(x, rows["nats_per_byte"], yerr=parts.errors(rows, "nats_per_byte"), fmt=look.marker,
                      color=look.colour, markersize=6, capsize=4, linewidth=1.6, label=form_name(form))  # fmt: skip
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
    axes.set_ylim(-0.03 * top, top)  # below 0, so that a point at 0 is not cut
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=len(looks),
                  title=f"line: 95 % interval, {parts.counts(frame['n'], 'conversations')}")  # fmt: skip
    return figure


def _last_values(axes: Axes, lines: pd.DataFrame, limits: tuple[float, float]) -> None:
    """Write the last loss of each kind at the end of its line."""
    values = sorted(lines.groupby("kind")["nats_per_token"].last())
    # From the lowest up, each number moves up until it is clear of the one below.
    apart = (limits[1] / limits[0]) ** 0.05
    heights = accumulate(values, lambda lower, value: max(value, lower * apart))
    for value, y in zip(values, heights, strict=True):
        axes.annotate(f"{value:.2g}", (lines["trained_tokens"].max(), y), (7, 0), textcoords="offset points",
                      va="center", fontsize="small", bbox=PAD)  # fmt: skip


def _limits(values: Iterable[float], bounds: Iterable[float]) -> tuple[float, float]:
    """Return limits of a log axis around values and their lower bounds, but not below a quarter of the least value."""
    values = [v for v in values if v > 0]  # drops NaN too
    least = min(v for v in (*values, *bounds) if v > 0)
    return max(least, min(values) / 4) * 0.7, max(values) * 2
