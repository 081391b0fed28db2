"""Hand a tuned model on: plain weights, its adapter, a tokenizer that knows its chat template, the corpus, a card.

Nothing of this library is needed to use what is written: ``AutoModelForCausalLM`` and ``AutoTokenizer`` load it.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from transformers import PreTrainedTokenizerBase

from flanlib import store
from flanlib.corpus.export import export
from flanlib.inference.generate import dense
from flanlib.presets import DATA, SMOLLM2
from flanlib.records import Conversation, FlanError
from flanlib.text.templates import AnyTemplate, Template, jinja

HUB, LICENCE = "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"  # of the default model
CARD = """---
base_model: {base}
{metadata}library_name: transformers
tags: [agent, tool-use, lora]
---

# {name}

`{base}`, tuned with LoRA on {rows:,} conversations (`corpus.jsonl`) by the recipe of Agent-FLAN (arXiv 2403.12881).
{licence} The weights here are merged and plain; the LoRA adapter alone is in `adapter/`.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForCausalLM.from_pretrained("{name}")
chat = [{{"role": "user", "content": "Hello!"}}]
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
reply = model.generate(**ids, max_new_tokens=200, tokenizer=tokenizer)
print(tokenizer.decode(reply[0, ids["input_ids"].shape[1]:]))
```

## What was measured

{scores}
"""


def publish(folder: Path, *, base: str, adapter: Path, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate,
            corpus: Sequence[Conversation], scores: pd.DataFrame, bits: int = 16) -> Path:  # fmt: skip
    """Write a tuned model into a new folder and return it.

    ``base``, ``adapter`` and ``bits`` are what :func:`flanlib.inference.generate.dense` takes; ``scores`` becomes the
    card's table, one row a line. The folder appears whole or not at all; of several processes the first writes it.
    Raises FlanError if it exists.
    """
    folder = Path(folder)
    if store.rank():
        return store.wait_for(folder)
    if folder.exists():
        raise FlanError(f"publishing to {folder}", found="a folder of that name", expected="a new one",
                        remedy="Name another, or move the old one away.")  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / folder.name
        model, end = dense(base, adapter, bits=bits), template.end.strip()
        # One token that ends a turn ends a reply; several have to be looked for as text.
        last = tokenizer.encode(end, add_special_tokens=False) if end else []
        if len(last) == 1:
            model.generation_config.eos_token_id = last[0]
        elif end:
            model.generation_config.stop_strings = [end]
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        if isinstance(template, Template):
            (made / "chat_template.jinja").write_text(jinja(template), encoding="utf-8")
        shown, licence = _origin(base)
        shutil.copytree(adapter, made / "adapter", ignore=shutil.ignore_patterns(
            "checkpoint-*", "*.csv", "README.md", store.MANIFEST))  # fmt: skip
        config = made / "adapter" / "adapter_config.json"
        named = json.loads(config.read_text()) | {"base_model_name_or_path": shown}  # which other machines know
        store.write(config, json.dumps(named, indent=2))
        export(corpus, made / "corpus.jsonl", "messages")
        terms = f"The licence of the base model, {licence}," if licence else "What the base model's licence asks for"
        store.write(made / "README.md", CARD.format(
            base=shown, name=folder.name, rows=len(corpus), scores=_table(scores),
            metadata=f"license: {licence}\n" if licence else "", licence=f"{terms} holds for this one too."))
        made.rename(folder)
    return folder


def place(run: Path) -> Path:
    """Return the folder that a run is handed on in."""
    return DATA / "exports" / run.name


def _origin(base: str) -> tuple[str, str]:
    """Return what a model is called on any machine, and its licence, empty where nothing is known of it."""
    if base == SMOLLM2:
        return HUB, LICENCE
    card = Path(base) / "README.md"
    head = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8"), re.DOTALL) if card.is_file() else None
    told = re.search(r"^license: *([\w.-]+)", head[1], re.MULTILINE) if head else None
    return Path(base).name if Path(base).is_dir() else base, told[1] if told else ""


def _table(scores: pd.DataFrame) -> str:
    """Write a table in Markdown; numbers with three decimals."""
    if scores.empty:
        return "Nothing yet."
    rows = [list(scores), ["---"] * len(scores.columns),
            *([f"{x:.3f}" if isinstance(x, float) else str(x) for x in row] for row in scores.itertuples(index=False))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
