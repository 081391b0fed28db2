"""Let Lagent 0.2.4, the paper's agent framework, drive a model of the kit (``pip install "flanlib[lagent]"``).

:func:`agent` joins a model, tools and Lagent's ReAct loop. The model reads what it was trained on: the kit's ReAct
instructions in place of Lagent's own, and tools as lines of text instead of Python dictionaries. Lagent's wrapper of
Hugging Face models can't be used, since it calls parts of transformers that are gone; :func:`llm` stands in for it.

Lagent sorts replies more coarsely than Agent-H does (:func:`kind`):

==================================  ================================================================================
``ActionReturn.type``               kind of Agent-H
==================================  ================================================================================
an offered tool                     ``offered tool``; ``malformed call`` if its arguments can't be read
``InvalidAction``                   ``invented tool``
``NoAction``                        ``plain reply``, although it may be a broken call or one in another form
``FinishAction``                    ``wrong format`` (an agent's format without a call), right where an episode ends
==================================  ================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from flanlib.benchmarks import Generate, Prompt, ask
from flanlib.benchmarks.agent_h.replies import FORMAT, INVENTED, MALFORMED, OFFERED, PLAIN
from flanlib.dialects import react
from flanlib.dialects.common import offer
from flanlib.records import FlanError, Tool, Turn, say
from flanlib.text.templates import AnyTemplate, Template

if TYPE_CHECKING:
    from lagent.actions import BaseAction
    from lagent.agents import ReAct
    from lagent.agents.react import ReActProtocol
    from lagent.llms import BaseModel
    from lagent.schema import ActionReturn

KINDS: Mapping[str, str] = {"InvalidAction": INVENTED, "NoAction": PLAIN, "FinishAction": FORMAT}
"""Kinds of Agent-H by the names of Lagent's built-in actions."""
_TYPES = {"string": "STRING", "integer": "NUMBER", "number": "FLOAT", "boolean": "BOOLEAN", "array": "Array"}


def agent(generate: Generate, tools: Sequence[Tool], run: Callable[[str, Mapping[str, Any]], str], *,
          template: AnyTemplate | None = None, most_turns: int = 8) -> ReAct:  # fmt: skip
    """Make a Lagent agent: ``agent(...).chat(request)`` returns its answer as ``response``, its moves as ``actions``.

    ``generate`` is the model's :class:`flanlib.inference.generate.Writer`; ``run(name, arguments)`` runs a tool and
    returns its observation. Raises FlanError without Lagent, or for tools that it can't offer.
    """
    lagent = _lagent()
    executor = lagent.actions.ActionExecutor([action(tool, run) for tool in tools])
    return lagent.agents.ReAct(llm(generate, template), executor, protocol(tools), max_turn=most_turns)


def llm(generate: Generate, template: AnyTemplate | None = None) -> BaseModel:
    """Make a model that Lagent can talk to. Lagent's ``template_parser`` in it writes a given template."""
    return _classes().model(generate, template)


def action(tool: Tool, run: Callable[[str, Mapping[str, Any]], str]) -> BaseAction:
    """Make a Lagent action of a tool. Raises FlanError for a name with a dot, which Lagent would divide."""
    if "." in tool.name:
        raise FlanError("Lagent", found=f"the tool {tool.name}", expected="a name without a dot", remedy="Rename it.")
    return _classes().action(tool, run)


def protocol(tools: Sequence[Tool]) -> ReActProtocol:
    """Make Lagent's ReAct loop write the system turn and the observations that the kit's ReAct form has."""
    system = offer(tools, react.HOW).text.replace("{", "{{").replace("}", "}}")  # Lagent calls .format on it
    return _lagent().agents.react.ReActProtocol(
        call_protocol=system, response={"role": "RESPONSE", "begin": "Observation: ", "end": ""},
        force_stop="Give the final answer now.")  # fmt: skip


