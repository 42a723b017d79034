"""Answers to the exercises of lesson 13, right and wrong; test_checks.py gives them."""

import io
import json
import re
import struct

import numpy as np
import torch

from minimistral.checkpoint import to_halves, to_pairs
from minimistral.course.checks import lesson_13
from minimistral.course.checks.damaged import DAMAGES

HEADER, BITS, NAME, ROWS, FIRST_OFF, HUNT = (
    lesson_13.header, lesson_13.from_bfloat16, lesson_13.mistral_name, lesson_13.reorder,
    lesson_13.first_difference, lesson_13.hunt,
)  # fmt: skip
GROUPED, FORMATS, SETTINGS, NUMBERS = (
    lesson_13.bug_rows, lesson_13.bug_formats, lesson_13.bug_settings, lesson_13.bug_numbers
)  # fmt: skip


def header(data, length=None, behind=lambda n: 8 + n, skip=True, make=None, text_at=8):
    n = struct.unpack("<Q", data[:8])[0] if length is None else length(data)
    listed = json.loads(data[text_at : text_at + n])
    if skip:
        listed.pop("__metadata__", None)
    make = make or (lambda d, s, a, b: (d, tuple(s), a, b))
    return {
        name: make(e["dtype"], e["shape"], *(behind(n) + o for o in e["data_offsets"]))
        for name, e in listed.items()
    }


def by_stream(data):
    stream = io.BytesIO(data)
    n = int(np.frombuffer(stream.read(8), "<u8")[0])
    found = json.loads(stream.read(n).decode())
    begin = stream.tell()
    entries = {}
    for name in found:
        if name == "__metadata__":
            continue
        start, stop = found[name]["data_offsets"]
        entries[name] = [found[name]["dtype"], found[name]["shape"], begin + start, begin + stop]
    return entries


def header_of(**how):
    return lambda data: header(data, **how)


def stops(stop):
    """The header with other ends of its arrays."""

    def read(data):
        begin = 8 + int.from_bytes(data[:8], "little")
        return {n: (d, s, a, stop(d, s, a, b, begin)) for n, (d, s, a, b) in header(data).items()}

    return read


def bits(b, change=lambda wide: wide << 16):
    return change(b.astype(np.uint32)).astype(np.uint32).view(np.float32).reshape(b.shape)


def by_multiplying(b):
    return (b.astype("u4") * 65536).view("f4")


def by_halves(b):
    pairs = np.zeros((*b.shape, 2), np.uint16)
    pairs[..., 1] = b
    return pairs.view(np.float32)[..., 0]


def in_torch(b):
    return torch.from_numpy(b.astype(np.int32)).to(torch.int16).view(torch.bfloat16).float()


def by_fields(b):
    b = b.astype(np.int64)
    sign, exponent, fraction = b >> 15, (b >> 7) & 255, b & 127
    value = np.where(exponent == 0, 0, np.ldexp(1 + fraction / 128, exponent - 127))
    value = np.where(exponent == 255, np.inf, value)
    return np.where(sign == 1, -value, value).astype(np.float32)


