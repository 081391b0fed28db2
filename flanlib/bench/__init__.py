"""How fast the kit is beside the tools people would otherwise use, on the same work in the same run.

``make bench`` does the work of every row in turns, ours and each peer's once per round, and counts CPU seconds of one
thread: other programs on the machine then hardly matter. Read ``timing`` first (how two sides are measured), then
``contests`` (what they do). ``gpu`` measures a GPU instead.
"""
