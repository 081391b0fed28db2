"""Find out whether a model keeps the documents of a packed row apart, by trying it.

:mod:`flanlib.training.attention` and transformers' masks restrict attention to documents. Recurrent and convolutional
layers run through the whole row all the same, and some models build masks or biases without regard to position_ids.
"""

import gc
import os
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from flanlib import pretrained
from flanlib.training.attention import by_document
from flanlib.training.model import autocast, compute_dtype, device, evaluating, plain_dtype, sharded

TOKENS = 8
"""Tokens of the document that is read alone and behind another one."""
_ISOLATES: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def isolates(model: Any) -> bool:
    """Return whether a document in a packed row has the loss that it has alone, whatever stands before it.

    A short document is read behind another one. The gradient of its loss must be exactly zero at each token of the
    other, and the loss what it is alone, but for rounding. That the gradient is zero holds in any precision, and with
    experts too, whose rounding depends on the other tokens. The check runs once per model. A model that is wrapped for
    several processes is taken to isolate documents: :func:`flanlib.training.train.fit` checks it before.
    """
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    without_weights = sharded() and os.environ.get("RANK", "0") != "0"  # FSDP may give them to the first process only
    if without_weights or not isinstance(causal, PreTrainedModel):
        return True
    if causal not in _ISOLATES:
        # A caller may have switched gradients off.
        with torch.inference_mode(False), torch.enable_grad(), evaluating(causal, 0, None, "probe"), \
                autocast(causal.device):  # fmt: skip
            _ISOLATES[causal] = _unmoved(causal)
    return _ISOLATES[causal]


@lru_cache
def foreseen(name: str) -> bool:
    """Return what :func:`isolates` will say of a model, before its weights are loaded.

    Its first layers are made with random weights, as many as show every type of layer. A configuration that does not
    allow that is taken to isolate documents: the model itself is asked when it is there.
    """
    try:
        config = AutoConfig.from_pretrained(pretrained.folder(name))
        text = config.get_text_config()
        types = getattr(text, "layer_types", None) or ["the only one"]
        text.num_hidden_layers = next(n for n in range(1, 1 + len(types)) if set(types[:n]) == set(types))
        if hasattr(text, "layer_types"):
            text.layer_types = types[: text.num_hidden_layers]
        with torch.random.fork_rng(), torch.device(device()):
            return isolates(by_document(AutoModelForCausalLM.from_config(config, dtype=plain_dtype())))
    except Exception:  # some architecture or other will not be cut in this way, or not fit
        return True
    finally:
        gc.collect()


def _unmoved(model: PreTrainedModel) -> bool:
    # The middle of a vocabulary holds words: control tokens, which models may treat in ways of their own, lie outside.
    size = model.get_input_embeddings().num_embeddings
    ids = torch.linspace(size // 4, size * 3 // 4, 4 * TOKENS + 1, device=model.device).long()
    document, other, before = ids.split([TOKENS, 1, 3 * TOKENS])
    alone, behind = _nats(model, document)[0], _nats(model, before, document)
    [moves] = torch.autograd.grad(behind[0].sum(), behind[1])
    # Where a document stands must not matter either: by less than half the digits of what its own first token does.
    own = (_nats(model, torch.cat([other, document[1:]]))[0] - alone).norm()
    shift = (behind[0] - alone).norm()
    rounding = max(torch.finfo(dtype).eps for dtype in (model.dtype, compute_dtype())) ** 0.5
    return not moves[:, : len(before)].any() and bool(shift <= rounding * own)


def _nats(model: PreTrainedModel, *documents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nats of the last document's tokens but the first, and the embeddings of the row, a leaf."""
    leaves = []

    def cut(module: torch.nn.Module, inputs: tuple, embedded: torch.Tensor) -> torch.Tensor:
        leaves.append(embedded.detach().requires_grad_())
        return leaves[-1]

    hook = model.get_input_embeddings().register_forward_hook(cut)
    try:
        positions = torch.cat([torch.arange(len(one), device=model.device) for one in documents])
        read = model(input_ids=torch.cat(documents)[None], position_ids=positions[None], use_cache=False)
    finally:
        hook.remove()
    logits = read.logits[0, -len(documents[-1]) : -1].float()
    return cross_entropy(logits, documents[-1][1:], reduction="none"), leaves[0]
