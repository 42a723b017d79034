"""pt.Mistral is a torch module: what torch's users and libraries do with one works on it."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from models import needs_compiler, random_config, random_model, random_tokens, small, twins
from torch import nn

from minimistral import pt as mp

CONFIG = small(dim=32, hidden_dim=64, vocab_size=40)
TOKENS = random_tokens(np.random.default_rng(0), CONFIG, 2, 19)


def model_of(config=CONFIG, **settings):
    return mp.Mistral(config, random_model(config).weights, **settings)


def test_parameters_have_mistrals_names_in_the_configs_order():
    model, shapes = model_of(), CONFIG.weight_shapes()
    parameters = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert parameters == shapes and list(model.weights) == list(shapes)
    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == shapes
    assert sum(p.numel() for p in model.parameters()) == CONFIG.n_params
    assert not any(p.requires_grad for p in model.parameters())


def test_a_state_dict_goes_into_another_model():
    model, other = model_of(), mp.Mistral(CONFIG, seed=7)
    assert not torch.allclose(other(TOKENS), model(TOKENS))
    assert other.load_state_dict(model.state_dict()) == ([], [])
    assert torch.equal(other(TOKENS), model(TOKENS))
    with pytest.raises(RuntimeError, match="size mismatch"):
        mp.Mistral(small()).load_state_dict(model.state_dict())


@pytest.mark.parametrize("seed", range(10))
def test_float32_logits_are_those_of_numpy(seed):
    rng = np.random.default_rng(seed)
    config = random_config(rng, 23)
    model, twin = twins(config, seed)
    tokens = random_tokens(rng, config, 2, 23)
    expected = model(tokens)
    atol = 1e-5 * max(1, float(np.abs(expected).max()))
    np.testing.assert_allclose(twin(tokens), expected, atol=atol, rtol=0)


def test_to_moves_and_converts():
    model, exact = model_of(), model_of(dtype="float64")
    expected = exact(TOKENS)
    assert model.to(torch.float64).dtype == torch.float64
    torch.testing.assert_close(model(TOKENS), expected, atol=1e-5, rtol=0)  # weights were float32
    assert model.new_cache(1).k.dtype == torch.float64
    assert model.to("meta").device.type == "meta" and model(TOKENS).device.type == "meta"
    assert model_of().half()(TOKENS).dtype == torch.float32


def test_a_copy_is_its_own():
    model = model_of()
    other = copy.deepcopy(model)
    other.norm.weight.zero_()
    assert not torch.equal(other(TOKENS), model(TOKENS))


def test_its_parts_can_be_hooked_and_replaced():
    model, seen = model_of(), []
    expected = model(TOKENS)
    hooks = [layer.register_forward_hook(lambda *_: seen.append(1)) for layer in model.layers]
    hooks += [m.register_forward_hook(lambda *_: seen.append(1)) for m in model.modules()
              if isinstance(m, nn.Linear)]  # fmt: skip
    assert torch.equal(model(TOKENS), expected)
    assert len(seen) == len(hooks) == 2 + 2 * 7 + 1  # layers, their matrices, the output
    model.layers[0].feed_forward["w2"] = nn.Linear(64, 32, bias=False)
    assert not torch.allclose(model(TOKENS), expected)


def test_a_decoding_cache_works_with_gradients_on():
    """Parameters that take gradients change no number, and generate builds no graph."""
    model = model_of()
    expected = mp.generate(model, [1, 2, 3], 12)
    assert mp.generate(model.requires_grad_(), [1, 2, 3], 12) == expected


@pytest.mark.slow
@pytest.mark.rare
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_compile():
    """What writes into a cache is traced only: its kernels would take long, and are torch's."""
    model = model_of(small(dim=32, hidden_dim=64, vocab_size=40, n_layers=1))
    compiled = torch.compile(model)
    torch.testing.assert_close(compiled(TOKENS), model(TOKENS), atol=1e-5, rtol=0)
    traced, caches = torch.compile(model, backend="aot_eager"), [model.new_cache(2) for _ in "ab"]
    for part in (TOKENS[:, :6], TOKENS[:, 6:7], TOKENS[:, 7:]):
        found, expected = traced(part, caches[0]), model(part, caches[1])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


TORCHAO = """
import sys
sys.path.append(sys.argv[1])
import numpy as np
import torch
from torchao.quantization import Int8WeightOnlyConfig, quantize_

from minimistral import ModelConfig
from minimistral import pt as mp
from minimistral.pt.quantize import quantized

def distance(found):
    return float((found(tokens) - expected).norm() / expected.norm())

model, theirs = (mp.Mistral(ModelConfig.tiny()) for _ in range(2))
quantize_(theirs, Int8WeightOnlyConfig())
assert sum(type(p).__name__ == "Int8Tensor" for p in theirs.parameters()) == 4 * 7 + 1
ours = mp.Mistral(model.config, {n: quantized(n, w, "int8") for n, w in model.weights.items()})
tokens = np.random.default_rng(0).integers(0, 768, (2, 50))
expected = model(tokens)
assert 1e-4 < distance(theirs) < 0.05 and 1e-4 < distance(ours) < 1.1 * distance(theirs)
assert len(mp.generate(theirs, [1, 2, 3], 5)) == 5
print("quantised")
"""


@pytest.mark.rare
def test_torchao_quantises_it():
    """Its int8 is as far from float32 as ours.

    It lies apart, because transformers imports it where it can and then lesson 08 prints what
    torchao says of kernels that this machine lacks.
    """
    apart = Path(sys.prefix) / "apart"
    if not (apart / "torchao").is_dir():
        pytest.skip("make test installs torchao into .venv/apart")
    command = [sys.executable, "-c", TORCHAO, str(apart)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and done.stdout == "quantised\n", done.stderr


def test_peft_adapts_it():
    """LoRA on the queries and values: nothing at first, trainable, and merged the same."""
    peft = pytest.importorskip("peft")
    model = model_of()
    expected = model(TOKENS)
    settings = peft.LoraConfig(r=2, target_modules=["wq", "wv"], lora_alpha=4)
    adapted = peft.get_peft_model(model, settings)
    torch.testing.assert_close(adapted(TOKENS), expected)  # B starts at 0
    trained = [p for p in adapted.parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 * CONFIG.n_layers
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for _ in range(2):
        adapted(TOKENS).square().mean().backward()
        optimizer.step()
    after = adapted(TOKENS).detach()
    assert not torch.allclose(after, expected, atol=1e-3)
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(merged(TOKENS), after, atol=1e-5, rtol=0)
    assert isinstance(merged, mp.Mistral) and list(merged.weights) == list(CONFIG.weight_shapes())
