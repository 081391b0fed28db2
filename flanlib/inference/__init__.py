"""Inference: replies generated token by token, or first choices read from one pass over the reference text.

Read ``generate`` first. ``batches`` holds the rows that are written side by side, ``cache`` shares what prompts have in
common, ``reader`` judges without generating, and ``journal`` keeps what an interrupted trial has so far.
"""
