"""Chat templates: how turns become the one text that a model reads, and which characters of it are trained.

Trained are the assistant's content, what the model itself must write before it (``lead``) and its end-of-turn
mark (``end``); everything else is context. :func:`prompt` gives the text that :func:`render` gives up to a reply.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from flanlib.presets import AUTO
from flanlib.records import CAPABILITIES, Conversation, FlanError, Kind, Turn, clip, say

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Rendered(NamedTuple):
    """A conversation as text, its trained (start, stop, kind) character ranges, and where each trained turn ends."""

    text: str
    spans: tuple[tuple[int, int, Kind], ...]
    ends: tuple[int, ...]


class Place(NamedTuple):
    """Where a reply stands: its lead from character ``start``, then ``content``, then its mark up to ``stop``.

    ``skipped`` counts the content's first characters (white space) that the template leaves out.
    """

    start: int
    content: int
    end: int
    stop: int
    skipped: int = 0


@dataclass(frozen=True)
class Template:
    """A template as data.

    ``begin`` stands before the first turn; ``system`` and ``user`` are the texts around such a turn (with
    ``fold_system`` the first user turn continues the system turn, without its own opening). A reply is ``open``
    (context, a prompt ends with it), ``lead`` (trained), content, ``end`` (trained), ``close`` (context).
    ``specials`` are the special tokens that these texts hold; ``marks`` are texts that no turn may hold.
    """

    name: str
    system: tuple[str, str]
    user: tuple[str, str]
    open: str
    lead: str
    end: str
    close: str
    begin: str = ""
    fold_system: bool = False
    specials: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name the texts."""
        return _digest(replace(self, name="", specials=(), marks=()))

    def layout(self, turns: Sequence[Turn], where: str) -> tuple[str, list[Place | None]]:
        """Return the text of some turns and, for each of them, the reply's place (None for a turn not trained)."""
        text, places = self.begin, []
        for i, turn in enumerate(turns):
            before, after = self.system if turn.role == "system" else self.user
            if turn.role == "assistant":
                before, after = self.open + self.lead, self.end + self.close
            elif self.fold_system and i == 1 and turns[0].role == "system":
                before = ""
            start, content = len(text) + len(self.open), len(text) + len(before)
            end = content + len(turn.text)
            places.append(Place(start, content, end, end + len(self.end)) if turn.trained else None)
            text += before + turn.text + after
        return text, places

    def text(self, turns: Sequence[Turn], where: str, *, reply: bool = False) -> str:
        """Return the text of some turns; ``reply`` adds the opening of the reply to them."""
        return self.layout(turns, where)[0] + (self.open if reply else "")