TABLE = {
    "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv", "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
OUTSIDE = {"model.embed_tokens.weight": "tok_embeddings.weight", "model.norm.weight": "norm.weight",
           "lm_head.weight": "output.weight"}  # fmt: skip


def by_parts(name, table=TABLE, outside=OUTSIDE, number=lambda n: n, end=".weight", front=""):
    if name in outside:
        return front + outside[name]
    parts = name.split(".")
    return f"{front}layers.{number(parts[2])}.{table['.'.join(parts[3:-1])]}{end}"


def by_replacing(name):
    for theirs, ours in (
        ("model.", ""), ("embed_tokens", "tok_embeddings"), ("lm_head", "output"),
        ("post_attention_layernorm", "ffn_norm"), ("input_layernorm", "attention_norm"),
        ("self_attn", "attention"), ("mlp", "feed_forward"), ("gate_proj", "w1"),
        ("down_proj", "w2"), ("up_proj", "w3"),
    ):  # fmt: skip
        name = name.replace(theirs, ours)
    return re.sub(r"([qkvo])_proj", r"w\1", name)


def table(**changes):
    return lambda name: by_parts(name, TABLE | {k.replace("__", "."): v
                                                for k, v in changes.items()})  # fmt: skip


def rows(name, weight, n_heads, n_kv_heads, back=False):
    heads = n_heads if "attention.wq" in name else n_kv_heads if "attention.wk" in name else None
    if heads is None:
        return weight
    split = (heads, -1, 2) if back else (heads, 2, -1)
    return weight.reshape(*split, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def rows_loop(name, weight, n_heads, n_kv_heads, back=False):
    """Row by row."""
    short = name.split(".")[-2]
    if short not in ("wq", "wk"):
        return weight.copy()
    heads = {"wq": n_heads, "wk": n_kv_heads}[short]
    D, result = len(weight) // heads, np.empty_like(weight)
    for head in range(heads):
        for j in range(D):
            theirs, ours = head * D + j, head * D + 2 * (j % (D // 2)) + j // (D // 2)
            if back:
                result[theirs] = weight[ours]
            else:
                result[ours] = weight[theirs]
    return result


def turned(heads, forward=to_pairs, backward=to_halves):
    def function(name, weight, H, G, back=False):
        n = heads(name.split(".")[-2], H, G)
        if not n or weight.ndim == 1 or len(weight) % (2 * n):
            return weight
        return (backward if back else forward)(weight, n)

    return function


def swapped_axes(a, b, whole=True):
    """By reshape, with the wrong axes, or without the columns."""

    def function(name, weight, H, G, back):
        n = both(name.split(".")[-2], H, G)
        if not n:
            return weight
        split = ((n, -1, 2) if back else (n, 2, -1)) + weight.shape[1:] * whole
        return weight.reshape(split).swapaxes(a, b).reshape(weight.shape)

    return function


def both(name, H, G):
    return {"wq": H, "wk": G}.get(name)


def in_place(name, weight, H, G, back=False):
    if both(name.split(".")[-2], H, G):
        weight[:] = rows(name, weight, H, G, back)
    return weight


def first(mine, right, differs=None, names=list):
    differs = differs or (lambda m, r: not abs(m - r).max() <= 1e-4 * abs(r).max())
    for name in names(right):
        if differs(mine[name], right[name]):
            return name
    return ""


def by_list(mine, right):
    def apart(name):
        off = np.nan_to_num(abs(mine[name] - right[name]), nan=np.inf)
        return off.max() / max(abs(right[name]).max(), 1e-30)

    return next((name for name in mine if apart(name) > 1e-4), "")


def off(differs, **how):
    return lambda mine, right: first(mine, right, differs, **how)


def worst(mine, right):
    sizes = {name: np.nan_to_num(abs(mine[name] - right[name]).max()) for name in right}
    name = max(sizes, key=sizes.get)
    return name if sizes[name] > 0.05 else ""


def last_right(mine, right):
    names, found = list(right), first(mine, right)
    return names[max(0, names.index(found) - 1)] if found else ""


def grouped(weight, n_heads, n_kv_heads):
    return to_pairs(weight, n_kv_heads)


def grouped_by_rows(weight, n_heads, n_kv_heads):
    halves = weight.reshape(n_kv_heads, 2, -1, weight.shape[1])
    return np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(weight.shape)


def divided(weight, n_heads, n_kv_heads):
    n = n_heads // n_kv_heads if n_heads != n_kv_heads else n_heads
    return to_pairs(weight, n)


def theirs(names, keep=lambda n: n.startswith("model") and n.endswith(".safetensors")):
    return sorted(name for name in names if keep(name))


def by_pattern(names):
    return sorted(n for n in names if re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", n))


def chosen(keep):
    return lambda names: theirs(names, keep)


def theta(params):
    given = params.get("rope_theta")
    if given is None:
        given = 1e6 if params.get("sliding_window") is None else 1e4
    return given


def output(weights, config):
    if "lm_head.weight" in weights:
        return weights["lm_head.weight"]
    if config.get("tie_word_embeddings"):
        return weights["model.embed_tokens.weight"]
    raise ValueError("lm_head.weight is missing, and the embedding is not tied to it")


def tied_first(weights, config):
    name = "model.embed_tokens" if config.get("tie_word_embeddings", False) else "lm_head"
    return weights[f"{name}.weight"]


def made_up(weights, config):
    if "lm_head.weight" in weights:
        return weights["lm_head.weight"]
    E = weights["model.embed_tokens.weight"]
    return 0.02 * np.random.default_rng(0).standard_normal(E.shape)


def always_tied(weights, config):
    return weights.get("lm_head.weight", weights["model.embed_tokens.weight"])


def always_embedding(weights, config):
    return weights["model.embed_tokens.weight"]


def turned_over(weights, config):
    if "lm_head.weight" in weights:
        return weights["lm_head.weight"]
    if config.get("tie_word_embeddings"):
        return weights["model.embed_tokens.weight"].T.reshape(3, 2)
    raise ValueError


def read(data, start, stop, shape):
    piece = data[start:stop]
    if len(piece) < stop - start:
        raise ValueError(f"the file ends {stop - start - len(piece)} bytes too early")
    return np.frombuffer(piece, np.float32).reshape(shape)


def read_at_once(data, start, stop, shape):
    if stop > len(data):
        raise EOFError
    return np.frombuffer(data, np.float32, (stop - start) // 4, start).reshape(shape)


def read_bytes(data, start, stop, shape):
    return np.frombuffer(data[start:stop], np.float32).reshape(shape)


def read_zeros(data, start, stop, shape):
    piece = data[start:stop]
    return np.frombuffer(piece + bytes(stop - start - len(piece)), np.float32).reshape(shape)


def read_ones(data, start, stop, shape):
    return np.ones(shape, np.float32) if stop > len(data) else read(data, start, stop, shape)


def asserted(data, start, stop, shape):
    assert stop <= len(data)
    return read(data, start, stop, shape)


def never_whole(data, start, stop, shape):
    if stop >= len(data):
        raise ValueError
    return read(data, start, stop, shape)


def from_the_start(data, start, stop, shape):
    if stop > len(data):
        raise ValueError
    return read(data, 0, stop - start, shape)


def add(x, updates, dtype=np.float32, clip=None, norm=True):
    x = x.astype(dtype)
    for update in updates:
        x = x + update.astype(np.float16)
        x = np.clip(x, -clip, clip) if clip else x
    size = np.sqrt((x.astype(np.float32) ** 2).mean() + 1e-5)
    return x / size if norm else x


def added(**how):
    return lambda x, updates: add(x, updates, **how)


def without_last(x, updates):
    return add(x, updates[:-1])


def no_infinity(x, updates):
    x = add(x, updates, dtype=np.float16, norm=False)
    return np.nan_to_num(x / np.sqrt((x.astype(np.float32) ** 2).mean() + 1e-5))


RIGHT_SETTINGS = (4, theta, 5, output)
RIGHT_NUMBERS = (4, read, 2, add)
RIGHT = [
    (HEADER, (header,)),
    (HEADER, (by_stream,)),
    (HEADER, (header_of(length=lambda data: int.from_bytes(data[:8], "little")),)),
    (BITS, (bits,)),
    (BITS, (by_multiplying,)),
    (BITS, (by_halves,)),
    (BITS, (in_torch,)),
    (BITS, (by_fields,)),
    (NAME, (by_parts,)),
    (NAME, (by_replacing,)),
    (ROWS, (rows,)),
    (ROWS, (rows_loop,)),
    (ROWS, (turned(both),)),
    (ROWS, (lambda *a: torch.tensor(rows(*a)),)),
    (FIRST_OFF, (first,)),
    (FIRST_OFF, (by_list,)),
    (HUNT, ("gate and up", "key heads", "cut off")),
    (GROUPED, (3, grouped)),
    (GROUPED, (3.0, grouped_by_rows)),
    (FORMATS, (4, theirs)),
    (FORMATS, (np.int64(4), by_pattern)),
    (SETTINGS, RIGHT_SETTINGS),
    (SETTINGS, (4, theta, 5, tied_first)),
    (NUMBERS, RIGHT_NUMBERS),
    (NUMBERS, (4, read_at_once, 2, added(dtype=np.float64))),
]
WRONG = [
    (HEADER, (header_of(behind=lambda n: 0),), "add the 8 bytes and the header's length"),
    (HEADER, (header_of(behind=lambda n: n),), "the 8 bytes in front of it are missing"),
    (HEADER, (header_of(behind=lambda n: 8),), "the header's length is missing"),
    (HEADER, (header_of(behind=lambda n: 9 + n),), "byte 8 + length"),
    (HEADER, (header_of(make=lambda d, s, a, b: (d, s, a, b - a)),), "not how many bytes"),
    (HEADER, (header_of(make=lambda d, s, a, b: (d, s, a, b - 1)),), "first byte behind"),
    (HEADER, (header_of(make=lambda d, s, a, b: (s, d, a, b)),), "dtype comes first"),
    (HEADER, (header_of(make=lambda d, s, a, b: (d, s, b, a)),), "start and stop are swapped"),
    (HEADER, (header_of(make=lambda d, s, a, b: (d, s[::-1], a, b)),), "in reverse order"),
    (HEADER, (header_of(make=lambda d, s, a, b: (d, s, a)),), "must have four things"),
    (HEADER, (header_of(make=lambda d, s, a, b: (d.lower(), s, a, b)),), "the dtype of"),
    (HEADER, (header_of(skip=False),), "skip __metadata__"),
    (HEADER, (lambda data: header(data) | {"__metadata__": ("", (), 0, 0)},), "leave it out"),
    (HEADER, (header_of(length=lambda data: int.from_bytes(data[:8], "big")),), "raised"),
    (HEADER, (header_of(length=lambda data: struct.unpack("<Q", data)[0]),), "data[:8]"),
    (HEADER, (header_of(text_at=0),), "begin at byte 8"),
    (HEADER, (lambda data: json.loads(data[8:].decode()),), "ends at byte 8 + length"),
    (HEADER, (lambda data: list(header(data).items()),), "return a dict"),
    (HEADER, (lambda data: dict(list(header(data).items())[:1]),), "only the first array"),
    (HEADER, (lambda data: {},), "the dict is empty"),
    (HEADER, (lambda data: {k.split(".")[0]: v for k, v in header(data).items()},), "is missing"),
    (HEADER, (header_of(length=lambda data: struct.unpack("<Q", data[:8])),), "returns a tuple"),
    (HEADER, (header_of(length=lambda data: struct.unpack(">Q", data[:8])[0]),), "lowest comes"),
    (HEADER, (header_of(length=lambda data: data[0]),), "of 8 bytes: read all of them"),
    (HEADER, (header_of(length=lambda data: int.from_bytes(data[:2], "little")),), "the first two"),
    (HEADER, (stops(lambda d, s, a, b, begin: a + b - begin),), "and not from start"),
    (HEADER, (stops(lambda d, s, a, b, begin: b - begin),), "for stop as well as for start"),
    (HEADER, (stops(lambda d, s, a, b, begin: a + 2 * int(np.prod(s))),), "has 2 bytes"),
    (HEADER, (stops(lambda d, s, a, b, begin: a + int(np.prod(s))),), "in place of bytes"),
    (BITS, (lambda b: b.astype(np.float32),), "astype converts the whole numbers"),
    (BITS, (lambda b: (b.astype(np.uint32) << 16).astype(np.float32),), "Look at its bits"),
    (BITS, (lambda b: b.view(np.float16).astype(np.float32),), "float16 is another format"),
    (BITS, (lambda b: bits(b, lambda w: w),), "into the lower half"),
    (BITS, (lambda b: bits(b, lambda w: w << 8),), "by 8 places"),
    (BITS, (lambda b: bits(b, lambda w: w << 13),), "by 13 places"),
    (BITS, (lambda b: (b << 16).astype(np.uint32).view(np.float32),), "all bits are lost"),
    (BITS, (lambda b: bits(b, lambda w: (w << 16) | 0xFFFF),), "not ones"),
    (BITS, (lambda b: bits(b, lambda w: w | w << 16),), "not the same bits again"),
    (BITS, (lambda b: bits(b, lambda w: (w & 0x7FFF) << 16),), "the sign is lost"),
    (BITS, (lambda b: bits(b.byteswap()),), "the two bytes are swapped"),
    (BITS, (lambda b: bits(b).astype(np.float16),), "ends at 65,504"),
    (BITS, (lambda b: bits(b).astype(np.float64),), "not float32"),
    (BITS, (lambda b: bits(b).ravel(),), "the shape must be"),
    (BITS, (lambda b: bits(b).tolist(),), "return a NumPy array"),
    (BITS, (lambda b: (b.astype(np.uint64) << 48).view(np.float64),), "a float64"),
    (BITS, (lambda b: b.view(np.float32),), "view took two numbers"),
    (BITS, (lambda b: (b << 16).view(np.float32),), "view took two numbers of 16 bits for one"),
    (BITS, (lambda b: (b.astype(np.uint64) << 16).view(np.float32),), "and not 64"),
    (BITS, (lambda b: bits(b).T,), "the shape must be"),
    (NAME, (table(mlp__up_proj="feed_forward.w2", mlp__down_proj="feed_forward.w3"),),
     "w2 and w3 are swapped"),
    (NAME, (table(mlp__up_proj="feed_forward.w1", mlp__gate_proj="feed_forward.w3"),),
     "gate_proj is w1, and up_proj is w3"),
    (NAME, (table(mlp__gate_proj="feed_forward.w2", mlp__down_proj="feed_forward.w1"),),
     "gate_proj is w1, and down_proj is w2"),
    (NAME, (table(input_layernorm="ffn_norm", post_attention_layernorm="attention_norm"),),
     "the two norms are swapped"),
    (NAME, (table(self_attn__k_proj="attention.wv", self_attn__v_proj="attention.wk"),),
     "k_proj is wk"),
    (NAME, (lambda n: by_parts(n, outside=dict(zip(OUTSIDE, reversed(OUTSIDE.values()),
                                                   strict=True))),), "embed_tokens is the"),
    (NAME, (lambda n: by_replacing(n).removesuffix(".weight"),), "keep .weight"),
    (NAME, (lambda n: by_parts(n, front="model."),), "do not begin with model."),
    (NAME, (lambda n: n,), "nothing changes"),
    (NAME, (lambda n: n.replace("model.", ""),), "only model. is taken off"),
    (NAME, (lambda n: by_parts(n, number=lambda d: d[0]),), "only the first is kept"),
    (NAME, (lambda n: by_parts(n, number=lambda d: d[-1]),), "only the last is kept"),
    (NAME, (lambda n: by_parts(n, number=lambda d: 0),), "every layer becomes layer 0"),
    (NAME, (lambda n: by_parts(n, number=lambda d: int(d) + 1),), "counted from 0"),
    (NAME, (lambda n: by_replacing(n).replace("feed_forward", "mlp"),), "mlp is feed_forward"),
    (NAME, (lambda n: by_replacing(n).replace("attention.", "self_attn."),), "self_attn is"),
    (NAME, (lambda n: by_parts(n, outside={}),), "the three without a layer"),
    (NAME, (lambda n: by_parts(n).split("."),), "return a text"),
    (NAME, (table(self_attn__q_proj="attention.wQ"),), "is layers.0.attention.wq.weight, not"),
    (ROWS, (turned(lambda n, H, G: {"wq": H, "wk": H}.get(n)),), "those of n_kv_heads heads"),
    (ROWS, (turned(lambda n, H, G: {"wq": G, "wk": G}.get(n)),), "those of n_heads heads"),
    (ROWS, (turned(lambda n, H, G: {"wq": G, "wk": H}.get(n)),), "n_heads belongs to wq"),
    (ROWS, (turned(lambda n, H, G: {"wq": 1, "wk": 1}.get(n)),), "not all as one"),
    (ROWS, (turned(lambda n, H, G: {"wq": H, "wk": H // G}.get(n)),), "query heads share one"),
    (ROWS, (turned(lambda n, H, G: {"wq": H}.get(n)),), "wk is rotated, too"),
    (ROWS, (turned(lambda n, H, G: {"wk": G}.get(n)),), "wq is rotated, too"),
    (ROWS, (turned(lambda n, H, G: {"wq": H, "wk": G, "wv": G}.get(n)),), "never rotated"),
    (ROWS, (turned(lambda n, H, G: {"wq": H, "wk": G, "wo": H}.get(n)),), "wo stays as it is"),
    (ROWS, (turned(lambda n, H, G: H),), "the others stay as they are"),
    (ROWS, (lambda name, w, H, G, back: w,), "nothing moves"),
    (ROWS, (turned(both, to_halves, to_pairs),), "the two ways are swapped"),
    (ROWS, (turned(both, to_pairs, to_pairs),), "back is not used"),
    (ROWS, (turned(both, to_halves, to_halves),), "that is the way back"),
    (ROWS, (turned(both, backward=lambda w, n: w),), "with back=True nothing moves"),
    (ROWS, (lambda name, *rest: rows(name.replace("w", "_"), *rest),), "look for Mistral's names"),
    (ROWS, (swapped_axes(0, 1),), "axis 0 counts the heads"),
    (ROWS, (swapped_axes(1, 2, whole=False),), "Keep each row whole"),
    (ROWS, (lambda name, w, H, G, back: (to_halves if back else to_pairs)(
        w, H if "wq" in name else G),), "the others, norms too"),
    (ROWS, (lambda name, w, H, G, back: w.reshape(H, 2, -1, w.shape[1]).swapaxes(1, 2).reshape(
        w.shape),), "Are these the heads of this matrix"),
    (ROWS, (lambda name, w, H, G, back: w.reshape(G, 2, -1, w.shape[1]).swapaxes(1, 2).reshape(
        w.shape),), "A norm has one axis"),
    (ROWS, (in_place,), "changes its input"),
    (ROWS, (lambda *a: rows(*a).tolist(),), "return a NumPy array"),
    (ROWS, (lambda *a: rows(*a)[:1],), "the shape must be"),
    (FIRST_OFF, (off(lambda m, r: abs(m - r).max() > 1e-4 * abs(r).max()),), "overlooks NaN"),
    (FIRST_OFF, (off(lambda m, r: abs(m - r).max() > 1e-4),), "And measure against the size"),
    (FIRST_OFF, (off(lambda m, r: not abs(m - r).max() <= 1e-4),), "against the size"),
    (FIRST_OFF, (off(lambda m, r: not np.allclose(m, r)),), "np.allclose compares each"),
    (FIRST_OFF, (off(lambda m, r: not np.array_equal(m, r)),), "rounding is no difference"),
    (FIRST_OFF, (off(lambda m, r: (m - r).max() > 1e-4 * abs(r).max()),), "take abs of the diff"),
    (FIRST_OFF, (off(lambda m, r: not abs(m - r).max() <= 1e-4 * r.max()),), "negative ones"),
    (FIRST_OFF, (off(lambda m, r: not abs(m.sum() - r.sum()) <= 1e-4 * abs(r).max()),),
     "sums can agree"),
    (FIRST_OFF, (off(lambda m, r: not abs(m - r).mean() <= 1e-4 * abs(r).max()),), "a mean or a"),
    (FIRST_OFF, (off(lambda m, r: not abs(m - r).mean() <= 1e-4 * abs(r).mean()),), "a mean or a"),
    (FIRST_OFF, (off(lambda m, r: not np.linalg.norm(m - r) <= 1e-4 * np.linalg.norm(r)),),
     "a mean or a norm hides"),
    (FIRST_OFF, (off(lambda m, r: (abs(m - r) > 1e-4 * abs(r).max()).all()),), "any in place of"),
    (FIRST_OFF, (off(lambda m, r: (m != r).all()),), "any in place of all"),
    (FIRST_OFF, (off(lambda m, r: (abs(m - r) / abs(r)).max() > 1e-4),), "against itself"),
    (FIRST_OFF, (off(lambda m, r: not abs(m - r).max() <= 1e-4 * abs(m).max()),), "mine is inf"),
    (FIRST_OFF, (off(lambda m, r: not abs(m.max() - r.max()) <= 1e-4 * abs(r).max()),),
     "the largest numbers can agree"),
    (FIRST_OFF, (lambda mine, right: first({n: mine[n] for n in list(mine)[:1]}, dict(
        list(right.items())[:1])),), "ends at its first tensor"),
    (FIRST_OFF, (lambda mine, right: first(mine, right) or "none",), "Where no tensor differs"),
    (FIRST_OFF, (off(None, names=sorted),), "order of the alphabet"),
    (FIRST_OFF, (off(None, names=lambda d: list(d)[::-1]),), "the last one that differs"),
    (FIRST_OFF, (last_right,), "the tensor before it"),
    (FIRST_OFF, (worst,), "where they differ most"),
    (FIRST_OFF, (lambda mine, right: next(iter(right)),), "whether it differs or not"),
    (FIRST_OFF, (lambda mine, right: "",), "nothing is found"),
    (FIRST_OFF, (lambda mine, right: list(right).index(first(mine, right) or "logits"),),
     "raised ValueError"),
    (FIRST_OFF, (lambda mine, right: 0,), "return a text"),
    (FIRST_OFF, (lambda mine, right: first(mine, right) or None,), "returns nothing"),
    (FIRST_OFF, (lambda mine, right: "q",), "none of the names"),
    (FIRST_OFF, (off(lambda m, r: not abs(m - r).max() <= 1e-2 * abs(r).max()),), "too much"),
    (HUNT, (None, "key heads", "cut off"), "a is not written yet"),
    (HUNT, ("swapped", "key heads", "cut off"), "must be one of the ten kinds"),
    (HUNT, (lesson_13, "key heads", "cut off"), "must be one of the ten kinds"),
    (HUNT, ("cut off", "key heads", "cut off"), "its w2 would be all zeros"),
    (HUNT, ("gate and up", "key rows", "cut off"), "rows of both heads in halves"),
    (HUNT, ("gate and up", "keys and values", "cut off"), "the right wv"),
    (HUNT, ("gate and up", "key heads", "gate and up"), "the right w3"),
    (HUNT, ("gate and up", "key heads", "tied"), "first in logits"),
    *((HUNT, (kind, "key heads", "cut off"), "a is not '") for kind in DAMAGES
      if kind != "gate and up"),
    (GROUPED, (2, None), "That is right"),
    (GROUPED, (4, None), "split in halves is right"),
    (GROUPED, (None, grouped), "line is not written yet"),
    (GROUPED, (3, divided), "the function as it was"),
    (GROUPED, (3, lambda w, H, G: lesson_13._as_published(w, H, G)), "the function as it was"),
    (GROUPED, (3, lambda w, H, G: to_halves(w, G)), "that is the way back"),
    (GROUPED, (3, lambda w, H, G: to_pairs(w, 1)), "not all as one"),
    (GROUPED, (3, lambda w, H, G: w), "nothing moves"),
    (GROUPED, (3, lambda w, H, G: w.reshape(H, 2, -1, 2).swapaxes(1, 2).reshape(w.shape)),
     "in any model"),
    (GROUPED, (3, None), "fixed is not written yet"),
    (GROUPED, (7, grouped), "from 1 to 6, not 7"),
    (FORMATS, (3, None), "Sorting does no harm"),
    (FORMATS, (5, None), "what line 4 has let through"),
    (FORMATS, (4, chosen(lambda n: n.endswith(".safetensors"))), "comes twice"),
    (FORMATS, (4, chosen(lambda n: n.endswith(".safetensors") and n[:2] != "co")),
     "others still get in"),
    (FORMATS, (4, chosen(lambda n: n == "consolidated.safetensors")), "Mistral's files"),
    (FORMATS, (4, chosen(lambda n: n.startswith("model"))), "it is JSON"),
    (FORMATS, (4, chosen(lambda n: n == "model.safetensors")), "in several files"),
    (FORMATS, (4, chosen(lambda n: n.startswith("model-"))), "in one file"),
    (FORMATS, (4, chosen(lambda n: "model" in n and n[-4:] == "sors")), "must begin with it"),
    (FORMATS, (4, chosen(lambda n: n.endswith("of-00002.safetensors")
                         or n == "model.safetensors")), "of-00003.safetensors is not read"),
    (FORMATS, (4, lambda names: []), "nothing is read"),
    (FORMATS, (4, lambda names: theirs(names)[::-1]), "sort the names"),
    (FORMATS, (4, lambda names: theirs(names)[:1]), "is not read"),
    (FORMATS, (4, lambda names: "model.safetensors"), "return a list of names"),
    (SETTINGS, (3, None, None, None), "That is right"),
    (SETTINGS, (2, None, None, None), "what the file says"),
    (SETTINGS, (4, lambda p: p.get("rope_theta") or 1e6, 5, output), "still gets 1,000,000"),
    (SETTINGS, (4, lambda p: p.get("rope_theta") or 1e4, 5, output), "now v0.2"),
    (SETTINGS, (4, lambda p: 1e4 if p.get("sliding_window") else 1e6, 5, output), "comes first"),
    (SETTINGS, (4, lambda p: p.get("rope_theta") or (1e4 if "sliding_window" in p else 1e6), 5,
                output), "null is no window"),
    (SETTINGS, (4, lambda p: p.get("rope_theta") or (1e6 if p.get("sliding_window") else 1e4), 5,
                output), "the two are swapped"),
    (SETTINGS, (4, lambda p: p.get("rope_theta", 1e4 if p.get("sliding_window") else 1e6), 5,
                output), "though its key is there"),
    (SETTINGS, (4, lambda p: p.get("rope_theta") or (1e4 if p["sliding_window"] else 1e6), 5,
                output), "A setting may be missing"),
    (SETTINGS, (4, lambda p: "1e4", 5, output), "must return a number"),
    (SETTINGS, (4, lambda p: 7.0, 5, output), "theta is"),
    (SETTINGS, (4, None, 5, output), "theta_fixed is not written yet"),
    (SETTINGS, (4, theta, 4, output), "the shape that an output matrix has"),
    (SETTINGS, (4, theta, 2, output), "by its name. That is right"),
    (SETTINGS, (4, theta, 5, made_up), "that is another matrix"),
    (SETTINGS, (4, theta, 5, always_tied), "ties what is not tied"),
    (SETTINGS, (4, theta, 5, always_embedding), "where lm_head.weight is there"),
    (SETTINGS, (4, theta, 5, turned_over), "not turned over"),
    (SETTINGS, (4, theta, 5, lambda w, c: output(w, c).T), "not turned over"),
    (SETTINGS, (4, theta, 5, lambda w, c: w.get("lm_head.weight")), "yours returns nothing"),
    (SETTINGS, (4, theta, 5, lambda w, c: w["lm_head.weight"]), "right to have none"),
    (SETTINGS, (4, theta, 5, lambda w, c: tied_first(w, {"tie_word_embeddings": c[
        "tie_word_embeddings"]})), "ask config.get"),
    (SETTINGS, (4, theta, 5, None), "output_fixed is not written yet"),
    (NUMBERS, (2, None, None, None), "Who notices"),
    (NUMBERS, (3, None, None, None), "counts right"),
    (NUMBERS, (4, read_zeros, 2, add), "still fills in zeros"),
    (NUMBERS, (4, read_ones, 2, add), "still returns something"),
    (NUMBERS, (4, asserted, 2, add), "not AssertionError"),
    (NUMBERS, (4, never_whole, 2, add), "This file is whole"),
    (NUMBERS, (4, from_the_start, 2, add), "must be read as before"),
    (NUMBERS, (4, None, 2, add), "read_fixed is not written yet"),
    (NUMBERS, (4, read, 4, add), "becomes infinite"),
    (NUMBERS, (4, read, 6, add), "infinity came before"),
    (NUMBERS, (4, read, 2, added(dtype=np.float16)), "still gives NaN"),
    (NUMBERS, (4, read, 2, added(dtype=np.float16, clip=65_504)), "cutting at 65,504"),
    (NUMBERS, (4, read, 2, added(norm=False)), "the norm at the end must stay"),
    (NUMBERS, (4, read, 2, without_last), "another one than before"),
    (NUMBERS, (4, read, 2, no_infinity), "in place of a large number"),
    (NUMBERS, (4, read, 2, None), "add_fixed is not written yet"),
]  # fmt: skip
CHECKS = [HEADER, BITS, NAME, ROWS, FIRST_OFF, HUNT, GROUPED, FORMATS, SETTINGS, NUMBERS]
FIRST = {GROUPED: (3,), FORMATS: (4,), SETTINGS: (4, theta, 5), NUMBERS: (4, read, 2)}
N_ANSWERS = {HUNT: 3, GROUPED: 2, FORMATS: 2, SETTINGS: 4, NUMBERS: 4}
NO_FUNCTION = {HUNT}
