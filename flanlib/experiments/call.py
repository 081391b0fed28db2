"""Make a call with the model in this folder, in plain transformers: ``python call.py``.

In chat form the user runs the tools. The model says what should be done, names a tool, gives its values one by one as
it is asked, reads the result, and answers. ``call.json`` holds a request, the system text that lists the tools, and
results that the tools once gave. To use your own tools, change these texts and :func:`run`.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent


def talk(reply: Callable[[list], str], example: Mapping[str, Any]) -> list[dict[str, str]]:
    """Lead the dialogue of one call and return its messages. ``reply`` continues messages that end with the user's."""
    messages = [{"role": "system", "content": example["system"]}]

    def ask(text: str) -> str:
        messages.append({"role": "user", "content": text})
        messages.append({"role": "assistant", "content": reply(messages)})
        return messages[-1]["content"].strip()

    def think(text: str, then: str) -> str:
        """Let the model think aloud before it is asked for more, if it was trained to."""
        if not example["thinks"]:
            return ask(f"{text}\n\n{then}")
        ask(text)
        return ask(then)

    tool = think(example["request"], "Which tool would you call?")
    if tool not in example["tools"]:
        return messages
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
    return example["results"].get(tool, "No such result.")


def model(folder: Path, example: Mapping[str, Any]) -> Callable[[list], str]:
    """Load the model of a folder, and return a function that continues messages with a greedy reply."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder)

    def reply(messages: list) -> str:
        if example["fold_system"]:  # the template has no place for a system text
            (first, second), rest = messages[:2], messages[2:]
            messages = [second | {"content": f"{first['content']}\n\n{second['content']}"}, *rest]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True,
                                            **example["switches"])  # fmt: skip
        new = loaded.generate(**ids, max_new_tokens=example["longest"], do_sample=False)
        text = tokenizer.decode(new[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        return text.partition(example["stop"])[0] if example["stop"] else text

    return reply


if __name__ == "__main__":
    settings = json.loads((HERE / "call.json").read_text(encoding="utf-8"))
    for message in talk(model(HERE, settings), settings):
        sys.stdout.write(f"[{message['role']}] {message['content']}\n")
