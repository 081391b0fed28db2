"""The format level of Agent-H: formats that a user may ask for, how they are asked for, and whether a reply is in one.

Text that a model wrote is only parsed, never run: XML without a document type (no entities), YAML as a tree of text,
without anchors, and all of it cut to a few thousand characters.
"""

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


class Format(NamedTuple):
    """How a format is asked for, and how it is told: False, or an error of a parser, for a text that is not in it."""

    asks: tuple[str, ...]
    fits: Callable[[str], bool]


def fits(reply: str, format: str) -> bool:
    """Tell whether a whole reply is in a format; a code fence around it is looked through.

    >>> fits("- one\\n- two", "bullets"), fits("one, two", "bullets"), fits('{"a": 1}', "json")
    (True, False, True)
    """
    return _is(format, re.sub(r"^```\w*\n|\n?```\s*$", "", reply[:LONGEST].strip()).strip())


def _is(format: str, text: str) -> bool:
    try:
        return FORMATS[format].fits(text)
    except (ValueError, OverflowError, RecursionError, csv.Error, yaml.YAMLError, ElementTree.ParseError):
        return False


def _yaml(text: str) -> bool:
    if _is("json", text) or re.search(r"(?:^|[\s:,\[{-])&[\w-]|(?:[\[{]\s*){40}", text):
        return False
    node = yaml.compose(text, Loader=yaml.BaseLoader)
    inner = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return any(isinstance(each, yaml.MappingNode) for each in inner)


def _csv(text: str) -> bool:
    """Tell lines of as many fields; a first line that ends as a sentence or a greeting does is no header."""
    lines = [line for line in csv.reader(text.split("\n"), skipinitialspace=True) if line]
    alike = len(lines) > 1 and len(lines[0]) > 1 and len({len(line) for line in lines}) == 1
    return alike and lines[0][-1].strip()[-1:] not in ".!?:"


def _lines(mark: str) -> Callable[[str], bool]:
    return lambda text: bool(text) and all(re.match(mark, line) for line in text.split("\n") if line.strip())


def _prose(text: str) -> bool:
    marked = any(re.match(r"\s*(?:[{\[<]|(?:[-*#>]|\d+[.)]|\w+:)\s)", line) for line in text.split("\n"))
    return bool(text) and not marked and not read(text).agent and not _is("csv", text)


FORMATS: Mapping[str, Format] = {
    "json": Format(("Answer with a JSON object and nothing else.", "Please reply in JSON.",
                    "Put your answer into a JSON object with the key answer."),
                   lambda text: isinstance(json.loads(text), (dict, list))),
    "xml": Format(("Answer in XML.", "Wrap your whole answer in one XML element, please.",
                   "Please give me the reply as an XML document."),
                  lambda text: "<!" not in text and ElementTree.iselement(ElementTree.fromstring(text))),
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
                   "Please answer in ReAct style: a Thought line, then a Final Answer line."),
                  lambda text: isinstance(react.parse_turn(text), Answer)),
    "prose": Format(("Answer in plain sentences, without lists, labels or code.",
                     "Please reply in ordinary prose.", "Just tell me in a sentence or two, no list."), _prose),
}
"""By name. The wordings are ours: the paper does not print its own."""
