"""Generate replies with a model: batched, of limited length, by greedy decoding unless asked otherwise.

Prompts are tokenised as in training: template, history and the beginning of the reply in one go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from peft import PeftModel
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from flanlib.benchmarks import Prompt
from flanlib.inference.batches import Batch, Queue, Row
from flanlib.inference.cache import Branch, Runner, bytes_per_token, first_fitting, groups, plan
from flanlib.inference.journal import Call, Journal
from flanlib.records import FlanError
from flanlib.text import templates
from flanlib.training.memory import WORKSPACE, room, scoring, scoring_bytes, until_exhausted
from flanlib.training.model import device, evaluating, halved, load, load_adapter, outline, plain_dtype, weight_bytes
from flanlib.training.sharing import small

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from flanlib.progress import Bar
    from flanlib.text.templates import AnyTemplate

GIB = 2**30
_SHARE = 0.8  # of a GPU's free memory: the estimate leaves out masks, and the allocator loses some
ENOUGH = 16_384
"""Tokens of a batch on a GPU from which on more rows of a small model gain less than another process."""
_MOST_ON_GPU = 131_072  # tokens; more make a batch no faster
_SHRINK = 0.75  # finished rows leave a batch once at most this share of its rows is unfinished
# On a GPU others take their places once this share has ended. To make room copies the batch's cache: with many rows
# that takes about as long as two tokens, so it should not happen at every one.
_REFILL = 0.1


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. Temperature 0 is greedy; above it tokens are sampled, the same ones for the same call.

    On a GPU that holds while its free memory gives batches of the same size.
    """

    max_new_tokens: int = 160
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


GREEDY = Decoding()


class Reply(NamedTuple):
    """The text that a model adds to a prompt, and how it ended.

    ``ended`` is ``end`` (the end-of-turn mark), ``stop`` (a stop text of the prompt), ``mark`` (another mark of the
    template, such as the next turn's opening) or ``length`` (the limit of new tokens). Nothing is generated if it is
    ``too long`` (prompt and reply would exceed the model's positions) or ``unfit`` (the template cannot carry it).
    """

    text: str
    ended: str


def dense(name: str, folder: Path | None = None, *, bits: int = 16, where: torch.device | None = None) -> Any:
    """Load a model for generation with plain dense weights, the adapter of ``folder`` merged in.

    With 4 ``bits`` these are the base's NF4 weights, dequantised as in training and not quantised again. They are
    bfloat16 on a machine with a GPU, and float32 without: in bfloat16 7 of 24 greedy replies of the default model were
    different. The adapter's product is computed in float32. ``where`` is by default the GPU, if there is one.
    """
    model = load(name, bits=bits, where=where)
    if bits == 4:
        model = model.dequantize(plain_dtype())
    return (PeftModel.from_pretrained(model, folder).merge_and_unload() if folder else model).eval()


def scoring_model(name: str, folder: Path | None = None, *, bits: int = 16) -> Any:
    """Load a model for generation, as :func:`dense` or, where a GPU lacks the memory, in four bits with its adapter.

    The plan that is told before training says which (:func:`flanlib.training.memory.scoring`).
    """
    free = room()
    if free == float("inf") or scoring(name, bits, free).bits == 16:
        return dense(name, folder, bits=bits)
    return load_adapter(name, folder, bits=4) if folder else load(name, bits=4).eval()


