"""Measures Mistral 7B at its full size on this CPU: `python -m minimistral.bench.full_size`.

Writes a checkpoint of random weights with v0.1's config (14.5 GB) into a temporary folder, runs
it with NumPy, memory-mapped, and with torch in bfloat16 and in int8, each in a process of its
own, writes the results to benchmarks/full_size.json, and removes the checkpoint, also after an
error or Ctrl-C. Takes about ten minutes, and 16 GB of memory for torch.
"""

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from minimistral import ModelConfig
from minimistral.checkpoint import config_text

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {"v0.1": ModelConfig.mistral_7b("v0.1"), "tiny": ModelConfig.tiny()}
BLOCK = 2**23  # random numbers drawn and written at a time
# Each is one row of the result, measured in a process of its own.
RUNS: dict[str, tuple[str, dict]] = {
    "np, streamed": ("np", {"mmap": True}),
    "pt, bfloat16": ("pt", {"dtype": "bfloat16", "device": "cpu"}),
    "pt, int8": ("pt", {"dtype": "bfloat16", "device": "cpu", "quantize": "int8"}),
}


# The checkpoint


def checkpoint_bytes(config):
    """Bytes of all weights in bfloat16, without the header."""
    return 2 * config.n_params


def require_room(folder, needed):
    """Raise OSError unless the disk has room for this many bytes and one gigabyte more."""
    free = shutil.disk_usage(folder).free
    if free < needed + 10**9:
        raise OSError(
            f"{folder} has {free / 1e9:.1f} GB free, but the checkpoint needs"
            f" {needed / 1e9:.1f} GB and 1 GB to spare; choose another folder with --folder"
        )


def write_made_up(folder, config, seed=0, progress=False):
    """A checkpoint in Mistral's format: norms of 1, random matrices that keep a vector's size."""
    shapes, head = config.weight_shapes(), file_head(config)
    rng = np.random.default_rng(seed)
    total = checkpoint_bytes(config)
    bar = tqdm(total=total, unit="B", unit_scale=True, desc="writing", disable=not progress)
    with open(folder / "consolidated.safetensors", "wb") as file, bar:
        file.write(head)
        for name, shape in shapes.items():
            scale = 1 if name == "tok_embeddings.weight" else shape[-1] ** -0.5
            for done in range(0, math.prod(shape), BLOCK):
                n = min(BLOCK, math.prod(shape) - done)
                numbers = rng.standard_normal(n, np.float32) if len(shape) == 2 else np.ones(n)
                file.write(bfloat16_bits(numbers * (scale if len(shape) == 2 else 1)).tobytes())
                bar.update(2 * n)
        file.flush()
        os.fsync(file.fileno())
    (folder / "params.json").write_text(config_text(config, "mistral", "bfloat16"), "utf-8")


def file_head(config):
    """What a bfloat16 file of this config begins with: the header and, before it, its length."""
    start, header = 0, {}
    for name, shape in config.weight_shapes().items():
        end = start + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    return len(text).to_bytes(8, "little") + text


def write_sparse(folder, config, token, answer):
    """A checkpoint of any size that takes almost no space on a disk that has sparse files.

    All numbers are zeros that were never written, except the norms, which are 1, and two rows:
    the embedding of `token` and the output row of `answer` are the same vector. A layer then adds
    nothing to the stream, so that the model answers `token` with `answer`.
    """
    head, shapes = file_head(config), config.weight_shapes()
    vector = bfloat16_bits(np.random.default_rng(0).standard_normal(config.dim))
    row = {"tok_embeddings.weight": token, "output.weight": answer}
    start = len(head)
    with open(folder / "consolidated.safetensors", "wb") as file:
        file.write(head)
        for name, shape in shapes.items():
            if len(shape) == 1 or name in row:
                file.seek(start + 2 * config.dim * row.get(name, 0))
                numbers = vector if name in row else bfloat16_bits(np.ones(shape))
                file.write(numbers.tobytes())
            start += 2 * math.prod(shape)
        file.truncate(start)
    (folder / "params.json").write_text(config_text(config, "mistral", "bfloat16"), "utf-8")


def bfloat16_bits(numbers):
    """The upper half of each float32, not rounded: uint16.

    >>> [hex(bits) for bits in bfloat16_bits(np.array([1.0, -2.0]))]
    ['0x3f80', '0xc000']
    """
    return (numbers.astype("<f4").view("<u4") >> 16).astype("<u2")


# How fast the file can be read at all


def read_limits(path):
    """Bytes per second from the page cache, and from the disk where the cache can be emptied.

    Each is the better of one thread and one thread per core.
    """
    limits: dict[str, float] = {}
    for threads in dict.fromkeys((1, os.cpu_count() or 1)):
        if can_empty_cache(path):
            limits["disk"] = max(limits.get("disk", 0), read_rate(path, threads))
    read_rate(path, 1)
    for threads in dict.fromkeys((1, os.cpu_count() or 1)):
        limits["page_cache"] = max(limits.get("page_cache", 0), read_rate(path, threads))
    return limits


