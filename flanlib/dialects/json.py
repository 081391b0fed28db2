"""JSON: every step is one assistant turn that is a JSON object, as in function-calling data (section 3)."""

from collections.abc import Sequence

import numpy as np

from flanlib.dialects.common import Answer, Call, Opening, argument_parts, misfit, read, read_object, reply, write
from flanlib.records import Conversation, Step, Trajectory, Turn, clip, first_json, to_json

HOW = """\
Reply with one JSON object and nothing else. To use a tool:
{"thought": "what you need to do next", "name": "the tool", "arguments": {"parameter": "value"}}
When you know enough:
{"thought": "why you can answer now", "answer": "the answer"}"""
OPENING = Opening('{"thought":', (', "name"', ', "answer"'), lambda reply: first_json(reply)[0], quoted=True)


def render(trajectory: Trajectory, *, rng: np.random.Generator) -> Conversation:
    """Write a trajectory in JSON form. ``rng`` is unused, since this form has one wording."""
    return write(trajectory, HOW, write_call, lambda text: to_json({"observation": text}), _answer)


def parse(conversation: Conversation) -> Trajectory:
    """Read a JSON-form conversation back. Raises FlanError if a turn is not in this form."""
    return read(conversation, HOW, parse_turn, _observation)


def parse_turn(text: str, where: str = "turn") -> Call | Answer:
    """Read one assistant turn. Raises FlanError if it is not an object with the keys of a call or an answer.

    >>> parse_turn('{"thought": "done", "answer": "42"}')
    Answer(thought='done', text='42')
    """
    fields = read_object(text, where)
    types = {key: type(value) for key, value in fields.items()}
    if types == {"thought": str, "answer": str}:
        return Answer(fields["thought"], fields["answer"])
    if types == {"thought": str, "name": str, "arguments": dict}:
        return Call(fields["thought"], fields["name"], fields["arguments"])
    raise misfit(where, clip(text), "the keys thought, name, arguments or thought, answer", "JSON form")


def write_call(step: Step, keys: Sequence[str] = ("thought", "name", "arguments")) -> Turn:
    """Write one step as a JSON object. ``keys`` name the thought, the tool and the arguments."""
    return reply((f'{{"{keys[0]}": "', "instruction"), (to_json(step.thought)[1:-1], "reasoning"),
                 (f'", "{keys[1]}": "', "instruction"), (to_json(step.tool)[1:-1], "retrieval"),
                 (f'", "{keys[2]}": ', "instruction"), *argument_parts(step.arguments), ("}", "instruction"))


def _answer(thought: str, answer: str) -> Turn:
    return reply(('{"thought": "', "instruction"), (to_json(thought)[1:-1], "reasoning"),
                 ('", "answer": "', "instruction"), (to_json(answer)[1:-1], "reasoning"), ('"}', "instruction"))


def _observation(text: str, where: str) -> str:
    fields = read_object(text, where)
    if set(fields) != {"observation"} or not isinstance(fields["observation"], str):
        raise misfit(where, clip(text), "an object with the key observation", "JSON form")
    return fields["observation"]