@dataclass(frozen=True, eq=False)
class OwnTemplate:
    """The chat template that a tokenizer brings. Made by :func:`own_template`."""

    tokenizer: PreTrainedTokenizerBase
    lead: str = ""
    end: str = ""
    name: str = "own"

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """Texts that no turn may hold: the tokenizer's special tokens."""
        return special_tokens(self.tokenizer)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name the template's source and the tokenizer's special tokens."""
        return _digest((self.tokenizer.chat_template, self.marks))

    def layout(self, turns: Sequence[Turn], where: str) -> tuple[str, list[Place | None]]:
        """Return the text of some turns and the trained replies' places.

        Raises FlanError where the template refuses, drops or alters a turn, and where the text before a reply
        is not the prompt that the model would be given for it.
        """
        text, places, at = self.text(turns, where), [], 0
        for i, turn in enumerate(turns):
            here, content = f"{where}, turn {i + 1}", turn.text.strip()
            place = self._place(text, self.text(turns[:i], here, reply=True), turn.text, here) if turn.trained else None
            if not place and (found := text.find(content, at)) < 0:
                raise _unfit(here, ALTERED, clip(content))
            at = place.stop if place else found + len(content)
            places.append(place)
        return text, places

    def text(self, turns: Sequence[Turn], where: str, *, reply: bool = False) -> str:
        """Return the text of some turns; ``reply`` adds the opening of the reply to them."""
        from jinja2 import TemplateError

        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        try:  # a template that writes the date takes a fixed one instead: same rows, same text
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=reply,
                                                      date_string="26 Jul 2024")  # fmt: skip
        except TemplateError as error:
            raise _unfit(where, f"a refusal by the chat template: {error}", "turns that it accepts") from None

    def _place(self, text: str, before: str, content: str, where: str) -> Place:
        if not text.startswith(before):
            raise _unfit(where, "a reply that does not continue its prompt", "a text that begins with every prompt")
        start, at = len(before), len(before) + len(self.lead)
        strips = (str, str.strip, str.lstrip, str.rstrip, lambda s: s.lstrip("\n"), lambda s: s.strip("\n"))
        for kept in (strip(content) for strip in strips):  # many templates strip content; none may do more
            if text.startswith(self.lead + kept + self.end, start):
                end = at + len(kept)
                return Place(start, at, end, end + len(self.end), content.find(kept))
        raise _unfit(where, ALTERED, clip(content))


def jinja(template: Template) -> str:
    """Write a template in the language of tokenizers' chat templates, with replies marked as generated.

    >>> jinja(LLAMA2_CHAT).split("{% if add_generation_prompt %}")[1]
    '{% endif %}'
    """

    def text(words: str) -> str:
        return f"{{{{ {json.dumps(words)} }}}}" if words else ""

    def said(before: str, after: str) -> str:
        return text(before) + "{{ m.content }}" + text(after)

    folded = "{% elif m.role == 'user' and loop.index0 == 1 and messages[0].role == 'system' %}"
    return (text(template.begin) + "{% for m in messages %}{% if m.role == 'system' %}" + said(*template.system)
            + (folded + said("", template.user[1]) if template.fold_system else "")
            + "{% elif m.role == 'user' %}" + said(*template.user) + "{% else %}" + text(template.open)
            + "{% generation %}" + said(template.lead, template.end) + "{% endgeneration %}" + text(template.close)
            + "{% endif %}{% endfor %}"
            + "{% if add_generation_prompt %}" + text(template.open) + "{% endif %}")  # fmt: skip


AnyTemplate: TypeAlias = Template | OwnTemplate

ALTERED = "a turn that the chat template drops or alters"

# Model card of internlm/Agent-FLAN: the Malayalam signs are characters of the template.
_HUMAN, _ASSISTANT = "<|Human|>\u0d46", "<|Assistant|>\u0d46"
AGENT_FLAN = Template("agent_flan", system=(_HUMAN, "\n "), user=(_HUMAN, "\n "), open=_ASSISTANT, lead="",
                      end="\u0d3f", close="\n ", marks=(_HUMAN, _ASSISTANT))  # fmt: skip
# Meta's reference code encodes " answer " and the end token; the first space is part of the first word's token.
LLAMA2_CHAT = Template("llama2_chat", system=("<s>[INST] <<SYS>>\n", "\n<</SYS>>\n\n"), user=("<s>[INST] ", " [/INST]"),
                       open="", lead=" ", end=" </s>", close="", fold_system=True, specials=("<s>", "</s>"),
                       marks=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>"))  # fmt: skip
TEMPLATES = {template.name: template for template in (AGENT_FLAN, LLAMA2_CHAT)}


def get_template(name: str, tokenizer: PreTrainedTokenizerBase) -> AnyTemplate:
    """Return a template of ``TEMPLATES``, or ``own`` for the tokenizer's chat template, ready for a tokenizer.

    ``auto`` is the tokenizer's own where it has one, else ``agent_flan``.
    A template without special tokens in its texts begins with the tokenizer's BOS, if there is one.
    Raises FlanError for an unknown name and for a tokenizer that does not fit.
    """
    if name == "own" or (name == AUTO and tokenizer.chat_template):
        return own_template(tokenizer)
    template = AGENT_FLAN if name == AUTO else TEMPLATES.get(name)
    if template is None:
        raise _unfit("template", repr(name), f"one of {', '.join(TEMPLATES)}, own")
    return bind(template if template.specials else replace(template, begin=tokenizer.bos_token or ""), tokenizer)


def bind(template: AnyTemplate, tokenizer: PreTrainedTokenizerBase) -> AnyTemplate:
    """Add the tokenizer's special tokens to the texts that no turn may hold.

    Raises FlanError if the tokenizer lacks a special token that the template writes.
    """
    if isinstance(template, OwnTemplate):
        return template
    known = special_tokens(tokenizer)
    if missing := set(template.specials) - set(known):
        raise _unfit(f"template {template.name}", f"a tokenizer without {' and '.join(sorted(missing))}",
                     "a tokenizer that has the template's special tokens")  # fmt: skip
    return replace(template, marks=tuple(dict.fromkeys(template.marks + known)))


def own_template(tokenizer: PreTrainedTokenizerBase) -> OwnTemplate:
    """Take the tokenizer's chat template; a probe shows what it writes around a reply.

    Raises FlanError if there is none, or if a reply does not continue its prompt or ends without a special token.
    """
    where, probe = "own chat template", "flanlib-probe"
    if not tokenizer.chat_template:
        raise _unfit(where, "a tokenizer without one", "a chat model's tokenizer")
    template, ask = OwnTemplate(tokenizer), say("user", "question")
    before, text = template.text([ask], where, reply=True), template.text([ask, say("assistant", probe)], where)
    lead, found, tail = text.removeprefix(before).partition(probe)
    if not text.startswith(before) or not found:
        raise _unfit(where, "a reply that does not continue its prompt", "a text that begins with the prompt")
    stops = [tail.index(token) + len(token) for token in special_tokens(tokenizer) if token in tail]
    if not stops:
        raise _unfit(where, f"{clip(tail)} after a reply", "a special token that ends it")
    return replace(template, lead=lead, end=tail[: min(stops)])


def render(conversation: Conversation, template: AnyTemplate) -> Rendered:
    """Write a conversation as text, and tell which characters are trained and of which kind.

    The mark and the lead of a turn with a capability are ``instruction``, else ``general``. Spans of kind
    ``context`` in a trained turn stay untrained, and so does a lead before one. Raises FlanError if the template
    cannot carry a turn as it is, or if a turn holds text that would be read as the template's own.

    >>> chat = Conversation("1", "doc", (say("user", "Hi"), say("assistant", "Yes?", "general", trained=True)))
    >>> text, spans, ends = render(chat, LLAMA2_CHAT)
    >>> text
    '<s>[INST] Hi [/INST] Yes? </s>'
    >>> [(text[a:b], kind) for a, b, kind in spans]
    [(' ', 'general'), ('Yes?', 'general'), (' </s>', 'general')]
    """
    where = f"conversation {conversation.id}"
    _check(conversation.turns, template, where)
    text, places = template.layout(conversation.turns, where)
    found: list[tuple[int, int, Kind]] = []
    for turn, place in zip(conversation.turns, places, strict=True):
        if place is None:
            continue
        frame: Kind = "instruction" if any(span.kind in CAPABILITIES for span in turn.spans) else "general"
        lead = frame if turn.spans[0].kind != "context" else "context"  # one token with the first word
        found.append((place.start, place.content, lead))
        at = place.content - place.skipped
        for span in turn.spans:
            found.append((max(at, place.content), min(at + len(span.text), place.end), span.kind))
            at += len(span.text)
        found.append((place.end, place.stop, frame))
    spans = tuple(span for span in found if span[0] < span[1] and span[2] != "context")
    return Rendered(text, spans, tuple(place.stop for place in places if place))


def prompt(turns: Sequence[Turn], template: AnyTemplate, where: str = "prompt") -> str:
    """Write turns that end with the user's, and the opening of the reply. Raises FlanError as :func:`render` does.

    >>> prompt([say("user", "Hi")], LLAMA2_CHAT)
    '<s>[INST] Hi [/INST]'
    """
    if not turns or turns[-1].role != "user":
        raise FlanError(where, found="turns that do not end with the user's", expected="a user turn to reply to",
                        remedy="Cut the conversation after one.")
    _check(turns, template, where)
    return template.text(turns, where, reply=True)


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the texts that a tokenizer reads as special tokens, in the order of their ids."""
    return tuple(token.content for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special)


def _check(turns: Sequence[Turn], template: AnyTemplate, where: str) -> None:
    always = "|".join(map(re.escape, template.marks))
    # An end mark that is no special token (U+0D3F) does harm only where the model learns to write it.
    trained = "|".join(filter(None, (always, re.escape(template.end.strip()))))
    for i, turn in enumerate(turns):
        pattern = trained if turn.trained else always
        if pattern and (mark := re.search(pattern, turn.text)):
            raise _unfit(f"{where}, turn {i + 1}", "a template mark in the content", f"no {mark[0]!a} in it")


def _unfit(where: str, found: str, expected: str) -> FlanError:
    return FlanError(where, found=found, expected=expected, remedy="Use another template, such as agent_flan.")


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]
