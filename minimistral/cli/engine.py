"""What generate and chat have in common: their options, the engine, and the last line."""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from minimistral._arguments import require_count, require_number
from minimistral.cli import UsageError, processes

DTYPES = {
    "np": ("float16", "float32", "float64"),
    "pt": ("float16", "bfloat16", "float32", "float64"),
}
STREAM_CHUNK = 512  # tokens: their arithmetic takes far longer than reading the file once more


def option(check: Callable[..., Any], kind: type, **limits: Any) -> Callable[[str], Any]:
    """A type for argparse: a number, checked as the library checks it.

    >>> option(require_count, int)("3")
    3
    """

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {what}, not {text!r}") from None
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
        "--backend", choices=("np", "pt"), default="np", help="NumPy, or torch (%(default)s)"
    )
    engine.add_argument("--device", help="for pt: cpu, cuda …; cuda where there is one")
    engine.add_argument(
        "--dtype",
        choices=DTYPES["pt"],
        help="of the weights; float32, and on a GPU what the file holds",
    )
    engine.add_argument(
        "--quantize",
        choices=("int8", "int4"),
        help="for pt: keep the weights in 8 or 4 bits",
    )
    engine.add_argument(
        "--compiled",
        action="store_true",
        help="for pt: compile a decode step first, which takes a while; worth it on a GPU",
    )
    engine.add_argument(
        "--block-sparse",
        action="store_true",
        help="for pt: read the prompt with attention that skips blocks; worth it on a GPU",
    )
    engine.add_argument(
        "--stream",
        action="store_true",
        help="for np: leave the weights in their file; so it is where memory is too small for them",
    )
    engine.add_argument(
        "--chunk-size",
        type=COUNT,
        metavar="N",
        help="read the prompt in chunks of so many tokens; all at once, and"
        f" {STREAM_CHUNK} when streaming",
    )
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument(
        "--max-new-tokens",
        type=COUNT,
        default=max_new_tokens,
        metavar="N",
        help="write at most so many (%(default)s)",
    )
    sampling.add_argument(
        "--temperature",
        type=option(require_number, float, low=0),
        default=0.0,
        metavar="X",
        help="0 takes the likeliest (%(default)s)",
    )
    sampling.add_argument(
        "--top-p",
        type=option(require_number, float, above=0, high=1),
        default=1.0,
        metavar="P",
        help="keep the likeliest tokens that have P together (%(default)s)",
    )
    sampling.add_argument(
        "--seed",
        type=option(require_count, int, minimum=0),
        metavar="N",
        help="same seed, same text; with np and pt alike",
    )


def load(
    path: Any, args: argparse.Namespace, check: Callable[[Any], None] | None = None
) -> tuple[Any, Any, Any]:
    """The engine, the model and its tokenizer.

    check: raises when the tokenizer does not suit. All that can be seen to be wrong is said
    before the weights are read.
    """
    from minimistral import tokenizer
    from minimistral.checkpoint import open_checkpoint

    place = _place(args)
    if not Path(path).is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    words = tokenizer.load(path, getattr(args, "tokenizer_version", None))
    if check is not None:
        check(words)
    checkpoint = open_checkpoint(path)
    vocab_size = checkpoint.config.vocab_size
    if len(words) > vocab_size:
        raise ValueError(
            f"{words.file.name} has {len(words)} pieces, but the model's vocab_size is {vocab_size}"
        )
    mm = importlib.import_module(f"minimistral.{args.backend}")
    if getattr(args, "tensor_parallel", None) is not None:
        return mm, processes.load(path, args, place), words
    if args.backend == "np" and streams(checkpoint, args):
        place["stream"] = True
        args.chunk_size = args.chunk_size or STREAM_CHUNK
        print(_stream_words(checkpoint), file=sys.stderr)
    progress = sys.stderr.isatty() and "stream" not in place
    return mm, mm.load(path, progress=progress, **place), words


