"""The looks, the figure that shows itself, the checks on tables, and ``save``."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

from flanlib.presets import output, preset
from flanlib.records import KINDS, FlanError
from flanlib.store import write, write_table

BANNER = "smoke: numbers mean nothing"
INK = "#333333"
PAD = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.9}


@dataclass(frozen=True)
class Look:
    """How one kind, form or model is drawn; ``underline`` is the CSS line that marks its text."""

    colour: str
    dash: str | tuple[float, tuple[float, ...]]
    marker: str
    hatch: str = ""
    underline: str = "solid"


# Seaborn's colour-blind palette; the greys of context and the dark of general differ in lightness too.
STYLE: dict[str, Look] = {
    "reasoning": Look("#0173b2", "-", "o", "", "solid"),
    "retrieval": Look("#de8f05", "--", "s", "//", "double"),
    "understanding": Look("#029e73", "-.", "^", "..", "dotted"),
    "instruction": Look("#d55e00", ":", "D", "xx", "wavy"),
    "general": Look("#56407a", (0, (5, 1, 1, 1, 1, 1)), "v", "\\\\", "dashed"),
    "context": Look("#949494", (0, (1, 3)), "x", "", "none"),
}
FORMS: dict[str, Look] = {
    "react": Look("#333333", "-", "o", "", "solid"),
    "chat": Look("#cc78bc", "--", "D", "", "dashed"),
    "json": Look("#029e73", ":", "s", "", "dotted"),
}
FORM_NAMES = {"react": "ReAct form", "json": "JSON form", "chat": "chat form"}
OTHER = Look("#0173b2", "-", "^")  # of no form: ordinary talk
_BASE = Look("#949494", ":", "^")
MODELS = {"base": _BASE, "react-tuned": FORMS["react"], "chat-tuned": FORMS["chat"], "before": _BASE,
          "after": Look("#0173b2", "-", "D")}  # fmt: skip
OWN = {"font.family": "DejaVu Sans", "axes.titleweight": "bold", "axes.titlelocation": "left",
       "axes.edgecolor": "#999999", "axes.spines.top": False, "axes.spines.right": False, "grid.color": "#e6e6e6",
       "hatch.linewidth": 0.5, "legend.frameon": False, "figure.constrained_layout.use": True}  # fmt: skip
"""What the kit sets on top of seaborn's style."""
SPLITS = {"train": "training data", "heldout": "held-out tools"}


def form_name(form: str) -> str:
    """Name a form for a reader.

    >>> form_name("react")
    'ReAct form'
    """
    return FORM_NAMES.get(form, f"{form} form")


class Picture(Figure):
    """A matplotlib figure outside pyplot: a notebook shows it as a cell's last value, and nothing stays open."""

    def _repr_png_(self) -> bytes:
        # Few colours make a picture a third as large: notebooks are read in a browser, and kept in git.
        shown = io.BytesIO()
        Image.open(io.BytesIO(_render(self, "png", dpi=90))).convert("RGB").quantize(64).save(shown, "PNG")
        return shown.getvalue()


def draws(*columns: str) -> Callable[[Callable[..., Figure]], Callable[..., Figure]]:
    """Make a drawing function check its table, and run inside the one style of the kit.

    It raises FlanError for a table without rows or without one of the columns. Matplotlib's settings stay as they are.
    """

    def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
        @wraps(draw)
        def inside(frame: pd.DataFrame, *args, **kwargs) -> Figure:
            missing = [column for column in columns if column not in frame.columns]
            if missing or frame.empty:
                raise FlanError(f"figure {draw.__name__}",
                                found=f"no column {', '.join(missing)}" if missing else "no rows",
                                expected=f"a tidy table with {', '.join(columns)}",
                                remedy="Every estimate comes with its interval and n.")  # fmt: skip
            with mpl.rc_context(sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.85) | OWN):
                figure = draw(frame, *args, **kwargs)
                if preset().name == "smoke":
                    figure.suptitle(BANNER, color="#b00020", fontsize=12, fontweight="bold")
                return figure

        return inside

    return styled


def looks_of(values: Iterable[str]) -> dict[str, Look]:
    """Give forms or models their looks, each once, in the order of FORMS or MODELS; all others look like OTHER."""
    looks = FORMS | MODELS
    return {value: looks.get(value, OTHER) for value in in_order(values, looks)}


def kinds_of(frame: pd.DataFrame, picture: str) -> list[str]:
    """List the kinds of a table in their order. Raises FlanError for a kind that is none."""
    if strangers := sorted(set(frame["kind"]) - set(KINDS)):
        raise FlanError(f"figure {picture}", found=f"kind {', '.join(strangers)}",
                        expected=f"kinds among {', '.join(KINDS)}", remedy="Correct the column kind.")  # fmt: skip
    return in_order(frame["kind"], KINDS)


def in_order(values: Iterable[str], order: Iterable[str]) -> list[str]:
    """List distinct values in the order given, others after them as they come.

    >>> in_order(["c", "b", "a", "c"], "ab")
    ['a', 'b', 'c']
    """
    present, order = list(dict.fromkeys(values)), list(order)
    return [v for v in order if v in present] + [v for v in present if v not in order]


def save(figure: Figure, name: str, data: pd.DataFrame, *, folder: Path | None = None) -> Path:
    """Write ``<name>.svg``, ``.png`` (150 dpi) and ``.csv``: the picture and exactly the numbers in it.

    They go to the output folder of the preset unless ``folder`` is given. The same figure gives the same bytes.
    Returns the path of the SVG.
    """
    if not name or not name.replace("_", "").isalnum():
        raise FlanError(f"figure {name!r}", found="a name that is no plain file name",
                        expected="letters, digits and underscores", remedy="Rename it.")  # fmt: skip
    folder = output() if folder is None else Path(folder)
    write_table(folder / f"{name}.csv", data)
    write(folder / f"{name}.png", _render(figure, "png", dpi=150))
    write(folder / f"{name}.svg", _render(figure, "svg", title=name))
    return folder / f"{name}.svg"


def _render(figure: Figure, kind: str, dpi: float = 100, title: str | None = None) -> bytes:
    """Draw to bytes that depend on nothing but the figure: no date, and a fixed salt for the ids inside."""
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None, "Title": title}
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "flanlib", "svg.fonttype": "path", "font.family": "DejaVu Sans"}):
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata, facecolor="white")
    return buffer.getvalue()
