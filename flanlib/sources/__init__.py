"""Readers: the rows of public data sets become trajectories and conversations, and every loss is counted.

Read ``loading`` first (which reader takes a row), then ``fireact``, the shortest of the readers.
"""

from flanlib.sources.loading import FORMATS, load, read

__all__ = ["FORMATS", "load", "read"]
