"""The contests: training, generation, and the preparation of a corpus, beside TRL and transformers."""

import copy
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, GenerationConfig, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from flanlib import pretrained
from flanlib.bench.timing import Contest
from flanlib.benchmarks import Prompt
from flanlib.inference.generate import Decoding, Writer, dense, prompt_text
from flanlib.records import Conversation, FlanError
from flanlib.tally import Tally
from flanlib.text.packing import Row, pack
from flanlib.text.templates import AnyTemplate, Template, jinja
from flanlib.text.tokens import CONTEXT, Example, encode_all
from flanlib.training.attention import by_document
from flanlib.training.leaks import isolates
from flanlib.training.model import add_lora, compute_dtype, keep_layout, linear_layers, load, lora_config, nf4, outline
from flanlib.training.train import Schedule, fit

RATE, RANK = 1e-3, 16  # learning rate, and rank of LoRA
BATCH, MOST = 64, 80  # prompts in a batch, and most tokens of a reply
# Settings of TRL that differ; fit_trl() sets the others.
TRL = {
    "TRL, padded": {},
    "TRL, padded, by length": {"train_sampling_strategy": "group_by_length"},
    "TRL, padding-free": {"padding_free": True, "max_length": None},
    "TRL, packing": {"packing": True},
    "TRL, packing, one row a pass": {"packing": True, "per_device_train_batch_size": 1},
}
# The template of many chat models, in a form that marks the trained tokens, as TRL needs it.
CHATML = Template("chatml", system=("<|im_start|>system\n", "<|im_end|>\n"),
                  user=("<|im_start|>user\n", "<|im_end|>\n"), open="<|im_start|>assistant\n", lead="",
                  end="<|im_end|>", close="\n")  # fmt: skip


def training(model: str, tokenizer: Any, examples: Sequence[Example], *, batch: int, row_tokens: int,
             bits: int) -> Contest:  # fmt: skip
    """Set up one epoch over examples, with ``batch`` conversations a step or packed rows of as many tokens.

    All sides train the same model of ``bits`` per weight, with LoRA of the same rank, without activation checkpointing,
    and in the precision in which this machine is fastest.
    """
    tokens, trained = sum(map(len, examples)), sum(example.trained for example in examples)
    rows = pack(examples, row_tokens=row_tokens, pad_id=tokenizer.pad_token_id)
    per_step = max(1, round(batch * tokens / len(examples) / row_tokens))
    peers = {name: partial(fit_trl, model, tokenizer, examples, changes, batch, per_step, row_tokens, bits=bits)
             for name, changes in TRL.items()}  # fmt: skip
    peers["transformers Trainer, packed"] = partial(fit_packed, model, rows, per_step, bits=bits)
    return Contest(f"training, {batch} conversations a step", "trained tokens / s", trained,
                   partial(fit_ours, model, rows, per_step, bits=bits), peers,
                   operations=operations(model, tokens, trained), dtype=compute_dtype())  # fmt: skip


def operations(model: str, tokens: int, trained: int) -> float:
    """Count the operations of training in products with weights, forward and backward to the inputs of layers.

    Every token passes through the linear layers, and a trained one through the output head too. LoRA's own products
    and attention are left out.
    """
    shapes = outline(model)
    layers = sum(layer.weight.numel() for layer in linear_layers(shapes))
    return 4.0 * (layers * tokens + shapes.get_output_embeddings().weight.numel() * trained)


def fit_ours(model: str, rows: Sequence[Row], per_step: int, folder: Path, *, rank: int = RANK, bits: int = 4,
             **settings: Any) -> Callable:  # fmt: skip
    """Train as the notebooks do; ``settings`` change the :class:`flanlib.training.train.Schedule`."""
    schedule = Schedule(**{"rows_per_step": per_step, "rows_per_pass": per_step, "rate": RATE, "seed": 0} | settings)
    tuned = add_lora(load(model, bits=bits), rank=rank, seed=0)
    isolates(by_document(tuned))  # once per model, before it trains; the peers check and set up before theirs too
    return partial(fit, tuned, rows, schedule, folder, tell=lambda share: None)


def fit_trl(model: str, tokenizer: Any, examples: Sequence[Example], changes: dict[str, Any], batch: int,
            per_step: int, row_tokens: int, folder: Path, *, rank: int = RANK, bits: int = 4) -> Callable:  # fmt: skip
    """Train with TRL's SFTTrainer on the same token ids and labels."""
    from trl import SFTConfig, SFTTrainer  # installed with the bench extra only

    data = datasets.Dataset.from_list([{"input_ids": one.ids.tolist(), "labels": _labels(one)} for one in examples])
    size = per_step if changes.get("packing") else batch
    # TRL checkpoints activations by default, which is slower.
    settings = {"per_device_train_batch_size": size, "max_length": row_tokens, "gradient_checkpointing": False}
    settings |= changes
    settings["gradient_accumulation_steps"] = size // settings["per_device_train_batch_size"]
    arguments = SFTConfig(**_common(folder), **settings, shuffle_dataset=False)
    return _quiet(SFTTrainer(peer_model(model, rank, bits=bits), args=arguments, train_dataset=data,
                             processing_class=tokenizer)).train  # fmt: skip


def fit_packed(model: str, rows: Sequence[Row], per_step: int, folder: Path, *, bits: int) -> Callable:
    """Train with transformers' Trainer on the same packed rows, whose positions tell documents apart."""
    data = [{"input_ids": row.ids.tolist(), "position_ids": row.positions.tolist(), "labels": _labels(row)}
            for row in rows]  # fmt: skip
    arguments = TrainingArguments(**_common(folder), per_device_train_batch_size=per_step)
    return _quiet(Trainer(peer_model(model, bits=bits), arguments, train_dataset=data)).train


