"""The chat template that comes with a tokenizer, written so that every reply continues exactly what was its prompt.

Many templates write a reply in one way when it is the last and in another when more turns follow: with an empty
thinking block or without, or with another end mark. A model that is trained on whole conversations needs one way, the
one in which its replies begin when it is used. :func:`own_template` finds what has to be changed for that, and tells.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from os.path import commonprefix
from typing import TYPE_CHECKING, NamedTuple

from flanlib import store
from flanlib.records import FlanError, Tool, Turn, clip, offered, say
from flanlib.text.places import Place, digest, special_tokens, unfit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ALTERED = "a turn that the chat template drops or alters"
BREAKS = "a reply that does not continue its prompt", "a text that begins with every prompt"
SWITCH = "enable_thinking"
FAULTS = TypeError, ValueError, LookupError, ArithmeticError, RecursionError  # of a template that is a faulty program
EMPTY = "<think>\n\n</think>\n\n"
# The same rows must give the same text on every day. Templates get the date in one of two ways.
DATE = "26 Jul 2024"
NOW = """{% macro strftime_now(format) %}{{ format | replace("%Y", "2024") | replace("%m", "07") | replace("%d", "26")
| replace("%b", "Jul") | replace("%B", "July") | replace("%H:%M", "12:00") }}{% endmacro +%}"""
# A sample that says how a template writes replies. No template has these words.
_ASK, _SAY, _ASK_MORE, _SAY_MORE = PROBE = (
    say("user", "flanlib-question"), say("assistant", "flanlib-reply", "general", trained=True),
    say("user", "flanlib-more"), say("assistant", "flanlib-end", "general", trained=True))  # fmt: skip
_SYSTEM = say("system", "flanlib-system")


class Opening(NamedTuple):
    """How replies are opened in a template that has several ways.

    After ``mark`` the template writes one of ``written``, which is replaced by ``block`` before every reply. A prompt
    ends with the mark and ``asked``, the beginning of ``block``.
    """

    mark: str
    written: tuple[str, ...]
    asked: str
    block: str

    def even(self, text: str, replies: int, where: str, *, reply: bool) -> str:
        """Open every reply in the same way. Raises FlanError unless the text has as many marks as ``replies``."""
        first, *rest = text.split(self.mark)
        prompt = [rest.pop()] if reply and rest else []
        if len(rest) != replies or prompt != [self.asked] * reply:
            raise unfit(where, *BREAKS)
        for i, piece in enumerate(rest):
            written = next((one for one in self.written if piece.startswith(one)), "")
            rest[i] = self.block + piece.removeprefix(written)
        return self.mark.join([first, *rest, *prompt])


@dataclass(frozen=True, eq=False)
class OwnTemplate:
    """The chat template that comes with a tokenizer. Made by :func:`own_template`.

    ``lead`` is trained text before a reply's content and ``end`` the trained mark after it. The other fields hold what
    is changed in the template's text: ``switches`` are arguments of the template, ``fold_system`` puts the system text
    before the first user text, ``opening`` opens all replies in the same way, and ``last`` is what the template writes
    after a last reply in the place of ``end``.
    """

    tokenizer: PreTrainedTokenizerBase
    lead: str = ""
    end: str = ""
    name: str = "own"
    switches: tuple[tuple[str, bool], ...] = ()
    fold_system: bool = False
    opening: Opening | None = None
    last: str | None = None

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """Texts that no turn may contain: the tokenizer's special tokens."""
        return special_tokens(self.tokenizer)

    @property
    def changes(self) -> tuple[str, ...]:
        """What is changed in the template's text, in words; empty for most templates."""
        block = self.opening and (f"{self.opening.block!r} opens every reply" if self.opening.block
                                  else f"{self.opening.written[0]!r} opens no reply")  # fmt: skip
        return tuple(filter(None, (
            *(f"{name}={value}" for name, value in self.switches),
            self.fold_system and "the system text begins the first user turn",
            block, self.last is not None and f"{self.end!r} ends the last reply too")))  # fmt: skip

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits: a digest of the template's source, the special tokens and what is changed."""
        changed = (self.lead, self.end, self.last, self.opening, self.changes) if self.changes else ()
        return digest((self.tokenizer.chat_template, self.marks, *changed))

    @cached_property
    def source(self) -> str | None:
        """The template's source with a fixed date, or None where the tokenizer's can be used as it is."""
        source = self.tokenizer.get_chat_template()
        return NOW + source if "strftime_now" in source else None

    def layout(self, turns: Sequence[Turn], where: str) -> tuple[str, list[Place | None]]:
        """Return the text of the turns and, for each turn, the place of its reply (None if it is not trained).

        Raises FlanError if the template refuses, drops or alters a turn, or if a reply does not continue its prompt.
        """
        text, places = self.text(turns, where), []
        written = 0  # characters of the text up to the end of the last turn
        for i, turn in enumerate(turns):
            here = f"{where}, turn {i + 1}"
            if turn.trained:
                before = self.text(turns[:i], here, reply=True)
                places.append(self._place(text, before, turn.text, here))
                written = places[-1].stop
                continue
            content = turn.text.strip()
            start = text.find(content, written)
            if start < 0:
                raise unfit(here, ALTERED, clip(content))
            places.append(None)
            written = start + len(content)
        return text, places

    def text(self, turns: Sequence[Turn], where: str, *, reply: bool = False, tools: Sequence[Tool] = ()) -> str:
        """Return the text of the turns; ``reply`` adds the opening of the next reply."""
        text = self._write(turns, where, reply=reply, tools=tools)
        if self.opening:
            replies = sum(turn.role == "assistant" for turn in turns)
            text = self.opening.even(text, replies, where, reply=reply)
        if self.last is not None and not reply and turns[-1].role == "assistant":
            text = text.removesuffix(self.last) + self.end
        return text

    def _write(self, turns: Sequence[Turn], where: str, *, reply: bool = False, tools: Sequence[Tool] = ()) -> str:
        from jinja2 import TemplateError

        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        if self.fold_system and turns[0].role == "system":
            user = [message["content"] for message in messages[:2]]
            messages[:2] = [{"role": "user", "content": "\n\n".join(user)}]
        try:
            return self.tokenizer.apply_chat_template(
                messages, tools=[offered(tool) for tool in tools] or None, tokenize=False, add_generation_prompt=reply,
                chat_template=self.source, date_string=DATE, **dict(self.switches))  # fmt: skip
        except (TemplateError, *FAULTS) as error:
            raise unfit(where, f"a refusal by the chat template: {error}", "turns that it accepts") from None

    def _place(self, text: str, before: str, content: str, where: str) -> Place:
        if not text.startswith(before):
            raise unfit(where, *BREAKS)
        start, at = len(before), len(before) + len(self.lead)
        strips = (str, str.strip, str.lstrip, str.rstrip, lambda s: s.lstrip("\n"), lambda s: s.strip("\n"))
        for kept in (strip(content) for strip in strips):  # many templates strip content; none may change it further
            if text.startswith(self.lead + kept + self.end, start):
                end = at + len(kept)
                return Place(start, at, end, end + len(self.end), content.find(kept))
        raise unfit(where, ALTERED, clip(content))


