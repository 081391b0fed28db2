"""Pictures of texts before anything is trained: what they consist of, how far they lie from the base model."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from flanlib.figures.parts import errors
from flanlib.figures.style import FORMS, INK, OTHER, PAD, STYLE, Picture, kinds_of, need, styled


@styled
def kind_shares(frame: pd.DataFrame) -> Figure:
    """Draw how a corpus' trained tokens split into kinds: one bar per source and dialect.

    Columns: source, dialect, kind, tokens, share (0 to 1), n (conversations).
    """
    need(frame, "kind_shares", "source", "dialect", "kind", "tokens", "share", "n")
    bars = list(dict.fromkeys(zip(frame["source"], frame["dialect"], strict=True)))
    figure = Picture(figsize=(9, 1.5 + 0.46 * len(bars)), layout="constrained")
    axes = figure.subplots()
    kinds = kinds_of(frame, "kind_shares")
    for y, (source, dialect) in enumerate(bars):
        rows = frame[(frame["source"] == source) & (frame["dialect"] == dialect)].set_index("kind")
        left = 0.0
        for kind in (kind for kind in kinds if kind in rows.index):
            share, look = 100 * rows.loc[kind, "share"], STYLE[kind]
            axes.barh(y, share, 0.72, left, color=look.colour, hatch=look.hatch, edgecolor="white", linewidth=0.8)
            if share >= 4:
                axes.text(left + share / 2, y, f"{share:.0f}", ha="center", va="center", color=INK, bbox=PAD)
            left += share
        size = f"{rows['tokens'].sum():,.0f} tokens of {rows['n'].max():,.0f} conversations"
        axes.text(101, y, size, va="center", color=INK, fontsize="small")
    axes.set(xlim=(0, 100), xlabel="share of trained tokens (%)", yticks=range(len(bars)),
             yticklabels=[f"{source}, {dialect}" for source, dialect in bars])  # fmt: skip
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    handles = [Patch(facecolor=STYLE[k].colour, hatch=STYLE[k].hatch, edgecolor="white", label=k) for k in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(kinds), frameon=False, handlelength=2.4)
    return figure


@styled
def distance(frame: pd.DataFrame) -> Figure:
    """Draw how far each text lies from the base model before any tuning: its loss, sorted, with intervals.

    Columns: text (label), nats_per_byte, low, high, n (conversations). A ``form`` column, if any, sets the marker.
    """
    need(frame, "distance", "text", "nats_per_byte", "low", "high", "n")
    rows = frame.sort_values("nats_per_byte", kind="stable").reset_index(drop=True)
    figure = Picture(figsize=(7.6, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    end = rows[["nats_per_byte", "high"]].max().max()
    for y, row in rows.iterrows():
        look = FORMS.get(row.get("form"), OTHER)
        axes.errorbar(row["nats_per_byte"], y, xerr=[[e.iloc[0]] for e in errors(rows.loc[[y]], "nats_per_byte")],
                      fmt=look.marker, color=look.colour, markersize=7, capsize=3)  # fmt: skip
        axes.text(end * 1.04, y, f"{row['nats_per_byte']:.2f}   n = {row['n']:,.0f}", va="center", color=INK)
    axes.set(xlim=(0, end * 1.02), ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)), yticklabels=rows["text"],
             xlabel="loss of the untuned base model (nats per byte), 95 % interval over n conversations")  # fmt: skip
    axes.grid(axis="y", visible=False)
    return figure
