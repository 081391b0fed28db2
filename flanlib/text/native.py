"""A model's chat template for asking only: it may show tools, and nothing in it has to fit the kit's training.

Where :func:`flanlib.text.own_template.own_template` wants every reply of a conversation to continue its prompt, here
only first replies are asked for. They keep the marks that models put around calls, and end with the model's end tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from flanlib.records import FlanError, Tool, Turn, say
from flanlib.text.own_template import SWITCH, OwnTemplate
from flanlib.text.places import special_tokens, unfit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NATIVE = "template"
"""The name of this way to show tools, beside those of the dialects."""
WHERE = "own chat template"
ASK, SYSTEM = say("user", "flanlib-question"), say("system", "flanlib-system")
SAY = say("assistant", "flanlib-reply")
TOOL = Tool("flanlib_tool", "flanlib-description", {"type": "object", "properties": {}, "required": []})


@dataclass(frozen=True, eq=False)
class NativeTemplate(OwnTemplate):
    """The chat template of a model that is only asked. Made by :func:`native_template`.

    ``ends`` are the texts that end a reply, ``end`` is the first of them. ``shows_tools`` tells whether tools that the
    template is given reach the prompt: many templates leave them out without a word.
    """

    ends: tuple[str, ...] = ()
    shows_tools: bool = False

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """Texts that end a reply, and that no turn may contain. A call may begin with any other special token."""
        return self.ends


def native_template(tokenizer: PreTrainedTokenizerBase, ends: Sequence[str] = ()) -> NativeTemplate:
    """Return a tokenizer's chat template, to ask a model that ends its replies with one of ``ends``.

    The tokenizer's end token and what the template writes after a reply end one too. Thinking is switched off where the
    template has a switch for it, and the system text goes into the user turn where the template refuses or drops it.
    Raises FlanError if there is no chat template, or if it does not write a user's question.
    """
    if not tokenizer.chat_template:
        raise unfit(WHERE, "a tokenizer without one", "a chat model's tokenizer")
    template = NativeTemplate(tokenizer)
    off = replace(template, switches=((SWITCH, False),))
    if SWITCH in str(tokenizer.chat_template) and _written(off, ASK) != _written(template, ASK):
        template = off
    if ASK.text not in _written(template, ASK):
        raise unfit(WHERE, "a text without the user's question", "a template that writes what the user says")
    if not _shows(template, SYSTEM.text, SYSTEM, ASK):
        template = replace(template, fold_system=True)
    shows = _shows(template, TOOL.name, ASK, tools=[TOOL])
    listed = tuple(dict.fromkeys(filter(None, (*ends, tokenizer.eos_token, _after_reply(template)))))
    return replace(template, ends=listed, end=listed[0], shows_tools=shows)


def _written(template: OwnTemplate, *turns: Turn, tools: Sequence[Tool] = ()) -> str:
    return template.text(turns, WHERE, reply=turns[-1].role == "user", tools=tools)


def _shows(template: OwnTemplate, text: str, *turns: Turn, tools: Sequence[Tool] = ()) -> bool:
    try:
        return text in _written(template, *turns, tools=tools)
    except FlanError:  # a refusal
        return False


def _after_reply(template: OwnTemplate) -> str:
    """Return the end of a reply as the template writes it: up to its first special token, or else all that follows."""
    try:
        after = _written(template, ASK, SAY).partition(SAY.text)[2].strip()
    except FlanError:
        return ""
    stops = [after.index(token) + len(token) for token in special_tokens(template.tokenizer) if token in after]
    return after[: min(stops)] if stops else after
