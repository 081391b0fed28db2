"""What a notebook shows beside its pictures: conversations with their kinds, tables, sentences and claims.

Every function displays HTML or Markdown, with a plain text for viewers without HTML. All text is escaped.
"""

import html
import math
import string
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
from IPython.display import clear_output, display, update_display

from flanlib import store
from flanlib.intervals import Interval
from flanlib.presets import fresh, preset
from flanlib.records import KINDS, Conversation, FlanError, Kind, Span, Turn
from flanlib.report.claims import Claim
from flanlib.report.figures import BANNER, STYLE
from flanlib.tally import Tally

BOX = "border:1px solid rgba(128,128,128,.5);border-radius:6px;padding:.4em .7em;margin:.4em 0"
MOST_TURNS, MOST_LETTERS = 40, 500
"""Turns of a conversation and characters in a cell of a table that are shown. A notebook of long rows stays small."""
SMALL = "font-size:85%;opacity:.75"
WORDS = {"holds": "✓ holds", "differs": "✗ differs", "unclear": "? unclear", "too few": "– too few"}


def conversation(conv: Conversation, title: str | None = None, *, limit: int = 800) -> None:
    """Show a conversation: a card per turn, cut after ``limit`` characters, its spans tinted and underlined by kind.

    Turns after the first MOST_TURNS are counted only.
    """
    title = title or f"{conv.source}, {conv.id}"
    kinds = [kind for kind in KINDS if any(span.kind == kind for turn in conv.turns for span in turn.spans)]
    cards, lines = [], [title]
    for turn in conv.turns[:MOST_TURNS]:
        shown, hidden = _cut(turn, limit)
        head = turn.role + (", trained" if turn.trained else "")
        rest = f"... ({hidden:,} characters more)" if hidden else ""
        text = "".join(_mark(span.text, span.kind) for span in shown)
        cards.append(f'<div style="{BOX}"><div style="{SMALL}">{head}</div>'
                     f'<div style="white-space:pre-wrap;overflow-wrap:anywhere">{text}</div>'
                     + (f'<div style="{SMALL}">{rest}</div>' if rest else "") + "</div>")  # fmt: skip
        lines.append(f"[{head}] " + "".join(f"<{span.kind}>{span.text}" for span in shown) + rest)
    if more := len(conv.turns) - len(conv.turns[:MOST_TURNS]):
        lines.append(f"... ({more:,} turns more)")
        cards.append(f'<div style="{SMALL}">{lines[-1]}</div>')
    legend = " ".join(_mark(kind, kind) for kind in kinds)
    page = f"<div><b>{html.escape(title)}</b> <span>{legend}</span>{''.join(cards)}</div>"
    display({"text/html": page, "text/plain": "\n".join(lines)}, raw=True)


def origin() -> None:
    """Show how many results shipped with the kit, and on which machines and library versions they were computed."""
    shipped = [store.manifest(path.parent) for path in sorted(store.RESULTS.glob(f"*/{store.MANIFEST}"))]
    if fresh() or not shipped:
        why = "No shipped result is used (FRESH=1)" if shipped else "No results ship for this"
        reading(f"{why}: everything is made here, or was made here before.")
        return
    machines, dates, precisions = (sorted({manifest[key] for manifest in shipped if key in manifest})
                                   for key in ("machine", "date", "computed_in"))  # fmt: skip
    versions = sorted({f"{name} {manifest['versions'][name]}" for manifest in shipped
                       for name in ("torch", "transformers", "peft")})  # fmt: skip
    reading("{n} results ship with the kit, made {when} on {machines}{precision}, with {versions}. They are used where "
            "they belong to just these inputs; everything else is made here.", n=len(shipped),
            when=f"from {dates[0]} to {dates[-1]}" if len(dates) > 1 else f"on {dates[0]}",
            machines=" and ".join(machines), precision=f" in {' and '.join(precisions)}" if precisions else "",
            versions=", ".join(versions))  # fmt: skip


def tally(counts: Tally) -> None:
    """Show how many rows a step kept, and dropped for which reason, with the first record of each reason."""
    _table(counts.frame(), str(counts), caption=counts.name)


def table(frame: pd.DataFrame, *, fold: str = "") -> None:
    """Show a table, with three significant digits, a dash for a missing value, and MOST_LETTERS of a text.

    With ``fold`` it is folded away under that title, to be opened with a click.
    """
    frame = frame.map(lambda value: _shortened(value) if isinstance(value, str) else value)
    _table(frame, frame.to_string(index=False, float_format=number), fold=fold)


def reading(text: str, **values: Any) -> None:
    """Show a sentence with values filled in: ``reading("It fell by {gap}.", gap=0.52)``.

    Numbers without a format of their own get three significant digits. Raises FlanError for a name without a value.
    """
    sentence = say(text, **values)
    display({"text/markdown": sentence, "text/plain": sentence}, raw=True)


def say(text: str, **values: Any) -> str:
    """Return the sentence that :func:`reading` shows. An interval is written with its bounds.

    >>> say("{gap} points", gap=Interval(3.14159, 2.0, 4.0, 90))
    '3.14 [2, 4] points'
    """
    try:
        return _Reading().vformat(text, (), values)
    except (KeyError, IndexError) as error:
        raise FlanError("reading", found=f"no value for {error.args[0]!r}", expected=f"one of {', '.join(values)}",
                        remedy="Pass it by name.") from None  # fmt: skip


