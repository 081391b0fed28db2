"""The card of an exported corpus: what is in it, how it was made, and what was read and dropped on the way."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from flanlib.corpus.mix import Corpus
from flanlib.records import KINDS, Conversation
from flanlib.tally import Tally

CARD = """---
tags: [agent, tool-use]
configs:
{configs}---

# {name}

A training corpus by the recipe of Agent-FLAN (arXiv 2403.12881, Appendix A): agent trajectories as plain chat and some
in ReAct form, turns weighted by capability, pairs that teach to follow a format, negative samples where no tool is to
be called, and general chat.

## What is in it

Words are those of trained text, separated by white space. `available` and `drawn` count rows before balancing.

{contents}

## Files

| file | rows | shape |
|---|---|---|
| `agent_flan.jsonl` | {agent_flan} | `conversation` with `loss` on assistant messages, as Agent-FLAN's published rows |
| `messages.jsonl` | {messages} | the same under `messages`: XTuner and ms-swift read `loss`, Axolotl with \
`message_field_training: loss`. Services with a `weight` of 0 or 1 want that name for it |
| `trl.jsonl` | {trl} | `prompt` and `completion` for TRL's SFTTrainer |

All three hold the same trained text. TRL has no flag for single messages, so `trl.jsonl` has a row for each trained
message, with all messages before it as its prompt; untrained messages after the last trained one are left out there.
Its default loss is right: on the completion. Set its `max_length` above your longest row: the default, 1,024 tokens,
cuts a row at its end, where the completion is.
The system message lists the tools: pass none of them to the chat template.
{waiting}
## How it was made

`python -m flanlib.corpus` with these settings. The same inputs and settings give the same bytes.

{settings}

## What was read, kept and dropped

{tallies}

## Licence

The rows are made from {sources}. Their licences hold for this corpus too: look them up before you pass it on.{plain}
"""
PLAIN = """
Rows of the source `ordinary` are requests of flanlib with replies of SmolLM2-135M-Instruct (apache-2.0)."""
WAITING = """
`requests.jsonl` holds {n} requests that want a plain reply for negative samples of the types `no tools` and `missing`.
Ask a chat model, without tools; write `{{"id": ..., "reply": ...}}` for each; pass the file with `--replies`.
"""


def contents(corpus: Corpus) -> pd.DataFrame:
    """Count a corpus by form and source: the draws, rows, trained words, and trained words of each kind."""
    rows, words = Counter(), Counter()
    for conversation in corpus.conversations:
        place = corpus.places[conversation.id]
        rows[place] += 1
        for kind, n in trained_words(conversation).items():
            words[place, kind] += n
    kinds = [kind for kind in KINDS if kind != "context"]
    places = list(zip(corpus.draws["form"], corpus.draws["source"], strict=True))
    table = pd.DataFrame([[rows[place], sum(words[place, kind] for kind in kinds),
                           *(words[place, kind] for kind in kinds)] for place in places],
                         columns=["rows", "words", *kinds])  # fmt: skip
    return pd.concat([corpus.draws, table], axis=1)


def trained_words(conversation: Conversation) -> Counter[str]:
    """Count the words of trained text by kind, split at white space.

    >>> from flanlib.records import say
    >>> turns = say("user", "How far?"), say("assistant", "It is far.", "general", trained=True)
    >>> trained_words(Conversation("1", "doc", turns))
    Counter({'general': 3})
    """
    counts: Counter[str] = Counter()
    for turn in conversation.turns:
        for span in turn.spans if turn.trained else ():
            if span.kind != "context":
                counts[span.kind] += len(span.text.split())
    return counts


def card(name: str, corpus: Corpus, *, files: Mapping[str, int], waiting: int, settings: Mapping[str, Any],
         tallies: Iterable[Tally]) -> str:  # fmt: skip
    """Write the card. ``files`` gives the rows of each shape, ``waiting`` the requests that want a reply."""
    table = contents(corpus)
    used = dict.fromkeys(table.loc[table["rows"] > 0, "source"])
    total = table.drop(columns=["form", "source"]).sum()
    table.loc[len(table)] = ["all", "", *(total[column] for column in table.columns[2:])]
    return CARD.format(
        name=name, contents=markdown(table), waiting=WAITING.format(n=waiting) if waiting else "", **files,
        configs="".join(f"- config_name: {shape}\n  data_files: {shape}.jsonl\n" for shape in files),
        settings=markdown(pd.DataFrame(settings.items(), columns=["setting", "value"])),
        tallies="\n\n".join(f"### {tally.name}\n\n{markdown(tally.frame())}" for tally in tallies),
        sources=", ".join(f"`{source}`" for source in used if source != "ordinary"),
        plain=PLAIN if "ordinary" in used else "")  # fmt: skip


def markdown(frame: pd.DataFrame) -> str:
    """Write a table in Markdown, numbers with four significant digits.

    >>> print(markdown(pd.DataFrame({"score": ["a|b"], "value": [1 / 3]})))
    | score | value |
    | --- | --- |
    | a\\|b | 0.3333 |
    """
    rows = [list(frame), ["---"] * len(frame.columns), *frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows)


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")
