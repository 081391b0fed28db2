"""The part of a prompt that tells an agent how to write: recognised as evidence of an agent, and cut.

A trajectory's instructions describe the task, without any reply format.
"""

import re

from flanlib.dialects import json, react
from flanlib.sources.react_text import LABEL

_PLACEHOLDER = re.compile(r"\s*(?:\.{2,}|…)?\s*(?:\(.{0,80}\brepeat\b.{0,40}\)\.?|Begin!?|```\w*)?\s*\Z", re.I)
_QUESTION = re.compile(r"[^\S\n]*\**Question\**:", re.I)
_INTRO = re.compile(r"(?:\bformat\b|\bas follows\b|\blike this\b|\bstructure\b).{0,80}[:.]?\s*\Z", re.I)
_INLINE = re.compile(r"\b(?:thought|think) ?:.{0,300}?\b(?:action|act) ?:|\baction ?:.{0,120}?\baction input ?:",
                     re.I | re.S)  # fmt: skip
_HOLES = re.compile(r"[{<\[]\s*[\w ]+[}>\]]|\byour\b|\.\.", re.I)
_FUNCTIONS = "---- BEGIN FUNCTION #"  # of OpenHands and SWE-smith
_SHELL = re.compile(r"\b(?:exactly|only|one|single)\b.{0,60}\bbash\b.{0,40}\b(?:block|command)|```mswea_bash_command",
                    re.I)  # fmt: skip
_BEGIN = re.compile(r"^[^\S\n]*(?:(?:Now )?Begin!?[^\n]*\n\s*(?:Question:)?|Question:(?![^\S\n]*(?:\.\.|the input)))",
                    re.M)  # fmt: skip
_SCRATCH = re.compile(r"\n\s*(?:Thought|Action)\s*\d*:\s*\Z", re.I)


def prescribes(text: str) -> bool:
    """Tell whether a text asks for replies with ReAct's labels, or lists an agent's functions.

    >>> prescribes("Use this format:\\nThought: ..\\nAction: one of [tide]"), prescribes("Take action: now.")
    (True, False)
    """
    return _FUNCTIONS in text or _INLINE.search(text) is not None


def prescribes_shell(text: str) -> bool:
    """Tell whether a text asks for one block of shell code per reply."""
    return _SHELL.search(text) is not None


def without_format(text: str) -> str:
    """Cut the template of a reply's labels, the line that introduces it, and a list of functions with its rules.

    >>> without_format("Be brief.\\n\\nUse this format:\\nThought: ..\\nAction: ..\\n\\nToday is Monday.")
    'Be brief.\\n\\nToday is Monday.'
    """
    for how in (react.HOW, json.HOW):  # the kit's own, in rows that it exported
        text = text.removesuffix(how)
    lines, kept, at = _without_functions(text).split("\n"), [], 0
    while at < len(lines):
        end, labels = _template(lines, at)
        inline = len(lines[at]) < 200 and _INLINE.search(lines[at]) and _HOLES.search(lines[at])
        if labels < 2 and not inline:
            kept.append(lines[at])
            at += 1
            continue
        while kept and not kept[-1].strip():
            kept.pop()
        if kept and _INTRO.search(kept[-1]):
            kept.pop()
        at = max(end, at + 1)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def request(text: str) -> tuple[str, str]:
    """Part a prompt that holds everything into its instructions, without the format, and the request at its end.

    >>> request("Use tools.\\nThought: ..\\nAction: ..\\nBegin!\\n\\nQuestion: When?\\nThought:")
    ('Use tools.', 'When?')
    """
    if not prescribes(text):
        return "", text
    begins = list(_BEGIN.finditer(text))
    asked = _SCRATCH.sub("", text[begins[-1].end() :]).strip() if begins else ""
    return (without_format(text[: begins[-1].start()]), asked) if asked else ("", without_format(text) or text)


def _without_functions(text: str) -> str:
    """Cut a list of functions, the line before it, and the rules after it for writing their calls."""
    before, mark, listed = text.partition(_FUNCTIONS)
    if not mark:
        return text
    lead, _, line = before.rstrip().rpartition("\n")
    before = lead if line.endswith(":") else before
    _, end, after = listed.rpartition("---- END FUNCTION")
    after = after.partition("\n")[2] if end else listed.partition("\n\n")[2]
    if "<function=" in after:
        rules_end = next(mark for mark in ("</IMPORTANT>", "</function>", "<function=") if mark in after)
        after = after.rpartition(rules_end)[2]
    return f"{before.strip()}\n\n{after.strip()}".strip()


def _template(lines: list[str], at: int) -> tuple[int, int]:
    """Return the end of the template that begins at a line, and how many labels it has."""
    labels, end, bare = 0, at, False
    for i in range(at, len(lines)):
        label = LABEL.match(lines[i]) or _QUESTION.match(lines[i])
        if label:
            labels, bare, end = labels + 1, not lines[i][label.end() :].strip(), i + 1
        elif labels and bare and lines[i].strip() and len(lines[i]) < 120:
            bare, end = False, i + 1  # the placeholder of a label on a line of its own
        elif not (labels and _PLACEHOLDER.match(lines[i])):
            break
        elif lines[i].strip():
            end = i + 1
    return end, labels
