"""minimistral/bench/hopper.py, at a size that takes seconds; what it compiles needs triton."""

import importlib.util
import json
import subprocess
import sys

import pytest

from minimistral.bench import hopper
from minimistral.bench.configs import CONFIGS


def test_without_triton_it_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert hopper.main([]) == 1
    out, err = capsys.readouterr()
    assert not out and "pip install --no-deps triton==" in err and err.count("\n") == 1


CODE = """
async_compile.wait(globals())
triton_red_0 = async_compile.triton('triton_red_0', '''
source
''', device_str='cuda')

    def call(self, args):
        triton_red_0.run(arg0, buf0, 4, stream=raw_stream0)
        extern_kernels.mm(buf0, arg1, out=buf1)
        buf2 = torch.ops.aten._scaled_dot_product_efficient_attention.default(buf1)
        triton_red_0.run(arg0, buf2, 4, stream=raw_stream0)
"""


def test_launches_are_read_from_the_code():
    all_of_them, foreign = hopper.launches(CODE)
    mm, attention = "extern_kernels.mm", "torch.ops.aten._scaled_dot_product_efficient_attention"
    assert foreign == {mm: 1, f"{attention}.default": 1}
    assert all_of_them == {"triton_red_0": 2, **foreign}
    assert hopper.kernels(CODE) == {"triton_red_0": "\nsource\n"}


@pytest.mark.slow
def test_a_small_model(tmp_path):
    """In a process of its own, because torch remembers which GPUs it has found."""
    pytest.importorskip("triton")
    out = tmp_path / "record.json"
    command = [sys.executable, "-m", "minimistral.bench.hopper", "--config", "small"]
    run = subprocess.run(
        [*command, "--layers", "2", "--out", out], capture_output=True, encoding="utf-8"
    )
    assert run.returncode == 0, run.stderr
    record, config = json.loads(out.read_text()), CONFIGS["small"]
    decode = record["decode"]
    assert record["config"]["n_layers"] == 2 and f"{decode['launches']} launches" in run.stdout
    weights = config.decode_bytes(0) // config.n_layers
    assert weights < decode["useful_bytes"] <= decode["bytes_read"] * 1.01
    assert decode["bytes"] < 1.5 * decode["useful_bytes"]  # no copy of a whole cache
    attention = "torch.ops.aten._scaled_dot_product_efficient_attention.default"
    assert decode["extern"] == {attention: config.n_layers // 2}  # too few keys to be split
    # State, embedding, norm and output; in a layer two norms, four matrices (queries, keys and
    # values are joined, the gate's two as well), and the cache's two.
    assert decode["inputs"] == 3 + 3 + 2 * (2 + 4 + 2)
    for program in (decode, *record["prefill"]):
        assert sum(each["launches"] for each in program["kernels"].values()) == program["triton"]
        assert all(each["cubin_bytes"] > 0 for each in program["kernels"].values())
    window = config.window_size
    assert [(each["T"], each["S"]) for each in record["prefill"]] == [
        (window, window), (window, 2 * window),
    ]  # fmt: skip
