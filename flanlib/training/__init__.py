"""QLoRA on packed rows: frozen weights in four bits, LoRA on every linear layer, and the loss summed by kind of token.

Read ``train`` first: one call trains on packed rows and saves the weights into a folder.
"""
