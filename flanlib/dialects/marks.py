"""The marks that models write around tool calls and around thinking, as data.

Read from the chat templates and from the parsers of vLLM, SGLang and llama.cpp, as of 2026. A mark either names the
tool itself, and arguments follow, or calls follow it, as JSON or like Python's.
"""

import re
from typing import NamedTuple


class Mark(NamedTuple):
    """How calls begin and end: regular expressions. If ``begin`` has a group ``name``, only arguments follow.

    ``end`` matches nothing for a mark without an end: then the call ends where its arguments do.
    """

    begin: str
    end: str


def _pair(*tags: str) -> list[Mark]:
    """Return the marks of tags that are closed by a slash: ``<tag>`` and ``</tag>``, ``<|tag|>`` and ``<|/tag|>``."""
    return [Mark(rf"<\|?{tag}\|?>", rf"<\|?/{tag}\|?>") for tag in tags]


_NAME = r"(?P<name>[\w./:-]+?)"
_NAMESPACE = r"(?:[\w-]+:|[｜|]DSML[｜|])?"  # antml:, steptml:, atem:, and DeepSeek V3.2's
_SEP = r"<[｜|]tool[▁_]sep[｜|]>"
MARKS = (
    # The tool is named by the mark.
    Mark(rf"<{_NAMESPACE}invoke\s+name=[\"'](?P<name>[^\"'<>\n]+)[\"']\s*>", rf"</{_NAMESPACE}invoke>"),  # Anthropic
    Mark(r"<invoke>\s*<tool_name>\s*(?P<name>[^<>\n]+?)\s*</tool_name>", r"</invoke>"),  # Anthropic, before 2024
    # Qwen3-Coder, Seed-OSS, Nemotron 3, Functionary 3.1; a namespace for others' copies of it.
    Mark(r"<(?:function|tool)(?:=|\s+name=[\"'])(?P<name>[^\"'<>\n]+)[\"']?>", r"</(?:function|tool)>"),
    Mark(rf"<tool_call>{_NAME}\s*(?:<tool_sep>\s*)?(?=<arg_key>|</tool_call>)", r"</tool_call>"),  # GLM-4.5, Hunyuan
    Mark(rf"<\|tool_call_begin\|>\s*(?:functions\.)?{_NAME}(?::\d+)?\s*<\|tool_call_argument_begin\|>",
         r"<\|tool_call_end\|>"),  # Kimi K2
    Mark(rf"<[｜|]tool[▁_]call[▁_]begin[｜|]>(?:function{_SEP})?\s*(?!function{_SEP}){_NAME}\s*(?:{_SEP}|\n|(?=[{{`]))",
         r"<[｜|]tool[▁_]call[▁_]end[｜|]>"),  # DeepSeek V3, R1 and V3.1
    Mark(rf"\[TOOL_CALLS\]\s*{_NAME}\s*(?:\[CALL_ID\]\w*\s*)?(?:\[ARGS\]|(?=\{{))", r"(?!)"),  # Mistral v11 and later
    # gpt-oss, with its special tokens and without.
    Mark(r"\bto=(?:functions\.)?(?P<name>[\w.-]+) ?(?:<\|channel\|>\w+ ?)?(?:<\|constrain\|>)?\w* ?<\|message\|>",
         r"<\|(?:call|end)\|>"),
    Mark(r"(?:assistant)?commentary to=(?:functions\.)?(?P<name>[\w.-]+)\s*(?:json|code)?\s*(?=\{)", r"(?!)"),
    Mark(r"\bAI to=\s*(?P<name>[\w.-]+):", r"(?!)"),
    Mark(r"^>>>(?P<name>(?!all\b)[\w.-]+)\n(?=\s*\{)", r"(?!)"),  # Functionary 3.2
    Mark(r"<\|recipient\|>\s*(?P<name>(?!all\b)[\w.-]+)\s*<\|content\|>", r"(?!)"),  # Functionary 2
    Mark(r"(?:<\|tool_call>|<start_function_call>)\s*call:\s*(?P<name>[\w.-]+)(?=\{)",
         r"<tool_call\|>|<end_function_call>"),  # Gemma 4, FunctionGemma
    # Calls follow the mark.
    *_pair("tool_call", "tool_calls", "tool_use", "function_?call", "function_calls", "toolcall", "tools_call",
           "longcat_tool_call", "seed:tool_call", "minimax:tool_call"),
    Mark(rf"<{_NAMESPACE}(?:function_calls|tool_calls)>", rf"</{_NAMESPACE}(?:function_calls|tool_calls)>"),
    Mark(r"<\|tool_call>|<start_function_call>", r"<tool_call\|>|<end_function_call>"),
    Mark(r"\[TOOL_CALLS\]", r"\[/TOOL_CALLS\]"),  # Mistral, before v11
    Mark(r"<\|python_tag\|>", r"(?!)"),  # Llama 3
    Mark(r"<\|python_start\|>", r"<\|python_end\|>"),  # Llama 4
    Mark(r"(?:<\|action_start\|>\s*)?<\|?plugin\|?>", r"<\|action_end\|>"),  # InternLM 2
    Mark(r"<\|START_ACTION\|>", r"<\|END_ACTION\|>"),  # Cohere Command R7B and later
    Mark(r"^Action:\s*```(?:json)?\s*(?=\[\s*\{)", r"```"),  # Cohere Command R
    Mark(r"<\|tool_call_start\|>", r"<\|tool_call_end\|>"),  # LFM2
    Mark(r"```tool_(?:code|call)\b", r"```"),  # Gemma 3
    Mark(r"\bfunctools(?=\[)", r"(?!)"),  # Phi-4, Firefunction
    Mark(r"<\|tool_calls_section_begin\|>", r"<\|tool_calls_section_end\|>"),  # Kimi K2, around its calls
    Mark(rf"<[｜|]tool[▁_]call[▁_]begin[｜|]>(?:function{_SEP})?", r"<[｜|]tool[▁_]call[▁_]end[｜|]>"),  # Step 3
    Mark(r"<[｜|]tool[▁_]calls[▁_]begin[｜|]>", r"<[｜|]tool[▁_]calls[▁_]end[｜|]>"),  # DeepSeek, around its calls
)  # fmt: skip

HINTS = ("<", "[tool_calls]", "```tool_", ">>>", "functools[", "to=", "action:")
"""In small letters, a part of every mark's beginning: a text with none of them has no mark, as most texts."""

THOUGHTS = {
    "<think>": "</think>", "<thinking>": "</thinking>", "<reasoning>": "</reasoning>", "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]", "<|START_THINKING|>": "<|END_THINKING|>", "<|channel>thought": "<channel|>",
    "<|channel|>analysis<|message|>": "<|end|>",
}  # fmt: skip
"""By the mark that begins thinking, the one that ends it."""
ALONE = {end for begin, end in THOUGHTS.items() if "channel" not in begin}
"""Ends of thinking that may lack its beginning, since the prompt has it."""

SERVICE = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|eot|eom|endoftext|end_of_text|return|end|END_OF_TURN_TOKEN|CHATBOT_TOKEN"
    r"|(?:START|END)_(?:RESPONSE|TEXT))\|>|(?:<\|im_start\|>|<\|start\|>)assistant\b|<end_of_turn>|<turn\|>"
    r"|<\|channel\|>(?:final|commentary)(?:<\|message\|>)?|<[｜|]end[▁_]of[▁_]sentence[｜|]>|^>>>all\n|</s>\s*\Z",
    re.M)
"""Special tokens of chat templates that are no part of what a model says."""
