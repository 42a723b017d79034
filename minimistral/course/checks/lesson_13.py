"""Checks of lesson 13: header, bits, names, rows, the first difference, and six published bugs."""

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minimistral.checkpoint import hf_name, to_halves, to_pairs
from minimistral.checkpoint.names import HF_NAMES
from minimistral.config import ModelConfig
from minimistral.course.checks.damaged import DAMAGES, HUNTED
from minimistral.course.checks.museum import guilty_line
from minimistral.course.checks.report import (
    Example,
    NotWritten,
    Wrong,
    array,
    call,
    diagnose_arrays,
    diagnose_values,
    exercise,
    expect,
    quiet_call,
)
from minimistral.np.checkpoint import from_bfloat16 as np_from_bfloat16

Array = np.ndarray
Mistakes = Iterable[tuple[Callable[..., Any], str]]
Entries = dict[str, tuple]

_OURS = {theirs: ours for ours, theirs in HF_NAMES.items()}


def _header(data: Any) -> Entries:
    length = int.from_bytes(data[:8], "little")
    listed = json.loads(bytes(data[8 : 8 + length]))
    return {
        name: (
            entry["dtype"], tuple(entry["shape"]),
            *(8 + length + offset for offset in entry["data_offsets"]),
        )
        for name, entry in listed.items() if name != "__metadata__"
    }  # fmt: skip


def _mistral_name(name: str) -> str:
    number = re.search(r"\.(\d+)\.", name)
    general = re.sub(r"\.\d+\.", ".N.", name).removesuffix(".weight")
    return f"{_OURS[general]}.weight".replace("N", number[1] if number else "")


def _heads_of(name: str, n_heads: int, n_kv_heads: int) -> int:
    """How many heads the rows of a weight belong to, if they are to be reordered; else 0."""
    return {"wq": n_heads, "wk": n_kv_heads}.get(name.split(".")[-2], 0)


def _reorder(name: str, weight: Array, n_heads: int, n_kv_heads: int, back: bool = False) -> Array:
    heads = _heads_of(name, n_heads, n_kv_heads)
    turn = to_halves if back else to_pairs
    return turn(weight, heads) if heads else weight


def _first_difference(mine: dict[str, Array], right: dict[str, Array]) -> str:
    for name, wanted in right.items():
        off = abs(mine[name] - wanted).max()
        if np.isnan(off) or off > 1e-4 * abs(wanted).max():
            return name
    return ""


@exercise("Read the header", course=_header, hints=(
    "`int.from_bytes(data[:8], \"little\")` is the length of the JSON text that follows these 8 "
    "bytes; `json.loads` makes a dict of it.",
    "The offsets in the header count from the first byte behind the header. So add the 8 bytes "
    "and the length of the header to both.",
    "For each name except `__metadata__`, with `begin = 8 + length` and `a, b = "
    "entry[\"data_offsets\"]`: `(entry[\"dtype\"], tuple(entry[\"shape\"]), begin + a, begin + "
    "b)`.",
))  # fmt: skip
def header(answer: Any) -> str:
    """answer(data) -> {name: (dtype, shape, start, stop)}."""
    cases = [(data,) for data in _files()]
    hints = {
        "Expecting value": "Does the JSON text begin at byte 8?",
        "codec": "Does the JSON text begin at byte 8?",
        "Extra data": "The JSON text ends at byte 8 + length, and of the length's 8 bytes the "
                      "lowest comes first.",
        "Unterminated": "The length is a number of 8 bytes: read all of them.",
        "'tuple'": "struct.unpack returns a tuple, here of one number: take that.",
        "requires a buffer of": "struct.unpack wants exactly as many bytes: data[:8] for \"<Q\".",
        "__metadata__": "One entry is no array: skip __metadata__.",
        "data_offsets": "One entry is no array: skip __metadata__.",
        "'dtype'": "One entry is no array: skip __metadata__.",
    }  # fmt: skip
    results = [(case, _entries(call(answer, *case, hints=hints))) for case in cases]
    diagnose_values(results, _header, _header_mistakes(), _header_fault)
    return f"right for {len(cases)} files, one of them with notes beside its arrays."


@exercise("bfloat16 by its bits", course=np_from_bfloat16, hints=(
    "The 16 bits of a bfloat16 are the upper half of the 32 bits of the same number in float32, "
    "whose lower half is 0.",
    "Make the integers wide first, `bits.astype(np.uint32)`: shifted by 16 places, 16 bits would "
    "all be lost.",
    "`(bits.astype(np.uint32) << 16).view(np.float32)`: view looks at the same bits as another "
    "dtype, whereas astype would convert the value.",
))  # fmt: skip
def from_bfloat16(answer: Any) -> str:
    """answer(bits uint16) -> float32 of the same shape."""
    rng = np.random.default_rng(13)
    cases = [
        (np.array([0x3F80, 0xC000], np.uint16),),
        (np.array([[0x4049, 0x0000], [0xBF00, 0x4780]], np.uint16),),
        (np.array(0x42F7, np.uint16),),
        (np.array([0x7F7F, 0xFF00, 0x7F80], np.uint16),),
        (rng.integers(0x3C00, 0x4700, (3, 1, 5)).astype(np.uint16),),
    ]
    results, dtypes = [], set()
    for case in cases:
        got = quiet_call(answer, *case)
        with np.errstate(all="ignore"):
            _require_as_many(got, case[0])
            results.append((case, array(got, case[0].shape)))
        dtypes.add(str(got.dtype).removeprefix("torch."))
    _diagnose_bits(results)
    wrong = dtypes - {"float32"}
    expect(not wrong, f"the numbers are right, but their dtype is {min(wrong, default='')}, not "
                      "float32.")  # fmt: skip
    return f"every bit is right for {sum(case[0].size for case in cases)} numbers."


@exercise("From their names to ours", course=_mistral_name, hints=(
    "Three names have no layer. For the others keep the number: it stands between the second and "
    "the third dot of `model.layers.3.mlp.up_proj.weight`.",
    "Write the table of the lesson as a dict from their last words to ours, such as "
    "`\"self_attn.q_proj\": \"attention.wq\"`. gate is w1, down is w2 and up is w3.",
    "With `parts = name.split(\".\")`, a name of a layer is `parts[2]` for the number and "
    "`\".\".join(parts[3:-1])` for the words: return `f\"layers.{number}.{ours[words]}.weight\"`.",
))  # fmt: skip
def mistral_name(answer: Any) -> str:
    """answer(a name of Hugging Face's) -> Mistral's name."""
    names = [hf_name(name) for name in ModelConfig.mistral_7b().weight_shapes()]
    hints = {"'": "Is every name of the table there, and are the three without a layer?"}
    results = [((name,), _text(call(answer, name, hints=hints))) for name in names]
    diagnose_values(results, _mistral_name, _name_mistakes(), _name_fault)
    return f"right for all {len(names)} weights of Mistral 7B, and back again."


