"""Agents' calls that stand in the texts of a chat: found, and put where a message has its calls.

Known are ReAct's labels, searches in tags, one block of shell code per turn, and the marks in which today's models
write calls. A text of such a format that cannot be read keeps its row out of plain chat.
"""

import re
from collections.abc import Callable, Sequence

from flanlib.dialects import written
from flanlib.records import Tool
from flanlib.sources import json_text, prescribed, react_text, tagged_text
from flanlib.sources.common import Drop, Note, drop_if
from flanlib.sources.messages import Message
from flanlib.sources.pieces import AGENT, Piece

Reader = Callable[[str, Sequence[Tool]], list[Piece]]

# What a result begins with when it stands in a turn of the user, or in a tool's.
_LABEL = re.compile(r"\s*(?:(?:[*_]{1,2}|#{1,4} )?Observation(?: ?\d{1,3})?[*_]{0,2} ?:[*_]{0,2}"
                    r"|EXECUTION RESULT of \[[^\]\n]*\]:)\s?", re.I)  # fmt: skip
_PRINTED = re.compile(r"\s*(?:<returncode>|<output>|OBSERVATION:)")
_PROMPT = re.compile(r"(?:\bbash-\$|root@[\w.-]+:\S*[#$])\s*\Z")
_ABOUT = re.compile(r"(?i:\b(?:explain|example|what|how|teach|describe|show|format)\b)[^\n]{0,120}"
                    r"\b(?:ReAct|(?i:agent traces?|(?:tool|function)[- ]call(?:s|ing)?))\b")  # fmt: skip
_GRADE = re.compile(r"Episode finished, reward = (\w+)")  # FireAct's


def structured(messages: list[Message], note: Note, tools: Sequence[Tool] = ()) -> list[Message] | None:
    """Return the same dialogue with its calls, thoughts and results in their places, or None if no agent wrote it.

    Results become messages of the role tool, and a call that only ends the episode becomes the answer. Raises Drop for
    an agent's format that cannot be read.
    """
    said = [message.text for message in messages if message.role == "assistant"]
    if any(message.calls for message in messages):
        return None
    text = "\n".join(said)
    for read, shows, needs in _FORMATS:  # most plain chat has nothing that a format needs, which is quickly told
        if any(part in text for part in needs) and shows(messages, said, tools):
            return _Rewriter(messages, note, read is react_text.read).run([
                read(message.text, tools) if message.role == "assistant" else [] for message in messages])
    return None


def _shows_react(messages: list[Message], said: list[str], tools: Sequence[Tool]) -> bool:
    """Tell whether ReAct's labels are those of an agent. Raises Drop if they are and name no calls."""
    acting = [text for text in said if react_text.acts(text)]
    if not acting and not any(map(react_text.begins, said)):
        return False
    answered = any(m.role == "tool" or (m.role == "user" and _LABEL.match(m.text)) for m in messages)
    asked = any(prescribed.prescribes(m.text) for m in messages if m.role == "system")
    if acting and (answered or asked):
        return True
    if any(_labelled(text, tools) for text in said):
        return not _is_about(messages)
    begun = [text for text in acting if react_text.begins(text)]
    drop_if(len(begun) > 1 and any("thought" in text.lower() for text in begun), AGENT)
    drop_if(begun and any(prescribed.prescribes(m.text) for m in messages[:2] if m.role != "assistant"), AGENT)
    return False


def _shows_json(messages: list[Message], said: list[str], tools: Sequence[Tool]) -> bool:
    """Tell whether every turn is a JSON object of an agent, and one of them a call."""
    kinds = [[piece.kind for piece in json_text.read(text, tools)] for text in said]
    return all(kinds) and ["call"] in kinds


def _shows_search(messages: list[Message], said: list[str], tools: Sequence[Tool]) -> bool:
    return any(map(_searches, said))


def _shows_marked(messages: list[Message], said: list[str], tools: Sequence[Tool]) -> bool:
    """Tell whether calls in marks are those of an agent: tools are offered, or results follow, or the call ends all."""
    sure = bool(tools) or any(m.role == "tool" or "<tool_response>" in m.text or _LABEL.match(m.text)
                              or (m.role == "system" and prescribed.prescribes(m.text)) for m in messages)  # fmt: skip
    if not sure:
        return any(_ends_with_call(text) for text in said) and not _is_about(messages)
    return any(_calls(text, tools) for text in said)


