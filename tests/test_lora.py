"""The fused LoRA layer computes what peft computes, over 4-bit and over plain weights."""

import pytest
import torch
from peft.tuners.lora.bnb import Linear4bit
from peft.tuners.lora.layer import Linear

from flanlib.training import lora
from flanlib.training.model import add_lora, load, nf4

VOCAB = 96
PLAIN = {fused: plain for plain, fused in lora.FUSED.items()}
FUSED = {4: lora.FUSED[Linear4bit], 16: lora.FUSED[Linear]}


@pytest.fixture(params=[4, 16], ids=["4 bits", "16 bits"])
def bits(request):
    return request.param


@pytest.fixture
def models(bits):
    """The same model twice, peft's own forward first; weights of LoRA are not zero."""
    made = [add_lora(load("random", bits=bits), rank=4, seed=0) for _ in range(2)]
    for model in made:
        random = torch.Generator().manual_seed(0)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.data = 0.05 * torch.randn(weight.shape, generator=random)
        assert sum(type(module) is FUSED[bits] for module in model.modules()) == 14
    for module in made[0].modules():
        module.__class__ = PLAIN.get(type(module), type(module))
    return made


def test_weights_that_fsdp_shards_are_stored_as_floats_and_not_fused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert nf4().bnb_4bit_quant_storage is torch.bfloat16
    model = add_lora(load("random"), rank=4, seed=0)
    assert not [module for module in model.modules() if isinstance(module, FUSED[4])]
    layer = next(module for module in model.modules() if isinstance(module, Linear4bit))
    assert layer.base_layer.weight.dtype is torch.bfloat16
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    assert nf4().bnb_4bit_quant_storage is torch.uint8


def gradients(model, *, mixed):
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = torch.bfloat16 if mixed else torch.float32
    ids = torch.randint(1, VOCAB, (2, 40), generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        logits = model(input_ids=ids, use_cache=False).logits
    torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten()).backward()
    return logits.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_in_float32_logits_and_gradients_are_those_of_peft(models):
    (logits, grad), (others, other) = (gradients(model, mixed=False) for model in models)
    assert float((others - logits).norm() / logits.norm()) < 1e-6
    assert float((other - grad).norm() / grad.norm()) < 1e-6
    assert not torch.equal(other, grad)  # it is another way to the same numbers


def test_in_mixed_precision_they_are_as_exact_as_those_of_peft(models):
    exact = gradients(models[0], mixed=False)
    errors = [[float((a - b).norm() / b.norm()) for a, b in zip(gradients(model, mixed=True), exact, strict=True)]
              for model in models]  # fmt: skip
    assert all(fused < 1.2 * peft < 0.05 for peft, fused in zip(*errors, strict=True))
    assert errors[0] != errors[1]


@pytest.mark.parametrize(("bias", "small_first"), [(False, False), (True, False), (True, True)])
def test_one_layer_has_the_gradients_of_its_input_too(bits, bias, small_first):
    """Also of rows that are no matrix, with a bias, and in the order in which a GPU adds the products."""
    layers, found = [], []
    for cast in (PLAIN, {}):
        model = add_lora(load("random", bits=bits), rank=4, seed=0)
        layer = next(module for module in model.modules() if type(module) is FUSED[bits])
        layer.lora_B["default"].weight.data.normal_(0, 0.05, generator=torch.Generator().manual_seed(3))
        if bias:
            wide = layer.base_layer.out_features
            layer.base_layer.bias = torch.nn.Parameter(torch.linspace(-1, 1, wide), requires_grad=False)
        layer.__class__ = cast.get(type(layer), type(layer))
        layers.append(layer)
    assert type(layers[0]) is not type(layers[1])
    for layer in layers:
        x = torch.randn(2, 3, 5, layer.in_features, generator=torch.Generator().manual_seed(2), requires_grad=True)
        if hasattr(layer.base_layer, "compute_dtype"):
            layer.base_layer.compute_dtype = torch.float32
        out = layer(x, **({"small_first": small_first} if type(layer) is FUSED[bits] else {}))
        out.square().sum().backward()
        found.append((out, x.grad, *(layer.get_parameter(f"lora_{m}.default.weight").grad for m in "AB")))
    for mine, theirs in zip(*found, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5 * float(theirs.detach().abs().max()))


def test_with_adapters_off_peft_does_it(models):
    with torch.no_grad(), models[0].disable_adapter(), models[1].disable_adapter():
        ids = torch.arange(1, 30)[None]
        for mixed in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                assert torch.equal(*(model(input_ids=ids, use_cache=False).logits for model in models))


def test_a_small_adapter_is_not_rounded_away(models, bits):
    """Added to a sum that is rounded already, a hundredth of its last bit would be lost, always in the same way."""
    layer = next(m for m in models[1].modules() if type(m) is FUSED[bits])
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


def test_with_the_small_product_first_a_small_part_of_the_gradient_is_not_rounded_away(models, bits):
    """It is of the order of a thousandth: added to a product that is rounded already, much of it would be lost."""
    layer, random = next(m for m in models[1].modules() if type(m) is FUSED[bits]), torch.Generator().manual_seed(2)
    x = torch.randn(4000, layer.in_features, generator=random, requires_grad=True)
    down = torch.randn(4000, layer.out_features, generator=random).bfloat16()
    a, b = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
    small = 6e-5 * torch.randn(b.shape, generator=random)

    def gradient(weights, small_first):
        b.data = weights
        with torch.autocast("cpu", torch.bfloat16):
            return torch.autograd.grad(layer(x, small_first=small_first), x, down)[0].double()

    part = (layer.scaling["default"] * down.float() @ small @ a.detach()).double()
    arrived = {}
    for small_first in (False, True):
        without = gradient(0 * small, small_first)
        assert 1e-4 < float(part.norm() / without.norm()) < 2e-3
        arrived[small_first] = float(((gradient(small, small_first) - without) * part).sum() / part.square().sum())
    assert arrived[True] == pytest.approx(1, abs=0.05)
    assert arrived[False] < 0.9
