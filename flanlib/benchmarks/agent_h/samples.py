"""The samples of Agent-H and their file format: JSONL that can be used without this library.

A row holds ``messages`` and ``tools`` in OpenAI's format, so that any model's own chat template can take them. How
tools are shown to a model is left to that template.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flanlib import store
from flanlib.records import FlanError, Tool, clip, freeze, offered, to_json

ACTION, FORMAT = "action", "format"
CELLS = ("no tools, none needed", "no tools, one needed", "tools, none needed", "tools, one needed")
"""The action level: tools in the system prompt or not, and whether the query needs one (of those offered, if any)."""
PLAIN, CALL, REACT = "plain", "call", "react"


@dataclass(frozen=True)
class Sample:
    """One request to a model, with the kind of answer that is right.

    ``cell`` is one of CELLS, or at the format level the format asked for. ``truth`` is ``plain`` (a plain-text reply),
    ``call`` (a call of an offered tool), or at the format level the format. ``variety`` divides a cell further.
    ``wanted`` names the tools that could do what is asked, offered or not. ``origin`` is the record that the sample was
    made from.
    """

    id: str
    source: str
    level: str
    cell: str
    truth: str
    query: str
    tools: tuple[Tool, ...] = ()
    instructions: str = ""
    variety: str = ""
    wanted: tuple[str, ...] = ()
    origin: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tools", tuple(self.tools))
        object.__setattr__(self, "wanted", tuple(self.wanted))
        freeze((self.query, self.instructions), f"sample {self.id}")
        for wrong, found, expected, remedy in (
            (not self.query.strip(), "an empty query", "a request", "Leave it out."),
            (self.level not in (ACTION, FORMAT), f"level {self.level!r}", f"{ACTION} or {FORMAT}",
             "Correct the sample."),
            (self.truth == CALL and not {tool.name for tool in self.tools}.intersection(self.wanted),
             "a call expected of a tool that is not offered", "one of the wanted tools among those offered",
             "Correct the sample."),
        ):  # fmt: skip
            if wrong:
                raise FlanError(f"sample {self.id}", found=found, expected=expected, remedy=remedy)


def row(sample: Sample) -> dict[str, Any]:
    """Write a sample as a JSON object."""
    first = [{"role": "system", "content": sample.instructions}] if sample.instructions else []
    return {"id": sample.id, "source": sample.source, "level": sample.level, "cell": sample.cell,
            "variety": sample.variety, "truth": sample.truth,
            "messages": [*first, {"role": "user", "content": sample.query}],
            "tools": [offered(tool) for tool in sample.tools],
            "wanted": list(sample.wanted), "origin": sample.origin}  # fmt: skip


def prompt(sample: Sample) -> dict[str, Any]:
    """Write what a model is asked: id, :func:`digest`, messages, and tools if there are any."""
    whole = row(sample)
    asked = {"id": sample.id, "digest": digest(sample), "messages": whole["messages"], "tools": whole["tools"]}
    return {key: part for key, part in asked.items() if part}  # services refuse an empty list of tools


def digest(sample: Sample) -> str:
    """Return a digest of what a model is asked, so that a reply is known to answer this sample."""
    whole = row(sample)
    return store.digest({"messages": whole["messages"], "tools": whole["tools"]})


def sample(item: Mapping[str, Any], where: str = "sample") -> Sample:
    """Read a row that :func:`row` wrote; extra keys are ignored. Raises FlanError, which names ``where``, otherwise."""
    try:
        *first, last = item["messages"]
        functions = [tool["function"] for tool in item["tools"]]
        tools = [Tool(t["name"], t["description"], freeze(t["parameters"])) for t in functions]
        instructions = first[0]["content"] if first else ""
        one = Sample(item["id"], item["source"], item["level"], item["cell"], item["truth"], last["content"], tools,
                     instructions, item["variety"], item["wanted"], item["origin"])  # fmt: skip
        # Raises an error for a field that is not text, or not valid Unicode.
        "".join((one.id, one.source, one.cell, one.truth, one.variety, one.origin, *one.wanted)).encode()
        if any(item[key] != part for key, part in row(one).items()):
            raise ValueError("parts that no sample has")
        return one
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise FlanError(where, found=f"{clip(item, 100)} ({error!r})"[:300],
                        expected="a row with id, source, level, cell, truth, messages, tools, wanted and origin",
                        remedy="Build the file again.") from error  # fmt: skip


def write(path: Path, samples: Sequence[Sample], **facts: Any) -> None:
    """Write samples as JSONL, with ``<name>.manifest.json`` beside it: counts, a digest of the file, and ``facts``."""
    text = "".join(to_json(row(one)) + "\n" for one in samples)
    counts = Counter(" / ".join(filter(None, (one.level, one.cell, one.variety))) for one in samples)
    summary = {"samples": len(samples), "digest": store.digest(text), "counts": dict(sorted(counts.items())), **facts}
    manifest = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"  # may fail, so before anything is written
    store.write(path, text)
    store.write(path.with_name(f"{path.stem}.manifest.json"), manifest)


def read(path: Path) -> list[Sample]:
    """Read a file of samples. Raises FlanError, naming the line, for a broken row or a repeated id."""
    by_id: dict[str, Sample] = {}
    for where, item in lines(path):
        one = sample(item, where)
        if one.id in by_id:
            raise FlanError(where, found=f"the id {one.id!r} again", expected="ids that differ", remedy="Remove one.")
        by_id[one.id] = one
    return list(by_id.values())


def lines(path: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Yield (place, object) for every non-blank line of a JSONL file. Raises FlanError for any other content."""
    if not path.is_file():
        raise FlanError(str(path), found="no such file", expected="JSON lines", remedy="Check the path.")
    try:
        text = path.read_text(encoding="utf-8-sig")  # with a byte-order mark or without
    except UnicodeDecodeError as error:
        raise FlanError(str(path), found=f"byte {error.start} that is not UTF-8", expected="JSON lines",
                        remedy="Write the file as UTF-8.") from None  # fmt: skip
    for number, line in enumerate(text.split("\n"), 1):
        where, value, why = f"{path}, line {number}", None, ""
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = f" ({error})"
        if not isinstance(value, dict):
            raise FlanError(where, found=clip(line) + why, expected="a JSON object", remedy="Correct the line.")
        yield where, value
