"""ReAct: every step is one assistant turn of labelled lines (section 3 of the paper; Yao et al., 2210.03629)."""

import re
from collections.abc import Sequence

import numpy as np

from flanlib.dialects.common import Answer, Call, Opening, argument_parts, misfit, read, read_object, reply, write
from flanlib.records import Conversation, Step, Trajectory, Turn, clip

HOW = """\
Reply in this format, one step at a time:
Thought: what you need to do next
Action: the name of one tool
Action Input: its arguments as a JSON object on one line
You are then given an Observation. When you know enough, reply:
Thought: why you can answer now
Final Answer: the answer"""
OPENING = Opening("Thought:", ("\nAction", "\nFinal Answer"), str.strip)
_LABELS = r"(Thought|Action Input|Action|Final Answer):"
_LABEL = re.compile(f"^{_LABELS} ?", re.M)
_FORMS = [["Thought", "Action", "Action Input"], ["Thought", "Final Answer"]]


def render(trajectory: Trajectory, *, rng: np.random.Generator) -> Conversation:
    """Write a trajectory in ReAct form. ``rng`` is unused, since this form has one wording."""
    return write(trajectory, HOW, write_call, "Observation: {}".format, _answer)


def parse(conversation: Conversation) -> Trajectory:
    """Read a ReAct conversation back. Raises FlanError if a turn is not in this form."""
    return read(conversation, HOW, parse_turn, _observation)


def parse_turn(text: str, where: str = "turn") -> Call | Answer:
    """Read one assistant turn. Raises FlanError if its labels are not those of a call or of an answer.

    >>> parse_turn('Thought: look it up\\nAction: find_town\\nAction Input: {"name": "Ulm"}')
    Call(thought='look it up', tool='find_town', arguments={'name': 'Ulm'})
    """
    matches = list(_LABEL.finditer(text))
    labels = [match[1] for match in matches]
    if labels in _FORMS and matches[0].start() == 0:
        starts = [match.end() for match in matches]
        ends = [match.start() - 1 for match in matches[1:]] + [len(text)]  # without the newline before the next label
        thought, *rest = (text[start : max(start, end)] for start, end in zip(starts, ends, strict=True))
        if len(rest) == 1:
            return Answer(_unescaped(thought), _unescaped(rest[0]))
        return Call(_unescaped(thought), rest[0].strip(), read_object(rest[1], where))
    raise misfit(where, f"labels {', '.join(labels) or 'none'} in {clip(text)}",
                 "Thought, Action, Action Input or Thought, Final Answer", "ReAct form")  # fmt: skip


def write_call(step: Step, labels: Sequence[str] = _FORMS[0]) -> Turn:
    """Write one step as labelled lines. ``labels`` name the thought, the tool and the arguments."""
    return reply((f"{labels[0]}: ", "instruction"), (_escaped(step.thought), "reasoning"),
                 (f"\n{labels[1]}: ", "instruction"), (step.tool, "retrieval"),
                 (f"\n{labels[2]}: ", "instruction"), *argument_parts(step.arguments))  # fmt: skip


def _answer(thought: str, answer: str) -> Turn:
    return reply(("Thought: ", "instruction"), (_escaped(thought), "reasoning"),
                 ("\nFinal Answer: ", "instruction"), (_escaped(answer), "reasoning"))  # fmt: skip


def _observation(text: str, where: str) -> str:
    if not text.startswith("Observation: "):
        raise misfit(where, clip(text), "a user turn that begins with 'Observation: '", "ReAct form")
    return text.removeprefix("Observation: ")


def _escaped(text: str) -> str:
    """Put a backslash before each line of content that looks like a label, even if it has backslashes already."""
    return re.sub(rf"^(?=\\*{_LABELS})", r"\\", text, flags=re.M)


def _unescaped(text: str) -> str:
    return re.sub(rf"^\\(?=\\*{_LABELS})", "", text, flags=re.M)
