"""Chat templates: how turns become the text that a model reads, and which of its characters are trained.

A trained reply is the assistant's content, any text that the model must write before it (``lead``), and the
end-of-turn mark (``end``). All other text is context. :func:`prompt` gives what :func:`render` writes before a reply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from flanlib.presets import AUTO
from flanlib.records import CAPABILITIES, Conversation, FlanError, Kind, Tool, Turn
from flanlib.text.own_template import OwnTemplate, own_template
from flanlib.text.places import Place, digest, special_tokens, unfit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Rendered(NamedTuple):
    """A conversation as text, its trained (start, stop, kind) character ranges, and where each trained turn ends."""

    text: str
    spans: tuple[tuple[int, int, Kind], ...]
    ends: tuple[int, ...]


@dataclass(frozen=True)
class Template:
    """A chat template as data.

    ``begin`` stands before the first turn. ``system`` and ``user`` are the texts before and after such a turn; with
    ``fold_system`` the first user turn continues the system turn, without its own opening. A reply is ``open``
    (context, a prompt ends with it), ``lead`` (trained), content, ``end`` (trained), ``close`` (context).
    ``specials`` are the special tokens in these texts. ``marks`` are texts that no turn may contain.
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
        """Twelve hexadecimal digits: a digest of the template's texts."""
        return digest(replace(self, name="", specials=(), marks=()))

    def layout(self, turns: Sequence[Turn], where: str) -> tuple[str, list[Place | None]]:
        """Return the text of the turns and, for each turn, the place of its reply (None if it is not trained)."""
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
        """Return the text of the turns; ``reply`` adds the opening of the next reply."""
        return self.layout(turns, where)[0] + (self.open if reply else "")


def jinja(template: Template) -> str:
    """Write a template as the Jinja source of a tokenizer's chat template, replies inside ``{% generation %}``.

    >>> jinja(LLAMA2_CHAT).split("{% if add_generation_prompt %}")[1]
    '{% endif %}'
    """

    def literal(text: str) -> str:
        return f"{{{{ {json.dumps(text)} }}}}" if text else ""

    def content(before: str, after: str) -> str:
        return literal(before) + "{{ m.content }}" + literal(after)

    folded = "{% elif m.role == 'user' and loop.index0 == 1 and messages[0].role == 'system' %}"
    return (literal(template.begin) + "{% for m in messages %}{% if m.role == 'system' %}" + content(*template.system)
            + (folded + content("", template.user[1]) if template.fold_system else "")
            + "{% elif m.role == 'user' %}" + content(*template.user) + "{% else %}" + literal(template.open)
            + "{% generation %}" + content(template.lead, template.end) + "{% endgeneration %}"
            + literal(template.close) + "{% endif %}{% endfor %}"
            + "{% if add_generation_prompt %}" + literal(template.open) + "{% endif %}")  # fmt: skip


AnyTemplate: TypeAlias = Template | OwnTemplate

# From the model card of internlm/Agent-FLAN. The Malayalam signs belong to the template.
_HUMAN, _ASSISTANT = "<|Human|>\u0d46", "<|Assistant|>\u0d46"
AGENT_FLAN = Template("agent_flan", system=(_HUMAN, "\n "), user=(_HUMAN, "\n "), open=_ASSISTANT, lead="",
                      end="\u0d3f", close="\n ", marks=(_HUMAN, _ASSISTANT))  # fmt: skip
