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
    """A tokenised text, an entry per token: id, first character, the one after its last, and UTF-8 bytes.

    Of tokens that share a character each has it, and the first has its bytes; characters of no token belong to the
    one after them.
    """

    ids: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    bytes: np.ndarray


def place(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[Placed]:
    """Tokenise some texts at once, adding no special tokens."""
    lengths = _lengths(tokenizer, len(tokenizer))
    if lengths is not None:
        encodings = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        placed = [_by_length(one.ids, text, lengths) for one, text in zip(encodings, texts, strict=True)]
        if None not in placed:
            return placed
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False,
                      return_token_type_ids=False, verbose=False)  # fmt: skip
    return [_by_offset(*one) for one in zip(batch["input_ids"], batch["offset_mapping"], texts, strict=True)]


@lru_cache(maxsize=4)
def _lengths(tokenizer: PreTrainedTokenizerBase, size: int) -> np.ndarray | None:
    """Return how many bytes each token stands for, by id, or None where that does not tell their places.

    ``size`` is the tokenizer's: one that has grown is looked at again. Ids may have gaps.
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
    """Place tokens by the bytes they stand for, or return None where these are not all the bytes of the text."""
    firsts, sizes = _firsts(text), lengths[np.array(ids, int)]
    reached = np.cumsum(sizes)
    if sizes.sum() != len(firsts):
        return None
    begun = np.concatenate([[0], np.cumsum(firsts)])  # how many characters begin in so many bytes
    return _placed(ids, begun[reached - sizes + 1] - 1, begun[reached], firsts)


def _by_offset(ids: list[int], offsets: list[tuple[int, int]], text: str) -> Placed:
    edges = np.asarray(offsets, np.int64).reshape(-1, 2)
    stops = np.maximum.accumulate(edges[:, 1])
    return _placed(ids, np.minimum(edges[:, 0], _before(stops)), stops, _firsts(text))


def _placed(ids: list[int], starts: np.ndarray, stops: np.ndarray, firsts: np.ndarray) -> Placed:
    at = np.append(np.flatnonzero(firsts), len(firsts))  # where each character begins, in bytes
    return Placed(np.array(ids, np.int32), starts, stops, at[stops] - at[_before(stops)])


def _before(stops: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], stops])[:-1]


def _firsts(text: str) -> np.ndarray:
    """Tell for each UTF-8 byte of a text whether a character begins with it.

    >>> _firsts("né").tolist()
    [True, True, False]
    """
    return (np.frombuffer(text.encode(), np.uint8) & 0xC0) != 0x80
