"""From labelled text to packed rows of token ids: chat templates, a kind for every token, packing.

No torch here. Read ``tokens`` first: it gives every token the kind that decides whether it is trained.
"""
