"""What several test files make."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from flanlib.training.attention import by_document


def llama(vocab, *, width=64, layers=2, head=32, positions=4096):
    """Make an untrained Llama in float32, the same one every time; ``width`` is a multiple of ``head``."""
    config = LlamaConfig(vocab_size=vocab, hidden_size=width, intermediate_size=width * 8 // 3 // 64 * 64,
                         num_hidden_layers=layers, num_attention_heads=width // head,
                         max_position_embeddings=positions, tie_word_embeddings=True)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return by_document(LlamaForCausalLM(config))
