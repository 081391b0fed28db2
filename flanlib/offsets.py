"""Where the tokens of a text stand in it.

A byte-level tokenizer (GPT-2's, Llama-3's, the lab's) keeps every byte of a text, so the lengths of its pieces tell
where each stands. Others are asked for offsets, which takes as long again as tokenising.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Placed(NamedTuple):
    """A tokenised text: the ids, and for each token its first character and the one after its last.

    Tokens that share a character both have it; characters of no token belong to the one after them.
    """

    ids: list[int]
    starts: np.ndarray
    stops: np.ndarray


def place(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[Placed]:
    """Tokenise some texts at once, adding no special tokens."""
    lengths = _lengths(tokenizer, len(tokenizer))
    if lengths is not None:
        encodings = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        placed = [_by_length(encoding.ids, text, lengths) for encoding, text in zip(encodings, texts, strict=True)]
        if None not in placed:
            return placed
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False,
                      return_token_type_ids=False, verbose=False)  # fmt: skip
    return [_by_offset(*one) for one in zip(batch["input_ids"], batch["offset_mapping"], strict=True)]


@lru_cache(maxsize=4)
def _lengths(tokenizer: PreTrainedTokenizerBase, size: int) -> np.ndarray | None:
    """Return how many bytes each token stands for, by id, or None where that does not tell their places.

    ``size`` is the tokenizer's: one that has grown is looked at again. Ids may have gaps.
    """
    from tokenizers import decoders

    backend = tokenizer.backend_tokenizer
    if backend.normalizer is not None or not isinstance(backend.decoder, decoders.ByteLevel):
        return None
    pieces = backend.get_vocab(with_added_tokens=True)
    lengths = np.zeros(max(pieces.values(), default=0) + 1, np.int64)
    for piece, i in pieces.items():
        lengths[i] = len(piece)  # the byte-level alphabet has one character for each byte
    for i, token in backend.get_added_tokens_decoder().items():
        lengths[i] = len(token.content.encode())
    return lengths


def _by_length(ids: list[int], text: str, lengths: np.ndarray) -> Placed | None:
    """Place tokens by the bytes they stand for, or return None where these are not all the bytes of the text."""
    stops = np.cumsum(lengths[ids])
    starts = stops - lengths[ids]
    if text.isascii():
        return Placed(ids, starts, stops) if (stops[-1] if ids else 0) == len(text) else None
    of_byte = np.repeat(np.arange(len(text)), widths(text))  # the character that a byte is part of
    if not ids or stops[-1] != len(of_byte):
        return None
    return Placed(ids, of_byte[starts], of_byte[stops - 1] + 1)


def _by_offset(ids: list[int], offsets: list[tuple[int, int]]) -> Placed:
    edges = np.asarray(offsets).reshape(-1, 2)
    stops = np.maximum.accumulate(edges[:, 1])
    return Placed(ids, np.minimum(edges[:, 0], np.concatenate([[0], stops[:-1]])), stops)


def widths(text: str) -> np.ndarray:
    """Return how many UTF-8 bytes each character has.

    >>> widths("né東🙂").tolist()
    [1, 2, 3, 4]
    """
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return 1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)
