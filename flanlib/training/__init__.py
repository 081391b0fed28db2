"""QLoRA on packed rows: four-bit weights, LoRA in every linear layer, and the loss of every kind by itself.

Read ``train`` first: one call takes packed rows and returns the adapter's folder.
"""
