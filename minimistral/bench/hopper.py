"""What torch.compile makes for an H100, without one: `python -m minimistral.bench.hopper`.

Inductor writes its code for a GPU of which it only asks the properties, so this file answers with
those of an H100. The weights are shapes without memory. Triton then compiles every kernel to a
cubin for sm_90, with the ptxas that it brings along. Nothing runs and nothing is timed: where
Inductor would try several block sizes on the GPU, the first is compiled, and it pads no matrix.

Printed for one token, and for one layer of a prompt's chunk: the kernels that are launched, and
the bytes that they move to and from memory, as the code's own loads and stores say:

- A kernel reads each value once, however often it loads it: the rest comes from the GPU's caches.
- Of a buffer that a computed index points into, it moves as many values as the loop has turns over
  the variables that the index may follow. So a key written to one slot of the cache counts as one
  key, and a token's row of the embedding as one row.
- A kernel that Inductor did not write, such as cuBLAS's, moves its arguments and its results.
  Decode with few keys has one for attention: torch's memory-efficient one, which torch takes
  for a mask unless it finds a better one on the GPU.
- FlexAttention moves its arguments and its result too, though it skips hidden blocks.

It needs the package triton, in the version of the installed torch: 3.7.1 goes with torch 2.13.
"""

import argparse
import contextlib
import ctypes
import functools
import importlib
import importlib.util
import json
import math
import re
import sys
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from minimistral import pt as mp
from minimistral._arguments import require_count
from minimistral.bench.configs import CONFIGS
from minimistral.pt import attention, compiled
from minimistral.pt.rope import rope_tables

MISSING = (
    "hopper needs the package triton, in the version that goes with the installed torch;"
    " for torch 2.13: pip install --no-deps triton==3.7.1"
)
GOAL = 1.05  # bytes moved, of those that must be
H100 = SimpleNamespace(
    name="NVIDIA H100", major=9, minor=0, multi_processor_count=132, warp_size=32,
    total_memory=80 * 2**30, L2_cache_size=50 * 2**20, regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048, max_threads_per_block=1024,
    shared_memory_per_block=48 * 2**10, shared_memory_per_block_optin=227 * 2**10,
    shared_memory_per_multiprocessor=228 * 2**10, gcnArchName="",
)  # fmt: skip


# What is compiled: to be changed along with pt/compiled.py


def decode_step(config, batch_size):
    """One decode step -> a function that makes torch.compile compile it."""
    with unset_fake_temporarily():  # on "meta", because it joins no matrices that are fake
        model = mp.Mistral(config, device="meta", dtype="bfloat16")
        cache = model.new_cache(batch_size)
        step = compiled.CompiledStep(model, cache)
    move_module(model)
    move_attributes(cache)
    move_attributes(step)
    step.n_parts = compiled.best_parts(cache)
    return step._forward


def prefill_layer(config, batch_size, T, S):
    """One layer, of the last T of S tokens, S - T of which lie in the cache -> as above.

    It is compiled as a whole; `compiled_layer` makes two programs of it, around the cache.
    """
    model = mp.Mistral(replace(config, n_layers=1), device="meta", dtype="bfloat16")
    layer = move_module(model).layers[0]
    shape = batch_size, config.n_kv_heads, S - T, config.head_dim
    kept = [torch.empty(shape, dtype=torch.bfloat16, device="cuda:0") for _ in "kv"]
    x = torch.empty(batch_size, T, config.dim, dtype=torch.bfloat16, device="cuda:0")
    k_pos = torch.empty(batch_size, S, dtype=torch.long, device="cuda:0")
    positions = k_pos[:, S - T :].clone()
    mask = mp.window_mask(positions, k_pos, config.window_size, block_sparse=True)
    rope = rope_tables(positions, config.head_dim, config.rope_theta, x.dtype)

    def update(k, v):
        if S == T:
            return k, v
        return torch.cat([kept[0], k], dim=2), torch.cat([kept[1], v], dim=2)

    run = torch.compile(layer, fullgraph=True, dynamic=False)
    return lambda: run(x, rope, mask, update)


def memory_efficient(q, k, v, mask):
    """torch's attention under a mask, as a GPU's torch runs it: it asks the GPU which kernel fits.

    Where nobody answers, torch takes products and a softmax instead, which no GPU would.
    """
    bias = torch.where(mask, 0.0, -torch.inf).to(q.dtype).expand(*q.shape[:-1], k.shape[2])
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    return attend(q, k, v, bias, compute_log_sumexp=False)[0]