@exercise("Rows in order", course=_reorder, hints=(
    "Only two kinds of weights change: `attention.wq`, whose rows are those of n_heads heads, and "
    "`attention.wk`, whose rows are those of n_kv_heads heads. Return all others as they are.",
    "From halves to pairs: `weight.reshape(heads, 2, -1, weight.shape[1])`, swap axes 1 and 2, "
    "and reshape to weight.shape. For the way back, the 2 stands after the -1.",
    "`split = (heads, -1, 2) if back else (heads, 2, -1)`, then `weight.reshape(*split, "
    "weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)`.",
))  # fmt: skip
def reorder(answer: Any) -> str:
    """answer(name, weight, n_heads, n_kv_heads, back) -> the weight, its rows in order."""
    results = []
    hints = {
        "cannot reshape": "Are these the heads of this matrix, n_heads for wq and n_kv_heads for "
                          "wk?",
        "tuple index": "A norm has one axis: it is among those that are returned as they are.",
    }  # fmt: skip
    for case in _row_cases():
        got = call(answer, *case, hints=hints)
        results.append((case, array(got, case[1].shape)))
    diagnose_arrays(results, _reorder, _reorder_mistakes())
    return f"right for {len(results)} weights, there and back."


@exercise("The first difference", course=_first_difference, hints=(
    "A dict keeps its order, and these are in the order of computation. Return the first name at "
    "which the arrays differ, and an empty text at the end.",
    "How far apart: `abs(mine[name] - right[name]).max()`, against 1e-4 times "
    "`abs(right[name]).max()`. Rounding stays below, whatever the size of the numbers.",
    "Every comparison with NaN is False, so `off > limit` overlooks it. Ask `not off <= limit` "
    "instead, which is True for NaN.",
))  # fmt: skip
def first_difference(answer: Any) -> str:
    """answer(mine, right) -> the name of the first tensor that differs, or ""."""
    cases = _difference_cases()
    results = [(case, _text(quiet_call(answer, *case))) for case in cases]
    diagnose_values(results, _first_difference, _difference_mistakes(), _difference_fault)
    return f"right in all {len(cases)} comparisons, NaN among them."


@exercise("Which damage", hints=(
    "Load each folder, collect its tensors and those of the right model with `tensors_of`, and "
    "call `first_difference`. Everything before the tensor it names is right.",
    "The step that makes this tensor uses one or two weights. Print them beside the right ones: "
    "are they zeros, the rows of another weight, or the right rows in another order?",
    "`print(compare(suspects[\"a\"], trained))` names the likely cause; find the kind of the table "
    "that means the same.",
))  # fmt: skip
def hunt(a: Any, b: Any, c: Any) -> str:
    """The kinds of damage in the folders a, b and c."""
    for letter, kind in (("a", a), ("b", b), ("c", c)):
        if kind is None:
            raise NotWritten(f"{letter} is not written yet.")
        is_kind = isinstance(kind, str) and kind in DAMAGES
        expect(is_kind, f"{letter} must be one of the ten kinds, such as 'tied', not {kind!r:.40}.")
        right = HUNTED[letter]
        if kind == right:
            continue
        theirs, here = _FIRST[kind], _FIRST[right]
        if theirs == here:
            raise Wrong(
                f"{letter} is not '{kind}'. That would show first in {theirs}, too, so look at the "
                f"numbers: {_TELLS[kind]}"
            )
        raise Wrong(
            f"{letter} is not '{kind}', which would show first in {theirs}. What is the first "
            "tensor that differs here?"
        )
    return "three of the ten, each from the first tensor that differs."


_FIRST = {  # the first tensor that differs
    "query rows": "layers.2.q", "key rows": "layers.2.k", "key heads": "layers.2.k",
    "keys and values": "layers.2.k", "gate and up": "layers.2.ffn",
    "two norms": "layers.2.attention_norm", "two layers": "layers.1.attention_norm",
    "cut off": "layers.2.ffn", "tied": "logits", "theta": "layers.0.q_rotated",
}  # fmt: skip
_TELLS = {  # what would be seen, if it were so, where another kind shows in the same tensor
    "key rows": "its wk would be the right one with the rows of both heads in halves.",
    "key heads": "its wk would be the right one with rows that are moved within each half head.",
    "keys and values": "its wk would be the right wv.",
    "gate and up": "its w1 would be the right w3.",
    "cut off": "its w2 would be all zeros.",
}


# The museum


@exercise("Museum, rows of grouped heads", hints=(
    "Write down n_heads after line 3 for the query heads and key heads (64, 8) and for (32, 8). "
    "Of how many heads are the rows of wk?",
    "64 // 8 is 8, which happens to be the number of key heads. 32 // 8 is 4, and Mistral 7B has "
    "8 key heads.",
    "Line 3 must be `n_heads = n_kv_heads`.",
))  # fmt: skip
def bug_rows(line: Any, fixed: Any) -> str:
    """A converter that divides where it should take the number of key heads."""
    guilty_line(line, 3, {
        1: "It is given all that it needs: a matrix and both numbers of heads.",
        2: "It asks whether the rows are those of fewer heads, as those of wk are. That is right.",
        4: "The split in halves is right, for whatever n_heads is by then.",
        5: "Swapping these two axes makes pairs of halves. That is right.",
        6: "The shape at the end is that of the beginning. That is right.",
    }, 6)  # fmt: skip
    results = []
    for n_heads, n_kv_heads, size in ((32, 8, 4), (4, 2, 8), (8, 8, 4), (64, 8, 2), (6, 1, 12)):
        rows = n_kv_heads * size
        weight = np.arange(rows * 2.0).reshape(rows, 2)
        case = (weight, n_heads, n_kv_heads)
        hints = {"cannot reshape": "The rows of wk are those of n_kv_heads heads, in any model."}
        got = call(fixed, *case, hints=hints, name="fixed")
        results.append((case, array(got, weight.shape)))
    diagnose_arrays(results, lambda w, H, G: to_pairs(w, G), [
        (_as_published, "that is the function as it was. Take n_kv_heads itself."),
        (lambda w, H, G: to_pairs(w, H) if len(w) % (2 * H) == 0 else w,
         "these are rows of wk: they belong to n_kv_heads heads, not to n_heads."),
        (lambda w, H, G: to_halves(w, G),
         "that is the way back. Their rows are in halves and must become pairs."),
        (lambda w, H, G: to_pairs(w, 1), "each head is converted by itself, not all as one."),
        (lambda w, H, G: w, "nothing moves."),
    ])  # fmt: skip
    return (
        "right for any number of key heads. Published: ggml-org/llama.cpp#3364, "
        "karpathy/llama2.c#286 (the rows were not converted at all), "
        "huggingface/transformers#31788."
    )


def _as_published(weight: Array, n_heads: int, n_kv_heads: int) -> Array:
    if n_heads != n_kv_heads:
        n_heads = n_heads // n_kv_heads
    if len(weight) % (2 * n_heads):
        return weight
    return to_pairs(weight, n_heads)


