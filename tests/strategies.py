"""Hypothesis strategies for the records, shared by several test files."""

from hypothesis import strategies as st

from flanlib.records import Step, Tool, Trajectory

LABELS = ["Thought: ", "\nAction: x", "\nAction Input: {}", "\n\\Final Answer: 3", "\nObservation: ", '"}', "`?",
          "\n\nWhich tool would you call?", "So what is the answer?", "Result: ", "And what about `a`?", "{", "\\",
          "\n", "NaN"]  # fmt: skip
text = st.lists(st.one_of(st.text(max_size=12), st.sampled_from(LABELS)), max_size=4).map("".join)
written = text.filter(str.strip)
name = st.one_of(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), text).filter(
    lambda s: s and s == s.strip() and len(s.splitlines()) == 1
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
                      max_leaves=6)  # fmt: skip
arguments = st.dictionaries(text, values, max_size=3)
steps = st.builds(Step, text, name, arguments, text)
tools = st.builds(Tool, name, text, st.just({"properties": {"a": {"type": "string"}}, "required": ["a"]}))


@st.composite
def trajectories(draw) -> Trajectory:
    """Any valid trajectory: several steps, with or without an answer, cut anywhere, with calls still running."""
    done = draw(st.lists(steps, max_size=4))
    answer = draw(st.none() | written)
    if answer is None and (not done or draw(st.booleans())):
        done += [Step(draw(text), draw(name), draw(arguments), None) for _ in range(draw(st.integers(1, 3)))]
    return Trajectory("t", "test", draw(written), tuple(draw(st.lists(tools, max_size=3))), tuple(done), answer,
                      draw(text) if answer is not None else "", draw(text))  # fmt: skip
