"""From conversations to packed rows with a label for every token, beside TRL's own preparation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets

from flanlib.bench import Contest
from flanlib.bench.training import peer_model
from flanlib.packing import pack
from flanlib.records import Conversation, FlanError
from flanlib.tally import Tally
from flanlib.templates import AnyTemplate, Template, jinja
from flanlib.tokens import encode_all

CHATML = Template("chatml", system=("<|im_start|>system\n", "<|im_end|>\n"),
                  user=("<|im_start|>user\n", "<|im_end|>\n"), open="<|im_start|>assistant\n", lead="",
                  end="<|im_end|>", close="\n")  # fmt: skip
"""What many chat models bring, with what is trained told apart; TRL has to be told it."""


def contest(model: str, tokenizer: Any, template: Any, conversations: Sequence[Conversation], *,
            row_tokens: int) -> Contest:  # fmt: skip
    """Set up a corpus. TRL's rows know only trained or not; ours also know the kind of every token.

    The work is short, so each side does it once before it is timed. Raises FlanError for a model whose own template is
    not ChatML.
    """
    side, n = (tokenizer, template, conversations, row_tokens), len(conversations)
    return Contest(f"corpus of {n}, labelled and packed", "conversations / s", n, partial(ours, *side),
                   {"TRL's preparation": partial(trl, model, *side)})  # fmt: skip


def ours(tokenizer: Any, template: Any, conversations: Sequence[Conversation], row_tokens: int,
         folder: Path) -> Callable:  # fmt: skip
    """Prepare rows as the notebooks do."""

    def work() -> list:
        examples = encode_all(conversations, tokenizer, template, max_tokens=row_tokens, tally=Tally("bench"))
        return pack(examples, row_tokens=row_tokens, pad_id=tokenizer.pad_token_id)

    work()
    return work


def trl(model: str, tokenizer: Any, template: Any, conversations: Sequence[Conversation], row_tokens: int,
        folder: Path) -> Callable:  # fmt: skip
    """Prepare rows as SFTTrainer does: template, assistant mask, labels, packing."""
    from trl import SFTConfig, SFTTrainer  # of the bench extra only

    marked = _marked(template, conversations)
    rows = [{"messages": [{"role": turn.role, "content": turn.text} for turn in one.turns]} for one in conversations]
    data, loaded, reader = datasets.Dataset.from_list(rows), peer_model(model), copy.deepcopy(tokenizer)
    reader.chat_template = jinja(marked)
    settings = SFTConfig(output_dir=str(folder), assistant_only_loss=True, packing=True, max_length=row_tokens,
                         use_cpu=True, bf16=False, report_to="none", shuffle_dataset=False)  # fmt: skip

    def work() -> Any:
        datasets.disable_caching()
        return SFTTrainer(loaded, args=settings, train_dataset=data, processing_class=reader).train_dataset

    work()
    return work


def _marked(template: AnyTemplate, conversations: Sequence[Conversation]) -> Template:
    """Return a template that tells what is trained, and writes the same texts as the one that is given."""
    if isinstance(template, Template):
        return template
    for one in conversations:
        if template.text(one.turns, one.id) != CHATML.text(one.turns, one.id):
            raise FlanError("benchmark", found="a chat template that is not ChatML", expected="a model with ChatML",
                            remedy="Name another model.")  # fmt: skip
    return CHATML
