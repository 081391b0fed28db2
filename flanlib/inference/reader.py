"""Read conversations with a model: its first choice for every token that is asked about, in one pass.

Conversations are tokenised as training tokenises them, and stand side by side as they do there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flanlib.benchmarks.reading import WRONG, Choices, Passage, ranges, tokens, verdict
from flanlib.inference.generate import decode
from flanlib.records import Conversation, FlanError
from flanlib.text.offsets import place
from flanlib.text.templates import AnyTemplate, bind, render
from flanlib.training.attention import by_document
from flanlib.training.loss import judged
from flanlib.training.model import evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Reader:
    """Reads with one model: a ``Read`` callable for the benchmarks. About ``tokens_per_pass`` tokens go at once."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate, *,
                 tokens_per_pass: int = 4096, label: str | None = None) -> None:  # fmt: skip
        self.model, self.tokenizer = by_document(model), tokenizer
        self.template = bind(template, tokenizer)
        self.tokens_per_pass, self.label = tokens_per_pass, label
        self._spell = lru_cache(maxsize=None)(lambda token: decode(tokenizer, [[token]])[0])

    def __call__(self, conversations: Sequence[Conversation],
                 passages: Sequence[Sequence[Passage]]) -> list[list[str]]:  # fmt: skip
        """Return a verdict for every passage of every conversation."""
        told, texts, places = [[WRONG] * len(listed) for listed in passages], {}, {}
        for i, (conversation, listed) in enumerate(zip(conversations, passages, strict=True)):
            with suppress(FlanError):  # what the model cannot be given stays wrong
                places[i] = ranges(conversation, listed, self.template)
                texts[i] = render(conversation, self.template).text
        for i, choices in zip(texts, self.choices([*texts.values()], [places[i] for i in texts]), strict=True):
            told[i] = [verdict(choices, *place) for place in places[i]]
        return told

    def choices(self, texts: Sequence[str], asked: Sequence[Sequence[tuple[int, int]]]) -> list[Choices]:
        """Return the first choices in each text, at the tokens of the character ranges that are asked about."""
        placed = place(list(texts), self.tokenizer)
        firsts = [np.full(len(one.ids), -1) for one in placed]
        most = self.model.config.get_text_config().max_position_embeddings
        wanted = [sorted(i for i in {i for place in of for i in tokens(one, *place)} if 0 < i < most)
                  for of, one in zip(asked, placed, strict=True)]  # fmt: skip
        # What stands behind the last of them need not be read.
        ids = [one.ids[: max(of, default=0)] for one, of in zip(placed, wanted, strict=True)]
        left = [i for i in range(len(texts)) if wanted[i]]
        with evaluating(self.model, len(left), self.label, "task") as bar:
            while left:
                taken, size = [], 0
                while left and (not taken or size + len(ids[left[-1]]) <= self.tokens_per_pass):
                    taken.append(left.pop())
                    size += len(ids[taken[-1]])
                told = self._pass([ids[i] for i in taken], [wanted[i] for i in taken])
                for i in taken:
                    firsts[i][wanted[i]], told = told[: len(wanted[i])], told[len(wanted[i]) :]
                bar.update(len(taken))
        return [Choices(*one, self._spell) for one in zip(texts, placed, firsts, strict=True)]

    @torch.inference_mode()
    def _pass(self, rows: Sequence[np.ndarray], wanted: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the first choices at the wanted tokens of some conversations, one after another."""
        where = next(self.model.parameters()).device
        ids = torch.from_numpy(np.concatenate(rows).astype(np.int64))[None].to(where)
        positions = torch.cat([torch.arange(len(row)) for row in rows])[None].to(where)
        starts = np.cumsum([0, *map(len, rows[:-1])])
        before = np.concatenate([start + np.asarray(of) - 1 for start, of in zip(starts, wanted, strict=True)])
        batch = {"input_ids": ids, "position_ids": positions}
        told = judged(self.model, batch, lambda logits: logits.argmax(-1), torch.from_numpy(before).to(where))
        return told.cpu().numpy()
