"""Agent-H (section 4.3): does a model answer in plain text where no tool call is needed?

The paper describes the benchmark but its samples were never published. ``build`` composes samples, from the lab's world
or from glaive. ``ask`` generates a model's replies to them. ``replies`` classifies a reply by its structure. ``score``
turns that, and the paper's keywords, into numbers. ``public`` reads other public sets of negatives as samples. For any
model of yours, the command line is enough: ``python -m flanlib.benchmarks.agent_h build``, ``... ask``, ``... score``.
"""