def move(tensor):
    """A tensor of the same shape on the GPU that is not there; only those on "meta" move."""
    if not isinstance(tensor, torch.Tensor) or tensor.device.type != "meta":
        return tensor
    shape = tensor.shape, tensor.stride()
    return torch.empty_strided(*shape, dtype=tensor.dtype, device="cuda:0")


def move_attributes(thing):
    for name, value in vars(thing).items():
        setattr(thing, name, torch.utils._pytree.tree_map(move, value))


def move_module(module):
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            part._parameters[name] = torch.nn.Parameter(move(weight), requires_grad=False)
    return module


# The GPU that is not there


@contextlib.contextmanager
def pretended_h100():
    """Let torch find an H100, on which only tensors without memory can lie."""
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor.utils import fresh_cache

    answers: dict[str, Any] = {
        "is_available": True, "device_count": 1, "current_device": 0,
        "get_device_properties": H100, "get_device_capability": (9, 0),
        "is_bf16_supported": True, "synchronize": None, "_lazy_init": None,
        "_exchange_device": 0, "_maybe_exchange_device": 0, "set_rng_state": None,
        "get_rng_state": torch.zeros(16, dtype=torch.uint8),
    }  # fmt: skip
    let_cuda_indices_pass()
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            say = functools.partial(_answer, answer)
            stack.enter_context(mock.patch.object(torch.cuda, name, say))
            if hasattr(CudaInterface, name):
                stack.enter_context(mock.patch.object(CudaInterface, name, staticmethod(say)))
        stack.enter_context(mock.patch.object(FakeTensorMode, "avoid_device_init", True))
        stack.enter_context(
            mock.patch.object(attention, "scaled_dot_product_attention", memory_efficient)
        )
        stack.enter_context(constants_on_the_cpu())
        stack.enter_context(sm_90_driver())
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
        stack.enter_context(torch._inductor.config.patch(shape_padding=False))  # would be timed
        stack.enter_context(fresh_cache())  # nothing that was made for another GPU, and vice versa
        stack.enter_context(torch.no_grad())
        stack.enter_context(FakeTensorMode())
        yield


def _answer(answer, *_, **__):
    return answer


