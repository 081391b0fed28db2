"""Corpora of any size: rows stream from files through worker processes into an Arrow file, and are mapped from there.

``python -m flanlib.corpus.stream DATA`` does it for a data set and prints the counts. Memory stays flat: at no time is
more than a chunk of conversations held.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from flanlib import pretrained, sources, store
from flanlib.dialects import DIALECTS, render
from flanlib.presets import AUTO, preset, source_name
from flanlib.records import KINDS, Conversation, FlanError, Span, Trajectory, Turn
from flanlib.sources.files import files
from flanlib.tally import Tally
from flanlib.text.templates import AnyTemplate, bind, get_template
from flanlib.text.tokens import ARRAYS, CHUNK, CUT, Example, Labelled, label, load_tokenizer

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

VERSION = 1
MOST_PROCESSES = 8


class Stored(Sequence[Example]):
    """Examples in an Arrow file, read when they are asked for."""

    def __init__(self, table: datasets.Dataset) -> None:
        self.table = table.with_format("numpy")

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, i: int) -> Example:
        return Example(**self.table[int(i)])

    def __iter__(self) -> Iterator[Example]:
        for columns in self.table.iter(CHUNK):
            yield from map(Example, *(columns[name] for name in ("id", *ARRAYS)))


def prepare(data: str | os.PathLike, tokenizer: PreTrainedTokenizerBase, template: AnyTemplate, *, dialect: str,
            max_tokens: int) -> tuple[Stored, Tally, Tally]:  # fmt: skip
    """Read, align, label and tokenise a data set, or find it again by the content of its files.

    Returns the examples, and what was kept and dropped in reading and in tokenising. A hub data set is found again by
    its name. Raises FlanError as :func:`flanlib.sources.read` and :func:`flanlib.text.tokens.encode_all` do.
    """
    name = source_name(str(data))
    of = [[label, _file_digest(path)] for path, label in files(data)] or os.fspath(data)

    def build(folder: Path) -> dict[str, Any]:
        read = Tally(f"{name}, read")
        rows = (render(record, dialect) if isinstance(record, Trajectory) else record
                for record in sources.read(data, tally=read))  # fmt: skip
        write(rows, tokenizer, template, max_tokens, folder)
        return {"read": read.counts()}

    config = {"version": VERSION, "data": of, "dialect": dialect, **_reader(tokenizer, template, max_tokens)}
    folder = store.cached(f"corpus-{name}", config, build, shipped=False)
    labelled = Tally(f"{name}, tokenised")
    return opened(folder, labelled), Tally(f"{name}, read", **store.manifest(folder)["read"]), labelled


def encode_stored(conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, template: AnyTemplate, *,
                  max_tokens: int, tally: Tally) -> Stored:  # fmt: skip
    """Tokenise as :func:`flanlib.text.tokens.encode_all` does, into a file that is found again by the conversations."""
    whole = hashlib.sha256()
    for conversation in conversations:
        whole.update(_dump(conversation).encode())

    build = partial(write, conversations, tokenizer, template, max_tokens)
    config = {"version": VERSION, "texts": whole.hexdigest(), **_reader(tokenizer, template, max_tokens)}
    return opened(store.cached("examples", config, build, shipped=False), tally)


def write(conversations: Iterable[Conversation], tokenizer: PreTrainedTokenizerBase, template: AnyTemplate,
          max_tokens: int, folder: Path) -> None:  # fmt: skip
    """Tokenise conversations into ``folder``; a row for each of them, dropped or not."""
    import datasets

    features = datasets.Features({"id": datasets.Value("string"), "fate": datasets.Value("string"),
                                  **{k: datasets.List(datasets.Value(v)) for k, v in ARRAYS.items()}})  # fmt: skip
    work = partial(_labelled, tokenizer=tokenizer, template=bind(template, tokenizer), max_tokens=max_tokens)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        # A fingerprint each: what datasets would find again by itself, the run cache finds already.
        read = datasets.Dataset.from_generator(
            lambda: ({"conversation": _dump(one)} for one in conversations), cache_dir=scratch,
            features=datasets.Features({"conversation": datasets.Value("string")}), fingerprint="conversations")
        processes = min(os.cpu_count() or 1, MOST_PROCESSES) if len(read) > CHUNK else None
        made = read.map(work, batched=True, batch_size=CHUNK, num_proc=processes, remove_columns=["conversation"],
                        features=features, new_fingerprint="examples", desc="tokenise",
                        cache_file_name=f"{scratch}/examples.arrow")  # fmt: skip
        made.save_to_disk(folder / "examples")


def opened(folder: Path, tally: Tally) -> Stored:
    """Open what :func:`write` wrote, and count what became of every conversation."""
    import datasets

    table = datasets.load_from_disk(folder / "examples")
    kept = []
    for i, fate in enumerate(table["fate"][:]):
        if fate in ("", CUT):
            kept.append(i)
        else:
            tally.drop(fate, table[i]["id"])
        if fate == CUT:
            tally.note(CUT)
    tally.keep(len(kept))
    return Stored(table.remove_columns("fate").select(kept))


def _labelled(columns: dict[str, list[str]], tokenizer: PreTrainedTokenizerBase, template: AnyTemplate,
              max_tokens: int) -> dict[str, list]:  # fmt: skip
    """Tokenise a chunk, in a worker process: each of them is one of several already."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    chunk = [_restore(text) for text in columns["conversation"]]
    rows = []
    for conversation, found in zip(chunk, label(chunk, tokenizer, template, max_tokens), strict=True):
        if isinstance(found, Labelled):
            rows.append(vars(found.example) | {"fate": CUT if found.cut else ""})
        else:
            nothing = {name: np.zeros(0, dtype) for name, dtype in ARRAYS.items()}
            rows.append({"id": f"{conversation.source} {conversation.id}", "fate": found.found, **nothing})
    return {name: [row[name] for row in rows] for name in ("id", "fate", *ARRAYS)}


