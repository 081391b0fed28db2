"""Vectors of texts, by which T-Eval tells how alike two plans or thoughts are."""

import zlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from flanlib.records import FlanError, clip

Embed: TypeAlias = Callable[[Sequence[str]], np.ndarray]
"""From n texts to vectors of shape (n, width)."""
PUBLISHED = "all-mpnet-base-v2"  # of the published figures in English; thenlper/gte-large-zh of those in Chinese
LETTERS, WIDTH = "letters", 256


def by_letters(texts: Sequence[str]) -> np.ndarray:
    """Count the three-letter pieces of each text, by a hash: no model is needed, but only like spelling is alike.

    >>> by_letters(["Ulm", "Ulm", "Bonn"]).shape
    (3, 256)
    """
    vectors = np.zeros((len(texts), WIDTH), np.float32)
    for vector, text in zip(vectors, texts, strict=True):
        padded = f"  {text} "
        for at in range(len(padded) - 2):
            vector[zlib.crc32(padded[at : at + 3].encode(errors="replace")) % WIDTH] += 1
    return vectors


def load(name: str) -> Embed:
    """Return :func:`by_letters`, or a model of sentence-transformers by name or folder. Raises FlanError without it."""
    if name == LETTERS:
        return by_letters
    try:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(name)
    except Exception as error:  # the library raises whatever its back ends raise
        raise FlanError("--embedder", found=f"no embedding model {name} ({clip(str(error), 100)})",
                        expected=f"sentence-transformers and its model, or {LETTERS}",
                        remedy=f"Run pip install sentence-transformers, or pass --embedder {LETTERS}, whose scores of "
                               "plans and thoughts are not comparable with published ones.") from error  # fmt: skip
    return lambda texts: np.asarray(model.encode(list(texts)))


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the cosines, at least 0, of all pairs of (n, width) and (m, width) vectors, of shape (n, m).

    >>> cosines(np.array([[1.0, 0.0]]), np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    array([[1., 0., 0.]])
    """
    left, right = (side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-12) for side in (left, right))
    return np.maximum(left @ right.T, 0)