def _shows_shell(messages: list[Message], said: list[str], tools: Sequence[Tool]) -> bool:
    """Tell whether blocks of shell code are run: output follows, or the prompt asks for one block, after a thought."""
    blocks = [i for i, m in enumerate(messages) if m.role == "assistant" and tagged_text.shell(m.text)]
    if any(_is_shells(m.text) for i in blocks for m in messages[i + 1 : i + 2] if m.role in ("user", "tool")):
        return True
    asked = any(prescribed.prescribes_shell(m.text) for m in messages if m.role in ("system", "user"))
    return asked and any(react_text.begins(messages[i].text) for i in blocks)


# How a format is read, how it is recognised, and parts of which any of its texts has one.
_FORMATS: tuple[tuple[Reader, Callable, tuple[str, ...]], ...] = (
    (json_text.read, _shows_json, ("{",)), (tagged_text.search, _shows_search, ("<",)),
    (react_text.read, _shows_react, ("ction", "CTION", "Act", "ACT", "act", "Final", "FINAL", "final")),
    (tagged_text.marked, _shows_marked, ("<", "[", "{", "(", "to=", ">>>")),
    (tagged_text.shell, _shows_shell, ("```",)))  # fmt: skip


def _labelled(text: str, tools: Sequence[Tool]) -> bool:
    """Tell whether a text is labelled as ReAct's from its start on, or ends with an action that is a call."""
    begins = react_text.begins(text)
    if not begins and (not react_text.acts(text) or _in_code(text[: react_text.LABEL.search(text).start()])):
        return False
    try:
        pieces = react_text.read(text, tools)
    except Drop:
        return False
    last = pieces[-1].call if pieces else None
    return any(piece.kind != "result" for piece in pieces) if begins else bool(last and last.arguments)


def _searches(text: str) -> bool:
    """Tell whether a text searches, outside of code, and stops for the result or has it."""
    pieces = tagged_text.search(text)
    if not any(piece.kind == "call" for piece in pieces):
        return False
    stops = len({piece.kind for piece in pieces}) > 1 or text.rstrip().endswith(">")
    return stops and not _in_code(text[: text.find("<search>")] if "<search>" in text else "")


def _ends_with_call(text: str) -> bool:
    """Tell whether a text has a call in marks, outside of code, and nothing after it."""
    found = written.marked(written.thinking(text)[1])
    return found is not None and not found.after and not _in_code(found.before) and all(
        call.name and call.arguments is not None for call in found.calls)  # fmt: skip


def _calls(text: str, tools: Sequence[Tool]) -> bool:
    try:
        return bool(tagged_text.marked(text, tools))
    except Drop:
        return True


def _in_code(before: str) -> bool:
    """Tell whether what follows a text stands in a block or a piece of code."""
    return before.count("```") % 2 == 1 or before.endswith("`")


def _is_about(messages: list[Message]) -> bool:
    """Tell whether the request of a dialogue without results asks for an explanation or an example of the format."""
    asked = [message.text for message in messages if message.role == "user"]
    return len(asked) == 1 and _ABOUT.search(asked[0]) is not None and not prescribed.prescribes(asked[0])


