"""What generate and chat have in common: their options, loading the model, and the summary line."""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from minimistral._arguments import require_count, require_number
from minimistral.cli import UsageError, named, plain, processes, refuse

DTYPES = {
    "np": ("float16", "float32", "float64"),
    "pt": ("float16", "bfloat16", "float32", "float64"),
}
MMAP_CHUNK = 512  # tokens: computing them takes far longer than reading the weights once


def option(check: Callable[..., Any], kind: type, **limits: Any) -> Callable[[str], Any]:
    """A type for argparse: a number, checked as the library checks it.

    >>> option(require_count, int)("3")
    3
    """

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            expected = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {expected}, not {text!r}") from None
        try:
            return check("", value, **limits)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error).strip()) from None

    return parse


COUNT = option(require_count, int)


def add_arguments(parser: argparse.ArgumentParser, max_new_tokens: int) -> None:
    """The options of the engine and of sampling."""
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--backend", choices=("np", "pt"), default="np", help="NumPy or torch (%(default)s)"
    )
    add_format(engine)
    engine.add_argument("--device", help="for pt: cpu, cuda …; cuda if there is one")
    engine.add_argument(
        "--dtype",
        choices=DTYPES["pt"],
        help="dtype of the weights; float32 if not given, and on a GPU that of the files",
    )
    engine.add_argument(
        "--quantize",
        choices=("int8", "int4"),
        help="for pt: store the weights in 8 or 4 bits",
    )
    engine.add_argument(
        "--compiled",
        action="store_true",
        help="for pt: compile the decode step first, which takes a while; meant for a GPU",
    )
    engine.add_argument(
        "--block-sparse",
        action="store_true",
        help="for pt: prefill with attention that skips the blocks outside the window; worth it"
        " on a GPU",
    )
    engine.add_argument(
        "--mmap",
        action="store_true",
        help="for np: read weights from disk as needed (automatic when they do not fit)",
    )
    engine.add_argument(
        "--chunk-size",
        type=COUNT,
        metavar="N",
        help=f"tokens per chunk of the prompt; the whole prompt if not given, {MMAP_CHUNK} with"
        " --mmap",
    )
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument(
        "--max-new-tokens",
        type=option(require_count, int, below=2**62),  # as in `stream`
        default=max_new_tokens,
        metavar="N",
        help="maximum number of new tokens (%(default)s)",
    )
    sampling.add_argument(
        "--temperature",
        type=option(require_number, float, low=0),
        default=0.0,
        metavar="X",
        help="0 always takes the likeliest token (%(default)s)",
    )
    sampling.add_argument(
        "--repetition-penalty",
        type=option(require_number, float, above=0),
        default=1.0,
        metavar="X",
        help="make tokens that stand in the prompt or were written since less likely: divide a"
        " positive logit by X, multiply a negative one (%(default)s); chat counts one turn at a"
        " time",
    )
    sampling.add_argument(
        "--top-k",
        type=COUNT,
        metavar="N",
        help="sample only from the N likeliest tokens; all if not given",
    )
    sampling.add_argument(
        "--top-p",
        type=option(require_number, float, above=0, high=1),
        default=1.0,
        metavar="P",
        help="sample only from the likeliest tokens whose probabilities sum to P (%(default)s)",
    )
    sampling.add_argument(
        "--min-p",
        type=option(require_number, float, low=0, high=1),
        default=0.0,
        metavar="P",
        help="sample only from tokens at least P times as likely as the likeliest (%(default)s)",
    )
    sampling.add_argument(
        "--seed",
        type=option(require_count, int, minimum=0),
        metavar="N",
        help="the same seed gives the same text, with np and with pt",
    )


def add_format(parser: Any) -> None:
    """The option that chooses between two checkpoints in one folder."""
    parser.add_argument(
        "--format",
        choices=("mistral", "hf"),
        help="which checkpoint of a folder with both: params.json (mistral, if not given) or"
        " config.json (hf)",
    )


def notes(checkpoint: Any, folder: Path) -> list[str]:
    """What to know before using a checkpoint: what else its folder holds, keys that are ignored."""
    from minimistral.checkpoint import CONFIG_FILE, formats_in, left_behind, unknown_keys

    config = CONFIG_FILE[checkpoint.format]
    lines = [
        f"the folder holds two checkpoints; {config} is read, --format {other} reads"
        f" {CONFIG_FILE[other]}"
        for other in formats_in(folder)
        if other != checkpoint.format
    ]
    settings = json.loads((folder / config).read_text(encoding="utf-8"))
    if unknown := unknown_keys(settings, checkpoint.format):
        keys = ", ".join(map(repr, unknown))
        lines.append(
            f"{config} has keys that are not read, here or by transformers' Mistral: {keys}"
        )
    lines += [
        f"{name} is left of a save that was killed, and nothing reads it: delete it unless one runs"
        for name in left_behind(folder)
    ]
    return lines


