"""A model at work: replies written token by token, or first choices read from one pass over the right text.

Read ``generate`` first; ``cache`` keeps what prompts have in common, ``reader`` judges without writing.
"""