def outcome(gap: Interval, *, above: str, below: str, unclear: str, bound: float = 0, **values: Any) -> str:
    """Return one of three sentences, by whether a whole interval lies above a bound, below it, or neither.

    So a sentence can't claim what its interval does not carry. ``gap`` and the other values are filled in as by
    :func:`say`, ``size`` without its sign.

    >>> outcome(Interval(-2, -3, -1, 90), above="A leads by {size}.", below="B leads by {size}.", unclear="Who knows?")
    'B leads by 2 [1, 3].'
    """
    text = above if gap.low > bound else below if gap.high < bound else unclear
    size = gap if gap.mean >= 0 else Interval(-gap.mean, -gap.high, -gap.low, gap.n)
    return say(text, gap=gap, size=size, **values)


def found(*sentences: str) -> None:
    """Show what a notebook found, in its first lines.

    Called without sentences, it reserves the place. Called with them, at the end, it fills that place.
    """
    text = "**What we found.** " + (" ".join(sentences) or "*The last cells fill this in.*")
    show = update_display if sentences else display
    show({"text/markdown": text, "text/plain": text}, raw=True, display_id="found")


def claims(rows: Iterable[Claim]) -> None:
    """Show claims: the paper's statement, the measured interval, and the verdict."""
    frame = pd.DataFrame(
        [(row.claim, row.paper, f"{number(row.ours)} [{number(row.low)}, {number(row.high)}]", row.n, row.seeds,
          WORDS[row.verdict]) for row in rows],
        columns=["claim", "paper", "ours [95 %]", "n", "seeds", "verdict"])  # fmt: skip
    caption = BANNER if preset().name == "smoke" else ""
    _table(frame, caption + "\n" * bool(caption) + frame.to_string(index=False), caption=caption)


@contextmanager
def live(draw: Callable[[pd.DataFrame], Any]) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Return a function that draws a table in place of the last picture. When the block ends, the picture is cleared.

    A live picture leaves no trace, so the notebook is the same whether a run trains or comes from the cache.
    """

    def watch(frame: pd.DataFrame) -> None:
        clear_output(wait=True)
        display(draw(frame))

    try:
        yield watch
    finally:
        clear_output()


def number(value: Any) -> str:
    """Write a number with three significant digits, commas between thousands, and a dash for a missing one.

    >>> [number(x) for x in (0.04213, 12345.6, 24703, float("nan"), 1e-7)]
    ['0.0421', '12,346', '24,703', '–', '1e-07']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or not hasattr(value, "__round__"):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


class _Reading(string.Formatter):
    def format_field(self, value: Any, spec: str) -> str:
        """Fill in one value, or a dash if it is missing. Text is escaped so that it cannot become markup."""
        if isinstance(value, str):
            return html.escape(format(value, spec))
        if isinstance(value, Interval):
            mean, low, high = (self.format_field(part, spec) for part in (value.mean, value.low, value.high))
            return f"{mean} [{low}, {high}]"
        return format(value, spec) if spec and value == value else number(value)  # NaN is not itself


def _cut(turn: Turn, limit: int) -> tuple[list[Span], int]:
    """Return a turn's spans up to ``limit`` characters, and how many characters are left out."""
    shown, left = [], limit
    for span in turn.spans:
        if left > 0:
            shown.append(Span(span.text[:left], span.kind))
        left -= len(span.text)
    return shown, max(0, -left)


def _shortened(text: str) -> str:
    more = len(text) - MOST_LETTERS
    return f"{text[:MOST_LETTERS]}... ({more:,} characters more)" if more > 0 else text


def _mark(text: str, kind: Kind) -> str:
    """Tint and underline text by kind, which shows on hover. Thin tints are readable in light and dark themes."""
    look = STYLE[kind]
    if look.underline == "none":
        return f'<span title="{kind}">{html.escape(text)}</span>'
    red, green, blue = (int(look.colour[i : i + 2], 16) for i in (1, 3, 5))
    style = (f"background:rgba({red},{green},{blue},.2);text-decoration:underline {look.underline} {look.colour};"
             "text-underline-offset:3px")  # fmt: skip
    return f'<span title="{kind}" style="{style}">{html.escape(text)}</span>'


def _table(frame: pd.DataFrame, plain: str, caption: str = "", fold: str = "") -> None:
    sides = ["right" if pd.api.types.is_numeric_dtype(kind) else "left" for kind in frame.dtypes]

    def line(tag: str, values: Iterable[str]) -> str:
        return "<tr>" + "".join(f'<{tag} style="text-align:{side}">{html.escape(value)}</{tag}>'
                                for side, value in zip(sides, values, strict=True)) + "</tr>"  # fmt: skip

    body = "".join(line("td", map(number, row)) for row in frame.itertuples(index=False, name=None))
    head = f"<caption><b>{html.escape(caption)}</b></caption>" if caption else ""
    page = f"<table>{head}<thead>{line('th', map(str, frame))}</thead><tbody>{body}</tbody></table>"
    if fold:
        page = f"<details><summary>{html.escape(fold)}</summary>{page}</details>"
    display({"text/html": page, "text/plain": plain}, raw=True)