def own_template(tokenizer: PreTrainedTokenizerBase) -> OwnTemplate:
    """Return the tokenizer's chat template, with the fewest changes that let every reply continue its prompt.

    Thinking is switched off where the template has a switch for it, all replies are opened and ended in the same way,
    and the system text goes into the first user turn of a template without a system role. Changes are printed once.
    Raises FlanError if there is no template, if a reply does not continue its prompt, or if no special token ends it.
    """
    where = "own chat template"
    if not tokenizer.chat_template:
        raise unfit(where, "a tokenizer without one", "a chat model's tokenizer")
    if isinstance(tokenizer.chat_template, dict) and "default" not in tokenizer.chat_template:
        raise unfit(where, "several chat templates, none of them the default", "one template")
    bare = OwnTemplate(tokenizer)
    bare = replace(bare, switches=_switches(bare, where))
    template = _stable(bare, where)
    folded = replace(template, fold_system=True)
    if not _labels(template, (_SYSTEM, *PROBE)) and _labels(folded, (_SYSTEM, *PROBE)):
        template = folded
    if template.changes and not store.rank() and multiprocessing.parent_process() is None:
        _tell(f"The model's chat template, changed so that replies continue their prompts: "
              f"{'; '.join(template.changes)}.")  # fmt: skip
    return template