class _Rewriter:
    """Writes messages anew from the pieces of the agent's turns."""

    def __init__(self, messages: list[Message], note: Note, react: bool) -> None:
        self.messages, self.note, self.react = messages, note, react
        self.written: list[Message] = []
        self.waiting = self.answered = False
        self.marks_results = any(self._is_result(i) for i in range(len(messages)))

    def run(self, pieces: list[list[Piece]]) -> list[Message]:
        """Return the dialogue, given the pieces of each message."""
        for i, message in enumerate(self._opened(pieces)):
            if message.role == "assistant":
                self._agent(message, pieces[i], made_up=self._is_result(i + 1))
            elif message.role in ("user", "tool"):
                self._other(message)
            else:
                self.written.append(message)
        drop_if(not any(m.role == "assistant" for m in self.written), AGENT)
        return self.written

    def _opened(self, pieces: list[list[Piece]]) -> list[Message]:
        """Cut what prescribes the format out of the system text and the first request.

        A first exchange that only agrees on the format becomes system text.
        """
        opened, first = [], True
        for i, message in enumerate(self.messages):
            if message.role == "system":
                text = prescribed.without_format(message.text)
                if text != message.text.strip():
                    self.note("instructions about the reply format cut")
                message = message._replace(text=text)
            elif message.role == "user" and first:
                first = False
                message = self._first_request(i, message, pieces)
            opened.append(message)
        return opened

    def _first_request(self, i: int, message: Message, pieces: list[list[Piece]]) -> Message:
        system, text = prescribed.request(message.text)
        reply = self.messages[i + 1] if i + 2 < len(self.messages) else None
        if reply and reply.role == "assistant" and not pieces[i + 1] and len(reply.text) < 120 and (
                prescribed.prescribes(message.text) and self.messages[i + 2].role == "user"):  # fmt: skip
            self.note("scripted turns left out")
            pieces[i + 1] = [Piece("scripted")]
            return Message("system", prescribed.without_format(message.text))
        if text != message.text:
            self.note("instructions about the reply format cut")
        if system:
            self.written.append(Message("system", system))
        return message._replace(text=text)

    def _agent(self, message: Message, pieces: list[Piece], made_up: bool) -> None:
        if [piece.kind for piece in pieces] == ["scripted"]:
            return
        if made_up and pieces and pieces[-1].kind == "result":
            self.note("a made-up result left out")
            pieces = pieces[:-1]
        if not pieces and self.waiting and (results := _results(message.text)):
            self.note("result in an assistant turn")
            pieces = [Piece("result", text) for text in results]
        for piece in pieces or [Piece("text", message.text)]:
            thought, message = "\n".join(filter(None, (message.thought, piece.thought))), message._replace(thought="")
            if piece.kind == "result":
                self._result(piece.text)
            elif piece.kind == "call":
                self.written.append(Message("assistant", "", thought, (piece.call,), None, message.loss))
                self.waiting, self.answered = True, False
            elif piece.text.strip() or piece.kind == "text":
                self.written.append(Message("assistant", piece.text, thought, (), None, message.loss))
                self.waiting, self.answered = False, piece.kind == "answer"
            else:
                self.note("a closing call without an answer left out")
                self.waiting, self.answered = False, True

    def _result(self, text: str, id: object = None) -> None:
        grade = _GRADE.match(text)
        drop_if(grade and grade[1] in ("False", "0"), "failed episode")
        if self.answered or grade:
            self.note("a result after the answer left out")
        else:
            self.written.append(Message("tool", text, id=id))
            self.waiting = False

    def _other(self, message: Message) -> None:
        """Write a user's turn, which can be a result, or a tool's."""
        parts = _results(message.text)
        if message.role == "tool" or (parts and (self.waiting or self.answered)):
            for part in parts or [message.text]:
                self._result(part, message.id)
        elif self.waiting and not self.marks_results:
            self.note("a turn after a call read as its result")
            self._result(message.text.strip())
        else:
            asked = re.sub(r"\A\s*Question ?\d*:\s*", "", message.text) if self.react else message.text
            self.written.append(message._replace(text=asked))
            self.waiting = self.answered = False

    def _is_result(self, i: int) -> bool:
        following = self.messages[i] if i < len(self.messages) else None
        return following is not None and (following.role == "tool" or (
            following.role == "user" and bool(_results(following.text))))


def _is_shells(text: str) -> bool:
    """Tell whether a text is what a shell printed: by its tags, or by the prompt at its end."""
    return bool(_PRINTED.match(text) or _PROMPT.search(text[-200:]))


def _results(text: str) -> list[str]:
    """Return the results in a text without their labels or tags; none if it begins as no result does."""
    if label := _LABEL.match(text):
        return [text[label.end() :].strip("\n")]
    if (inside := json_text.result(text)) is not None:
        return [inside]
    if _is_shells(text):
        return [text.strip()]
    found = list(tagged_text.between(text)) if text.lstrip()[:1] == "<" else []
    outside, at = "", 0
    for _, _, start, end in found:
        outside, at = outside + text[at:start], end
    whole = not (outside + text[at:]).strip() and all(kind == "result" for kind, *_ in found)
    return [inside.strip() for _, inside, *_ in found] if whole else []