def streams(checkpoint: Any, args: argparse.Namespace) -> bool:
    """Whether np leaves the weights in their file: when asked, or when they would not fit.

    A fifth of the free memory is left for the cache and all else. A .pth file cannot be
    streamed, and other dtypes are not; they are loaded unless streaming is asked for.
    """
    if args.stream:
        return True
    if checkpoint.pickled is not None or args.dtype not in (None, "float32"):
        return False
    return 4 * checkpoint.config.n_params > 0.8 * _free_memory()


def _free_memory() -> int:
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available)


def _stream_words(checkpoint: Any) -> str:
    need, free = (n / 2**30 for n in (4 * checkpoint.config.n_params, _free_memory()))
    return (
        f"the weights stay in their file and are read for every token (in float32 they take"
        f" {need:.1f} GiB; {free:.1f} GiB are free)"
    )


def _place(args: argparse.Namespace) -> dict[str, Any]:
    """dtype and device for `load`."""
    if args.backend == "np":
        if args.device is not None:
            raise UsageError("argument --device: only with --backend pt")
        if args.dtype is not None and args.dtype not in DTYPES["np"]:
            raise UsageError(f"argument --dtype: NumPy has no {args.dtype}; use --backend pt")
        for name in ("quantize", "compiled", "block_sparse"):
            if getattr(args, name):
                raise UsageError(f"argument --{name.replace('_', '-')}: only with --backend pt")
        if args.stream and args.dtype not in (None, "float32"):
            raise UsageError(f"argument --dtype: --stream computes in float32, not {args.dtype}")
        return {"dtype": args.dtype}
    if args.stream:
        raise UsageError("argument --stream: only with --backend np")
    import torch

    from minimistral.pt.cache import as_device

    name = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = as_device(name)
    except ValueError as error:
        raise UsageError(f"argument --device: {error}") from None
    if device.type == "meta":
        raise UsageError("argument --device: meta has shapes only, nothing to say")
    dtype = args.dtype or ("float32" if device.type == "cpu" else None)
    return {"dtype": dtype, "device": device, "quantize": args.quantize}


class Run:
    """New ids as they come, and what they took: for the last line."""

    def __init__(self, mm: Any, model: Any, args: argparse.Namespace, stop_ids: Iterable[int]):
        self.mm, self.model, self.args = mm, model, args
        self.stop_ids = [token for token in stop_ids if 0 <= token < model.config.vocab_size]

    def stream(self, prompt: list[int], cache: Any) -> Iterator[int]:
        """The ids that follow a prompt, without the one that ends it; into `self.ids` too."""
        args, self.cache, self.n_prompt = self.args, cache, len(prompt)
        only_pt = {"compiled": args.compiled, "block_sparse": args.block_sparse}
        self.ids: list[int] = []
        self.started = self.first = self.last = time.perf_counter()
        new = self.mm.stream(
            self.model,
            prompt,
            args.max_new_tokens,
            chunk_size=args.chunk_size,
            temperature=args.temperature,
            top_p=args.top_p,
            seed=args.seed,
            stop_ids=self.stop_ids,
            cache=cache,
            **(only_pt if args.backend == "pt" else {}),
        )
        for token in new:
            self.last = time.perf_counter()
            if not self.ids:
                self.first = self.last
            self.ids.append(token)
            if token not in self.stop_ids:
                yield token

    def words(self) -> str:
        """Tokens a second, and the bytes of the cache."""
        read, decode = self.first - self.started, self.last - self.first
        words = f"[{self.n_prompt} tokens read in {read:.2f} s; {len(self.ids)} written"
        if len(self.ids) > 1:  # the first one comes out of reading the prompt
            words += f", {(len(self.ids) - 1) / decode:.1f} tokens/s"
        return f"{words}; cache {self.cache.nbytes:,} bytes]"


def require_unicode(name: str, text: str) -> str:
    """Return a text of the command line, or raise UsageError: bytes may have no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"argument {name}: is not valid UTF-8") from None
    return text


def show(pieces: Iterable[str]) -> str:
    """Write pieces of text as they come; the whole of it. Ctrl-C goes through."""
    shown = ""
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
        shown += piece
    return shown
