"""Readers that convert rows of public data sets to trajectories and conversations, and count every dropped row.

Read ``loading`` first (it picks the reader of a row), then ``chat`` with its stages: ``columns`` finds the turns,
``messages`` reads them into one form, ``agent_text`` finds calls in texts, ``episodes`` makes records.
"""

from flanlib.sources.loading import FORMATS, load, read

__all__ = ["FORMATS", "load", "read"]
