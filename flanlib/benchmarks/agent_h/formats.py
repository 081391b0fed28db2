"""The format level of Agent-H: the formats, the wordings that ask for them, and a check of a reply against each.

A model's text is only parsed, never run. XML may have no document type (so no entities), YAML is parsed as a tree of
text without anchors, and all text is cut to LONGEST characters.
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
from flanlib.dialects.written import thinking


class Format(NamedTuple):
    """The wordings that ask for a format, and its check: False or a parser's error for a text that is not in it."""

    asks: tuple[str, ...]
    fits: Callable[[str], bool]


def fits(reply: str, format: str) -> bool:
    """Tell whether a whole reply is in a format, or what follows thinking; a code fence around it is removed first.

    >>> fits("- one\\n- two", "bullets"), fits("one, two", "bullets"), fits('{"a": 1}', "json")
    (True, False, True)
    """
    texts = dict.fromkeys((reply, thinking(reply)[1]))
    return any(_is(format, re.sub(r"^```\w*\n|\n?```\s*$", "", text[:LONGEST].strip()).strip()) for text in texts)


def _is(format: str, text: str) -> bool:
    try:
        return FORMATS[format].fits(text)
    except (ValueError, OverflowError, RecursionError, csv.Error, yaml.YAMLError, ElementTree.ParseError):
        return False


def _yaml(text: str) -> bool:
    """Tell whether a text is a YAML mapping or a list with one, but not JSON; anchors and deep nesting are refused."""
    if _is("json", text) or re.search(r"(?:^|[\s:,\[{-])&[\w-]|(?:[\[{]\s*){40}", text):
        return False
    node = yaml.compose(text, Loader=yaml.BaseLoader)
    inner = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return any(isinstance(each, yaml.MappingNode) for each in inner)


def _csv(text: str) -> bool:
    """Tell whether lines have equally many fields. A header must not end like a sentence or a greeting."""
    lines = [line for line in csv.reader(text.split("\n"), skipinitialspace=True) if line]
    same_width = len(lines) > 1 and len(lines[0]) > 1 and len({len(line) for line in lines}) == 1
    return same_width and lines[0][-1].strip()[-1:] not in ".!?:"


def _lines(mark: str) -> Callable[[str], bool]:
    return lambda text: bool(text) and all(re.match(mark, line) for line in text.split("\n") if line.strip())


def _prose(text: str) -> bool:
    """Tell whether no line begins like a list, heading, label or code, and the text is no agent's format or CSV."""
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
"""By name. The wordings are ours, since the paper prints none."""