def meta_template(template: AnyTemplate) -> list[dict[str, Any]]:
    """Write a chat template as Lagent's ``meta_template``. Its text then lacks only the template's ``begin`` (BOS).

    Raises FlanError for a template that Lagent can't express: a tokenizer's own, or one that folds the system turn.

    >>> from flanlib.text.templates import AGENT_FLAN
    >>> [role["role"] for role in meta_template(AGENT_FLAN)]
    ['system', 'user', 'assistant']
    """
    if not isinstance(template, Template) or template.fold_system or template.lead:
        raise FlanError("Lagent", found=f"the chat template {template.name}",
                        expected="a text before and a text after each role's turn",
                        remedy="Use agent_flan, or leave the template to the model's own tokenizer.")  # fmt: skip
    return [{"role": "system", "begin": template.system[0], "end": template.system[1]},
            {"role": "user", "begin": template.user[0], "end": template.user[1]},
            {"role": "assistant", "begin": template.open, "end": template.end + template.close, "generate": True}]


def turns(messages: Sequence[Mapping[str, str]]) -> tuple[Turn, ...]:
    """Read Lagent's messages as turns. After the first, its system messages are observations: user turns.

    >>> [turn.role for turn in turns([{"role": "system", "content": "S"}, {"role": "user", "content": "U"},
    ...                               {"role": "assistant", "content": "A"}, {"role": "system", "content": "O"}])]
    ['system', 'user', 'assistant', 'user']
    """
    return tuple(say("user" if i and message["role"] == "system" else message["role"], message["content"])
                 for i, message in enumerate(messages) if message["content"])  # fmt: skip


def kind(returned: ActionReturn) -> str:
    """Return the kind of Agent-H (:data:`flanlib.benchmarks.agent_h.replies.KINDS`) of one of an agent's actions."""
    unread = returned.state == _lagent().schema.ActionStatusCode.ARGS_ERROR
    return MALFORMED if unread else KINDS.get(returned.type, OFFERED)


class _Classes(NamedTuple):
    model: type
    action: type


def _lagent() -> Any:
    try:
        import lagent.agents.react
        import lagent.schema
    except ImportError as error:
        raise FlanError("Lagent", found=f"no usable lagent ({error})", expected="lagent 0.2.4",
                        remedy='Run pip install "flanlib[lagent]".') from error  # fmt: skip
    if not lagent.__version__.startswith("0.2."):
        raise FlanError("Lagent", found=f"lagent {lagent.__version__}", expected="lagent 0.2.4, whose ReAct is text",
                        remedy="Run pip install lagent==0.2.4.")  # fmt: skip
    return lagent


@cache
def _classes() -> _Classes:
    """Make the subclasses of Lagent's classes, once: Lagent registers every class of actions under its name."""
    lagent = _lagent()

    class KitModel(lagent.llms.BaseModel):
        """A model of the kit."""

        def __init__(self, generate: Generate, template: AnyTemplate | None) -> None:
            super().__init__("flanlib", meta_template=meta_template(template) if template else None)
            self._generate = generate

        def chat(self, inputs: Any, **_: Any) -> Any:
            """Answer a list of messages, or lists of them. How replies are decoded is the writer's own setting."""
            batch = inputs if isinstance(inputs[0], list) else [inputs]
            replies = ask(self._generate, [Prompt(f"lagent/{i}", turns(one)) for i, one in enumerate(batch)])
            return replies if isinstance(inputs[0], list) else replies[0]

    class KitTool(lagent.actions.BaseAction):
        """A tool of the kit."""

        def __init__(self, tool: Tool, run: Callable[[str, Mapping[str, Any]], str]) -> None:
            parameters = [{"name": name, "type": _TYPES.get(str(dict(schema).get("type")), "STRING"),
                           "description": str(dict(schema).get("description", ""))}
                          for name, schema in tool.properties.items()]  # fmt: skip
            super().__init__({"name": tool.name, "description": tool.description, "parameters": parameters,
                              "required": list(tool.required)})  # fmt: skip
            self._run = run

        def run(self, **arguments: Any) -> ActionReturn:
            """Run the tool. The observation is passed on whole; Lagent's own way loses letters outside GBK."""
            result = [{"type": "text", "content": self._run(self.name, arguments)}]
            return lagent.schema.ActionReturn(args=arguments, type=self.name, result=result)

    return _Classes(KitModel, KitTool)
