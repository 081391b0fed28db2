"""What the notebooks compare, and the cache that keeps every tuning and every judgement.

Read ``arms`` first (which corpora are compared), then ``tuning`` and ``judging``, which both run ``workers``.
"""
