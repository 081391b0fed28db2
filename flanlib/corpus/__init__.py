"""The training corpus: trajectories drawn and weighted, mixed in two forms, with negatives and plain chat.

No torch here. Read ``material`` first (the data of an experiment), then ``mix`` (the paper's recipe for a corpus).
"""
