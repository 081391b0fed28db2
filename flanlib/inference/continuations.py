"""Log-probabilities of given continuations: which of several replies a model finds likelier, without generating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from flanlib.benchmarks import Prompt
from flanlib.inference.cache import Branch, Runner, common_prefix, pad
from flanlib.inference.generate import prompt_text
from flanlib.inference.journal import Journal
from flanlib.records import FlanError
from flanlib.training.memory import until_exhausted
from flanlib.training.model import evaluating, halved

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from flanlib.text.templates import AnyTemplate


class _Item(NamedTuple):
    """A prompt with its continuations: ids of each, the tokens that all share, and those of the prompt alone."""

    rows: list[list[int]]
    shared: int
    prompt: int


class Scorer:
    """Sums the log-probabilities of a continuation's tokens: a ``LogProbabilities`` callable for the benchmarks.

    Prompt and continuation are tokenised together, as in training. The continuation's tokens are those after the tokens
    of the prompt without its last spaces, as in EleutherAI's lm-evaluation-harness; no end-of-turn mark is counted. A
    prompt is read once for all its continuations. A pass has about ``tokens_per_pass`` tokens; one that runs out of
    memory is repeated in halves, with a warning. Sums that are in the ``journal`` are not computed again, and others go
    into it pass by pass.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate, *,
                 tokens_per_pass: int = 4096, journal: Journal | None = None,
                 label: str | None = None) -> None:  # fmt: skip
        self.model, self.tokenizer, self.template = model, tokenizer, template
        self.tokens_per_pass, self.journal, self.label = tokens_per_pass, journal or Journal(), label
        self._runner = Runner(model)

    def __call__(self, prompts: Sequence[Prompt], continuations: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the natural log-probability of every continuation of every prompt.

        Raises FlanError if the template cannot carry a prompt, the model has too few positions, or one prompt with its
        continuations does not fit into memory.
        """
        items = [self._item(*pair) for pair in zip(prompts, continuations, strict=True)]
        sizes = [sum(map(len, item.rows)) for item in items]
        left = sorted(range(len(items)), key=lambda i: -sizes[i])  # the shortest last
        sums = self.journal.call("sums", prompts, continuations)
        with evaluating(self.model, len(left), self.label, "prompt") as bar:
            while left:
                batch, size = [], 0
                while left and (not batch or size + sizes[left[-1]] <= self.tokens_per_pass):
                    batch.append(left.pop())
                    size += sizes[batch[-1]]
                with until_exhausted():
                    if not all(i in sums for i in batch):
                        sums.add(dict(zip(batch, self._pass([items[i] for i in batch]), strict=True)))
                    bar.update(len(batch))
                    continue
                self.tokens_per_pass = halved(min(size, self.tokens_per_pass), max(sizes[i] for i in batch))
                left += reversed(batch)
        return [sums[i] for i in range(len(items))]

    def _item(self, prompt: Prompt, texts: Sequence[str]) -> _Item:
        before = prompt_text(prompt, self.template) + ("" if prompt.begun else self.template.lead)
        alone, *rows = (self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
                        for text in (before.rstrip(), *(before + text for text in texts)))  # fmt: skip
        longest, most = max(map(len, rows)), self.model.config.get_text_config().max_position_embeddings
        if longest > most:
            raise FlanError(f"prompt {prompt.id}", found=f"{longest} tokens with a continuation",
                            expected=f"at most {most}, the model's positions",
                            remedy="Leave it out, or use a model that reads more.")  # fmt: skip
        shared = min(len(alone), *(common_prefix(rows[0], row) for row in rows))
        # The last token before a continuation is fed with it, since its logits are the first that count.
        return _Item(rows, max(0, shared - 1) if self._runner.can_crop else 0, max(1, len(alone)))

    @torch.inference_mode()
    def _pass(self, items: Sequence[_Item]) -> list[list[float]]:
        """Read the prompts of a batch, then all continuations of all of them side by side."""
        branches = [Branch(item.rows[0][: item.shared]) for item in items]
        self._runner.prefill(branches, self.tokens_per_pass)
        owners = [(item, branch, row) for item, branch in zip(items, branches, strict=True) for row in item.rows]
        ids, own = pad([row[item.shared :] for item, _, row in owners], self._runner.device, "right")
        past, mask = self._runner.join([(branch, item.shared) for item, branch, _ in owners], ids.shape[1])
        mask = torch.cat([mask, own], 1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        logits = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True,
                            **{self._runner.cache_argument: past}).logits  # fmt: skip
        nats = cross_entropy(logits[:, :-1].float().transpose(1, 2), ids[:, 1:], reduction="none").double()
        sums = iter(-nats[i, item.prompt - item.shared - 1 : len(row) - item.shared - 1].sum().item()
                    for i, (item, _, row) in enumerate(owners))  # fmt: skip
        return [[next(sums) for _ in item.rows] for item in items]
