"""What both kinds of chat template share: where a reply stands in its text, and how an unfit one is refused."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from flanlib.records import FlanError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Place(NamedTuple):
    """Character positions of a reply: its lead begins at ``start``, its content at ``content``, its mark at ``end``.

    ``stop`` is one past the mark. ``skipped`` counts the leading white space of the content that the template strips.
    """

    start: int
    content: int
    end: int
    stop: int
    skipped: int = 0


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the texts that a tokenizer reads as special tokens, in the order of their ids."""
    return tuple(token.content for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special)


def unfit(where: str, found: str, expected: str) -> FlanError:
    """Return the error for turns or a tokenizer that a chat template does not fit."""
    return FlanError(where, found=found, expected=expected, remedy="Use another template, such as agent_flan.")


def digest(value: object) -> str:
    """Return twelve hexadecimal digits of a value's ``repr``."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]