def _dump(conversation: Conversation) -> str:
    """Write what tokenising needs of a conversation on one line of JSON."""
    turns = [[turn.role, turn.trained, [[span.text, span.kind] for span in turn.spans]] for turn in conversation.turns]
    return json.dumps([conversation.id, conversation.source, turns], ensure_ascii=False)


def _restore(text: str) -> Conversation:
    id, source, turns = json.loads(text)
    return Conversation(id, source, tuple(Turn(role, tuple(Span(*span) for span in spans), trained)
                                          for role, trained, spans in turns))  # fmt: skip


def _reader(tokenizer: PreTrainedTokenizerBase, template: AnyTemplate, max_tokens: int) -> dict[str, Any]:
    """Name what turns text into tokens."""
    return {"tokenizer": store.digest(tokenizer.backend_tokenizer.to_str()), "template": template.digest,
            "max_tokens": max_tokens}  # fmt: skip


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m flanlib.corpus.stream", description=__doc__.split("\n")[0])
    parser.add_argument("data", help="a path, a glob, a folder or a hub name")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), default="chat", help="how trajectories are written")
    parser.add_argument("--model", help="whose tokenizer reads them (default: the preset's)")
    parser.add_argument("--template", help="its chat template (default: the preset's; of another model, its own)")
    parser.add_argument("--max-tokens", type=int, help="the longest conversation (default: the preset's row)")
    asked = parser.parse_args(arguments)
    try:
        size = preset()
        model = asked.model or size.model
        template = asked.template or (size.template if model == size.model else AUTO)
        tokenizer = load_tokenizer(pretrained.folder(model))
        rows, read, labelled = prepare(asked.data, tokenizer, get_template(template, tokenizer), dialect=asked.dialect,
                                       max_tokens=asked.max_tokens or size.row_tokens)  # fmt: skip
    except FlanError as error:
        raise SystemExit(str(error)) from None
    sums = sum((np.bincount(row.kinds, minlength=len(KINDS)) for row in rows), np.zeros(len(KINDS), int))
    print(read, labelled, sep="\n")
    print(pd.DataFrame({"kind": KINDS, "tokens": sums}).to_string(index=False))


if __name__ == "__main__":
    main()
