"""Hand a tuned model on: plain weights, its adapter, a tokenizer that knows its chat template, the corpus, a card.

Nothing of this library is needed to use what is written: ``AutoModelForCausalLM`` and ``AutoTokenizer`` load it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from flanlib import store
from flanlib.export import export
from flanlib.generate import dense
from flanlib.records import Conversation, FlanError
from flanlib.templates import AnyTemplate, Template, jinja

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CARD = """---
base_model: {base}
library_name: transformers
tags: [agent, tool-use, qlora]
---

# {name}

`{base}`, tuned with QLoRA on {rows:,} conversations (`corpus.jsonl`) by the recipe of Agent-FLAN (arXiv 2403.12881).
The weights here are merged and plain; the LoRA adapter alone is in `adapter/`.

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
            corpus: Sequence[Conversation], scores: pd.DataFrame) -> Path:  # fmt: skip
    """Write a tuned model into a new folder and return it.

    ``base`` and ``adapter`` are what :func:`flanlib.generate.dense` takes; ``scores`` becomes the card's table, one
    row a line. The folder appears whole or not at all; of several processes the first writes it. Raises FlanError if
    it exists.
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
        model, end = dense(base, adapter, vocab=len(tokenizer)), template.end.strip()
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
        shutil.copytree(adapter, made / "adapter", ignore=shutil.ignore_patterns("checkpoint-*", "*.csv"))
        export(corpus, made / "corpus.jsonl", "messages")
        shown = Path(base).name if Path(base).is_dir() else base  # a folder's path says nothing on another machine
        card = CARD.format(base=shown, name=folder.name, rows=len(corpus), scores=_table(scores))
        store.write(made / "README.md", card)
        made.rename(folder)
    return folder


def _table(scores: pd.DataFrame) -> str:
    """Write a table in Markdown; numbers with three decimals."""
    if scores.empty:
        return "Nothing yet."
    rows = [list(scores), ["---"] * len(scores.columns),
            *([f"{x:.3f}" if isinstance(x, float) else str(x) for x in row] for row in scores.itertuples(index=False))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