def let_cuda_indices_pass():
    """Indexing asks for the tensor's GPU even where the tensor has no memory.

    A torch without CUDA has nobody to answer, so whoever answers for "meta" does.
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 21).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    cuda, meta = 1, 14  # c10::DeviceType
    guards[cuda] = guards[cuda] or guards[meta]


@contextlib.contextmanager
def constants_on_the_cpu():
    """Inductor computes with constants while it compiles: let it, on the CPU."""
    with torch.library._scoped_library("aten", "IMPL") as library:
        for empty in (torch.ops.aten.empty.memory_format, torch.ops.aten.empty_strided.default):

            def on_the_cpu(*args, empty=empty, device=None, pin_memory=None, **options):
                return empty(*args, device="cpu", **options)

            library.impl(empty, on_the_cpu, "CUDA")
        yield


@contextlib.contextmanager
def sm_90_driver():
    """Triton asks its driver what to compile for."""
    driver = importlib.import_module("triton.runtime").driver
    target = importlib.import_module("triton.backends.compiler").GPUTarget("cuda", 90, 32)
    answers = {"get_current_target": target, "get_current_device": 0}
    stub = {name: functools.partial(_answer, answer) for name, answer in answers.items()}
    driver.set_active(SimpleNamespace(**stub))
    helpers = importlib.import_module("torch._inductor.runtime.triton_helpers")
    try:
        with mock.patch.object(helpers, "set_driver_to_gpu", functools.partial(_answer, None)):
            yield
    finally:
        driver._active = None


# The code, and what it says


@dataclass
class Program:
    """What Inductor made of one function."""

    code: str
    inputs: int  # arrays: state and weights
    launches: Counter = field(default_factory=Counter)  # by kernel
    extern: Counter = field(default_factory=Counter)  # those of them that Inductor did not write
    moved: list = field(default_factory=list)  # (what, bytes read, bytes written) in order
    cubins: dict = field(default_factory=dict)  # kernel -> what Triton made of it

    @property
    def bytes(self):
        return sum(read + written for _, read, written in self.moved)

    def record(self):
        return {
            "inputs": self.inputs, "launches": self.launches.total(),
            "triton": (self.launches - self.extern).total(), "extern": dict(self.extern),
            "bytes": self.bytes, "bytes_read": sum(read for _, read, _ in self.moved),
            "kernels": self.cubins,
        }  # fmt: skip


class Stop(Exception):
    """Raised once the code is there, because nothing can run it."""


def inductor(run):
    """The Program that torch.compile makes when `run` is called."""
    from torch._inductor.graph import GraphLowering

    programs = []

    def keep(graph):
        code = graph.codegen()[0].value
        every, extern = launches(code)
        programs.append(Program(code, len(graph.graph_inputs), every, extern, moved(graph)))
        raise Stop

    with mock.patch.object(GraphLowering, "_compile_to_module", keep):
        try:
            run()
        except Exception:
            if not programs:  # torch wraps Stop in errors of its own
                raise
    (program,) = programs
    program.cubins = {name: cubin(source) for name, source in kernels(program.code).items()}
    for name, made in program.cubins.items():
        made["launches"] = program.launches[name]
    return program


def launches(code):
    """Every call of a kernel in Inductor's code: (all, those of foreign kernels), by name.

    >>> launches("    triton_poi_0.run(x, stream=s)\\n    extern_kernels.mm(x, y, out=z)")
    (Counter({'triton_poi_0': 1, 'extern_kernels.mm': 1}), Counter({'extern_kernels.mm': 1}))
    """
    own = re.findall(r"^ +(\w+)\.run\(", code, re.MULTILINE)
    foreign = r"^ +(?:\w+ = )?((?:extern_kernels|torch\.ops\.aten)\.[\w.]+)\("
    extern = re.findall(foreign, code, re.MULTILINE)
    return Counter(own + extern), Counter(extern)


def kernels(code):
    """The source of each Triton kernel in Inductor's code, by name."""
    return dict(re.findall(r"async_compile\.triton\('(\w+)', '''(.*?)''',", code, re.DOTALL))


def cubin(source):
    """Compile one kernel for sm_90, in the first of the forms that Inductor would try."""
    from torch._inductor.codecache import PyCodeCache
    from torch._inductor.runtime.triton_heuristics import CachingAutotuner

    module = PyCodeCache.load(source)
    (tuner,) = (each for each in vars(module).values() if isinstance(each, CachingAutotuner))
    config = tuner.configs[0]
    # What Triton made, and not what is made of that for a launch.
    with torch._inductor.config.patch(use_static_triton_launcher=False):
        binary: Any = tuner._precompile_config(config).kernel
    return {
        "cubin_bytes": len(binary.asm["cubin"]), "shared_bytes": binary.metadata.shared,
        "warps": config.num_warps, "stages": config.num_stages, "blocks": config.kwargs,
        "forms": len(tuner.configs),
    }  # fmt: skip


# Bytes


def moved(graph):
    """What each kernel moves: (its nodes, bytes read, bytes written), from Inductor's own lists.

    Each node lists its loads and stores. What a kernel computes for itself alone is in
    `removed_buffers` and never gets into memory.
    """
    from torch._inductor.scheduler import NopKernelSchedulerNode

    rows = []
    for node in graph.scheduler.nodes:
        if isinstance(node, NopKernelSchedulerNode):
            continue
        gone = graph.removed_buffers | graph.inplaced_to_remove
        at_hand = gone | {each.get_name() for each in node.get_outputs()}
        reads, writes = (
            accessed(graph, node, "reads", at_hand),
            accessed(graph, node, "writes", gone),
        )
        rows.append((node.get_name(), reads, writes))
    return rows


def accessed(graph, node, kind, without):
    """Bytes of all that the parts of a kernel read, or write; of no buffer more than there are."""
    from torch._inductor.dependencies import MemoryDep, StarDep

    # A whole buffer that is written into is only named to keep the order.
    mutated = {name for each in node.get_outputs() for name in each.get_mutations()}
    seen: dict[Any, int] = {}
    for part in node.get_nodes():
        followed = variables(graph, part)
        for dep in getattr(part.read_writes, kind):
            if isinstance(dep, MemoryDep) and dep.name not in without:
                seen[dep] = turns(dep, followed)
            elif isinstance(dep, StarDep) and dep.name not in without | mutated:
                seen[dep] = numel(graph, dep.name)
    values: Counter = Counter()
    for dep, count in seen.items():
        values[dep.name] += count
    return sum(
        min(count, numel(graph, name)) * graph.get_dtype(name).itemsize
        for name, count in values.items()
        if numel(graph, name)
    )


