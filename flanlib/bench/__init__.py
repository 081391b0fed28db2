"""The speed of the kit beside TRL and transformers, on the same work in the same run.

``make bench`` counts CPU seconds of one thread, on which other programs have little effect. Read ``timing`` first (how
two sides are measured), then ``contests`` (what they do). ``gpu`` measures a GPU instead.
"""
