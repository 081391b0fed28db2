"""Find where each token stands in its text.

A byte-level tokenizer (GPT-2's, Llama-3's, SmolLM2's) keeps every byte of a text, so the byte lengths of its tokens
give their places. From other tokenizers we request offsets, which takes as long again as tokenising.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Placed(NamedTuple):
    """A tokenised text, an entry per token: id, first character, the one after its last, and UTF-8 bytes.

    Tokens that share a character all cover it, and the first gets its bytes. Uncovered characters go to the next token.
    """

    ids: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    bytes: np.ndarray


def place(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[Placed]:
    """Tokenise a batch of texts, adding no special tokens."""
    lengths = _byte_lengths(tokenizer, len(tokenizer))
    if lengths is not None:
        encodings = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        placed = [_by_length(encoding.ids, text, lengths) for encoding, text in zip(encodings, texts, strict=True)]
        if None not in placed:
            return placed
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False,
                      return_token_type_ids=False, verbose=False)  # fmt: skip
    return [_by_offset(*row) for row in zip(batch["input_ids"], batch["offset_mapping"], texts, strict=True)]


@lru_cache(maxsize=4)
def _byte_lengths(tokenizer: PreTrainedTokenizerBase, size: int) -> np.ndarray | None:
    """Return the number of bytes of each token, indexed by id, or None for a tokenizer that is not byte-level.

    ``size`` is the tokenizer's length; it is part of the cache key because tokens can be added. Ids may have gaps.
    """
    from tokenizers import decoders

    backend = tokenizer.backend_tokenizer
    if backend.normalizer is not None or not isinstance(backend.decoder, decoders.ByteLevel):
        return None
    # The byte-level alphabet has one character for each byte; added tokens are plain text.
    sizes = {i: len(piece) for piece, i in backend.get_vocab(with_added_tokens=True).items()}
    sizes |= {i: len(token.content.encode()) for i, token in backend.get_added_tokens_decoder().items()}
    lengths = np.zeros(max(sizes, default=0) + 1, np.int64)
    lengths[[*sizes]] = [*sizes.values()]
    return lengths


def _by_length(ids: list[int], text: str, lengths: np.ndarray) -> Placed | None:
    """Place tokens by their byte lengths, or return None if these do not add up to the bytes of the text."""
    first_bytes, sizes = _first_bytes(text), lengths[np.array(ids, int)]
    if sizes.sum() != len(first_bytes):
        return None
    ends = np.cumsum(sizes)
    begun = np.concatenate([[0], np.cumsum(first_bytes)])  # begun[n]: characters that begin in the first n bytes
    return _placed(ids, begun[ends - sizes + 1] - 1, begun[ends], first_bytes)


def _by_offset(ids: list[int], offsets: list[tuple[int, int]], text: str) -> Placed:
    edges = np.asarray(offsets, np.int64).reshape(-1, 2)
    stops = np.maximum.accumulate(edges[:, 1])
    return _placed(ids, np.minimum(edges[:, 0], _previous_stops(stops)), stops, _first_bytes(text))


def _placed(ids: list[int], starts: np.ndarray, stops: np.ndarray, first_bytes: np.ndarray) -> Placed:
    byte_at = np.append(np.flatnonzero(first_bytes), len(first_bytes))  # where each character begins, in bytes
    return Placed(np.array(ids, np.int32), starts, stops, byte_at[stops] - byte_at[_previous_stops(stops)])


def _previous_stops(stops: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], stops])[:-1]


def _first_bytes(text: str) -> np.ndarray:
    """Mark each UTF-8 byte of a text that begins a character."""
    return (np.frombuffer(text.encode(), np.uint8) & 0xC0) != 0x80
