"""Greedy replies per second, beside ``model.generate`` in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from flanlib.bench import Contest
from flanlib.benchmarks import Prompt
from flanlib.generate import Decoding, dense, generate, prompt_text

BATCH, MOST = 64, 80


def contest(model: str, adapter: Path | None, tokenizer: Any, template: Any, prompts: Sequence[Prompt]) -> Contest:
    """Set up replies to prompts. Both sides have the same dense weights and the same most new tokens."""
    loaded = dense(model, adapter)
    side = (loaded, tokenizer, template, prompts)
    peers = {"generate, as they come": partial(plain, *side, False), "generate, by length": partial(plain, *side, True)}
    return Contest("generation", "replies / s", len(prompts), partial(ours, *side), peers)


def ours(model: Any, tokenizer: Any, template: Any, prompts: Sequence[Prompt], folder: Path) -> Callable:
    """Generate as the notebooks do."""
    return partial(generate, model, tokenizer, template, prompts, decoding=Decoding(MOST), label=None)


def plain(model: Any, tokenizer: Any, template: Any, prompts: Sequence[Prompt], by_length: bool,
          folder: Path) -> Callable:  # fmt: skip
    """Generate with transformers' own loop: left-padded batches that end at the template's end of turn."""

    def work() -> list[str]:
        texts = [prompt_text(one, template) for one in prompts]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i])) if by_length else list(range(len(texts)))
        told = [""] * len(texts)
        settings = GenerationConfig(max_new_tokens=MOST, do_sample=False, pad_token_id=tokenizer.pad_token_id,
                                    stop_strings=[template.end.strip()])  # fmt: skip
        for i in range(0, len(order), BATCH):
            mine = order[i : i + BATCH]
            batch = tokenizer([texts[j] for j in mine], return_tensors="pt", padding=True, padding_side="left",
                              add_special_tokens=False, return_token_type_ids=False)  # fmt: skip
            with torch.inference_mode():
                out = model.generate(**batch, generation_config=settings, tokenizer=tokenizer)
            new = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=False)
            for j, text in zip(mine, new, strict=True):
                told[j] = text.split(template.end.strip())[0].removeprefix("" if prompts[j].begun else template.lead)
        return told

    return work
