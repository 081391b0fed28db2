"""QLoRA on packed rows: frozen weights in four bits, LoRA on every linear layer, and the loss summed by kind of token.

Read ``train`` first: one call trains on packed rows and saves the weights into a folder.
"""

import os

# Segments that grow: rows of many lengths otherwise leave gaps in GPU memory that no tensor fits into. Torch reads this
# before it first uses a GPU. What the user has set stays, under the older names too.
if not any(f"PYTORCH_{one}ALLOC_CONF" in os.environ for one in ("", "CUDA_", "HIP_")):
    os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
