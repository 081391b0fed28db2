"""What a model can do, judged by its replies: single steps, whole episodes, and ordinary questions.

No benchmark knows how replies come about: each is given a ``generate`` callable, such as a model's
:class:`flanlib.inference.generate.Writer`, or in tests an oracle that repeats the reference. Read ``steps`` first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flanlib.records import Turn


@dataclass(frozen=True)
class Prompt:
    """A conversation that ends with the user's turn, and what the assistant's reply already says.

    ``begun`` ends where a word ends, never with a space: a space belongs to the token of the word after it, and
    a model is to meet the same tokens here as in training. ``stop`` lists texts at which a reply may be cut.
    """

    id: str
    turns: tuple[Turn, ...]
    begun: str = ""
    stop: tuple[str, ...] = ()


Generate: TypeAlias = Callable[[Sequence[Prompt]], list[str]]
"""From prompts to what the model adds after ``begun``, without its end-of-turn mark or the stop text.

A prompt that the model cannot be given is answered with an empty text.
"""


def ask(generate: Generate, prompts: Sequence[Prompt]) -> list[str]:
    """Generate replies, each as text that can be written down: a lone surrogate becomes a question mark."""
    return [reply.encode(errors="replace").decode() for reply in generate(prompts)]
