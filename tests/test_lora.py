"""The fused LoRA layer computes what peft computes."""

import pytest
import torch
from peft.tuners.lora.bnb import Linear4bit

from flanlib.lora import FusedLinear4bit
from flanlib.model import add_lora, load, nf4

VOCAB = 96


@pytest.fixture
def models():
    """The same model twice, peft's own forward first; weights of LoRA are not zero."""
    made = [add_lora(load("random", vocab=VOCAB), rank=4, seed=0) for _ in range(2)]
    for model in made:
        random = torch.Generator().manual_seed(0)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.data = 0.05 * torch.randn(weight.shape, generator=random)
    for module in made[0].modules():
        if isinstance(module, FusedLinear4bit):
            module.__class__ = Linear4bit
    return made


def test_weights_that_fsdp_shards_are_stored_as_floats_and_not_fused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert nf4().bnb_4bit_quant_storage is torch.bfloat16
    model = add_lora(load("random", vocab=VOCAB), rank=4, seed=0)
    assert not [module for module in model.modules() if isinstance(module, FusedLinear4bit)]
    layer = next(module for module in model.modules() if isinstance(module, Linear4bit))
    assert layer.base_layer.weight.dtype is torch.bfloat16
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    assert nf4().bnb_4bit_quant_storage is torch.uint8


def gradients(model, *, mixed):
    ids = torch.randint(1, VOCAB, (2, 40), generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        logits = model(input_ids=ids, use_cache=False).logits
    torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten()).backward()
    return logits.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_logits_and_gradients_are_as_exact_as_those_of_peft(models):
    for module in models[0].modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = torch.float32
    exact = gradients(models[0], mixed=False)
    for module in models[0].modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = torch.bfloat16
    errors = [[float((a - b).norm() / b.norm()) for a, b in zip(gradients(model, mixed=True), exact, strict=True)]
              for model in models]  # fmt: skip
    assert all(fused < 1.2 * peft < 0.05 for peft, fused in zip(*errors, strict=True))
    assert errors[0] != errors[1]


def test_without_mixed_precision_or_with_adapters_off_peft_does_it(models):
    plain, fused = (gradients(model, mixed=False) for model in models)
    assert all(torch.equal(a, b) for a, b in zip(plain, fused, strict=True))
    with torch.no_grad(), models[0].disable_adapter(), models[1].disable_adapter():
        ids = torch.arange(1, 30)[None]
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(*(model(input_ids=ids, use_cache=False).logits for model in models))


def test_a_small_adapter_is_not_rounded_away(models):
    """Added to a sum that is rounded already, a hundredth of its last bit would be lost, always in the same way."""
    layer = next(m for m in models[1].modules() if isinstance(m, FusedLinear4bit))
    x = torch.randn(4000, layer.in_features, generator=torch.Generator().manual_seed(2))
    weights = layer.lora_B["default"].weight
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        weights *= 0
        without = layer(x).float()
        weights += 2e-4
        moved = layer(x).float() - without
    lower = (x @ layer.lora_A["default"].weight.T).sum(1, keepdim=True)
    expected = (2e-4 * layer.scaling["default"] * lower).detach().expand_as(moved)
    assert float((moved * expected).sum() / expected.square().sum()) == pytest.approx(1, abs=0.02)
