"""Replies from a model: batched, bounded, greedy unless asked otherwise.

Prompts are tokenised as training tokenises conversations: template, history and the reply's beginning in one go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from peft import PeftModel
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from flanlib.benchmarks import Prompt
from flanlib.inference.cache import Feeder, Line, bytes_per_token, groups, kept, padded, plan, taken
from flanlib.records import FlanError
from flanlib.text.templates import AnyTemplate, prompt
from flanlib.training.model import device, evaluating, load

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GIB = 2**30
_SLACK = 0.75  # a batch is made smaller when no more than this share of it goes on


@dataclass(frozen=True)
class Decoding:
    """How replies are chosen. Temperature 0 is greedy; else tokens are drawn, the same ones for the same call."""

    max_new_tokens: int = 160
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


GREEDY = Decoding()


class Reply(NamedTuple):
    """What a model adds to a prompt, and how it ended.

    ``ended``: ``end`` (the end-of-turn mark), ``stop`` (a stop text of the prompt), ``mark`` (another mark of the
    template, such as the next turn's opening) or ``length`` (the most new tokens); with an empty text ``too long``
    (prompt and reply together exceed the model's positions) or ``unfit`` (the template cannot carry the prompt).
    """

    text: str
    ended: str


def dense(name: str, folder: Path | None = None, *, bits: int = 16) -> Any:
    """Load a model for generation as plain dense weights, the adapter of ``folder`` merged in.

    With 4 ``bits`` they are the base's NF4 weights, dequantised: those that training computed with; nothing is
    quantised again. Precision: float32 on every CPU, one with bfloat16 hardware too, since in bfloat16 7 of 24 greedy
    replies of the default model were others; bfloat16 on a GPU. An adapter's product is made in float32.
    """
    model = load(name, bits=bits)
    if bits == 4:
        model = model.dequantize(torch.float32 if device().type == "cpu" else torch.bfloat16)
    return (PeftModel.from_pretrained(model, folder).merge_and_unload() if folder else model).eval()


def generate(model: Any, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate, prompts: Sequence[Prompt], *,
             decoding: Decoding = GREEDY, tokens_per_batch: int | None = None,
             label: str | None = "generate") -> list[Reply]:  # fmt: skip
    """Generate a reply to every prompt, in their order: a :class:`Writer` that is asked once and keeps nothing."""
    writer = Writer(model, tokenizer, template, decoding, tokens_per_batch=tokens_per_batch, keep=0, label=label)
    return writer.replies(prompts)


class Writer:
    """Writes replies with a model, and reads nothing twice: a ``Generate`` callable for the benchmarks.

    Prompts of one call share all that they have in common, token by token. What was read for the last call is kept, in
    up to ``keep`` bytes, together with the replies to it: a prompt that goes on from there is read from there. The
    model must not change in between. Greedy replies are those of ``model.generate``, prompt by prompt, up to rounding.

    A batch holds at most about ``tokens_per_batch`` tokens, padding and replies included, and as many again stand
    beside it: by default what fits into 1 GiB, up to 32,768. ``read`` counts the tokens of prompts that the model was
    fed, ``ended`` how replies ended.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate,
                 decoding: Decoding = GREEDY, *, tokens_per_batch: int | None = None, keep: int = 2 * GIB,
                 label: str | None = None) -> None:  # fmt: skip
        self.model, self.tokenizer, self.template, self.decoding = model, tokenizer, template, decoding
        self.room = tokens_per_batch or max(1, min(32_768, GIB // bytes_per_token(model)))
        self.keep, self.label = keep, label
        self.read, self.ended = 0, Counter[str]()
        self._feeder = Feeder(model)
        self._kept: list[Line] = []

    def __call__(self, prompts: Sequence[Prompt]) -> list[str]:
        """Return the texts of the replies."""
        return [reply.text for reply in self.replies(prompts)]

    def replies(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Generate a reply to every prompt, in their order."""
        most, positions = self.decoding.max_new_tokens, self.model.config.get_text_config().max_position_embeddings
        ids = [_encode(one, self.tokenizer, self.template) for one in prompts]
        told = {i: Reply("", "unfit" if row is None else "too long")
                for i, row in enumerate(ids) if row is None or len(row) + most > positions}  # fmt: skip
        asked = {i: row for i, row in enumerate(ids) if i not in told}
        marks = [_marks(one, self.template) for one in prompts]
        pick = _picker(self.decoding, self._feeder.where)
        ends: dict[int, Line] = {}
        with evaluating(self.model, len(asked), self.label, "reply") as bar:
            for rows, lines in self._batches(asked):
                new, grown = self._write([ids[i] for i in rows], lines, [marks[i] for i in rows], pick)
                for i, text in zip(rows, decode(self.tokenizer, new), strict=True):
                    told[i] = _reply(text, prompts[i], self.template, marks[i])
                # Where they don't all fit the first prompts' are kept: a next round finds those, and not none.
                ends = kept(ends | dict(zip(rows, grown, strict=True)), self.keep)
                bar.update(len(rows))
        self._kept = list(ends.values())
        self.ended.update(reply.ended for reply in told.values())
        return [told[i] for i in range(len(prompts))]

    def _batches(self, ids: dict[int, list[int]]) -> Iterator[tuple[list[int], list[Line | None]]]:
        """Yield prompts of like length, with lines that hold all but their last tokens: those give the first logits."""
        places, last = list(ids), []
        for group in groups([ids[i][:-1] for i in places], self.room):
            rows = [places[at] for at in group]
            lines: dict[int, Line | None] = dict.fromkeys(rows)
            if self._feeder.cuts:
                planned = plan([ids[i][:-1] for i in rows], [*self._kept, *last])
                self.read += self._feeder.read(planned, self.room)
                lines, last = dict(zip(rows, planned, strict=True)), planned[-1:]
            rows.sort(key=lambda i: (len(ids[i]), i))
            while rows:
                room = max(1, self.room // (len(ids[rows[-1]]) + self.decoding.max_new_tokens))
                batch = [rows.pop() for _ in range(min(room, len(rows)))]
                yield batch, [lines[i] for i in batch]

    @torch.inference_mode()
    def _write(self, ids: list[list[int]], lines: list[Line | None], marks: list[Mapping[str, str]],
               pick: Callable[[torch.Tensor], torch.Tensor]) -> tuple[list[list[int]], list[Line | None]]:  # fmt: skip
        """Generate new tokens for prompts, row by row up to the one that completes a mark; finished rows are let go.

        Returns the new tokens, and lines that hold all that was fed, if they are to be kept.
        """
        most, where = self.decoding.max_new_tokens, self._feeder.where
        had = [len(row) - 1 if self._feeder.cuts else 0 for row in ids]
        fed, own = padded([row[n:] for row, n in zip(ids, had, strict=True)], where, "left")
        past, mask = self._feeder.gathered(list(zip(lines, had, strict=True)), own.shape[1] + most)
        first, mask = mask.shape[1], torch.cat([mask, own], 1)
        self.read += int(own.sum())
        # A token stands for a byte or more: a mark that has just been completed lies within so many last tokens.
        reach = max(len(mark.encode()) for row in marks for mark in row)
        new: list[list[int]] = [[] for _ in ids]
        grown: list[Line | None] = [None] * len(ids)
        rows = going = list(range(len(ids)))  # still in the batch, and not finished

        def leave(gone: Iterable[int]) -> None:
            """Keep what was fed of rows that are let go."""
            for row in gone if self.keep and self._feeder.cuts else ():
                states = taken(past, rows.index(row), first, first + len(new[row]))
                grown[row] = Line(ids[row] + new[row][:-1], lines[row], had[row], states)

        for _ in range(most):
            chosen = pick(self._feeder.feed(fed, mask, past))
            tokens = dict(zip(rows, chosen.tolist(), strict=True))
            for row in going:
                new[row].append(tokens[row])
            tails = decode(self.tokenizer, [new[row][-reach:] for row in going])
            going = [row for row, tail in zip(going, tails, strict=True) if not any(m in tail for m in marks[row])]
            if not going:
                break
            fed = chosen[:, None]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            if len(going) <= _SLACK * len(rows):
                leave(row for row in rows if row not in going)
                stay = torch.tensor([rows.index(row) for row in going], device=where)
                past.batch_select_indices(stay)
                fed, mask, rows = fed[stay], mask[stay], going
        leave(rows)
        return new, grown


def prompt_text(one: Prompt, template: AnyTemplate) -> str:
    """Write a prompt as text. Raises FlanError where the template cannot carry it."""
    return prompt(one.turns, template, f"prompt {one.id}") + (template.lead + one.begun if one.begun else "")


def _encode(one: Prompt, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate) -> list[int] | None:
    try:
        return tokenizer(prompt_text(one, template), add_special_tokens=False, verbose=False).input_ids
    except FlanError:
        return None


def _marks(one: Prompt, template: AnyTemplate) -> dict[str, str]:
    """Return the texts that end a reply, and as what; the first that fits counts."""
    ends = {template.end.strip() or template.end: "end"}
    return ends | dict.fromkeys(one.stop, "stop") | {text: "mark" for text in template.marks if text not in ends}


def _reply(text: str, one: Prompt, template: AnyTemplate, marks: dict[str, str]) -> Reply:
    """Cut what was generated at its first mark, and take off what the template puts around content."""
    first = min((mark for mark in marks if mark in text), key=text.index, default=None)
    ended = "length" if first is None else marks[first]
    text = text if first is None else text[: text.index(first)]
    if ended == "end":
        text = text.removesuffix(template.end[: len(template.end) - len(template.end.lstrip())])
    return Reply(text if one.begun else text.removeprefix(template.lead), ended)


def _picker(decoding: Decoding, where: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what chooses the next token of every row from logits, (rows, tokens) to (rows,)."""
    if not decoding.temperature:
        return lambda logits: logits.argmax(-1)
    drawn = torch.Generator(where).manual_seed(decoding.seed)
    warm, top = TemperatureLogitsWarper(decoding.temperature), TopPLogitsWarper(decoding.top_p)
    return lambda logits: torch.multinomial(top(None, warm(None, logits)).softmax(-1), 1, generator=drawn).squeeze(1)


def decode(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[str]:
    """Decode tokens as they stand in the middle of a text: a decoder may drop a first space."""
    letter = tokenizer("a", add_special_tokens=False).input_ids
    decoded = tokenizer.backend_tokenizer.decode_batch([letter + list(row) for row in rows], skip_special_tokens=False)
    return [text[1:] for text in decoded]