def batch_sizes(model: Any, free: float, new_tokens: int) -> tuple[int, int]:
    """Return the tokens of a batch and the bytes to keep after it, for replies of up to ``new_tokens``.

    ``free`` is a GPU's free memory in bytes, or infinity for a CPU, where sizes are the same on every machine.
    """
    cached = bytes_per_token(model)
    if free == float("inf"):
        return max(1, min(32_768, GIB // cached)), 2 * GIB
    tokens = max(1, min(_MOST_ON_GPU, int(_SHARE * free / scoring_bytes(model, new_tokens))))
    return tokens, tokens * cached


def replying(name: str, bits: int, new_tokens: int) -> float:
    """Return the bytes that a process takes to write replies of a model that trained in ``bits``.

    On a CPU that is the most it takes, on a GPU enough for large batches of a small model, or what a large one needs.
    """
    model = outline(name)
    if device().type == "cpu":
        tokens, kept = batch_sizes(model, float("inf"), new_tokens)
        return sum(weight_bytes(model, bits=16, bytes_per_weight=4)) + 2 * tokens * bytes_per_token(model) + kept
    if not small(name):
        planned = scoring(name, bits, room())
        return planned.weights + planned.batches + WORKSPACE
    weights = sum(weight_bytes(model, bits=16, bytes_per_weight=2))
    return weights + ENOUGH * scoring_bytes(model, new_tokens) + WORKSPACE


class Writer:
    """Generates replies and reads no token twice: a ``Generate`` callable for the benchmarks.

    Prompts of one call share their common beginnings. Prompts and replies of the last call stay cached, in up to
    ``keep`` bytes: a prompt that continues one of them is read from there on. The model must not change in between.
    Greedy replies are those of ``model.generate``, prompt by prompt, up to rounding.

    A batch has about ``tokens_per_batch`` tokens at most, padding and replies included. As many again are cached beside
    it. By default they are what fits into 1 GiB on a CPU, up to 32,768, with twice that in ``keep``; on a GPU what fits
    into its free memory (:func:`batch_sizes`). A batch that runs out of memory is repeated, with a warning, in halves.
    Once the share ``refill`` of its rows has ended, prompts that wait take their places: by default a tenth on a GPU.
    With 0, as on a CPU, a batch only becomes smaller. Replies that are in the ``journal`` are not written again, and
    others go into it batch by batch. ``tokens_read`` counts the prompt tokens fed to the model,
    ``ended`` how replies ended.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate,
                 decoding: Decoding = GREEDY, *, tokens_per_batch: int | None = None, keep: int | None = None,
                 refill: float | None = None, journal: Journal | None = None,
                 label: str | None = None) -> None:  # fmt: skip
        self.model, self.tokenizer, self.template, self.decoding = model, tokenizer, template, decoding
        self._runner = Runner(model)
        tokens, kept = batch_sizes(model, room(self._runner.device), decoding.max_new_tokens)
        self.tokens_per_batch = tokens_per_batch or tokens
        self.keep, self.label = kept if keep is None else keep, label
        self.refill = (_REFILL if self._runner.device.type == "cuda" else 0.0) if refill is None else refill
        if not self._runner.can_crop:
            self.refill = 0.0  # its prompts are read in the batch itself, which has no place for them later
        self.journal = journal or Journal()
        self.tokens_read, self.ended = 0, Counter[str]()
        self._kept: list[Branch] = []

    def __call__(self, prompts: Sequence[Prompt]) -> list[str]:
        """Return the texts of the replies."""
        return [reply.text for reply in self.replies(prompts)]

    def replies(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Generate a reply to every prompt, in their order. Raises FlanError if one alone does not fit into memory."""
        most = self.model.config.get_text_config().max_position_embeddings - self.decoding.max_new_tokens
        rows = [_encode(prompt, self.tokenizer, self.template) for prompt in prompts]
        replies = {i: Reply("", "unfit") for i, row in enumerate(rows) if row is None}
        replies |= {i: Reply("", "too long") for i, row in enumerate(rows) if row is not None and len(row) > most}
        ids = {i: row for i, row in enumerate(rows) if i not in replies}
        call = self.journal.call("replies", *prompts)
        if len(call) == len(ids) or not self.decoding.temperature:  # a sampled reply depends on those sampled before
            replies |= {i: Reply(*reply) for i, reply in call.items()}
        if len(call) == len(ids) or self.refill:  # without refills, batches are the same as if all were to be written
            ids = {i: row for i, row in ids.items() if i not in replies}
        choose = _chooser(self.decoding, self._runner.device)
        with evaluating(self.model, len(ids), self.label, "reply") as bar:
            while True:
                with until_exhausted():
                    self._reply_all(ids, prompts, replies, call, choose, bar)
                    break
                ids = {i: row for i, row in ids.items() if i not in replies}
                self._kept, self.keep = [], self.keep // 2
                longest = max(map(len, ids.values())) + self.decoding.max_new_tokens
                self.tokens_per_batch = halved(self.tokens_per_batch, longest)
        self.ended.update(reply.ended for reply in replies.values())
        return [replies[i] for i in range(len(prompts))]

    def _reply_all(self, ids: dict[int, list[int]], prompts: Sequence[Prompt], replies: dict[int, Reply], call: Call,
                   choose: Callable, bar: Bar) -> None:  # fmt: skip
        """Add the reply to every row of ids, by its number, to ``replies`` and to the journal, and keep what fits."""
        kept: dict[int, Branch | None] = {}
        marks = {i: _marks(prompts[i], self.template) for i in ids}
        queue = Queue(self._groups(ids, marks), tokens=self.tokens_per_batch, most=self.decoding.max_new_tokens,
                      across=bool(self.refill))  # fmt: skip
        while queue:
            batch = queue.take()
            if all(row.number in replies for row in batch):
                bar.update(len(batch))
                continue
            for ended in self._write(batch, queue, choose):
                for row, text in zip(ended, decode(self.tokenizer, [row.new for row in ended]), strict=True):
                    replies[row.number] = _reply(text, prompts[row.number], self.template, row.marks)
                call.add({row.number: replies[row.number] for row in ended})
                # If not all fit, those of the first prompts stay: the next round finds some of its prompts cached.
                kept = first_fitting(kept | {row.number: row.branch for row in ended}, self.keep)
                bar.update(len(ended))
        self._kept = list(kept.values())

    def _groups(self, ids: dict[int, list[int]], marks: dict[int, dict[str, str]]) -> Iterator[list[Row]]:
        """Yield prompts in groups, the longest last, with branches of all but their last token.

        The logits of that token begin the reply. Where batches are refilled, a group waits while rows of the one before
        it are still in a batch, so groups are half as large.
        """
        numbers, last = list(ids), []
        for group in groups([row[:-1] for row in ids.values()], self.tokens_per_batch // (2 if self.refill else 1)):
            rows = [Row(i, ids[i], marks[i]) for i in (numbers[n] for n in group)]
            if self._runner.can_crop:
                planned = plan([row.ids[:-1] for row in rows], [*self._kept, *last])
                self.tokens_read += self._runner.prefill(planned, self.tokens_per_batch)
                for row, branch in zip(rows, planned, strict=True):
                    row.prefix = branch
                last = planned[-1:]
            self.tokens_read += sum(len(row.ids) - row.cached for row in rows)
            yield sorted(rows, key=lambda row: (len(row.ids), row.number))

    @torch.inference_mode()
    def _write(self, rows: list[Row], queue: Queue, choose: Callable) -> Iterator[list[Row]]:
        """Generate the new tokens of a batch, each row's up to the one that completes a mark.

        Yields the rows that have ended whenever others take their places, and at the end. They have a branch of all
        tokens fed, unless nothing is to be kept.
        """
        most, gone = self.decoding.max_new_tokens, []
        batch = Batch(self._runner, rows, most)
        while batch.rows:
            batch.feed(choose(batch.logits()))
            active = [row for row in batch.rows if not row.ended]
            tails = decode(self.tokenizer, [row.new[-row.reach :] for row in active])
            for row, tail in zip(active, tails, strict=True):
                row.ended = len(row.new) == most or any(mark in tail for mark in row.marks)
            active = [row for row in active if not row.ended]
            if len(active) <= (1 - self.refill if self.refill and queue else _SHRINK) * len(batch.rows):
                if self.keep and self._runner.can_crop:
                    batch.store()
                gone += [row for row in batch.rows if row.ended]
                entering = queue.take(active) if self.refill else []
                if entering or not active:
                    yield gone
                    gone = []
                batch.exchange(entering)
            batch.widen()


def prompt_text(prompt: Prompt, template: AnyTemplate) -> str:
    """Write a prompt as text. Raises FlanError if the template cannot carry it."""
    begun = template.lead + prompt.begun if prompt.begun else ""
    return templates.prompt(prompt.turns, template, f"prompt {prompt.id}", tools=prompt.tools) + begun


def _encode(prompt: Prompt, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate) -> list[int] | None:
    try:
        return tokenizer(prompt_text(prompt, template), add_special_tokens=False, verbose=False).input_ids
    except FlanError:
        return None


def _marks(prompt: Prompt, template: AnyTemplate) -> dict[str, str]:
    """Return the texts that end a reply, each with the ``ended`` of :class:`Reply`; the first in a reply counts."""
    ends = {template.end.strip() or template.end: "end"}
    marks = [text for text in template.marks if text not in ends and text not in template.lead]
    return ends | dict.fromkeys(prompt.stop, "stop") | dict.fromkeys(marks, "mark")


def _reply(text: str, prompt: Prompt, template: AnyTemplate, marks: dict[str, str]) -> Reply:
    """Cut generated text at its first mark, and remove what the template puts around content."""
    first = min((mark for mark in marks if mark in text), key=text.index, default=None)
    ended = "length" if first is None else marks[first]
    text = text if first is None else text[: text.index(first)]
    if ended == "end":
        text = text.removesuffix(template.end[: len(template.end) - len(template.end.lstrip())])
    return Reply(text if prompt.begun else text.removeprefix(template.lead), ended)


def _chooser(decoding: Decoding, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that chooses the next token of every row: logits (rows, vocabulary) to ids (rows,)."""
    if not decoding.temperature:
        return lambda logits: logits.argmax(-1)
    rng = torch.Generator(device).manual_seed(decoding.seed)
    warm, top = TemperatureLogitsWarper(decoding.temperature), TopPLogitsWarper(decoding.top_p)
    return lambda logits: torch.multinomial(top(None, warm(None, logits)).softmax(-1), 1, generator=rng).squeeze(1)


def decode(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[str]:
    """Decode tokens as in the middle of a text, since a decoder can drop a space at the beginning."""
    letter = tokenizer("a", add_special_tokens=False).input_ids
    decoded = tokenizer.backend_tokenizer.decode_batch([letter + list(row) for row in rows], skip_special_tokens=False)
    return [text[1:] for text in decoded]
