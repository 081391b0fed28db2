"""Labelled text becomes labelled token ids: templates around turns, tokens with a kind, rows side by side.

No torch here. Read ``tokens`` first: how every token gets the kind of the text that it begins in.
"""
