"""Publish a tuned model: merged weights, the adapter, a tokenizer with the chat template, the corpus, and a model card.

``AutoModelForCausalLM`` and ``AutoTokenizer`` load the result without this library, and ``call.py`` makes a call so.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import transformers
from transformers import PreTrainedTokenizerBase

from flanlib import store
from flanlib.corpus.card import markdown
from flanlib.corpus.export import export
from flanlib.dialects import render
from flanlib.experiments import call
from flanlib.experiments.portable import save_model, save_tokenizer
from flanlib.inference.generate import dense
from flanlib.presets import DATA, SMOLLM2
from flanlib.records import Conversation, FlanError, Trajectory
from flanlib.tally import Tally
from flanlib.text.own_template import OwnTemplate
from flanlib.text.templates import AnyTemplate, Template, jinja
from flanlib.training.model import CPU

HUB, LICENCE = "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"  # of the default model
ENDS = """
A reply ends with `{end}`, which is several tokens. Servers need it as a stop text with each request. transformers 4
refuses a stop text that its tokenizer splits into bytes: leave it out there, and cut the reply at it.
"""
CARD = """---
base_model: {base}
{metadata}library_name: transformers
tags: [agent, tool-use, lora]
---

# {name}

`{base}`, tuned with LoRA on {rows:,} conversations (`corpus.jsonl`) by the recipe of Agent-FLAN (arXiv 2403.12881).
{licence} The weights here are merged and plain; the LoRA adapter alone is in `adapter/`.
Saved by transformers {version}; its config.json and tokenizer_config.json have transformers 4's names too.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModelForCausalLM.from_pretrained("{name}")
chat = [{{"role": "user", "content": "Hello!"}}]
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True{switches})
reply = model.generate(**ids, max_new_tokens=200{stop})
print(tokenizer.decode(reply[0, ids["input_ids"].shape[1]:]))
```
{calling}{ends}{changes}
## What was measured

{scores}{made}{tallies}"""
CALLING = """
`python call.py` shows how it makes a call: it says what should be done, names one of the tools on offer, gives each
value as it is asked, reads the result, and answers. The request in `call.json` was held out from training: `{id}`.
"""


def publish(folder: Path, *, base: str, adapter: Path, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate,
            corpus: Sequence[Conversation], scores: Mapping[str, pd.DataFrame], example: Trajectory | None = None,
            tallies: Sequence[Tally] = (), bits: int = 16) -> Path:  # fmt: skip
    """Write a tuned model into a new folder and return it.

    ``base``, ``adapter`` and ``bits`` go to :func:`flanlib.inference.generate.dense`, which merges them on the CPU: a
    GPU may still be full. ``scores`` (tables by their titles), the settings of a run that ``adapter`` is the folder of,
    and ``tallies`` go onto the card. ``example`` is a held-out trajectory: ``call.py`` makes its first call, if it has
    one. The folder appears whole or not at all. Among several processes the first writes it, and the others wait.
    Raises FlanError if the folder exists.
    """
    folder = Path(folder)
    if store.rank():
        return store.wait_for(folder)
    if folder.exists():
        raise FlanError(f"publishing to {folder}", found="an existing folder", expected="a new one",
                        remedy="Name another, or move the old one away.")  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        unfinished = Path(scratch) / folder.name
        model, end = dense(base, adapter, bits=bits, where=CPU), template.end.strip()
        # A turn's end that is one token stops generation by its id. Of several tokens only the text is unambiguous, and
        # it goes onto the card: with stop_strings in generation_config.json, transformers 4 would refuse to generate.
        end_ids = tokenizer.encode(end, add_special_tokens=False) if end else []
        if len(end_ids) == 1:
            model.generation_config.eos_token_id = end_ids[0]
            end = ""
        save_model(model, unfinished)
        save_tokenizer(tokenizer, unfinished, jinja(template) if isinstance(template, Template) else None)
        base_name, licence = _origin(base)
        shutil.copytree(adapter, unfinished / "adapter", ignore=shutil.ignore_patterns(
            "checkpoint-*", "*.csv", "README.md", store.MANIFEST))  # fmt: skip
        path = unfinished / "adapter" / "adapter_config.json"
        # peft wrote the path of the base model on this machine.
        config = json.loads(path.read_text()) | {"base_model_name_or_path": base_name}
        store.write(path, json.dumps(config, indent=2))
        export(corpus, unfinished / "corpus.jsonl")
        example = example if example and example.steps else None
        if example:
            shutil.copyfile(call.__file__, unfinished / "call.py")
            store.write(unfinished / "call.json", json.dumps(_call(example, template), indent=1))
        terms = f"The licence of the base model, {licence}," if licence else "What the base model's licence asks for"
        store.write(unfinished / "README.md", CARD.format(
            base=base_name, name=folder.name, rows=len(corpus), **_template(template), **_facts(adapter, tallies),
            version=transformers.__version__, metadata=f"license: {licence}\n" if licence else "",
            calling=CALLING.format(id=example.id) if example else "",
            scores=_titled(scores, "###") or "Nothing yet.\n",
            licence=f"{terms} holds for this one too.", ends=ENDS.format(end=end) if end else "",
            stop=f", stop_strings=[{json.dumps(end, ensure_ascii=False)}], tokenizer=tokenizer" if end else ""))
        unfinished.rename(folder)
    return folder


def _call(example: Trajectory, template: AnyTemplate) -> dict[str, Any]:
    """Return what ``call.py`` reads: a request with its tools as they are listed in training, and how to prompt."""
    own = template if isinstance(template, OwnTemplate) else None
    tools = {step.tool: list(step.arguments) for step in example.steps}  # some data lists no tools
    tools |= {tool.name: list(tool.required or tool.properties) for tool in example.tools}
    done = [step for step in reversed(example.steps) if step.observation is not None]
    return {"request": example.query, "system": render(example, "chat").turns[0].text, "tools": tools,
            "results": {step.tool: step.observation for step in done},
            "thinks": any(step.thought for step in example.steps), "longest": 200, "lead": template.lead,
            "end": template.end.strip() or template.end, "fold_system": bool(own and own.fold_system),
            "switches": dict(own.switches) if own else {}}  # fmt: skip


def _facts(adapter: Path, tallies: Sequence[Tally]) -> dict[str, str]:
    """Return what the card tells of the run and of its data."""
    made = ""
    if (adapter / store.MANIFEST).is_file():
        run = store.manifest(adapter)
        config, schedule = run["config"], run["config"]["schedule"]
        facts = {"LoRA rank": config["lora_rank"], "peak learning rate": schedule["rate"], "seed": schedule["seed"],
                 "trained tokens": run["trained_tokens"], "tokens read": run["tokens"], "conversations": run["rows"],
                 "optimizer steps": run["steps"], "rows of a step": schedule["rows_per_step"],
                 "tokens of a row": config["row_tokens"], "bits of a frozen weight": config["bits"],
                 "computed in": f"{run['computed_in']} on {run['machine']}", "date": run["date"]}  # fmt: skip
        made = "\n## How it was made\n\n" + markdown(pd.DataFrame(facts.items(), columns=["setting", "value"])) + "\n"
    read = _titled({tally.name: tally.frame()[["what", "rows"]] for tally in tallies}, "###")
    return {"made": made, "tallies": f"\n## What was read, kept and dropped\n\n{read}" if read else ""}


def _titled(tables: Mapping[str, pd.DataFrame], mark: str) -> str:
    """Write tables with their titles, each ending with a line break."""
    return "\n".join(f"{mark} {title}\n\n{markdown(table)}\n" for title, table in tables.items() if not table.empty)


def place(run: Path) -> Path:
    """Return the folder into which a run is published."""
    return DATA / "exports" / run.name


def _origin(base: str) -> tuple[str, str]:
    """Return a model's name, on the hub if that is known, without any path of this machine, and its licence or ""."""
    if base == SMOLLM2:
        return HUB, LICENCE
    folder = Path(base)
    card, config = folder / "README.md", folder / "config.json"
    head = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8"), re.DOTALL) if card.is_file() else None
    licence = re.search(r"^license: *([\w.-]+)", head[1], re.MULTILINE) if head else None
    named = re.search(r"models--([\w.-]+?)--([\w.-]+)/snapshots/", f"{folder.absolute()}/")  # in the hub's cache
    said = json.loads(config.read_text(encoding="utf-8")).get("_name_or_path") if config.is_file() else None
    name = folder.name if folder.is_dir() else base
    if named:
        name = f"{named[1]}/{named[2]}"
    elif folder.is_dir() and isinstance(said, str) and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", said):
        name = said  # by transformers 4, of the model that was loaded; a path has more parts
    return name, licence[1] if licence else ""


def _template(template: AnyTemplate) -> dict[str, str]:
    """Return what the card says of the model's own chat template: its arguments, and what training changed in it."""
    if not isinstance(template, OwnTemplate) or not template.changes:
        return {"switches": "", "changes": ""}
    return {
        "switches": "".join(f", {name}={value}" for name, value in template.switches),
        "changes": f"\nIt was trained with its own chat template, changed so: {'; '.join(template.changes)}.\n",
    }