def variables(graph, part):
    """The loop variables that a computed index may follow: those of each integer read or made."""
    from torch._inductor.dependencies import MemoryDep

    deps = part.read_writes
    whole = [
        dep
        for dep in deps.reads
        if isinstance(dep, MemoryDep) and not graph.get_dtype(dep.name).is_floating_point
    ]
    return {symbol for dep in [*whole, *deps.index_exprs] for symbol in dep.index.free_symbols}


def turns(dep, followed):
    """How many values a load or store in a loop touches, when no two turns share one.

    A variable that the index does not follow repeats the same values.
    """
    used = dep.index.free_symbols
    if not used <= set(dep.ranges):  # computed
        used = used | followed
    return math.prod(int(n) for variable, n in dep.ranges.items() if variable in used)


def numel(graph, name):
    """How many values a buffer has: of several results at once none, because each has its own."""
    from torch._inductor.ir import Layout

    layout = graph.get_buffer(name).get_output_spec()
    return int(graph.get_numel(name)) if isinstance(layout, Layout) else 0


# The command


def measure(config, batch_size, chunks):
    """Everything as one record."""
    triton = importlib.import_module("triton")
    with pretended_h100():
        decode = inductor(decode_step(config, batch_size)).record()
    decode["useful_bytes"] = config.decode_bytes(config.window_size, batch_size=batch_size)
    decode["ratio"] = decode["bytes"] / decode["useful_bytes"]
    prefill = []
    for T, S in chunks:
        torch._dynamo.reset()
        with pretended_h100():
            program = inductor(prefill_layer(config, batch_size, T, S))
        prefill.append({"T": T, "S": S, **program.record()})
    return {
        "torch": torch.__version__, "triton": triton.__version__, "target": "sm_90",
        "batch_size": batch_size, "config": asdict(config), "decode": decode, "prefill": prefill,
    }  # fmt: skip


def table(record):
    """The record as text."""
    decode = record["decode"]
    lines = [
        f"torch {record['torch']}, triton {record['triton']}, for {record['target']}: "
        f"{record['config']['n_layers']} layers, batch {record['batch_size']}",
        f"decode, a step: {described(decode)}",
        f"  useful bytes (every matrix once, and a full cache): {decode['useful_bytes']:,};"
        f" ratio {decode['ratio']:.4f}, goal at most {GOAL}",
    ]
    for chunk in record["prefill"]:
        lines.append(f"prefill, a layer, T {chunk['T']}, S {chunk['S']}: {described(chunk)}")
    lines.append(
        "Bytes: what each kernel's loads and stores touch, each value once per kernel;"
        " nothing was run."
    )
    return "\n".join(lines)


def described(program):
    extern = ", ".join(f"{count} {name}" for name, count in program["extern"].items())
    return (
        f"{program['launches']} launches ({program['triton']} of Triton kernels,"
        f" extern: {extern or 'none'}), {len(program['kernels'])} cubins,"
        f" {program['bytes']:,} bytes"
    )


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m minimistral.bench.hopper",
        description="What torch.compile makes of the model for an H100, without one.",
    )
    count = functools.partial(require_count, "N")
    parser.add_argument("--config", choices=CONFIGS, default="7b", help="size (%(default)s)")
    parser.add_argument("--layers", type=int, metavar="N", help="layers (the config's)")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="rows (1)")
    parser.add_argument("--no-prefill", action="store_true", help="decode alone")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file for the record")
    args = parser.parse_args(argv)
    if importlib.util.find_spec("triton") is None:
        print(MISSING, file=sys.stderr)
        return 1
    config = CONFIGS[args.config]
    config = replace(config, n_layers=count(args.layers or config.n_layers))
    W = config.window_size or config.context_len
    chunks = [] if args.no_prefill else [(W, W), (W, 2 * W)]
    record = measure(config, count(args.batch_size), chunks)
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
