"""The lab: a small synthetic world of tools that run, and tasks in it with known answers.

It needs no download. It provides trajectories to train on, and held-out ones whose tools and values occur in no
training text. Read ``world`` first (tables and tools), then ``tasks`` (requests about them).
"""