def _switches(bare: OwnTemplate, where: str) -> tuple[tuple[str, bool], ...]:
    """Return the argument that switches thinking off, if that changes what the template writes."""
    off = replace(bare, switches=((SWITCH, False),))

    def written(template: OwnTemplate) -> list[str]:
        return [template._write([_ASK], where, reply=True), template._write([_ASK, _SAY], where)]

    return off.switches if SWITCH in bare.tokenizer.get_chat_template() and written(off) != written(bare) else ()


def _stable(bare: OwnTemplate, where: str) -> OwnTemplate:
    """Return the template with its lead and end, and evened if it writes earlier replies otherwise than the last."""
    try:
        template, error = _plain(bare, where), None
    except FlanError as unlike:
        template, error = None, unlike
    if template and _labels(template, PROBE):
        return template
    with suppress(FlanError):
        if (evened := _evened(bare, where)) and _labels(evened, PROBE):
            return evened
    if error:
        raise error
    return template  # its rows say what does not fit


def _plain(bare: OwnTemplate, where: str) -> OwnTemplate:
    """Read the lead and the end off a single reply."""
    before, text = bare._write([_ASK], where, reply=True), bare._write([_ASK, _SAY], where)
    lead, reply, tail = text.removeprefix(before).partition(_SAY.text)
    if not text.startswith(before) or not reply:
        raise unfit(where, BREAKS[0], "a text that begins with the prompt")
    end = _first_mark(tail, bare)
    if not end:
        raise unfit(where, f"{clip(tail)} after a reply", "a special token that ends it")
    return replace(bare, lead=lead, end=end)


def _evened(bare: OwnTemplate, where: str) -> OwnTemplate | None:
    """Read off two replies how earlier ones and the last are written. None if they differ in more than that."""
    _, asked = _split(bare._write([_ASK], where, reply=True), [_ASK])
    _, first, after, second, tail = _split(bare._write(PROBE, where), PROBE)
    end = _first_mark(after, bare)
    template = replace(bare, end=end, last=None if tail.startswith(end) else tail)
    if not end:
        return None
    if first == second and first.startswith(asked):
        return replace(template, lead=first.removeprefix(asked))
    shared = commonprefix([first, second, asked])  # noqa: RUF071 (of characters, not of folders)
    begins = max((shared.rfind(token) for token in bare.marks), default=-1)
    if begins < 0:  # a turn could contain such an opening
        return None
    first, second, asked = (one.removeprefix(shared) for one in (first, second, asked))
    block = _block(asked, (second, first))
    if block is None:
        return None
    written = tuple(sorted(filter(None, {first, second}), key=len, reverse=True))
    return replace(template, lead=block.removeprefix(asked), opening=Opening(shared[begins:], written, asked, block))


def _split(text: str, turns: Sequence[Turn]) -> list[str]:
    """Split a text at the contents of its turns."""
    pieces = []
    for turn in turns:
        piece, found, text = text.partition(turn.text)
        if not found:
            raise unfit("own chat template", ALTERED, turn.text)
        pieces.append(piece)
    return [*pieces, text]


def _block(asked: str, written: Sequence[str]) -> str | None:
    """Return the text between the opening mark and every reply, given what a prompt and what replies have there."""
    if not asked:
        return ""
    if (whole := next((one for one in written if one.startswith(asked)), None)) is not None:
        return whole
    thought = "".join(asked.split())
    if thought == "<think>" and EMPTY.startswith(asked):
        return EMPTY
    return asked if thought == "<think></think>" else None


def _first_mark(text: str, template: OwnTemplate) -> str:
    """Return a text up to the end of its first special token; empty if it has none."""
    stops = [text.index(token) + len(token) for token in template.marks if token in text]
    return text[: min(stops)] if stops else ""


def _labels(template: OwnTemplate, turns: Sequence[Turn]) -> bool:
    try:
        template.layout(turns, "own chat template")
    except FlanError:
        return False
    return True


@lru_cache
def _tell(text: str) -> None:
    print(text)
