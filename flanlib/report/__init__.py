"""What a reader sees: tables of results, pictures, claims with a verdict, and how notebooks show them.

No torch here. Read ``analysis`` first (from losses to tables), then ``claims``.
"""