@exercise("Museum, two formats in one folder", hints=(
    "Follow the first folder: which of its files are appended, and which of them hold names like "
    "`layers.0.attention.wk.weight`?",
    "The ending says that a file has tensors, not whose they are. Hugging Face's files begin with "
    "`model`.",
    "In line 4, ask `name.startswith(\"model\") and name.endswith(\".safetensors\")`.",
))  # fmt: skip
def bug_formats(line: Any, fixed: Any) -> str:
    """A loader that reads every safetensors file of a folder."""
    guilty_line(line, 4, {
        1: "A list of file names is all that it needs.",
        2: "An empty list is a right beginning.",
        3: "Sorting does no harm: shards are numbered, and their order plays no part.",
        5: "It keeps what line 4 has let through.",
        6: "It returns what the lines above chose.",
    }, 6)  # fmt: skip
    cases = [(names,) for names in _FOLDERS]
    results = [(case, _names(call(fixed, *case, name="fixed"))) for case in cases]
    right = _their_files
    diagnose_values(results, right, [
        (lambda names: sorted(n for n in names if n.endswith(".safetensors")),
         "Mistral's file is still read, and so every weight comes twice."),
        (lambda names: sorted(n for n in names if n.endswith(".safetensors")
                              and not n.startswith("consolidated")),
         "Mistral's file is out, but others still get in. Say whose files you want, not whose "
         "you do not."),
        (lambda names: sorted(n for n in names if n.startswith("consolidated")
                              and n.endswith(".safetensors")),
         "those are Mistral's files; this loader is for Hugging Face's names."),
        (lambda names: sorted(n for n in names if n.startswith("model")),
         "the index begins with model, too, but it is JSON and has no tensors."),
        (lambda names: [n for n in names if n == "model.safetensors"],
         "a large model lies in several files, model-00001-of-00003.safetensors and so on."),
        (lambda names: sorted(n for n in names if n.startswith("model-")
                              and n.endswith(".safetensors")),
         "a small model lies in one file, model.safetensors."),
        (lambda names: sorted(n for n in names if "model" in n and n.endswith(".safetensors")),
         "an adapter's file has model in its name, too. It must begin with it."),
        (lambda names: [], "nothing is read."),
    ], _formats_fault)  # fmt: skip
    return (
        "each weight is read once. Published: vllm-project/vllm#4989 and "
        "Lightning-AI/litgpt#1481, when Mistral 7B v0.3 came in both formats."
    )


_FOLDERS = [
    ["config.json", "consolidated.safetensors", "model-00001-of-00003.safetensors",
     "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors",
     "model.safetensors.index.json", "params.json"],
    ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    ["config.json", "model.safetensors"],
    ["model.safetensors", "consolidated.safetensors", "tokenizer.model", "config.json"],
    ["adapter_model.safetensors", "config.json", "model.safetensors", "old.safetensors"],
    ["config.json", "tokenizer.model.v3"],
]  # fmt: skip


def _their_files(names: list[str]) -> list[str]:
    return sorted(n for n in names if n.startswith("model") and n.endswith(".safetensors"))


def _formats_fault(case: tuple, got: list[str]) -> str:
    right = _their_files(*case)
    more = [name for name in got if name not in right]
    missing = [name for name in right if name not in got]
    if more:
        return f"{more[0]} is read, which holds no weight by a name of Hugging Face's."
    return f"{missing[0]} is not read." if missing else "sort the names, as before."


@exercise("Museum, two settings that nobody read", hints=(
    "Call theta_of with v0.1's settings: it has a sliding_window and no rope_theta. Then ask what "
    "output_of does with a model whose output matrix is its embedding.",
    "A missing setting has a meaning, and it is not the same for all versions: with a window it "
    "means v0.1, whose theta is 10,000. And a missing matrix is no reason to invent one.",
    "Line 4 of the first: `1e4 if params.get(\"sliding_window\") else 1e6`. Line 5 of the second: "
    "return the embedding if `config.get(\"tie_word_embeddings\")`, else raise ValueError.",
))  # fmt: skip
def bug_settings(theta_line: Any, theta_fixed: Any, output_line: Any, output_fixed: Any) -> str:
    """A fallback that is wrong for one version, and a matrix made up where one is missing."""
    guilty_line(theta_line, 4, {
        1: "The settings of params.json are what it needs.",
        2: "It takes what the file says, which is right.",
        3: "It asks whether the file says anything. That is right.",
        5: "It returns what the lines above chose.",
    }, 5, name="theta_line")  # fmt: skip
    _diagnose_theta(theta_fixed)
    guilty_line(output_line, 5, {
        1: "Weights and config are what it needs.",
        2: "It looks for the output matrix by its name. That is right.",
        3: "What is there is used. That is right.",
        4: "The embedding has the shape that an output matrix has. Ask what line 5 takes of it.",
    }, 5, name="output_line")  # fmt: skip
    _diagnose_output(output_fixed)
    return (
        "nothing is guessed. Published: intel/ipex-llm#11747 and Lightning-AI/litgpt#2217 "
        "(theta), huggingface/transformers#43429 and ml-explore/mlx-lm#648 (tied embeddings)."
    )


def _theta(params: dict[str, Any]) -> float:
    if params.get("rope_theta") is not None:
        return float(params["rope_theta"])
    return 1e4 if params.get("sliding_window") is not None else 1e6


_MAY_BE_MISSING = "A setting may be missing: params.get gives None then."


def _raw(function: Any, *arguments: Any) -> Any:
    """What a function returns, None included; "" if it raises."""
    try:
        return function(*arguments)
    except (Exception, SystemExit):
        return ""


def _diagnose_theta(fixed: Any) -> None:
    cases: list[tuple] = [
        ({"dim": 4096, "sliding_window": 4096},), ({"dim": 4096},), ({"rope_theta": 1e6},),
        ({"sliding_window": 4096, "rope_theta": 5e5},), ({"sliding_window": None},),
        ({"rope_theta": None, "sliding_window": 32},), ({"rope_theta": 123.0},),
    ]  # fmt: skip
    results = []
    hints = {"'rope_theta'": _MAY_BE_MISSING, "'sliding_window'": _MAY_BE_MISSING}
    for case in cases:
        if case[0].get("rope_theta", 0) is None and _raw(fixed, *case) is None:
            raise Wrong("theta_fixed: a rope_theta that is None is not given, though its key is "
                        "there. Ask whether params.get(\"rope_theta\") is None.")  # fmt: skip
        got = call(fixed, *case, hints=hints, name="theta_fixed")
        is_number = isinstance(got, int | float | np.number) and not isinstance(got, bool)
        expect(is_number, f"theta_fixed must return a number, not {got!r:.40}.")
        results.append((case, float(got)))

    def or_else(default: float) -> Callable[..., float]:
        return lambda params: float(params.get("rope_theta") or default)

    def by_key(params: dict[str, Any]) -> float:
        default = 1e4 if "sliding_window" in params else 1e6
        return float(params.get("rope_theta") or default)

    mistakes: Mistakes = [
        (or_else(1e6), "theta_fixed: v0.1 still gets 1,000,000. Its file has a sliding_window and "
                       "no rope_theta, and it needs 10,000."),
        (or_else(1e4), "theta_fixed: now v0.2, which has no window, gets 10,000. It needs "
                       "1,000,000."),
        (lambda p: float(p.get("rope_theta") or (1e6 if p.get("sliding_window") else 1e4)),
         "theta_fixed: the two are swapped. With a window it is v0.1, and 10,000."),
        (lambda p: 1e4 if p.get("sliding_window") else 1e6,
         "theta_fixed: what the file says comes first; the rest is for files that say nothing."),
        (lambda p: 1e4 if p.get("sliding_window") else float(p.get("rope_theta") or 1e6),
         "theta_fixed: what the file says comes first, also with a window."),
        (by_key, "theta_fixed: a window of null is no window."),
    ]  # fmt: skip
    diagnose_values(results, _theta, mistakes, lambda case, got: (
        f"theta_fixed: for {case[0]} theta is {_theta(*case):g}, not {got:g}."))  # fmt: skip


