"""Replies from a model: batched, bounded, greedy unless asked otherwise.

Prompts are tokenised as training tokenises conversations: template, history and the reply's beginning in one go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from peft import PeftModel
from tqdm.auto import tqdm
from transformers import DynamicCache, TemperatureLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import DynamicLayer

from flanlib.benchmarks import Prompt
from flanlib.model import device, load
from flanlib.records import FlanError
from flanlib.templates import AnyTemplate, prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
    """What a model adds to a prompt, how many tokens that took, and how it ended.

    ``ended``: ``end`` (the end-of-turn mark), ``stop`` (a stop text of the prompt), ``mark`` (another mark of the
    template, such as the next turn's opening) or ``length`` (the most new tokens); with an empty text ``too long``
    (prompt and reply together exceed the model's positions) or ``unfit`` (the template cannot carry the prompt).
    """

    text: str
    tokens: int
    ended: str


def dense(name: str, folder: Path | None = None, *, vocab: int | None = None) -> Any:
    """Load a model for generation as plain dense weights: NF4 dequantised, the adapter of ``folder`` merged in.

    The weights are exactly those that training computed with, up to rounding; nothing is quantised again. They are
    fp32 on a CPU (there, bfloat16 is a fifth faster and changed every fourth greedy reply) and bfloat16 on a GPU.
    """
    model = load(name, vocab=vocab)
    logger = logging.getLogger("transformers.integrations.bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of the dtype, which is asked for
    try:
        model = model.dequantize(torch.float32 if device().type == "cpu" else torch.bfloat16)
    finally:
        logger.setLevel(level)
    return (PeftModel.from_pretrained(model, folder).merge_and_unload() if folder else model).eval()


def generate(model: Any, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate, prompts: Sequence[Prompt], *,
             decoding: Decoding = GREEDY, tokens_per_batch: int = 16_384,
             label: str | None = "generate") -> list[Reply]:  # fmt: skip
    """Generate a reply to every prompt, in their order.

    A batch holds at most about ``tokens_per_batch`` tokens, padding and replies included. Prompts that begin with the
    same two turns stand together: what they share is read once. The model keeps its mode.
    """
    where, most = next(model.parameters()).device, decoding.max_new_tokens
    positions = model.config.get_text_config().max_position_embeddings
    ids = [_encode(one, tokenizer, template) for one in prompts]
    told = {i: Reply("", 0, "unfit" if row is None else "too long")
            for i, row in enumerate(ids) if row is None or len(row) + most > positions}  # fmt: skip
    order = [i for i in range(len(prompts)) if i not in told]
    heads = [tuple(turn.text for turn in one.turns[:2]) for one in prompts]
    longest: dict[tuple[str, ...], int] = {}
    for i in order:
        longest[heads[i]] = max(longest.get(heads[i], 0), len(ids[i]))
    order.sort(key=lambda i: (longest[heads[i]], heads[i], i))
    marks = [_marks(one, template) for one in prompts]
    pick = _picker(decoding, where)
    was_training = model.training
    model.eval()
    try:
        with tqdm(total=len(order), desc=label, unit="reply", leave=False, disable=label is None) as bar:
            while order:
                room = max(1, tokens_per_batch // (longest[heads[order[-1]]] + most))
                rows = [order.pop() for _ in range(min(room, len(order)))]
                new = _batch(model, tokenizer, [ids[i] for i in rows], [heads[i] for i in rows],
                             [list(marks[i]) for i in rows], most, pick)  # fmt: skip
                for i, text, count in zip(rows, _decode(tokenizer, new), map(len, new), strict=True):
                    told[i] = _reply(text, count, prompts[i], template, marks[i])
                bar.update(len(rows))
    finally:
        model.train(was_training)
    return [told[i] for i in range(len(prompts))]


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


def _reply(text: str, tokens: int, one: Prompt, template: AnyTemplate, marks: dict[str, str]) -> Reply:
    """Cut what was generated at its first mark, and take off what the template puts around content."""
    found = [(text.index(mark), i) for i, mark in enumerate(marks) if mark in text]
    at, ended = (min(found)[0], list(marks.values())[min(found)[1]]) if found else (len(text), "length")
    text = text[:at]
    if ended == "end":
        text = text.removesuffix(template.end[: len(template.end) - len(template.end.lstrip())])
    return Reply(text if one.begun else text.removeprefix(template.lead), tokens, ended)


@torch.inference_mode()
def _batch(model: Any, tokenizer: PreTrainedTokenizerBase, ids: list[list[int]], heads: list[tuple[str, ...]],
           marks: list[list[str]], most: int,
           pick: Callable[[torch.Tensor], torch.Tensor]) -> list[list[int]]:  # fmt: skip
    """Generate new tokens for a batch of prompts, row by row up to the one that completes a mark.

    Unlike ``model.generate`` it reads what prompts of one head share only once, and lets finished rows go.
    """
    past = DynamicCache(config=model.config)
    past.layers = [_Roomy() if type(layer) is DynamicLayer else layer for layer in past.layers]

    def read(fed: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the next token's logits, (rows, tokens). Padding may stand anywhere: places count what is not."""
        places = (mask.cumsum(1) - 1).clamp(min=0)[:, -fed.shape[1] :]
        return model(input_ids=fed, attention_mask=mask, position_ids=places, past_key_values=past, use_cache=True,
                     logits_to_keep=1).logits[:, -1].float()  # fmt: skip

    where, pad = next(model.parameters()).device, tokenizer.pad_token_id
    # The last token of a prompt is never shared: its logits give the reply's first.
    shared = {head: _beginning([row[:-1] for row, of in zip(ids, heads, strict=True) if of == head])
              for head in dict.fromkeys(heads)}  # fmt: skip
    fed, mask = _padded(list(shared.values()), pad, where)
    read(fed, mask)
    which = torch.tensor([list(shared).index(head) for head in heads], device=where)
    past.batch_select_indices(which)
    fed, own = _padded([row[len(shared[head]) :] for row, head in zip(ids, heads, strict=True)], pad, where)
    mask = torch.cat([mask[which], own], dim=1)
    # A token stands for a byte or more: a mark that has just been completed lies within so many last tokens.
    reach = max(len(mark.encode()) for row in marks for mark in row)
    new: list[list[int]] = [[] for _ in ids]
    rows, going = list(range(len(ids))), set(range(len(ids)))  # rows still in the batch, and not finished
    for _ in range(most):
        chosen = pick(read(fed, mask))
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if row in going:
                new[row].append(token)
        tails = _decode(tokenizer, [new[row][-reach:] for row in sorted(going)])
        going -= {row for row, tail in zip(sorted(going), tails, strict=True) if any(m in tail for m in marks[row])}
        if not going:
            break
        fed = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        if len(going) <= _SLACK * len(rows):
            kept = torch.tensor([i for i, row in enumerate(rows) if row in going], device=where)
            past.batch_select_indices(kept)
            fed, mask = fed[kept], mask[kept]
            rows = [row for row in rows if row in going]
    return new


class _Roomy(DynamicLayer):
    """A layer of the cache with room for more tokens: the usual one copies its whole past for every new token."""

    ROOM = 64

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any,
               **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Add the new states in place and return all, (rows, heads, tokens, width) each."""
        had = self.get_seq_length()
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.rooms = None
        stop = had + key_states.shape[-2]
        if self.rooms is None or stop > self.rooms[0].shape[-2]:
            self.rooms = tuple(new.new_empty(*new.shape[:2], stop + self.ROOM, new.shape[-1])
                               for new in (key_states, value_states))  # fmt: skip
            if had:
                for room, past in zip(self.rooms, (self.keys, self.values), strict=True):
                    room[:, :, :had] = past
        for room, new in zip(self.rooms, (key_states, value_states), strict=True):
            room[:, :, had:stop] = new
        self.keys, self.values = (room[:, :, :stop] for room in self.rooms)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows; the room is made anew when the next token comes."""
        super().batch_select_indices(indices)
        self.rooms = None


def _padded(rows: Sequence[list[int]], pad: int, where: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of ids, padded on the left to one width, and their mask."""
    width = max(map(len, rows))
    return (torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=where),
            torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=where))  # fmt: skip


def _beginning(rows: Sequence[list[int]]) -> list[int]:
    """Return what all rows begin with.

    >>> _beginning([[1, 2, 3], [1, 2], [1, 2, 4, 5]])
    [1, 2]
    """
    first, last = min(rows), max(rows)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]


def _picker(decoding: Decoding, where: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what chooses the next token of every row from logits, (rows, tokens) to (rows,)."""
    if not decoding.temperature:
        return lambda logits: logits.argmax(-1)
    drawn = torch.Generator(where).manual_seed(decoding.seed)
    warm, top = TemperatureLogitsWarper(decoding.temperature), TopPLogitsWarper(decoding.top_p)
    return lambda logits: torch.multinomial(top(None, warm(None, logits)).softmax(-1), 1, generator=drawn).squeeze(1)


def _decode(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[str]:
    """Decode new tokens as they stand in the middle of a text: a decoder may drop a first space."""
    letter = tokenizer("a", add_special_tokens=False).input_ids
    decoded = tokenizer.backend_tokenizer.decode_batch([letter + list(row) for row in rows], skip_special_tokens=False)
    return [text[1:] for text in decoded]


