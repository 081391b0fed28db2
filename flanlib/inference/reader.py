"""Read conversations with a model: its first choice at every token that is judged, from one forward pass.

Conversations are tokenised as in training, and stand side by side in a row as they do there.
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
from flanlib.inference.journal import Journal
from flanlib.records import Conversation, FlanError
from flanlib.text.offsets import place
from flanlib.text.templates import AnyTemplate, bind, render
from flanlib.training.attention import by_document
from flanlib.training.loss import map_logits
from flanlib.training.memory import until_exhausted
from flanlib.training.model import evaluating, halved

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Reader:
    """Judges passages with one model, about ``tokens_per_pass`` tokens at once: a ``Read`` for the benchmarks.

    A pass that runs out of memory is repeated in halves, with a warning; FlanError says that one row does not fit. What
    is in the ``journal`` is not read again, and the rest goes into it pass by pass.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate, *,
                 tokens_per_pass: int = 4096, journal: Journal | None = None,
                 label: str | None = None) -> None:  # fmt: skip
        self.model, self.tokenizer = by_document(model), tokenizer
        self.template = bind(template, tokenizer)
        self.tokens_per_pass, self.journal, self.label = tokens_per_pass, journal or Journal(), label
        self._spell = lru_cache(maxsize=None)(lambda token: decode(tokenizer, [[token]])[0])

    def __call__(self, conversations: Sequence[Conversation],
                 passages: Sequence[Sequence[Passage]]) -> list[list[str]]:  # fmt: skip
        """Return a verdict for every passage of every conversation."""
        verdicts, texts, places = [[WRONG] * len(listed) for listed in passages], {}, {}
        for i, (conversation, listed) in enumerate(zip(conversations, passages, strict=True)):
            with suppress(FlanError):  # the template cannot carry the conversation: its passages stay wrong
                places[i] = ranges(conversation, listed, self.template)
                texts[i] = render(conversation, self.template).text
        for i, choices in zip(texts, self.choices([*texts.values()], [places[i] for i in texts]), strict=True):
            verdicts[i] = [verdict(choices, start, stop) for start, stop in places[i]]
        return verdicts

    def choices(self, texts: Sequence[str], places: Sequence[Sequence[tuple[int, int]]]) -> list[Choices]:
        """Return the first choices in each text, at the tokens of its character ranges ``places``."""
        placed = place(list(texts), self.tokenizer)
        firsts = [np.full(len(one.ids), -1) for one in placed]
        limit = self.model.config.get_text_config().max_position_embeddings
        wanted = []
        for one, listed in zip(placed, places, strict=True):
            at = {i for start, stop in listed for i in tokens(one, start, stop)}
            wanted.append(sorted(i for i in at if 0 < i < limit))
        # A text is read up to the token before the last one wanted.
        ids = [one.ids[: max(at, default=0)] for one, at in zip(placed, wanted, strict=True)]
        left = [i for i in range(len(texts)) if wanted[i]]
        call = self.journal.call("choices", texts, places)
        with evaluating(self.model, len(left), self.label, "task") as bar:
            while left:
                batch, size = [], 0
                while left and (not batch or size + len(ids[left[-1]]) <= self.tokens_per_pass):
                    batch.append(left.pop())
                    size += len(ids[batch[-1]])
                with until_exhausted():
                    if not all(i in call for i in batch):
                        chosen = self._pass([ids[i] for i in batch], [wanted[i] for i in batch])
                        call.add({i: choices.tolist() for i, choices in zip(batch, chosen, strict=True)})
                    for i in batch:
                        firsts[i][wanted[i]] = call[i]
                    bar.update(len(batch))
                    continue
                self.tokens_per_pass = halved(min(size, self.tokens_per_pass), max(len(ids[i]) for i in batch))
                left += reversed(batch)
        return [Choices(*one, self._spell) for one in zip(texts, placed, firsts, strict=True)]

    @torch.inference_mode()
    def _pass(self, rows: Sequence[np.ndarray], wanted: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Return the first choices at the wanted tokens of each row of ids, from one pass over all rows."""
        device = next(self.model.parameters()).device
        ids = torch.from_numpy(np.concatenate(rows).astype(np.int64))[None].to(device)
        positions = torch.cat([torch.arange(len(row)) for row in rows])[None].to(device)
        starts = np.cumsum([0, *map(len, rows[:-1])])
        before = np.concatenate([start + np.asarray(at) - 1 for start, at in zip(starts, wanted, strict=True)])
        batch = {"input_ids": ids, "position_ids": positions}
        firsts = map_logits(self.model, batch, lambda logits: logits.argmax(-1), torch.from_numpy(before).to(device))
        return np.split(firsts.cpu().numpy(), np.cumsum([len(at) for at in wanted[:-1]], dtype=int))
