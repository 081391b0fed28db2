"""Small data sets of unusual kinds, as chat messages of OpenAI's: one call a row, no thoughts, three rows, ...

``python tests/odd_rows.py FOLDER`` writes one file of each kind there, for runs of the notebooks by hand.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from flanlib.lab.tasks import trajectories
from flanlib.records import Step, Tool, Trajectory, thaw
from flanlib.sources import load

CLOCK = Tool("get_time", "The time in a town.", {"type": "object", "properties": {"town": {"type": "string"}},
                                                 "required": ["town"]})  # fmt: skip


def made(kind, n=24):
    """Make trajectories of one of KINDS, the same ones every time."""
    of_lab = trajectories(n, rng=np.random.default_rng(5))
    asked = [f"What time is it in town {i}?" for i in range(n)]
    ask = [Step(f"I look up the time in town {i}.", CLOCK.name, {"town": f"town {i}"}, f"{i % 24}:00")
           for i in range(n)]  # fmt: skip
    if kind == "single-call":  # and no more: neither a result nor an answer
        return [replace(one, steps=(replace(one.steps[0], observation=None),), answer=None, answer_thought="")
                for one in of_lab if one.steps]  # fmt: skip
    if kind == "no-thought":
        return [replace(one, steps=tuple(replace(step, thought="") for step in one.steps), answer_thought="")
                for one in of_lab if one.steps]  # fmt: skip
    if kind == "three":
        return [one for one in of_lab if one.steps][:3]
    if kind == "one-tool":
        return [Trajectory(f"t{i}", "made", asked[i], (CLOCK,), (ask[i],), f"It is {i % 24}:00.") for i in range(n)]
    return [Trajectory(f"t{i}", "made", asked[i], (CLOCK,), tuple(ask[j % n] for j in range(i, i + 40)), "It is late.")
            for i in range(n)]  # fmt: skip


KINDS = ("single-call", "no-thought", "three", "one-tool", "forty-calls")


def row(one):
    """Write a trajectory as a row with messages and tools."""
    messages = [{"role": "user", "content": one.query}]
    for i, step in enumerate(one.steps):
        called = {"name": step.tool, "arguments": json.dumps(thaw(step.arguments))}
        messages.append({"role": "assistant", "content": step.thought or None,
                         "tool_calls": [{"id": f"c{i}", "type": "function", "function": called}]})  # fmt: skip
        if step.observation is not None:
            messages.append({"role": "tool", "tool_call_id": f"c{i}", "content": step.observation})
    if one.answer is not None:
        messages.append({"role": "assistant", "content": one.answer})
    tools = [{"type": "function", "function": {"name": tool.name, "description": tool.description,
                                               "parameters": thaw(tool.parameters)}} for tool in one.tools]  # fmt: skip
    return {"messages": messages, "tools": tools}


def write(folder, kind):
    """Write one data set and return its path."""
    path = Path(folder) / f"{kind}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row(one)) + "\n" for one in made(kind)), encoding="utf-8")
    return path


if __name__ == "__main__":
    for kind in KINDS:
        print(load(str(write(sys.argv[1], kind)))[2])
