"""Instruction-following pairs: write a given call in a ReAct or JSON template with varying key names (4.1).

Chat form teaches no format, so the paper adds a small set of these. The user says which call to make, so only the
template is left to learn.
"""

from collections.abc import Sequence

import numpy as np

from flanlib.dialects import json, react
from flanlib.dialects.common import offer
from flanlib.records import Conversation, FlanError, Step, Trajectory, say, to_json

THOUGHT = ("Thought", "thought", "Reason", "reasoning", "Plan", "Why", "goal", "think", "idea", "rationale")
NAME = ("Action", "name", "Tool", "tool", "API", "Function", "function_name", "Command", "call", "use")
ARGUMENTS = ("Action Input", "arguments", "Args", "Parameters", "params", "Input", "inputs", "with", "values", "data")
ASK = (
    "Use `{name}` {values}.", "Please call `{name}` {values}.", "I want you to run `{name}` {values}.",
    "Call the tool `{name}`, {values}.", "Make one call of `{name}`, {values}.", "Start `{name}` {values}.",
)
FORMAT = (
    "Reply in exactly this format:", "Your reply must look like this:",
    "Use this template for your reply and add nothing:", "Answer only in the following form:",
    "Keep to this layout:", "Write your reply like this:",
)


def pairs(trajectories: Sequence[Trajectory], n: int, *, seed: int) -> list[Conversation]:
    """Draw ``n`` single-turn pairs from the steps of trajectories, half JSON, half ReAct-like templates on average.

    Raises FlanError if the trajectories have no step.
    """
    rng = np.random.default_rng(seed)
    steps = [(trajectory, step) for trajectory in trajectories for step in trajectory.steps]
    if n and not steps:
        raise FlanError("instruction-following pairs", found=f"no step in {len(trajectories)} trajectories",
                        expected="at least one tool call", remedy="Pass trajectories that call tools.")
    return [_pair(*steps[rng.integers(len(steps))], f"following-{seed}-{i:06d}", rng) for i in range(n)]


def _pair(trajectory: Trajectory, step: Step, id: str, rng: np.random.Generator) -> Conversation:
    def pick(options: Sequence[str]) -> str:
        return options[rng.integers(len(options))]

    keys = thought, name, arguments = pick(THOUGHT), pick(NAME), pick(ARGUMENTS)
    if rng.random() < 0.5:
        reply = json.write_call(step, keys)
        template = f'{{"{thought}": "the thought", "{name}": "the tool", "{arguments}": {{"parameter": "value"}}}}'
    else:
        reply = react.write_call(step, keys)
        template = f"{thought}: the thought\n{name}: the tool\n{arguments}: the arguments as a JSON object"
    assignments = ", ".join(f"{key} = {to_json(value)}" for key, value in step.arguments.items())
    values = f"with {assignments}" if assignments else "as it is"
    lead = f"Say first: {step.thought}\n" if step.thought else ""
    return Conversation(id, trajectory.source, (
        offer(trajectory.tools, f"{pick(FORMAT)}\n{template}"),
        say("user", lead + pick(ASK).format(name=step.tool, values=values)),
        reply,
    ), trajectory.tools)  # fmt: skip
