"""Marks that several test files write."""


def deepseek(text):
    """Write DeepSeek's full-width marks: <tool calls begin> in the examples stands for them."""
    for words in ("calls begin", "calls end", "call begin", "call end", "sep"):
        text = text.replace(f"<tool {words}>", f"<｜tool▁{words.replace(' ', '▁')}｜>")
    return text.replace("<eos>", "<｜end▁of▁sentence｜>")


def space(namespace, name, arguments):
    """Write a call as Anthropic's XML, in a namespace such as ``own:``."""
    inside = "".join(f'<{namespace}parameter name="{k}">{v}</{namespace}parameter>\n' for k, v in arguments.items())
    return f'<{namespace}invoke name="{name}">\n{inside}</{namespace}invoke>'
