"""Readers that convert rows of public data sets to trajectories and conversations, and count every dropped row.

Read ``loading`` first (it picks the reader of a row), then ``fireact``, the shortest reader.
"""

from flanlib.sources.loading import FORMATS, load, read

__all__ = ["FORMATS", "load", "read"]
