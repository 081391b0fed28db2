"""The samples of Agent-H, and the file they are passed on in: plain JSONL that can be used without this library.

A row holds ``messages`` and ``tools`` as OpenAI writes them, so that any model's own chat template can take them; how
tools are shown to a model is left to whoever asks it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flanlib import store
from flanlib.records import FlanError, Tool, clip, freeze, thaw, to_json

ACTION, FORMAT = "action", "format"
CELLS = ("no tools, none needed", "no tools, one needed", "tools, none needed", "tools, one needed")
"""The action level: tools in the system prompt or not, and whether the query needs one that is there to be had."""
PLAIN, CALL, REACT = "plain", "call", "react"


@dataclass(frozen=True)
class Sample:
    """One question to a model, with the kind of answer that is right.

    ``cell`` is one of CELLS, or at the format level the format asked for. ``truth``: ``plain`` (a reply in words),
    ``call`` (a call of an offered tool), or at the format level the format. ``variety`` tells apart what is in a cell.
    ``wanted`` names the tools that could do what is asked, offered or not; ``origin`` says which record the sample
    was made of.
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
            "tools": [{"type": "function", "function": {"name": t.name, "description": t.description,
                                                        "parameters": thaw(t.parameters)}} for t in sample.tools],
            "wanted": list(sample.wanted), "origin": sample.origin}  # fmt: skip


def sample(told: Mapping[str, Any], where: str = "sample") -> Sample:
    """Read what :func:`row` wrote; further keys are let be. Raises FlanError, which names ``where``, for all else."""
    try:
        *first, last = told["messages"]
        offered = [tool["function"] for tool in told["tools"]]
        tools = [Tool(t["name"], t["description"], freeze(t["parameters"])) for t in offered]
        own = first[0]["content"] if first else ""
        made = Sample(told["id"], told["source"], told["level"], told["cell"], told["truth"], last["content"], tools,
                      own, told["variety"], told["wanted"], told["origin"])  # fmt: skip
        "".join((made.id, made.source, made.cell, made.truth, made.variety, made.origin, *made.wanted)).encode()
        if any(told[key] != part for key, part in row(made).items()):
            raise ValueError("parts that no sample has")
        return made
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise FlanError(where, found=f"{clip(told, 100)} ({error!r})"[:300],
                        expected="a row with id, source, level, cell, truth, messages, tools, wanted and origin",
                        remedy="Build the file again.") from error  # fmt: skip


def write(path: Path, samples: Sequence[Sample], **facts: Any) -> None:
    """Write samples as JSONL, and beside it ``<name>.manifest.json``: counts, a digest of the file, and ``facts``."""
    text = "".join(to_json(row(one)) + "\n" for one in samples)
    counts = Counter(" / ".join(filter(None, (one.level, one.cell, one.variety))) for one in samples)
    told = {"samples": len(samples), "digest": store.digest(text), "counts": dict(sorted(counts.items())), **facts}
    manifest = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    store.write(path, text)
    store.write(path.with_name(f"{path.stem}.manifest.json"), manifest)


def read(path: Path) -> list[Sample]:
    """Read a file of samples. Raises FlanError that names the line for a broken one, and for ids that repeat."""
    found: dict[str, Sample] = {}
    for at, told in lines(path):
        one = sample(told, at)
        if one.id in found:
            raise FlanError(at, found=f"the id {one.id!r} again", expected="ids that differ", remedy="Remove one.")
        found[one.id] = one
    return list(found.values())


def lines(path: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Yield (place, object) of a JSONL file, blank lines aside. Raises FlanError for a line that is no object."""
    if not path.is_file():
        raise FlanError(str(path), found="no such file", expected="JSON lines", remedy="Check the path.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FlanError(str(path), found=f"byte {error.start} that is not UTF-8", expected="JSON lines",
                        remedy="Write the file as UTF-8.") from None  # fmt: skip
    for number, line in enumerate(text.split("\n"), 1):
        at, told, broken = f"{path}, line {number}", None, ""
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            broken = f" ({error})"
        if not isinstance(told, dict):
            raise FlanError(at, found=clip(line) + broken, expected="a JSON object", remedy="Correct the line.")
        yield at, told
