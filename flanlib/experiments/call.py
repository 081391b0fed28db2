"""Make a call with the model in this folder, in plain transformers: ``python call.py``.

In chat form the user runs the tools. The model says what should be done, names a tool, gives its values one by one as
it is asked, reads the result, and answers. ``call.json`` holds a request, the system text that lists the tools, and
results that the tools once gave. To use your own tools, change these texts and :func:`run`.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent


class Model:
    """A model in a folder; ``example`` says how it is prompted."""

    def __init__(self, folder: Path, example: Mapping[str, Any]) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.example = example

    def reply(self, messages: list) -> str:
        """Return the greedy reply to messages that end with the user's."""
        prompt = self.ids(messages)
        new = self.model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                                  max_new_tokens=self.example["longest"])  # fmt: skip
        text = self.tokenizer.decode(new[0, prompt.shape[1] :], skip_special_tokens=True)
        return text.partition(self.example["end"])[0].removeprefix(self.example["lead"])

    @torch.inference_mode()
    def choose(self, messages: list, replies: Iterable[str]) -> str:
        """Return the likeliest of some replies. So a model can name no tool that is not on offer."""
        prompt = self.ids(messages)

        def likelihood(reply: str) -> float:
            text = self.example["lead"] + reply + self.example["end"]
            ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            logits = self.model(torch.cat([prompt, ids], 1)).logits[0, prompt.shape[1] - 1 : -1]
            return logits.float().log_softmax(-1).gather(1, ids.T).sum().item()

        return max(replies, key=likelihood)

    def ids(self, messages: list) -> torch.Tensor:
        """Return the tokens of messages and of the opening of the next reply, of shape (1, tokens)."""
        if self.example["fold_system"]:  # the template has no place for a system text
            system, user, *rest = messages
            messages = [user | {"content": f"{system['content']}\n\n{user['content']}"}, *rest]
        encoded = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt",
                                                     return_dict=True, **self.example["switches"])  # fmt: skip
        return encoded["input_ids"]


def talk(model: Model, example: Mapping[str, Any]) -> list[dict[str, str]]:
    """Lead the dialogue of one call and return its messages."""
    messages = [{"role": "system", "content": example["system"]}]

    def ask(text: str, among: Iterable[str] = ()) -> str:
        messages.append({"role": "user", "content": text})
        said = model.choose(messages, among) if among else model.reply(messages)
        messages.append({"role": "assistant", "content": said})
        return said.strip()

    def think(text: str, then: str, among: Iterable[str] = ()) -> str:
        """Let the model think aloud before it is asked for more, if it was trained to."""
        if not example["thinks"]:
            return ask(f"{text}\n\n{then}", among)
        ask(text)
        return ask(then, among)

    tool = think(example["request"], "Which tool would you call?", example["tools"])
    arguments = {name: value(ask(f"What should `{name}` be?")) for name in example["tools"][tool]}
    think("It returned: " + run(tool, arguments, example), "So what is the answer?")
    return messages


def value(text: str) -> Any:
    """Read an argument: JSON if the text is valid JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def run(tool: str, arguments: Mapping[str, Any], example: Mapping[str, Any]) -> str:
    """Run a tool and return its result as text. Here it is what the tool gave in the example: call yours instead."""
    return example["results"].get(tool, "nothing")


if __name__ == "__main__":
    settings = json.loads((HERE / "call.json").read_text(encoding="utf-8"))
    for message in talk(Model(HERE, settings), settings):
        sys.stdout.write(f"[{message['role']}] {message['content']}\n")