def tokenizer_facts(tokenizer: Any, vocab_size: int) -> dict[str, Any]:
    """What to say about a tokenizer beside a model of this vocabulary."""
    n_ids = max([len(tokenizer), *(token + 1 for token in tokenizer.added)])
    return {
        "file": tokenizer.file.name,
        "version": tokenizer.version,
        "template": tokenizer.template_name,
        "pieces": len(tokenizer),
        "added": n_ids - len(tokenizer),
        "fits": n_ids == vocab_size,
    }


def tokenizer_text(facts: dict[str, Any], vocab_size: int) -> str:
    """The facts in one line.

    >>> facts = {"file": "tokenizer.model", "version": "v1", "pieces": 32000, "added": 2,
    ...          "fits": False}
    >>> tokenizer_text(facts, 32768)
    'tokenizer.model, v1, 32,000 pieces and 2 added, but vocab_size is 32,768'
    """
    added = f" and {facts['added']:,} added" * (facts["added"] > 0)
    text = f"{named(facts['file'])}, {facts['version']}, {facts['pieces']:,} pieces{added}"
    return text if facts["fits"] else f"{text}, but vocab_size is {vocab_size:,}"


def load(
    path: Any, args: argparse.Namespace, check: Callable[[Any], None] | None = None
) -> tuple[Any, Any, Any]:
    """The engine, the model and its tokenizer.

    check: raises when the tokenizer does not suit the command. All that can be checked without
    the weights is checked before they are read.
    """
    from minimistral.checkpoint import open_checkpoint
    from minimistral.tokenizer import load as load_tokenizer

    options = _np_options(args) if args.backend == "np" else _pt_options(args)
    checkpoint = open_checkpoint(path, args.format)
    tokenizer = load_tokenizer(path, getattr(args, "tokenizer_version", None))
    if check is not None:
        check(tokenizer)
    for name in ("context", "max_new_tokens"):
        if n_tokens := getattr(args, name, None):
            size = {f"--{name.replace('_', '-')}": n_tokens}
            checkpoint.config.require_cache_size(options["dtype"] or "float32", 1, **size)
    vocab_size = checkpoint.config.vocab_size
    if len(tokenizer) > vocab_size:
        raise ValueError(
            f"{named(tokenizer.file.name)} has {len(tokenizer)} pieces,"
            f" but the model's vocab_size is {vocab_size}"
        )
    lines = notes(checkpoint, Path(path))
    facts = tokenizer_facts(tokenizer, vocab_size)
    if not facts["fits"]:
        lines.append(tokenizer_text(facts, vocab_size))
    for note in lines if processes.is_first() else ():
        print(f"note: {note}", file=sys.stderr)
    mm = importlib.import_module(f"minimistral.{args.backend}")
    if getattr(args, "tensor_parallel", None) is not None:
        return mm, processes.load(path, args, options["dtype"]), tokenizer
    options["format"] = args.format
    if args.backend == "np" and uses_mmap(checkpoint, args):
        options["mmap"] = True
        args.chunk_size = args.chunk_size or MMAP_CHUNK
        print(_mmap_note(checkpoint), file=sys.stderr)
    else:
        require_memory(checkpoint, args, options["dtype"], _free_on(options.get("device")))
    progress = sys.stderr.isatty() and "mmap" not in options
    return mm, mm.load(path, progress=progress, **options), tokenizer


def uses_mmap(checkpoint: Any, args: argparse.Namespace) -> bool:
    """Whether np leaves the weights in their files: when asked to, or when they would not fit.

    A fifth of the free memory is kept for the cache and everything else. Without --mmap, weights
    are always loaded from a .pth file, which cannot be mapped, and for dtypes other than float32.
    """
    if args.mmap:
        return True
    if checkpoint.pickled is not None or args.dtype not in (None, "float32"):
        return False
    return 4 * checkpoint.config.n_params > 0.8 * free_memory()


def require_memory(checkpoint: Any, args: argparse.Namespace, dtype: str | None, free: int) -> None:
    """Raise MemoryError when the weights do not fit; it says which options would help."""
    from minimistral.checkpoint import memory

    if args.backend == "np":
        ways = {"mmap": "--mmap"}
    else:
        ways = {"bfloat16": "--dtype bfloat16", "int8": "--quantize int8", "mmap": "--backend np"}
    if getattr(args, "tensor_parallel", None) is not None:
        ways.pop("int8", None)
    dtype = dtype or (checkpoint.dtype if args.backend == "pt" else "float32")
    memory.require_memory(checkpoint, dtype, args.quantize, free, ways=ways)