def can_empty_cache(path):
    """Ask the system to drop a file from the page cache; False where it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def read_rate(path, threads):
    """Bytes per second of one pass over a file, each thread reading its own part."""
    size = path.stat().st_size
    bounds = [size * n // threads for n in range(threads + 1)]

    def read(part):
        block = memoryview(bytearray(min(2**18, max(1, size))))
        with open(path, "rb", buffering=0) as file:
            file.seek(bounds[part])
            left = bounds[part + 1] - bounds[part]
            while left:
                left -= file.readinto(block[:left])

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(threads)))
    return size / (time.perf_counter() - started)


# One run, in a process of its own


def run(folder, name, n_prompt, n_decode):
    """Load, read a prompt, generate tokens one by one: the seconds each took, and peak memory."""
    import importlib

    twin, options = RUNS[name]
    mm = importlib.import_module(f"minimistral.{twin}")
    imported = peak_bytes()
    model, load_s = timed(lambda: mm.load(folder, **options))
    prompt = np.random.default_rng(0).integers(0, model.config.vocab_size, n_prompt).tolist()
    cache = model.new_cache(1, n_prompt + n_decode)
    with no_gradients(twin):
        logits, prefill_s = timed(lambda: model([prompt], cache, last_only=True))
        decode = []
        for _ in range(n_decode):
            token = int(logits[0, -1].argmax())
            logits, seconds = timed(lambda token=token: model([[token]], cache))
            decode.append(seconds)
    return {
        "name": name, "load_s": load_s, "prefill_tokens": n_prompt, "prefill_s": prefill_s,
        "prefill_s_per_token": prefill_s / n_prompt, "decode_s": decode,
        "decode_s_per_token": statistics.median(decode),
        "decode_tokens_per_s": 1 / statistics.median(decode),
        "bytes_per_token": weight_bytes_per_token(model, twin),
        "peak_bytes": peak_bytes(), "peak_bytes_before_loading": imported,
        "finite": bool(np.isfinite(np.asarray(logits.tolist())).all()),
    }  # fmt: skip


def weight_bytes_per_token(model, twin):
    """Bytes of weights read per token. The embedding does not count: only one row is looked up."""
    if twin == "np":  # from the file
        embedding = model.config.params_by_part()["embedding"]
        return checkpoint_bytes(model.config) - 2 * embedding
    return sum(w.nbytes for name, w in model.weights.items() if name != "tok_embeddings.weight")


def timed(call):
    """The result of a call, and the seconds it took."""
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def no_gradients(twin):
    if twin == "np":
        return contextlib.nullcontext()
    import torch

    return torch.inference_mode()


def peak_bytes():
    """The peak resident memory of this process, mapped pages of files included."""
    import resource

    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a new process starts at its parent's
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def run_apart(folder, name, args):
    """`run` in a new process. Raises RuntimeError with the end of its stderr if it fails."""
    command = [sys.executable, "-m", "minimistral.bench.full_size",
               "--run", name, "--folder", str(folder), "--prompt-tokens", str(args.prompt_tokens),
               "--decode-tokens", str(args.decode_tokens)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-500:]}")
    return json.loads(done.stdout)


# All runs


def measure(folder, args):
    """Measure all RUNS: the contents of the JSON file."""
    about, weights = environment(args), folder / "consolidated.safetensors"
    limits = read_limits(weights)
    rows = []
    for name in RUNS:
        row = run_apart(folder, name, args)
        rate = row["bytes_per_token"] / row["decode_s_per_token"]
        row["fraction_of_page_cache_limit"] = rate / limits["page_cache"]
        rows.append(row)
        print(
            f"{name:14} {row['peak_bytes'] / 1e9:6.2f} GB  prefill"
            f" {row['prefill_s_per_token']:.3f} s per token  decode"
            f" {row['decode_s_per_token']:.3f} s per token,"
            f" {row['decode_tokens_per_s']:.3f} tokens/s",
            file=sys.stderr,
        )
    return {**about, "file_bytes": weights.stat().st_size,
            "limits_bytes_per_s": limits, "rows": rows}  # fmt: skip


def environment(args):
    """The date, the machine, the versions and the command."""
    import psutil  # type: ignore[import-untyped]
    import torch

    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": cpu_model(), "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        # 0 if the machine did nothing else.
        "load_average_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
        "command": f"python -m minimistral.bench.full_size --config {args.config}"
        f" --prompt-tokens {args.prompt_tokens} --decode-tokens {args.decode_tokens}",
    }  # fmt: skip


def cpu_model():
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the checkpoint goes (temporary files)")
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint")
    parser.add_argument("--config", choices=CONFIGS, default="v0.1")
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--decode-tokens", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "full_size.json")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv=None):
    """Check the room, measure, write the result, and remove the checkpoint."""
    args = arguments(argv)
    if args.run:
        print(json.dumps(run(args.folder, args.run, args.prompt_tokens, args.decode_tokens)))
        return 0
    config = CONFIGS[args.config]
    parent = args.folder or Path(tempfile.gettempdir())
    try:
        require_room(parent, checkpoint_bytes(config))
    except OSError as error:
        print(f"full_size: error: {error}", file=sys.stderr)
        return 1
    # SIGTERM raises, so that `finally` still runs.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        measure_and_remove(parent, config, args)
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def measure_and_remove(parent, config, args):
    folder = Path(tempfile.mkdtemp(prefix="full-size-", dir=parent))
    try:
        write_made_up(folder, config, progress=sys.stderr.isatty())
        result = measure(folder, args)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    finally:
        if args.keep:
            print(f"the checkpoint is kept in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
