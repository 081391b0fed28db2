"""The lab: a small closed world of executable tools, and tasks in it."""
