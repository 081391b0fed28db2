"""What is trained on: trajectories drawn and weighted, mixed in both forms, with negatives and plain chat.

No torch here. Read ``material`` first (what an experiment has), then ``mix`` (what the paper's recipe makes of it).
"""