# Meta's reference code encodes " answer " and the end token; the first space is part of the first word's token.
LLAMA2_CHAT = Template("llama2_chat", system=("<s>[INST] <<SYS>>\n", "\n<</SYS>>\n\n"), user=("<s>[INST] ", " [/INST]"),
                       open="", lead=" ", end=" </s>", close="", fold_system=True, specials=("<s>", "</s>"),
                       marks=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>"))  # fmt: skip
TEMPLATES = {template.name: template for template in (AGENT_FLAN, LLAMA2_CHAT)}


def get_template(name: str, tokenizer: PreTrainedTokenizerBase) -> AnyTemplate:
    """Return a template of ``TEMPLATES`` by name, or the tokenizer's chat template for ``own``, bound to the tokenizer.

    ``auto`` is the tokenizer's chat template if it has one, else ``agent_flan``. A template without special tokens in
    its texts begins with the tokenizer's BOS token, if any. Raises FlanError for an unknown name or an unfit tokenizer.
    """
    if name == "own" or (name == AUTO and tokenizer.chat_template):
        return own_template(tokenizer)
    template = AGENT_FLAN if name == AUTO else TEMPLATES.get(name)
    if template is None:
        raise unfit("template", repr(name), f"one of {', '.join(TEMPLATES)}, own")
    return bind(template if template.specials else replace(template, begin=tokenizer.bos_token or ""), tokenizer)


def bind(template: AnyTemplate, tokenizer: PreTrainedTokenizerBase) -> AnyTemplate:
    """Add the tokenizer's special tokens to the texts that no turn may contain.

    Raises FlanError if the tokenizer lacks a special token that the template writes.
    """
    if isinstance(template, OwnTemplate):
        return template
    known = special_tokens(tokenizer)
    if missing := set(template.specials) - set(known):
        raise unfit(f"template {template.name}", f"a tokenizer without {' and '.join(sorted(missing))}",
                     "a tokenizer that has the template's special tokens")  # fmt: skip
    return replace(template, marks=tuple(dict.fromkeys(template.marks + known)))


def render(conversation: Conversation, template: AnyTemplate) -> Rendered:
    """Write a conversation as text, with the ranges of trained characters and their kinds.

    The lead and the end mark of a turn are ``instruction`` if the turn has a capability, else ``general``. Spans of
    kind ``context`` in a trained turn stay untrained, and so does a lead before one. Raises FlanError if the template
    alters a turn, or if a turn contains text that would be read as the template's own.

    >>> from flanlib.records import say
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
    ranges: list[tuple[int, int, Kind]] = []
    for turn, place in zip(conversation.turns, places, strict=True):
        if place is None:
            continue
        frame: Kind = "instruction" if any(span.kind in CAPABILITIES for span in turn.spans) else "general"
        # The lead is often part of the first word's token, so both are trained or neither is.
        ranges.append((place.start, place.content, "context" if turn.spans[0].kind == "context" else frame))
        at = place.content - place.skipped
        for span in turn.spans:
            ranges.append((max(at, place.content), min(at + len(span.text), place.end), span.kind))
            at += len(span.text)
        ranges.append((place.end, place.stop, frame))
    spans = tuple((start, stop, kind) for start, stop, kind in ranges if start < stop and kind != "context")
    return Rendered(text, spans, tuple(place.stop for place in places if place))


def prompt(turns: Sequence[Turn], template: AnyTemplate, where: str = "prompt", *, tools: Sequence[Tool] = ()) -> str:
    """Write turns up to a user turn, and the opening of the reply. Raises FlanError as :func:`render` does.

    Only a model's own chat template has a place for ``tools``; any other raises FlanError.

    >>> from flanlib.records import say
    >>> prompt([say("user", "Hi")], LLAMA2_CHAT)
    '<s>[INST] Hi [/INST]'
    """
    if not turns or turns[-1].role != "user":
        raise FlanError(
            where,
            found="turns that do not end with the user's",
            expected="a user turn to reply to",
            remedy="Cut the conversation after a user turn.",
        )
    _check(turns, template, where)
    if not tools:
        return template.text(turns, where, reply=True)
    if isinstance(template, OwnTemplate):
        return template.text(turns, where, reply=True, tools=tools)
    raise unfit(where, f"tools for the template {template.name}, which shows none", "a model's own chat template")


def _check(turns: Sequence[Turn], template: AnyTemplate, where: str) -> None:
    """Raise FlanError for a turn that contains a mark of the template."""
    always = "|".join(map(re.escape, template.marks))
    # An end mark that is no special token (U+0D3F) is common in plain text; it does harm only in a trained reply.
    trained = "|".join(filter(None, (always, re.escape(template.end.strip()))))
    for i, turn in enumerate(turns):
        pattern = trained if turn.trained else always
        if pattern and (mark := re.search(pattern, turn.text)):
            raise unfit(f"{where}, turn {i + 1}", "a template mark in the content", f"no {mark[0]!a} in it")
