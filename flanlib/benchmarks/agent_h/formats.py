"""The format level of Agent-H: formats that a user may ask for, how they are asked for, and whether a reply is in one.

Text that a model wrote is only parsed, never run: XML without a document type (no entities), YAML as a tree of text,
without anchors, and all of it cut to a few thousand characters.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from xml.etree import ElementTree

import yaml

from flanlib.benchmarks.agent_h.replies import LONGEST, read
from flanlib.benchmarks.agent_h.samples import REACT
from flanlib.dialects import react
from flanlib.dialects.common import Answer
from flanlib.records import FlanError


class Format(NamedTuple):
    """How a format is asked for, and how it is told."""

    asks: tuple[str, ...]
    fits: Callable[[str], bool]


def fits(reply: str, format: str) -> bool:
    """Tell whether a whole reply is in a format; a code fence around it is looked through.

    >>> fits("- one\\n- two", "bullets"), fits("one, two", "bullets"), fits('{"a": 1}', "json")
    (True, False, True)
    """
    return FORMATS[format].fits(re.sub(r"^```\w*\n|\n?```\s*$", "", reply[:LONGEST].strip()).strip())


def _json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):
        return False


def _xml(text: str) -> bool:
    if "<!" in text:
        return False
    try:
        ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError):
        return False
    return True


def _yaml(text: str) -> bool:
    if _json(text) or re.search(r"(?:^|[\s:,\[{-])&[\w-]|(?:[\[{]\s*){40}", text):
        return False
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return False
    inner = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return any(isinstance(each, yaml.MappingNode) for each in inner)


def _csv(text: str) -> bool:
    """Tell lines of as many fields; a first line that ends as a sentence or a greeting does is no header."""
    try:
        lines = [line for line in csv.reader(text.split("\n"), skipinitialspace=True) if line]
    except csv.Error:
        return False
    if len(lines) < 2 or len(lines[0]) < 2 or lines[0][-1].strip()[-1:] in ".!?:":
        return False
    return len({len(line) for line in lines}) == 1


def _lines(mark: str) -> Callable[[str], bool]:
    return lambda text: bool(text) and all(re.match(mark, line) for line in text.split("\n") if line.strip())


def _react(text: str) -> bool:
    try:
        return isinstance(react.parse_turn(text), Answer)
    except FlanError:
        return False


def _prose(text: str) -> bool:
    marked = any(re.match(r"\s*(?:[{\[<]|(?:[-*#>]|\d+[.)]|\w+:)\s)", line) for line in text.split("\n"))
    return bool(text) and not marked and not read(text).agent and not _csv(text)


FORMATS: Mapping[str, Format] = {
    "json": Format(("Answer with a JSON object and nothing else.", "Please reply in JSON.",
                    "Put your answer into a JSON object with the key answer."), _json),
    "xml": Format(("Answer in XML.", "Wrap your whole answer in one XML element, please.",
                   "Please give me the reply as an XML document."), _xml),
    "yaml": Format(("Answer in YAML.", "Please write the reply as YAML with a key answer.",
                    "I want the answer as a YAML mapping."), _yaml),
    "csv": Format(("Answer as CSV with a header line.", "Please give me the reply as a CSV table, header first.",
                   "I need your answer as comma-separated lines under a header."), _csv),
    "bullets": Format(("Answer as a bullet list.", "Please reply in bullets.", "Give me bullet points only."),
                      _lines(r"\s*[-*\u2022] ")),
    "numbered": Format(("Answer as a numbered list.", "Please number the lines of your reply.",
                        "Give me your answer as 1., 2. and so on."), _lines(r"\s*\d+[.)] ")),
    REACT: Format(("Reply with a line that begins with 'Thought:' and then one that begins with 'Final Answer:'.",
                   "Write 'Thought:' and what you think, and on the next line 'Final Answer:' and the answer.",
                   "Please answer in ReAct style: a Thought line, then a Final Answer line."), _react),
    "prose": Format(("Answer in plain sentences, without lists, labels or code.",
                     "Please reply in ordinary prose.", "Just tell me in a sentence or two, no list."), _prose),
}
"""By name. The wordings are ours: the paper does not print its own."""
