"""Benchmarks, scored from a model's replies: single steps, whole episodes, and ordinary questions.

No benchmark knows how replies are generated. Each takes a ``generate`` callable: a model's
:class:`flanlib.inference.generate.Writer`, or in tests an oracle that repeats the reference. Read ``steps`` first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from flanlib.records import Tool, Turn


@dataclass(frozen=True)
class Prompt:
    """A conversation that ends with a user turn, and the beginning of the assistant's reply.

    ``begun`` is the part of the reply that is already written. It ends with a whole word, never with a space: a space
    belongs to the next word's token, and the model should meet the same tokens here as in training. ``stop`` lists
    texts at which a reply may be cut. ``tools`` are left to the model's own chat template to show; most prompts list
    theirs in the system turn instead.
    """

    id: str
    turns: tuple[Turn, ...]
    begun: str = ""
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = field(default=(), repr=False)  # the repr of prompts without tools is in cache keys


Generate: TypeAlias = Callable[[Sequence[Prompt]], list[str]]
"""From prompts to the text that the model adds after ``begun``, without its end-of-turn token or the stop text.

The reply is empty where a prompt is too long for the model or does not fit its chat template.
"""


def ask(generate: Generate, prompts: Sequence[Prompt]) -> list[str]:
    """Generate replies as valid Unicode: a lone surrogate becomes a question mark."""
    return [reply.encode(errors="replace").decode() for reply in generate(prompts)]
