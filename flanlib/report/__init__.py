"""Results for a reader: tables, pictures, claims with a verdict, and how notebooks show them.

No torch here. Read ``analysis`` first (from losses to tables), then ``claims``.
"""
