"""Corpora of any size: rows stream from files through worker processes into a memory-mapped Arrow file.

``python -m flanlib.corpus.stream DATA`` does this and prints the counts. A process holds at most one chunk in memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
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
from flanlib.text.tokens import ARRAYS, CHUNK, CUT, Example, Labelled, check_lost, label, load_tokenizer

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

VERSION = 2
MOST_PROCESSES = 8


class Stored(Sequence[Example]):
    """Examples in an Arrow file, each read on access."""

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
    """Read, align, label and tokenise a data set; the result is cached by the content of its files.

    Returns the examples, the tally of reading and the tally of tokenising. A hub data set is cached by its name.
    Raises FlanError if no row is kept, if tokenising loses most of the rows, and as :func:`flanlib.sources.read` and
    :func:`flanlib.text.tokens.encode_all` do.
    """
    name = source_name(str(data))
    content = [[file_label, _file_digest(path)] for path, file_label in files(data)] or os.fspath(data)

    def build(folder: Path) -> dict[str, Any]:
        read = Tally(f"{name}, read")
        rows = (render(record, dialect) if isinstance(record, Trajectory) else record
                for record in sources.read(data, tally=read))  # fmt: skip
        if (first := next(rows, None)) is None:
            raise FlanError(os.fspath(data), found="no row to keep", expected="trajectories or conversations",
                            remedy=f"See why rows were dropped. {read}")  # fmt: skip
        write(chain([first], rows), tokenizer, template, max_tokens, folder)
        return {"read": read.counts()}

    config = {"version": VERSION, "data": content, "dialect": dialect, **_tokenising(tokenizer, template, max_tokens)}
    folder = store.cached(f"corpus-{name}", config, build, shipped=False)
    labelled = Tally(f"{name}, tokenised")
    examples = opened(folder, labelled)
    check_lost(f"{dialect} of {name}", labelled.dropped, labelled.seen)
    return examples, Tally(f"{name}, read", **store.manifest(folder)["read"]), labelled


def encode_stored(conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, template: AnyTemplate, *,
                  max_tokens: int, tally: Tally) -> Stored:  # fmt: skip
    """Tokenise as :func:`flanlib.text.tokens.encode_all` does, into a file that is cached by the conversations."""
    texts = hashlib.sha256()
    for conversation in conversations:
        texts.update(_dump(conversation).encode())
    build = partial(write, conversations, tokenizer, template, max_tokens)
    config = {"version": VERSION, "texts": texts.hexdigest(), **_tokenising(tokenizer, template, max_tokens)}
    return opened(store.cached("examples", config, build, shipped=False), tally)


def write(conversations: Iterable[Conversation], tokenizer: PreTrainedTokenizerBase, template: AnyTemplate,
          max_tokens: int, folder: Path) -> None:  # fmt: skip
    """Tokenise conversations into ``folder``, with a row for each of them, dropped or not."""
    import datasets

    features = datasets.Features({"id": datasets.Value("string"), "dropped": datasets.Value("string"),
                                  **{k: datasets.List(datasets.Value(v)) for k, v in ARRAYS.items()}})  # fmt: skip
    work = partial(_labelled, tokenizer=tokenizer, template=bind(template, tokenizer), max_tokens=max_tokens)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        # Fixed fingerprints: the run cache already does what the cache of datasets would do.
        try:
            texts = datasets.Dataset.from_generator(
                lambda: ({"conversation": _dump(one)} for one in conversations), cache_dir=scratch,
                features=datasets.Features({"conversation": datasets.Value("string")}), fingerprint="conversations")
        except datasets.exceptions.DatasetGenerationError as error:  # which hides the one line of a FlanError
            raise error.__cause__ or error from None
        processes = min(os.cpu_count() or 1, MOST_PROCESSES) if len(texts) > CHUNK else None
        examples = texts.map(work, batched=True, batch_size=CHUNK, num_proc=processes, remove_columns=["conversation"],
                             features=features, new_fingerprint="examples", desc="tokenise",
                             cache_file_name=f"{scratch}/examples.arrow")  # fmt: skip
        examples.save_to_disk(folder / "examples")


def opened(folder: Path, tally: Tally) -> Stored:
    """Open what :func:`write` wrote, and tally which conversations were kept, cut or dropped."""
    import datasets

    table = datasets.load_from_disk(folder / "examples")
    kept = []
    for i, reason in enumerate(table["dropped"][:]):  # empty for a conversation kept whole
        if reason in ("", CUT):
            kept.append(i)
        else:
            tally.drop(reason, table[i]["id"])
        if reason == CUT:
            tally.note(CUT)
    tally.keep(len(kept))
    return Stored(table.remove_columns("dropped").select(kept))


def _labelled(columns: dict[str, list[str]], tokenizer: PreTrainedTokenizerBase, template: AnyTemplate,
              max_tokens: int) -> dict[str, list]:  # fmt: skip
    """Tokenise a chunk in one of several worker processes."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    chunk = [_restore(text) for text in columns["conversation"]]
    rows = []
    for conversation, result in zip(chunk, label(chunk, tokenizer, template, max_tokens), strict=True):
        if isinstance(result, Labelled):
            rows.append(vars(result.example) | {"dropped": CUT if result.cut else ""})
        else:
            empty = {name: np.zeros(0, dtype) for name, dtype in ARRAYS.items()}
            rows.append({"id": f"{conversation.source} {conversation.id}", "dropped": result.found, **empty})
    return {name: [row[name] for row in rows] for name in ("id", "dropped", *ARRAYS)}


