"""Agent-H (section 4.3): does a model keep to plain words where no tool call is asked for?

The paper describes the benchmark and never published it. ``build`` composes samples, from the lab's world or from
glaive; ``ask`` puts them to a model; ``replies`` reads what a reply is by its structure; ``score`` turns that, and the
paper's keywords, into numbers; ``public`` reads other public sets of negatives as samples. Those who bring their own
model need the command line only: ``python -m flanlib.benchmarks.agent_h build`` and ``... score``.
"""