def _common(folder: Path) -> dict[str, Any]:
    return {"output_dir": str(folder), "num_train_epochs": 1, "learning_rate": RATE,
            "bf16": compute_dtype() is torch.bfloat16, "save_strategy": "no", "use_cpu": not torch.cuda.is_available(),
            "report_to": "none", "disable_tqdm": True, "log_level": "error", "remove_unused_columns": False, "seed": 0,
            "dataloader_pin_memory": torch.cuda.is_available()}  # fmt: skip


def peer_model(model: str, rank: int = RANK, *, bits: int = 4) -> Any:
    """Load the model without the kit's own layers, except for the guard that keeps its gradients right."""
    where, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    loaded = AutoModelForCausalLM.from_pretrained(
        pretrained.folder(model), quantization_config=nf4() if bits == 4 else None, device_map={"": where}, dtype=dtype)
    return get_peft_model(keep_layout(loaded), lora_config(rank)).train()


def _labels(tokens: Example | Row) -> list[int]:
    return np.where(tokens.kinds == CONTEXT, -100, tokens.ids).tolist()


def _quiet(trainer: Trainer) -> Trainer:
    trainer.remove_callback(PrinterCallback)
    logging.getLogger("trl").setLevel(logging.ERROR)
    return trainer


def generation(model: str, tokenizer: Any, template: Any, prompts: Sequence[Prompt]) -> Contest:
    """Set up greedy decoding beside ``model.generate``. Both sides have the same dense float32 weights."""
    side = (dense(model), tokenizer, template)
    return Contest("generation", "replies / s", len(prompts),
                   lambda folder: partial(Writer(*side, Decoding(MOST), keep=0).replies, prompts),
                   {"generate, as they come": lambda folder: partial(_plain, *side, prompts),
                    "generate, by length": lambda folder: partial(_plain, *side, prompts, by_length=True)})  # fmt: skip


def _plain(model: Any, tokenizer: Any, template: Any, prompts: Sequence[Prompt], *, by_length: bool = False) -> list:
    """Generate with ``model.generate``: left-padded batches that stop at the template's end of turn."""
    texts, end, replies = [prompt_text(one, template) for one in prompts], template.end.strip(), []
    if by_length:
        texts.sort(key=len)
    settings = GenerationConfig(max_new_tokens=MOST, do_sample=False, pad_token_id=tokenizer.pad_token_id,
                                stop_strings=[end])  # fmt: skip
    for i in range(0, len(texts), BATCH):
        batch = tokenizer(texts[i : i + BATCH], return_tensors="pt", padding=True, padding_side="left",
                          add_special_tokens=False, return_token_type_ids=False)  # fmt: skip
        with torch.inference_mode():
            out = model.generate(**batch, generation_config=settings, tokenizer=tokenizer)
        new = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=False)
        replies += [text.split(end)[0] for text in new]
    return replies


def corpus(model: str, tokenizer: Any, template: AnyTemplate, conversations: Sequence[Conversation], *,
           row_tokens: int) -> Contest:  # fmt: skip
    """Set up the preparation of a corpus. TRL labels tokens as trained or not, the kit also labels their kinds.

    TRL's side raises FlanError, when it runs, for a model whose own template is not ChatML.
    """

    def ours() -> list[Row]:
        examples = encode_all(conversations, tokenizer, template, max_tokens=row_tokens, tally=Tally("bench"))
        return pack(examples, row_tokens=row_tokens, pad_id=tokenizer.pad_token_id)

    n, trl = len(conversations), partial(_preparation, model, tokenizer, template, conversations, row_tokens)
    return Contest(f"corpus of {n}, labelled and packed", "conversations / s", n, lambda folder: ours,
                   {"TRL's preparation": trl}, short=True)  # fmt: skip


def _preparation(model: str, tokenizer: Any, template: AnyTemplate, conversations: Sequence[Conversation],
                 row_tokens: int, folder: Path) -> Callable:  # fmt: skip
    """Prepare rows as SFTTrainer does: template, assistant mask, labels, packing."""
    from trl import SFTConfig, SFTTrainer  # installed with the bench extra only

    datasets.disable_caching()
    rows = [{"messages": [{"role": turn.role, "content": turn.text} for turn in one.turns]} for one in conversations]
    data, loaded, reader = datasets.Dataset.from_list(rows), peer_model(model), copy.deepcopy(tokenizer)
    reader.chat_template = jinja(_marked(template, conversations))
    settings = SFTConfig(output_dir=str(folder), assistant_only_loss=True, packing=True, max_length=row_tokens,
                         use_cpu=True, bf16=False, report_to="none", shuffle_dataset=False)  # fmt: skip
    return lambda: SFTTrainer(loaded, args=settings, train_dataset=data, processing_class=reader).train_dataset


def _marked(template: AnyTemplate, conversations: Sequence[Conversation]) -> Template:
    """Return a template that marks the trained tokens and writes the same texts as the given one."""
    if isinstance(template, Template):
        return template
    if any(template.text(one.turns, one.id) != CHATML.text(one.turns, one.id) for one in conversations):
        raise FlanError("benchmark", found="a chat template that is not ChatML", expected="a model with ChatML",
                        remedy="Name another model.")  # fmt: skip
    return CHATML