def _dump(conversation: Conversation) -> str:
    """Write the parts of a conversation that tokenising needs as one line of JSON."""
    turns = [[turn.role, turn.trained, [[span.text, span.kind] for span in turn.spans]] for turn in conversation.turns]
    return json.dumps([conversation.id, conversation.source, turns], ensure_ascii=False)


def _restore(text: str) -> Conversation:
    id, source, turns = json.loads(text)
    return Conversation(id, source, tuple(Turn(role, tuple(Span(*span) for span in spans), trained)
                                          for role, trained, spans in turns))  # fmt: skip


def _tokenising(tokenizer: PreTrainedTokenizerBase, template: AnyTemplate, max_tokens: int) -> dict[str, Any]:
    """Return the part of a cache key that determines how text becomes tokens."""
    return {"tokenizer": store.digest(tokenizer.backend_tokenizer.to_str()), "template": template.digest,
            "max_tokens": max_tokens}  # fmt: skip


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # reading counts it as a broken file
        return f"unreadable ({error.strerror})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m flanlib.corpus.stream", description=__doc__.split("\n")[0])
    parser.add_argument("data", help="a path, a glob, a folder or a hub name")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), default="chat", help="the format of trajectories")
    parser.add_argument("--model", help="the model whose tokenizer is used (default: the preset's)")
    parser.add_argument("--template", help="chat template (default: the preset's; for another --model, its own)")
    parser.add_argument("--max-tokens", type=int, help="length limit of a conversation (default: the preset's row)")
    options = parser.parse_args(arguments)
    try:
        size = preset()
        model = options.model or size.model
        template = options.template or (size.template if model == size.model else AUTO)
        tokenizer = load_tokenizer(pretrained.folder(model))
        max_tokens = options.max_tokens or size.row_tokens
        examples, read, labelled = prepare(options.data, tokenizer, get_template(template, tokenizer),
                                           dialect=options.dialect, max_tokens=max_tokens)  # fmt: skip
    except FlanError as error:
        raise SystemExit(str(error)) from None
    counts = sum((np.bincount(one.kinds, minlength=len(KINDS)) for one in examples), np.zeros(len(KINDS), int))
    print(read, labelled, sep="\n")
    print(pd.DataFrame({"kind": KINDS, "tokens": counts}).to_string(index=False))


if __name__ == "__main__":
    main()
