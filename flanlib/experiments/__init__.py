"""What the notebooks compare, and the cached tuning runs and judgements behind it.

Read ``arms`` first (which corpora are compared), then ``tuning`` and ``judging``, which both run on ``workers``.
"""