def _diagnose_output(fixed: Any) -> None:
    embedding, own = np.arange(6.0).reshape(3, 2), np.full((3, 2), 0.5)
    table = {"model.embed_tokens.weight": embedding}
    both = {**table, "lm_head.weight": own}

    hints = {"": "A model that is tied has no lm_head.weight, and is right to have none: return "
                 "its embedding."}  # fmt: skip

    def made(weights: dict[str, Array], config: dict[str, Any]) -> Array:
        more = hints if config["tie_word_embeddings"] else None
        got = call(fixed, weights, config, hints=more, name="output_fixed")
        turned = getattr(got, "shape", ()) == (2, 3)
        expect(not turned, f"{is_embedding}, and not turned over.")
        return array(got, (3, 2))

    is_embedding = "output_fixed: a tied model uses its embedding, number by number"
    if callable(fixed) and _raw(fixed, dict(table), {"tie_word_embeddings": True}) is None:
        raise Wrong(f"{is_embedding}; yours returns nothing.")

    got = made(both, {"tie_word_embeddings": False})
    expect(_same(got, own), "output_fixed: where lm_head.weight is there, and not tied, it is it.")
    got = made(table, {"tie_word_embeddings": True})
    transposed = got.size == 6 and _same(got.ravel(), embedding.T.ravel())
    expect(not transposed, f"{is_embedding}, and not turned over.")
    expect(_same(got, embedding), f"{is_embedding}; that is another matrix.")
    for config in ({"tie_word_embeddings": False}, {}):
        try:
            result = fixed(dict(table), dict(config))
        except NotImplementedError:
            raise NotWritten("output_fixed is not written yet.") from None
        except (ValueError, KeyError) as error:
            expect("tie_word_embeddings" not in str(error) or isinstance(error, ValueError),
                   "output_fixed: a config may have no tie_word_embeddings, and then nothing is "
                   "tied: ask config.get.")  # fmt: skip
            continue
        except (Exception, SystemExit) as error:
            raise Wrong(
                f"output_fixed: raise ValueError where the matrix is missing, not "
                f"{type(error).__name__}."
            ) from None
        is_tied = isinstance(result, np.ndarray) and np.array_equal(result, embedding)
        raise Wrong(
            f"output_fixed: with the config {config} it must raise ValueError, because the matrix "
            f"is missing; it {'ties what is not tied' if is_tied else 'returns something'}."
        )


@exercise("Museum, zeros and infinities", hints=(
    "Cut the last 4 bytes off and follow `read`: what are piece and missing? For `add_layers`, ask "
    "what the largest number in float16 is: 65,504.",
    "A slice that reaches beyond the end of the data is not an error in Python, only shorter. And "
    "a sum of numbers that each fit into float16 need not fit.",
    "Line 4 of `read`: `if missing: raise ValueError(…)`. Line 2 of `add_layers`: "
    "`x.astype(np.float32)`; the sums of line 4 are then made in float32.",
))  # fmt: skip
def bug_numbers(read_line: Any, read_fixed: Any, add_line: Any, add_fixed: Any) -> str:
    """A file that was cut off and is filled with zeros, and a stream that leaves float16."""
    guilty_line(read_line, 4, {
        1: "Offsets and shape are those of the header. Nothing is wrong with them.",
        2: "The slice is shorter than it should be, because the file is. Who notices?",
        3: "It counts what is missing, and counts right. Ask what is done about it.",
        5: "It makes an array of the bytes it is given.",
    }, 5, name="read_line")  # fmt: skip
    _diagnose_read(read_fixed)
    guilty_line(add_line, 2, {
        1: "The stream and what each layer adds to it are what it needs.",
        3: "Every layer adds something, one after the other.",
        4: "This is where the number becomes infinite. But each update fits into float16, so why "
           "is the sum in float16, too?",
        5: "The norm is computed in float32, as it should be.",
        6: "inf / inf is NaN, but infinity came before.",
    }, 6, name="add_line")  # fmt: skip
    _diagnose_add(add_fixed)
    return (
        "what is missing is an error, and what is large stays a number. Published: "
        "osaurus-ai/vmlx-swift#217 (a file cut off), microsoft/onnxruntime-genai#2444 and "
        "microsoft/onnxruntime#32600 (float16)."
    )