def _free_on(device: Any) -> int:
    """Free bytes where the weights will be: in the memory of a GPU, or of the machine."""
    if device is None or device.type != "cuda":
        return free_memory()
    import torch

    return torch.cuda.mem_get_info(device)[0]


def free_memory() -> int:
    from minimistral.checkpoint import memory

    return memory.free_memory()


def _mmap_note(checkpoint: Any) -> str:
    needed, free = (n / 2**30 for n in (4 * checkpoint.config.n_params, free_memory()))
    return (
        "the weights stay in their file and are read for every token"
        f" (they take {needed:.1f} GiB in float32; {free:.1f} GiB are free)"
    )


def _np_options(args: argparse.Namespace) -> dict[str, Any]:
    """What `mn.load` is called with."""
    refuse(args, ["device", "quantize", "compiled", "block_sparse"], "only with --backend pt")
    if args.dtype is not None and args.dtype not in DTYPES["np"]:
        raise UsageError(f"argument --dtype: NumPy has no {args.dtype}; use --backend pt")
    if args.mmap and args.dtype not in (None, "float32"):
        raise UsageError(f"argument --dtype: must be float32 with --mmap, not {args.dtype}")
    return {"dtype": args.dtype}


def _pt_options(args: argparse.Namespace) -> dict[str, Any]:
    """What `mp.load` is called with."""
    refuse(args, ["mmap"], "only with --backend np")
    import torch

    from minimistral.pt.tensors import as_device

    try:
        device = as_device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except ValueError as error:
        raise UsageError(f"argument --device: {error}") from None
    if device.type == "meta":
        raise UsageError("argument --device: meta holds shapes without values")
    dtype = args.dtype or ("float32" if device.type == "cpu" else None)
    return {
        "dtype": dtype,
        "device": device,
        "quantize": args.quantize,
        "block_sparse": args.block_sparse,
    }


class Generation:
    """New ids as they come, and the times and counts for the summary line."""

    def __init__(self, mm: Any, model: Any, args: argparse.Namespace, stop_ids: Iterable[int]):
        self.mm, self.model, self.args = mm, model, args
        self.stop_ids = [token for token in stop_ids if 0 <= token < model.config.vocab_size]
        self.ids: list[int] = []
        self.noted = False

    def stream(self, prompt: list[int], cache: Any) -> Iterator[int]:
        """The ids that follow a prompt, without the one that ends it; `self.ids` has that too."""
        args, self.cache, self.n_prompt = self.args, cache, len(prompt)
        self.ids = []
        self._note_length(int(cache.seen[0]) + len(prompt))
        self.started = self.first = self.last = time.perf_counter()
        new_ids = self.mm.stream(
            self.model,
            prompt,
            args.max_new_tokens,
            chunk_size=args.chunk_size,
            temperature=args.temperature,
            top_p=args.top_p,
            top_k=args.top_k,
            min_p=args.min_p,
            repetition_penalty=args.repetition_penalty,
            seed=args.seed,
            stop_ids=self.stop_ids,
            cache=cache,
            **({"compiled": args.compiled} if args.backend == "pt" else {}),
        )
        for token in new_ids:
            self.last = time.perf_counter()
            if not self.ids:
                self.first = self.last
            self.ids.append(token)
            if token not in self.stop_ids:
                yield token

    def _note_length(self, n_tokens: int) -> None:
        """Say once when a model without a window reads more than it was made for."""
        config = self.model.config
        too_long = config.window_size is None and n_tokens > config.context_len
        if too_long and not self.noted and processes.is_first():
            self.noted = True
            print(
                f"note: {n_tokens:,} tokens are to be read, but the model's context_len is"
                f" {config.context_len:,}; what it writes may make no sense",
                file=sys.stderr,
            )

    def summary(self) -> str:
        """Tokens and tokens per second, and the bytes of the cache."""
        read, decode = self.first - self.started, self.last - self.first
        written = f"{len(self.ids)} written"
        if len(self.ids) > 1:  # reading the prompt gives the first one
            written += f", {(len(self.ids) - 1) / decode:.1f} tokens/s"
        prompt = f"{self.n_prompt} tokens read in {read:.2f} s"
        return f"[{prompt}; {written}; cache {self.cache.nbytes:,} bytes]"


def require_unicode(name: str, text: str) -> str:
    """Return a text of the command line, or raise UsageError if its bytes are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"argument {name}: must be valid UTF-8") from None
    return text


def show(pieces: Iterable[str]) -> None:
    """Write pieces of text as they come, to a terminal without control characters."""
    to_terminal = sys.stdout.isatty()
    for piece in pieces:
        sys.stdout.write(plain(piece) if to_terminal else piece)
        sys.stdout.flush()
