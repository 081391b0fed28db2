"""The elicit statements of chat form: what the user says to get the next piece (section 4.1).

The paper did not publish its statements, so these were written for the kit. Each purpose has more than a dozen, so that
the model cannot rely on a single wording. The parser needs a property that a test checks: no ARGUMENT or RESULT prefix
is the beginning of another one, or of a whole ACTION or ANSWER statement.
"""

ACTION = (
    "Which tool would you call?", "What tool do you want to use for that?", "Please name the tool that fits.",
    "So which of the tools is the right one?", "Name the tool you need now.", "Tell me which tool to run.",
    "Which one of your tools does this?", "Good. Which tool should I run for you?", "Pick a tool, please.",
    "What is the tool called that you need?", "All right, and which tool is that?", "Go on: which tool?",
    "Which function should be called next?", "I can run a tool for you. Which one?",
)

ARGUMENT = (
    ("What should `", "` be?"), ("Which value does `", "` take?"), ("It asks for `", "`. What do I enter?"),
    ("And what about `", "`?"), ("What do I fill in for `", "`?"), ("Please give me `", "`."),
    ("Now the value of `", "`, please."), ("Tell me the value for `", "`."), ("I need `", "` for this."),
    ("How do I set `", "`?"), ("There is a field `", "`. What goes there?"), ("What would you pass as `", "`?"),
    ("Set `", "` to what?"), ("For the parameter `", "`, what do you choose?"),
)

RESULT = (
    "It returned: ", "Here is the result: ", "The tool answered: ", "This came back: ", "Result: ",
    "I ran it and got: ", "The output is: ", "I get this: ", "Done. The output: ", "What came back is: ",
    "We now have: ", "The reply was: ", "That gives: ", "Here you go: ",
)

ANSWER = (
    "So what is the answer?", "Then please give me the answer.", "What can you tell me in the end?",
    "Please answer my question now.", "What is your final answer?", "And what does that mean for my request?",
    "Good, then answer me.", "So, what is the outcome?", "Now tell me the answer.", "How do you answer, then?",
    "Please sum it up for me.", "What should I take from this?", "All right, and your answer?",
    "Can you give me the answer now?",
)

NEXT = "What else should run at the same time?"
"""Said between two calls whose results the record does not hold. It begins with no RESULT."""