def _diagnose_read(fixed: Any) -> None:
    numbers = np.arange(1, 9, dtype=np.float32)
    data = numbers.tobytes()
    for start, stop, shape in ((0, 32, (2, 4)), (8, 16, (2,)), (28, 32, (1, 1))):
        hints = {"": "This file is whole."}
        got = array(call(fixed, data, start, stop, shape, hints=hints, name="read_fixed"), shape)
        right = numbers[start // 4 : stop // 4].reshape(shape)
        expect(_same(got, right), "read_fixed: a file that is whole must be read as before.")
    for cut, start, stop in ((28, 16, 32), (16, 0, 32), (12, 16, 32), (31, 28, 32), (0, 0, 4)):
        shape = ((stop - start) // 4,)
        try:
            result = fixed(data[:cut], start, stop, shape)
        except NotImplementedError:
            raise NotWritten("read_fixed is not written yet.") from None
        except (ValueError, EOFError, OSError):
            continue
        except (Exception, SystemExit) as error:
            raise Wrong(
                f"read_fixed: raise ValueError where bytes are missing, not {type(error).__name__}."
            ) from None
        zeros = isinstance(result, np.ndarray) and (result == 0).any()
        what = "still fills in zeros" if zeros else "still returns something"
        example = Example((data[:cut], start, stop, shape), result, "ValueError", name="read_fixed")
        raise Wrong(f"read_fixed {what} where bytes are missing.", example)


def _added(x: Array, updates: list[Array]) -> Array:
    total = x.astype(np.float64) + sum(update.astype(np.float64) for update in updates)
    return total / np.sqrt((total**2).mean() + 1e-5)


def _diagnose_add(fixed: Any) -> None:
    rng = np.random.default_rng(13)
    large = [np.array([30_000.0, -20.0, 4.0]), np.array([30_000.0, 5.0, 0.0])]
    cases: list[tuple[Array, list[Array]]] = [
        (np.array([1.0, 2.0]), [np.array([0.5, -1.0])]),
        (np.array([10_000.0, 40_000.0, 2.0]), large),
        (np.array([-60_000.0, 3.0]), [np.array([-50_000.0, 1.0]), np.array([10.0, 1.0])]),
        (rng.standard_normal(8), list(rng.standard_normal((5, 8)))),
    ]
    for x, updates in cases:
        got = array(quiet_call(fixed, x, updates, name="add_fixed"), x.shape)
        still = "add_fixed still gives NaN: the sum leaves float16, whose largest number is 65,504."
        expect(not np.isnan(got).any(), still)
        right, example = _added(x, updates), None
        zeros = "add_fixed gives 0 in place of a large number: the sum is infinite, and is divided."
        expect(not (got[np.argmax(abs(right))] == 0), zeros)
        clipped = np.clip(x + sum(updates), -65_504, 65_504)
        if not np.allclose(got, right, atol=2e-3):
            example = Example((x, updates), got, right, name="add_fixed")
            if np.allclose(got, clipped / np.sqrt((clipped**2).mean() + 1e-5), atol=2e-3):
                raise Wrong("add_fixed: cutting at 65,504 changes the numbers. Keep them.", example)
            if np.allclose(got, x + sum(updates), rtol=1e-2):
                raise Wrong("add_fixed: the norm at the end must stay as it was.", example)
            raise Wrong("add_fixed: the sum is another one than before.", example)


# Header


def _file(
    listed: dict[str, tuple[str, list[int], int]], notes: dict | None = None, pad: int = 0
) -> bytes:
    """A safetensors file of zeros. listed: name -> dtype, shape, bytes."""
    header: dict[str, Any] = {"__metadata__": notes} if notes else {}
    end = 0
    for name, (dtype, shape, size) in listed.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode() + b" " * pad
    return len(text).to_bytes(8, "little") + text + bytes(end)


def _files() -> list[bytes]:
    layers = {f"layers.{n}.ffn_norm.weight": ("BF16", [64], 128) for n in range(5)}
    return [
        _file({"a": ("F32", [2, 3], 24)}),
        _file({"norm.weight": ("BF16", [4], 8), "output.weight": ("F32", [3, 4], 48)},
              {"format": "pt"}),
        _file(layers, {"format": "pt", "made": "by hand"}, pad=5),
        _file({"norm.weight": ("BF16", [4], 8)}, pad=70_000),  # its length needs three bytes
    ]  # fmt: skip


def _entries(result: Any) -> Entries:
    """The answer as a dict of plain tuples; raises Wrong for anything else."""
    expect(isinstance(result, dict), f"return a dict, not a value of type {type(result).__name__}.")
    plain: Entries = {}
    for name, entry in result.items():
        is_four = isinstance(entry, tuple | list) and len(entry) == 4
        expect(is_four, f"{name!r} must have four things: dtype, shape, start and stop.")
        plain[name] = tuple(tuple(part) if isinstance(part, list) else part for part in entry)
    return plain


def _header_mistakes() -> Mistakes:
    def moved(by: Callable[[int], int], stop: Any = None) -> Callable[..., Entries]:
        """by: the header's length -> what is added to the offsets of the file."""

        def read(data: bytes) -> Entries:
            length = int.from_bytes(data[:8], "little")
            return {
                name: (
                    dtype,
                    shape,
                    start - 8 - length + by(length),
                    end - 8 - length + by(length) if stop is None else stop(start, end),
                )
                for name, (dtype, shape, start, end) in _header(data).items()
            }

        return read

    def stop_at(stop: Callable[[int, tuple, int, int], int]) -> Callable[..., Entries]:
        """stop: byte 8 + length, an entry's shape, start and stop -> another stop."""

        def read(data: bytes) -> Entries:
            begin = 8 + int.from_bytes(data[:8], "little")
            return {
                name: (dtype, shape, start, stop(begin, shape, start, end))
                for name, (dtype, shape, start, end) in _header(data).items()
            }

        return read

    def with_notes(data: bytes) -> Entries:
        return {"__metadata__": (), **_header(data)}

    behind = "The offsets count from the first byte behind the header"
    return [
        (moved(lambda n: 0), f"{behind}: add the 8 bytes and the header's length."),
        (moved(lambda n: n), f"{behind}: the 8 bytes in front of it are missing."),
        (moved(lambda n: 8), f"{behind}: the header's length is missing."),
        (moved(lambda n: n + 9), f"{behind}, which is byte 8 + length."),
        (moved(lambda n: n + 7), f"{behind}, which is byte 8 + length."),
        (moved(lambda n: 8 + n % 65536),
         "the length is a number of 8 bytes: read all of them, not only the first two."),
        (stop_at(lambda begin, shape, a, b: a + b - begin),
         "stop counts from the first byte behind the header, as start does, and not from start."),
        (stop_at(lambda begin, shape, a, b: b - begin),
         f"{behind}. That holds for stop as well as for start."),
        (stop_at(lambda begin, shape, a, b: a + 2 * math.prod(shape)),
         "not every number has 2 bytes; data_offsets says where an array ends."),
        (stop_at(lambda begin, shape, a, b: a + math.prod(shape)),
         "that counts numbers in place of bytes; data_offsets says where an array ends."),
        (moved(lambda n: 8 + n, lambda a, b: b - a),
         "the last of the four must be where the array ends, not how many bytes it has."),
        (moved(lambda n: 8 + n, lambda a, b: b - 1),
         "stop is the first byte behind the array, as in a slice."),
        (lambda data: {n: (s, d, a, b) for n, (d, s, a, b) in _header(data).items()},
         "dtype comes first, then the shape."),
        (lambda data: {n: (d, s, b, a) for n, (d, s, a, b) in _header(data).items()},
         "start and stop are swapped."),
        (lambda data: {n: (d, s[::-1], a, b) for n, (d, s, a, b) in _header(data).items()},
         "the shapes are in reverse order."),
        (lambda data: dict(list(_header(data).items())[:1]), "only the first array is there."),
        (lambda data: {}, "the dict is empty."),
        (with_notes, "__metadata__ is no array: leave it out."),
    ]  # fmt: skip


def _header_fault(case: tuple, got: Entries) -> str:
    right = _header(*case)
    if "__metadata__" in got:
        return "__metadata__ is no array: leave it out."
    missing = [name for name in right if name not in got]
    if missing:
        return f"{missing[0]!r} is missing."
    more = [name for name in got if name not in right]
    if more:
        return f"{more[0]!r} is no name of this file."
    for name, wanted in right.items():
        for what, mine, other in zip(("dtype", "shape", "start", "stop"), got[name], wanted,
                                     strict=True):  # fmt: skip
            if mine != other:
                return f"the {what} of {name!r} must be {other!r}, not {mine!r:.40}."
    return "these are not the entries of the header."


# bfloat16


def _same(got: Array, right: Array) -> bool:
    return bool(np.array_equal(np.asarray(got, float), np.asarray(right, float), equal_nan=True))


def _floats(bits: Array) -> Array:
    return np_from_bfloat16(bits).astype(float)


def _require_as_many(got: Any, bits: Array) -> None:
    """Raise Wrong if view took several of the numbers for one, or one for several."""
    size = math.prod(getattr(got, "shape", bits.shape))
    expect(2 * size != bits.size, "view took two numbers of 16 bits for one of 32. Make them wide "
                                  "first, astype(np.uint32).")  # fmt: skip
    expect(size != 2 * bits.size, "view took one number for two of 32 bits: make them 32 bits "
                                  "wide, astype(np.uint32), and not 64.")  # fmt: skip


def _diagnose_bits(results: list[tuple[tuple, Array]]) -> None:
    """Like `diagnose_arrays`, but every bit counts: small numbers are no rounding here."""
    wrong = [(case, got) for case, got in results if not _same(got, _floats(*case))]
    if not wrong:
        return
    case, got = min(wrong, key=lambda pair: pair[1].size)
    right = _floats(*case)
    example = Example(case, got, right)
    with np.errstate(all="ignore"):
        for mistaken, hint in _bfloat16_mistakes():
            if all(_same(got, mistaken(*case)) for case, got in results):
                raise Wrong(hint, example)
    place = tuple(int(i) for i in np.argwhere(got != right)[0])
    bits = f"{int(case[0][place]):#06x}"
    raise Wrong(f"the bits {bits} are the number {right[place]:g}, not {got[place]:g}.", example)


def _bfloat16_mistakes() -> Mistakes:
    def bits32(change: Callable[[Array], Array]) -> Callable[..., Array]:
        def function(bits: Array) -> Array:
            wide = change(bits.astype(np.uint32)).astype(np.uint32)
            return wide.view(np.float32).reshape(bits.shape).astype(float)

        return function

    def swapped(bits: Array) -> Array:
        return _floats(bits.byteswap())

    no_shift = "view alone puts the bits into the lower half: shift them by 16 places first"
    return [
        (lambda b: b.astype(float), "astype converts the whole numbers 16256 and so on to float; "
                                    "look at the same bits as float32, with view."),
        (lambda b: (b.astype(np.uint32) << 16).astype(float),
         "astype converts a large whole number to float. Look at its bits as float32: view."),
        (lambda b: b.view(np.float16).astype(float).reshape(b.shape),
         "float16 is another format: 5 bits of exponent, where bfloat16 has 8."),
        (bits32(lambda w: w), f"{no_shift}."),
        (bits32(lambda w: w << 8), "it shifts by 8 places: 16 bits must move up by 16."),
        (bits32(lambda w: w << 15), "it shifts by 15 places: 16 bits must move up by 16."),
        (bits32(lambda w: w << 13), "it shifts by 13 places: 16 bits must move up by 16."),
        (lambda b: np.zeros(b.shape),
         "all bits are lost: 16 bits that are shifted by 16 places become 0. Make them wide "
         "first, astype(np.uint32)."),
        (bits32(lambda w: w | w << 16), "the lower half must be 0, not the same bits again."),
        (bits32(lambda w: (w << 16) | 0xFFFF), "the lower half must be 0, not ones."),
        (bits32(lambda w: (w << 16) + 0x8000), "no rounding: the lower half is 0."),
        (bits32(lambda w: (w & 0x7FFF) << 16), "the sign is lost: it is the highest of the bits."),
        (swapped, "the two bytes are swapped."),
        (lambda b: abs(_floats(b)), "the sign is lost."),
        (lambda b: _floats(b).astype(np.float16).astype(float),
         "float16 ends at 65,504. Return float32."),
        (lambda b: (b.astype(np.uint64) << 48).view(np.float64).reshape(b.shape),
         "that is the upper quarter of a float64. The other half of a float32 is meant."),
    ]  # fmt: skip


# Names


def _text(value: Any) -> str:
    expect(isinstance(value, str), f"return a text, not a value of type {type(value).__name__}.")
    return str(value)


def _names(value: Any) -> list[str]:
    value = sorted(value) if isinstance(value, set) else value
    is_list = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    expect(is_list, "return a list of names.")
    return list(value)


def _name_mistakes() -> Mistakes:
    def replaced(*pairs: tuple[str, str]) -> Callable[[str], str]:
        """The right name with some words exchanged for others, all at once."""

        def name(theirs: str) -> str:
            ours = _mistral_name(theirs)
            for n, (old, _) in enumerate(pairs):
                ours = ours.replace(old, f"<{n}>")
            for n, (_, new) in enumerate(pairs):
                ours = ours.replace(f"<{n}>", new)
            return ours

        return name

    def first_digit(theirs: str) -> str:
        return re.sub(r"\.(\d)\d+\.", r".\1.", _mistral_name(theirs))

    def last_digit(theirs: str) -> str:
        return re.sub(r"\.\d+(\d)\.", r".\1.", _mistral_name(theirs))

    return [
        (replaced(("w2", "w3"), ("w3", "w2")),
         "w2 and w3 are swapped: down_proj, which comes last, is w2, and up_proj is w3."),
        (replaced(("w1", "w3"), ("w3", "w1")), "gate_proj is w1, and up_proj is w3."),
        (replaced(("w1", "w2"), ("w2", "w1")), "gate_proj is w1, and down_proj is w2."),
        (replaced(("w1", "w2"), ("w2", "w3"), ("w3", "w1")),
         "gate_proj is w1, down_proj is w2, and up_proj is w3."),
        (replaced(("w1", "w3"), ("w2", "w1"), ("w3", "w2")),
         "gate_proj is w1, down_proj is w2, and up_proj is w3."),
        (replaced(("attention_norm", "ffn_norm"), ("ffn_norm", "attention_norm")),
         "the two norms are swapped: input_layernorm stands before attention, and "
         "post_attention_layernorm before the feed-forward network."),
        (replaced(("attention.wk", "attention.wv"), ("attention.wv", "attention.wk")),
         "k_proj is wk, and v_proj is wv."),
        (replaced(("tok_embeddings", "output"), ("output", "tok_embeddings")),
         "embed_tokens is the embedding, and lm_head the output matrix."),
        (lambda name: _mistral_name(name).removesuffix(".weight"), "keep .weight at the end."),
        (lambda name: "model." + _mistral_name(name), "Mistral's names do not begin with model."),
        (lambda name: re.sub(r"^layers", "model.layers", _mistral_name(name)),
         "Mistral's names do not begin with model."),
        (lambda name: name, "nothing changes."),
        (lambda name: name.removeprefix("model."), "only model. is taken off."),
        (first_digit, "a layer's number may have two digits; only the first is kept."),
        (last_digit, "a layer's number may have two digits; only the last is kept."),
        (lambda name: re.sub(r"layers\.\d+", "layers.0", _mistral_name(name)),
         "every layer becomes layer 0."),
        (lambda name: re.sub(r"layers\.(\d+)", lambda m: f"layers.{int(m[1]) + 1}",
                             _mistral_name(name)), "layers are counted from 0 in both formats."),
        (lambda name: _mistral_name(name).replace("feed_forward", "mlp"),
         "mlp is feed_forward in Mistral's names."),
        (lambda name: _mistral_name(name).replace("attention.w", "self_attn.w"),
         "self_attn is attention in Mistral's names."),
        (lambda name: re.sub(r"attention\.w(.)", r"attention.\1_proj", _mistral_name(name)),
         "q_proj is wq in Mistral's names, and so on."),
    ]  # fmt: skip


def _name_fault(case: tuple, got: str) -> str:
    return f"{case[0]} is {_mistral_name(*case)}, not {got:.80}."


# Rows


def _row_cases() -> list[tuple[str, Array, int, int, bool]]:
    def rows(n: int, columns: int = 2) -> Array:
        return np.arange(n * columns * 1.0).reshape(n, columns)

    q, k, v = (f"layers.11.attention.w{letter}.weight" for letter in "qkv")
    cases = [
        (k, rows(12), 3, 1, False), (q, rows(12), 2, 1, False), (k, rows(12), 4, 2, False),
        (q, rows(24, 3), 4, 2, True), (k, rows(12), 4, 2, True), (q, rows(24, 3), 3, 3, False),
        (v, rows(12), 4, 2, False), ("layers.0.attention.wo.weight", rows(8, 8), 4, 2, False),
        ("layers.0.feed_forward.w1.weight", rows(12), 2, 1, True),
        ("output.weight", rows(24), 4, 2, False), (v, rows(12), 2, 1, True),
        ("tok_embeddings.weight", rows(8), 2, 1, True), (k, rows(24, 1), 12, 3, False),
        ("layers.1.attention.wo.weight", rows(8, 8), 2, 1, True),
        ("layers.3.attention_norm.weight", np.arange(12.0), 2, 1, False),
        ("norm.weight", np.arange(8.0), 2, 1, True),
    ]  # fmt: skip
    return cases


def _reorder_mistakes() -> Mistakes:
    def by(
        heads: Callable[[str, int, int], int],
        forward: Callable[[Array, int], Array] = to_pairs,
        backward: Callable[[Array, int], Array] = to_halves,
    ) -> Callable[..., Array]:
        def turned(name: str, weight: Array, H: int, G: int, back: bool) -> Array:
            n = heads(name, H, G)
            fits = n and weight.ndim == 2 and len(weight) % (2 * n) == 0
            return (backward if back else forward)(weight, n) if fits else weight

        return turned

    def short(name: str) -> str:
        return name.split(".")[-2]

    def of(**heads: Callable[[int, int], int]) -> Callable[[str, int, int], int]:
        return lambda name, H, G: heads[short(name)](H, G) if short(name) in heads else 0

    def query(H: int, G: int) -> int:
        return H

    def key(H: int, G: int) -> int:
        return G

    def one(H: int, G: int) -> int:
        return 1

    def columns(turn: Callable[[Array, int], Array]) -> Callable[[Array, int], Array]:
        def turned(weight: Array, n: int) -> Array:
            return turn(weight.T, n).T if weight.shape[1] % (2 * n) == 0 else weight

        return turned

    def reshaped(
        a: int, b: int, last: bool = False, whole: bool = True
    ) -> Callable[[Array, int], Array]:
        """Split into heads and halves, or with `last` pairs, and swap axes a and b."""

        def turned(weight: Array, n: int) -> Array:
            split = ((n, -1, 2) if last else (n, 2, -1)) + weight.shape[1:] * whole
            return weight.reshape(split).swapaxes(a, b).reshape(weight.shape)

        return turned

    def every(name: str, weight: Array, H: int, G: int, back: bool) -> Array:
        n = H if short(name) == "wq" else G
        fits = len(weight) % (2 * n) == 0
        return (to_halves if back else to_pairs)(weight, n) if fits else weight

    right = of(wq=query, wk=key)
    return [
        (by(of(wq=query, wk=query)),
         "the rows of wk are those of n_kv_heads heads, not of n_heads."),
        (by(of(wq=key, wk=key)), "the rows of wq are those of n_heads heads, not of n_kv_heads."),
        (by(of(wq=key, wk=query)), "n_heads belongs to wq, and n_kv_heads to wk."),
        (by(of(wq=one, wk=one)), "each head is put in order by itself, not all as one."),
        (by(of(wq=query, wk=lambda H, G: H // G)),
         "wk has n_kv_heads heads; n_heads // n_kv_heads is how many query heads share one."),
        (by(of(wq=query)), "wk is rotated, too: its rows change as well."),
        (by(of(wk=key)), "wq is rotated, too: its rows change as well."),
        (by(of(wq=query, wk=key, wv=key)),
         "values are never rotated, so the rows of wv stay where they are."),
        (by(of(wq=query, wk=key, wv=key, wo=query)),
         "values are never rotated, so wv and wo stay as they are."),
        (by(of(wq=query, wk=key, wo=query)), "wo stays as it is: only wq and wk are rotated."),
        (by(lambda name, H, G: H), "only wq and wk change; the others stay as they are."),
        (every, "only wq and wk change; the others, norms too, are returned as they are."),
        (by(lambda name, H, G: 0),
         "nothing moves. Does it look for Mistral's names, such as layers.3.attention.wk.weight?"),
        (by(right, reshaped(0, 1), reshaped(0, 1, last=True)),
         "axis 0 counts the heads, and each stays in its place: swap axes 1 and 2."),
        (by(right, reshaped(1, 2, whole=False), reshaped(1, 2, whole=False, last=True)),
         "numbers move between rows. Keep each row whole: weight.shape[1] is the last axis."),
        (by(right, to_halves, to_pairs),
         "the two ways are swapped: without back, halves become pairs."),
        (by(right, to_pairs, to_pairs),
         "back is not used: the way back is not the same once more."),
        (by(right, to_halves, to_halves), "that is the way back, both times."),
        (by(right, to_pairs, lambda w, n: w), "with back=True nothing moves."),
        (by(right, columns(to_pairs), columns(to_halves)),
         "the columns are put in order. Rows make the numbers of a query; columns read them."),
    ]  # fmt: skip


# The first difference


def _difference_cases() -> list[tuple[dict[str, Array], dict[str, Array]]]:
    def of(*values: Any) -> dict[str, Array]:
        names = ("embedding", "layers.0.q", "layers.0.k", "layers.0.heads", "logits")
        return {name: np.array(v, float) for name, v in zip(names, values, strict=False)}

    nan, inf = float("nan"), float("inf")
    return [
        (of([1, 2], [3, 4]), of([1, 2], [3, 4])),
        (of([1, 2], [3, 5], [1, 9]), of([1, 2], [3, 4], [1, 2])),
        (of([1, 2], [3.1, 4], [90, 9], [1, 1]), of([1, 2], [3, 4], [1, 2], [1, 1])),
        (of([1, 2], [3, nan], [1, 9]), of([1, 2], [3, 4], [1, 2])),
        (of([1000, 0.01], [2.0, 1]), of([1000, 0], [1.5, 1])),
        (of([1, 2], [1e-3, 2.1e-3], [7, 8]), of([1, 2], [1e-3, 2e-3], [1, 2])),
        (of([1, 2], [1, 2], [3, 4], [5, 6], [7, 8.5]), of([1, 2], [1, 2], [3, 4], [5, 6], [7, 8])),
        (of([[1, 2], [3, 4]], [[1, 2], [3, 1]]), of([[1, 2], [3, 4]], [[1, 2], [3, 4]])),
        (of([1, 2 + 1e-5], [3, 4], [5, 6.5]), of([1, 2], [3, 4], [5, 6])),
        (of([-1, 2], [inf, 1], [2, 2]), of([-1, 2], [3, 1], [1, 1])),
        (of([-5, -6], [-3, -4]), of([-5, -6], [-3, -4])),
        (of([1, 2], [3, 4.004], [7, 8]), of([1, 2], [3, 4], [1, 2])),
        (of([1, 2], [3, 5], [1, 9], [1, 1], [9]), of([1, 2], [3, 4], [1, 2], [1, 1], [1])),
        (of([2, 1], [1, 1]), of([1, 2], [1, 1])),
        (of([0.99999, 1], [50, 0]), of([1, 1], [60, 0])),
        (of([1, 1], [-4, 2]), of([1, 1], [-4, 2.2])),
        (of([1.0003, *[1] * 29], [2, 1]), of([1] * 30, [1, 1])),  # one wrong number among many
    ]


def _difference_mistakes() -> Mistakes:
    def first(
        differs: Callable[[Array, Array], Any],
        order: Callable[[list[str]], Any] = list,
    ) -> Callable[..., str]:
        def name(mine: dict[str, Array], right: dict[str, Array]) -> str:
            with np.errstate(all="ignore"):
                return next(
                    (n for n in order(list(right)) if differs(mine[n], right[n])), ""
                )  # fmt: skip

        return name

    def off(mine: Array, right: Array) -> Any:
        return abs(mine - right).max()

    def differs(mine: Array, right: Array) -> bool:
        return not off(mine, right) <= 1e-4 * abs(right).max()

    def largest(mine: dict[str, Array], right: dict[str, Array]) -> str:
        name = max(right, key=lambda n: np.nan_to_num(off(mine[n], right[n]), posinf=1e9))
        return name if differs(mine[name], right[name]) else ""

    def before(least: int) -> Callable[..., str]:
        def name(mine: dict[str, Array], right: dict[str, Array]) -> str:
            names, found = list(right), first(differs)(mine, right)
            return names[max(least, names.index(found) - 1)] if found else ""

        return name

    overlooks = "it overlooks NaN, because every comparison with NaN is False"
    return [
        (first(lambda m, r: off(m, r) > 1e-4 * abs(r).max()), f"{overlooks}."),
        (first(lambda m, r: not np.isnan(m).any() and differs(m, r)), f"{overlooks}."),
        (first(lambda m, r: off(m, r) > 1e-4),
         f"{overlooks}. And measure against the size of the numbers, not against 1e-4 alone."),
        (first(lambda m, r: not off(m, r) <= 1e-4),
         "measure against the size of the numbers: 0.01 is nothing beside 1,000."),
        (first(lambda m, r: not np.allclose(m, r)),
         "np.allclose compares each number with itself; beside 1,000 in the same tensor, 0.01 is "
         "rounding. Take the largest of each tensor."),
        (first(lambda m, r: not np.allclose(m, r, rtol=1e-4, atol=0)),
         "np.allclose compares each number with itself; beside 1,000 in the same tensor, 0.01 is "
         "rounding. Take the largest of each tensor."),
        (first(lambda m, r: not np.allclose(m, r, rtol=1e-4)),
         "np.allclose compares each number with itself; beside 1,000 in the same tensor, 0.01 is "
         "rounding. Take the largest of each tensor."),
        (first(lambda m, r: not np.array_equal(m, r)),
         "rounding is no difference. Allow 1e-4 of the largest number."),
        (first(lambda m, r: (m - r).max() > 1e-4 * abs(r).max() or np.isnan(m).any()),
         "a number may be too small as well: take abs of the difference."),
        (first(lambda m, r: (m - r).max() > 1e-4 * abs(r).max()),
         f"{overlooks}. And a number may be too small as well: take abs of the difference."),
        (first(lambda m, r: not off(m, r) <= 1e-4 * r.max()),
         "take abs of the numbers, too: the largest of negative ones is no size."),
        (first(lambda m, r: not abs(m - r).mean() <= 1e-4 * abs(r).mean()),
         "a mean or a norm hides one wrong number among many. Take the largest."),
        (first(lambda m, r: (abs(m - r) > 1e-4 * abs(r).max()).all()),
         "one wrong number is enough, so ask any in place of all."),
        (first(lambda m, r: (abs(m - r) / abs(r)).max() > 1e-4),
         "each number is measured against itself, and 0 / 0 is NaN. Take the largest difference of "
         "a tensor, and divide by its largest number."),
        (first(lambda m, r: not off(m, r) <= 1e-4 * abs(m).max()),
         "measure against the right tensor: where mine is infinite, so is 1e-4 of it."),
        (lambda mine, right: next((n if differs(mine[n], right[n]) else "" for n in right), ""),
         "the loop ends at its first tensor. Return the empty text only after all of them."),
        (first(lambda m, r: not abs(m.sum() - r.sum()) <= 1e-4 * abs(r).max()),
         "sums can agree where numbers do not. Take the difference first."),
        (first(lambda m, r: not abs(abs(m).max() - abs(r).max()) <= 1e-4 * abs(r).max()),
         "the largest numbers can agree where others do not. Take the difference first."),
        (first(lambda m, r: not abs(m.max() - r.max()) <= 1e-4 * abs(r).max()),
         "the largest numbers can agree where others do not. Take the difference first."),
        (first(differs, sorted), "names in the order of the alphabet are not in that of the "
                                 "computation. Keep the dict's."),
        (first(differs, lambda names: names[::-1]),
         "that is the last one that differs. The first is where it began to go wrong."),
        (first(lambda m, r: not differs(m, r)), "that is the first that agrees."),
        (before(0), "that is the tensor before it, the last one that is right."),
        (before(-1), "that is the tensor before it, the last one that is right."),
        (largest, "that is where they differ most, but an error grows on its way. Return the "
                  "first."),
        (lambda mine, right: next(iter(right)), "the first name, whether it differs or not."),
        (lambda mine, right: "", "nothing is found."),
        (first(lambda m, r: not off(m, r) <= 1e-2 * abs(r).max()),
         "1e-2 is too much: a damaged weight may change a tensor by less."),
    ]  # fmt: skip


def _difference_fault(case: tuple, got: str) -> str:
    right = _first_difference(*case)
    if got and got not in case[1]:
        more = "" if right else ' Where no tensor differs, return an empty text, "".'
        return f"{got:.40} is none of the names.{more}"
    return f"the first tensor that differs is {right or 'none'}, not {got or 'none'}."
