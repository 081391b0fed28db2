"""Whole conversations in one text, with the marks of a chat template or with names before the turns."""

import re
from typing import Any

# Each layout: the mark before a turn, which names its role, and the mark after it.
_LAYOUTS = (
    (re.compile(r"<\|im_start\|>[ \t]*(\w+)[^\S\n]*\n"), re.compile(r"<\|im_end\|>\s*")),
    (re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\s*"),
     re.compile(r"<\|(?:eot_id|eom_id|end_of_text)\|>\s*")),
    (re.compile(r"<start_of_turn>(\w+)\n"), re.compile(r"<end_of_turn>\s*")),
    (re.compile(r"<\|(system|user|assistant)\|>\s*"), re.compile(r"(?:</s>|<\|end\|>|<\|endoftext\|>)\s*")),
    (re.compile(r"(?:\A|\s)### (Human|Assistant|System):"), None),
    (re.compile(r"(?:\A|\n)### (Instruction|Input|Response):[^\S\n]*\n?"), None),
    (re.compile(r"(?:\A|\n\n)(Human|Assistant|System):[^\S\n]*"), None),
)
_HINTS = ("<|", "<start_of_turn>", "### ", "Human:", "[INST]")
_ROLES = {"human": "user", "instruction": "user", "input": "user", "response": "assistant"}
_LLAMA2 = re.compile(r"\[INST\](.*?)\[/INST\]([^\[]*)", re.S)
_SYSTEM = re.compile(r"<<SYS>>(.*?)<</SYS>>", re.S)


def turns(text: str, *, open_end: bool = False) -> list[dict[str, Any]] | None:
    """Split a text at the marks of the first layout that it begins with. None for a text without marks.

    ``open_end`` says that the reply stands elsewhere, so that an empty assistant's turn at the end is left out.

    >>> turns("### Human: Hi### Heading ### Assistant: Yes?")
    [{'role': 'user', 'content': 'Hi### Heading'}, {'role': 'assistant', 'content': 'Yes?'}]
    """
    if not any(hint in text for hint in _HINTS):
        return None
    if "[INST]" in text:
        return _llama2(text, open_end)
    for begin, end in _LAYOUTS:
        if begin.search(text) is None:
            continue
        before, *pieces = begin.split(text)
        found = [(name.lower(), re.split(end, piece)[0] if end else piece)
                 for name, piece in zip(pieces[::2], pieces[1::2], strict=True)]  # fmt: skip
        found = [(_ROLES.get(name, name), piece.strip()) for name, piece in found]
        if open_end and found[-1] == ("assistant", ""):
            found.pop()
        roles = {role for role, _ in found}
        if "user" not in roles or not (open_end or "assistant" in roles):
            continue
        preface = re.sub(r"<\|begin_of_text\|>|<bos>|<s>", "", before).strip()
        system = [("system", preface)] if preface else []
        return [{"role": role, "content": piece} for role, piece in system + found]
    return None


def _llama2(text: str, open_end: bool) -> list[dict[str, Any]] | None:
    """Split Llama-2's and Mistral's ``[INST]`` text, with the system text inside the first turn."""
    found: list[dict[str, Any]] = []
    for request, reply in _LLAMA2.findall(text):
        if not found and (system := _SYSTEM.search(request)):
            found.append({"role": "system", "content": system[1].strip()})
            request = _SYSTEM.sub("", request)
        found.append({"role": "user", "content": request.strip()})
        if reply := reply.replace("</s>", "").replace("<s>", "").strip():
            found.append({"role": "assistant", "content": reply})
    whole = found and (open_end or found[-1]["role"] == "assistant")
    return found if whole else None
