"""The lab: a small closed world of tools that run, and tasks in it with known answers.

What no public data set offers without a download: trajectories to train on, and others that no training text has seen.
Read ``world`` first (what there is), then ``tasks`` (what is asked about it).
"""
