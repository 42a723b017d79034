"""Files and inputs as people have them, each with the one line that it gets.

In a line, D stands for the folder, and "…" at its end for what another library says. Files that
are damaged are in test_bad_files.py.
"""

import io
import os
import sys
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from folders import (
    CONFIG,
    CONSOLIDATED,
    INDEX,
    MODEL,
    PARAMS,
    PICKLE,
    POINTER,
    SHARDS,
    SINGLE,
    WK,
    came,
    cast,
    config,
    contents,
    cut,
    file,
    keys,
    linked,
    more,
    moved,
    only,
    params,
    pickled,
    save_all,
    tensors,
    without,
    write_7b,
)  # fmt: skip

from minimistral import ModelConfig, cli
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.checkpoint import memory
from minimistral.tokenizer import load as load_tokenizer
from minimistral.training import corpus
from minimistral.training import run as training_run
from minimistral.training.state import save_state

NEEDS = (
    "D holds no checkpoint: it needs params.json with consolidated.safetensors or"
    " consolidated.00.pth, or config.json with model.safetensors or model.safetensors.index.json; "
)
PULL = " is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder"
ORIGINAL = 'load the original ones, with quantize="int8" if memory is small'
ADAPTER = {"base_model_name_or_path": "mistralai/Mistral-7B-v0.1", "peft_type": "LORA"}
MERGE = "with the library that made it (PEFT: merge_and_unload)"
UNASKED = " beside the model, which is not added to it unasked; "
MOVE = ", or move it out of the folder to load the model without it"
BESIDE = f"{UNASKED}mm.load(path, adapter=path) adds it to the weights{MOVE}"
LETTERS = [chr(n) for n in range(33, 127)]
BYTES = {  # a small tokenizer.json
    "model": {"type": "BPE", "vocab": dict(zip(["<unk>", "<s>", "</s>", *LETTERS], range(99),
                                               strict=False)), "merges": []},
    "added_tokens": [{"id": n, "content": text, "special": True} for n, text in
                     enumerate(["<unk>", "<s>", "</s>"])],
}  # fmt: skip
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] + '\\n' + m['content'] }}<|im_end|>\\n"
    "{% endfor %}<|im_start|>assistant\\n"
)
ADDED = {"<|im_end|>": 768, "<|im_start|>": 769}

FEW = ["--max-new-tokens", 4]
GENERATE = ["--prompt", "The for", *FEW]

# name: (the model in the folder, what came with it or in its place, the line)
REFUSED = {
    # What the config asks for
    "layers of both kinds": (
        "hf", [config(layer_types=["full_attention", "sliding_attention"])],
        'layer_types in D/config.json must be "sliding_attention" for each of the 2 layers, because'
        ' sliding_window is 4, not ["full_attention", "sliding_attention"]'),
    "layers with a window that is not given": (
        "hf", [config(layer_types=["sliding_attention"] * 2, sliding_window=None)],
        'layer_types in D/config.json must be "full_attention" for each of the 2 layers, because'
        ' sliding_window is null, not ["sliding_attention", "sliding_attention"]'),
    "an encoder": (
        "hf", [config(is_causal=False)], "is_causal in D/config.json must be true, not false"),
    "Llama": (
        "hf", [config(model_type="llama", architectures=["LlamaForCausalLM"])],
        'model_type in D/config.json must be "mistral", not "llama"'),
    "Mixtral": (
        "hf", [config(model_type="mixtral", num_local_experts=8)],
        'model_type in D/config.json must be "mistral", not "mixtral"'),
    "tied embeddings": (
        "hf", [config(tie_word_embeddings=True)],
        "tie_word_embeddings in D/config.json must be false, not true"),
    "rope_parameters is a list": (
        "hf", [config(rope_parameters=[1])],
        "rope_parameters in D/config.json must be an object, not [1]"),
    "YaRN": (
        "hf", [config(rope_parameters={"rope_type": "yarn", "factor": 4.0})],
        'rope_type of rope_parameters in D/config.json must be "default", not "yarn": scaled or'
        " partial RoPE is not supported"),
    "linear scaling": (
        "hf", [config(rope_scaling={"type": "linear", "factor": 2.0})],
        'type of rope_scaling in D/config.json must be "default", not "linear": scaled or partial'
        " RoPE is not supported"),
    "two windows in a list": (
        "mistral", [params(sliding_window=..., _sliding_window=[4, None])],
        "_sliding_window in D/params.json must be one window for all layers, not [4, null]"),
    "windows that do not repeat": (
        "mistral", [params(sliding_window=..., _sliding_window=[4, 4, 4])],
        "_sliding_window in D/params.json must have a length that divides n_layers = 2, not"
        " [4, 4, 4]"),
    "both names of the window": (
        "mistral", [params(_sliding_window=4)],
        "D/params.json must have one of sliding_window and _sliding_window, not both"),
    "YaRN, Mistral's": (
        "mistral", [params(yarn={"factor": 4})],
        'yarn in D/params.json must be null, not {"factor": 4}'),
    "rope_scaling, Mistral's": (
        "mistral", [params(rope_scaling={"rope_type": "yarn"})],
        'rope_type of rope_scaling in D/params.json must be "default", not "yarn": scaled or'
        " partial RoPE is not supported"),
    "llama_4_scaling": (
        "mistral", [params(llama_4_scaling={"beta": 0.1})],
        'llama_4_scaling in D/params.json must be null, not {"beta": 0.1}'),
    "an encoder, Mistral's": (
        "mistral", [params(causal=False)], "causal in D/params.json must be true, not false"),
    "norms of q and k": (
        "mistral", [params(qk_norm=True)], "qk_norm in D/params.json must be false, not true"),
    "ragged_attention": (
        "mistral", [params(ragged_attention=True)],
        "ragged_attention in D/params.json must be false, not true"),
    "experts": (
        "mistral", [params(moe={"num_experts": 8})],
        'moe in D/params.json must be null, not {"num_experts": 8}'),
    "Pixtral": (
        "mistral", [params(vision_encoder={"hidden_size": 1024})],
        'vision_encoder in D/params.json must be null, not {"hidden_size": 1024}'),
    "config.json's key in params.json": (
        "mistral", [params(rope_parameters=[1])],
        'D/params.json has what is not known here, and may change the result: "rope_parameters":'
        " [1]; remove what does not"),
    "a key that came later": (
        "mistral", [params(logit_softcap=30.0)],
        'D/params.json has what is not known here, and may change the result: "logit_softcap":'
        " 30.0; remove what does not"),
    "10**9 layers": (
        "mistral", [params(n_layers=10**9)],
        "D/consolidated.safetensors lacks most tensors: it has 21, but the config asks for"
        " 1000000000 layers"),
    "10**9 layers, and a tensor": (
        "mistral", [params(n_layers=10**9), tensors(CONSOLIDATED, only("norm.weight"))],
        "D/consolidated.safetensors lacks most tensors: it has 1, but the config asks for"
        " 1000000000 layers"),
    # Adapters
    "PEFT's adapter": (
        "hf", [file("adapter_config.json", ADAPTER), file("adapter_model.safetensors")],
        f"D holds an adapter (adapter_config.json, adapter_model.safetensors){BESIDE}"),
    "PEFT's adapter, Mistral's format": (
        "mistral", [file("adapter_config.json", ADAPTER), file("adapter_model.safetensors")],
        f"D holds an adapter (adapter_config.json, adapter_model.safetensors){BESIDE}"),
    "mistral-finetune's adapter": (
        "mistral", [file("lora.safetensors")], "D holds an adapter (lora.safetensors)"
        f"{UNASKED}merge it into the weights {MERGE}{MOVE}"),
    "an adapter alone": (
        "empty", [file("adapter_config.json", ADAPTER), file("adapter_model.safetensors")],
        "D holds an adapter (adapter_config.json, adapter_model.safetensors) and no model;"
        " mm.load(model, adapter=path) adds it to its base model, 'mistralai/Mistral-7B-v0.1'"),
    "an adapter among the weights": (
        "mistral", [tensors(CONSOLIDATED, more("layers.0.attention.wq.lora_A.weight", "f4"))],
        "D/consolidated.safetensors holds an adapter ('layers.0.attention.wq.lora_A.weight'), which"
        " is not added to the weights here; merge it into them with the library that made it"),
    # Quantised
    "GPTQ's config": (
        "hf", [config(quantization_config={"quant_method": "gptq", "bits": 4})],
        'quantization_config in D/config.json must be null, not {"quant_method": "gptq", "bits":'
        f" 4}}: quantised weights are not supported; {ORIGINAL}"),
    "MLX's config": (
        "hf", [config(quantization={"group_size": 64, "bits": 4})],
        'quantization in D/config.json must be null, not {"group_size": 64, "bits": 4}: quantised'
        f" weights are not supported; {ORIGINAL}"),
    "GPTQ": (
        "hf", [tensors(SINGLE, more("model.layers.1.self_attn.k_proj.qweight", "i4"))],
        "D/model.safetensors holds quantised weights ('model.layers.1.self_attn.k_proj.qweight' of"
        f" dtype I32), which are not supported; {ORIGINAL}"),
    "AWQ": (
        "hf", [tensors(SINGLE, more("model.layers.0.self_attn.q_proj.qzeros", "i4"))],
        "D/model.safetensors holds quantised weights ('model.layers.0.self_attn.q_proj.qzeros' of"
        f" dtype I32), which are not supported; {ORIGINAL}"),
    "words of 32 bits": (
        "mistral", [tensors(CONSOLIDATED, cast(WK, "u4"))],
        f"D/consolidated.safetensors holds quantised weights ('{WK}' of dtype U32), which are not"
        f" supported; {ORIGINAL}"),
    "8 bits": (
        "mistral", [tensors(CONSOLIDATED, cast(WK, "i1"))],
        f"D/consolidated.safetensors holds quantised weights ('{WK}' of dtype I8), which are not"
        f" supported; {ORIGINAL}"),
    # Not all files, or others
    "an empty folder": ("empty", [], f"{NEEDS}it is empty"),
    "only tokenizer.json": (
        "empty", [file("tokenizer.json", {})],
        f"{NEEDS}it holds tokenizer.json, a tokenizer without weights; add the files of the model"),
    "only pytorch_model.bin": (
        "hf", [moved(SINGLE, "pytorch_model.bin")],
        f"{NEEDS}it holds config.json, pytorch_model.bin, tokenizer.model; pytorch_model.bin is in"
        " an old format that is not read: open it with transformers and save it again with"
        " save_pretrained, which writes model.safetensors"),
    "llama.cpp": (
        "empty", [file("mistral-7b-v0.1.Q4_K_M.gguf")],
        f"{NEEDS}it holds mistral-7b-v0.1.Q4_K_M.gguf; mistral-7b-v0.1.Q4_K_M.gguf is in the format"
        " of llama.cpp, which is not supported"),
    "weights without config": (
        "mistral", [without(PARAMS)],
        f"{NEEDS}it holds consolidated.safetensors, tokenizer.model, weights without their config;"
        " add it"),
    "a config without weights": (
        "hf", [without(SINGLE)],
        f"{NEEDS}it holds config.json, tokenizer.model, a config without weights; add the files of"
        " the weights"),
    "shards without index": (
        "shards", [without(INDEX)],
        f"{NEEDS}it holds config.json, {', '.join(SHARDS)}, tokenizer.model; {SHARDS[0]} is a part"
        " of the weights, but the index of all parts is missing"),
    "a shard is still to be downloaded": (
        "shards", [moved(SHARDS[1], f"{SHARDS[1]}.incomplete")],
        f"D/{INDEX} names the shard {SHARDS[1]}, but it is not there"),
    "a shard with a name that a terminal would obey": (
        "shards", [keys(INDEX, weight_map={"model.norm.weight": "\x1b[2J"})],
        f"D/{INDEX} names the shard '\\x1b[2J', but it is not there"),
    "a folder around it": (
        "empty", [file("Mistral-7B-v0.1/params.json", {})],
        f"{NEEDS}it holds Mistral-7B-v0.1; give the folder inside it, D/Mistral-7B-v0.1"),
    "the cache of Hugging Face": (
        "empty", [file("refs/main"), file("snapshots/26bca36/config.json", {})],
        f"{NEEDS}it holds refs, snapshots; give the folder inside it, D/snapshots/26bca36"),
    "a link of that cache, copied without its file": (
        "hf", [linked(SINGLE, "../../blobs/4e5f")],
        f"{NEEDS}it holds config.json, model.safetensors, tokenizer.model; model.safetensors is a"
        " link to '../../blobs/4e5f', which does not exist"),
    "a name that a terminal would obey": (
        "empty", [file("a\x1b[2J\nb")], f"{NEEDS}it holds 'a\\x1b[2J\\nb'"),
    # Git LFS
    "weights not pulled": ("mistral", [file(CONSOLIDATED, POINTER)], f"D/{CONSOLIDATED}{PULL}"),
    "a shard not pulled": ("shards", [file(SHARDS[1], POINTER)], f"D/{SHARDS[1]}{PULL}"),
    "an index not pulled": ("shards", [file(INDEX, POINTER)], f"D/{INDEX}{PULL}"),
    "a pickle not pulled": (
        "mistral", [moved(CONSOLIDATED, PICKLE), file(PICKLE, POINTER)], f"D/{PICKLE}{PULL}"),
    "a config not pulled": ("hf", [file(CONFIG, POINTER)], f"D/{CONFIG}{PULL}"),
    "a config of a checkpoint not pulled": (
        "mistral", [file(PARAMS, POINTER)], f"D/{PARAMS}{PULL}"),
    # Pickles, whose errors in torch advise to trust the file
    "a pickle of more than tensors": (
        "mistral", [pickled(lambda weights: weights | {"more": Fraction(1, 2)})],
        f"D/{PICKLE} is not a .pth file of plain tensors: it asks for fractions.Fraction; a pickle"
        " can run any code, so nothing but tensors is read"),
    "half a pickle": (
        "mistral", [pickled(), cut(PICKLE, 0.5)], f"D/{PICKLE} is not a .pth file of plain…"),
    "a pickle with its model inside": (
        "mistral", [pickled(lambda weights: {"model": weights})],
        f"'model' in D/{PICKLE} must be a dense tensor, not…"),
}  # fmt: skip

# name: (the model, what came with it, the notes); it writes what the model writes
READ = {
    "Mistral's format": ("mistral", [], []),
    "Hugging Face's format": ("hf", [], []),
    "shards": ("shards", [], []),
    "a pickle": ("mistral", [pickled()], []),
    "the other name of the window": (
        "mistral", [params(sliding_window=..., _sliding_window=4)], []),
    "a window for each layer": (
        "mistral", [params(sliding_window=..., _sliding_window=[4, 4])], []),
    "mistral-finetune": (
        "mistral", [params(lora={"enable": False, "rank": 64, "scaling": 2.0}, moe=None)], []),
    "RoPE as usual": ("hf", [config(rope_scaling={"rope_type": "default"})], []),
    "RoPE as usual, Mistral's": ("mistral", [params(rope_scaling={"rope_type": "default"})], []),
    "later keys that change nothing": (
        "mistral", [params(causal=True, qk_norm=False, llama_4_scaling=None, yarn=None)], []),
    "layers of one kind": (
        "hf", [config(layer_types=["sliding_attention"] * 2, is_causal=True)], []),
    "keys that nobody reads": (
        "hf", [config(auto_map={"AutoModel": "a.B"}, **{"x\x1b[2J": 1})],
        ["config.json has keys that are not read, here or by transformers' Mistral: 'auto_map',"
         " 'x\\x1b[2J'"]),
    "what a trainer leaves": (
        "hf", [file(name) for name in ("README.md", "training_args.bin", "optimizer.pt")], []),
    "the old weights are still there": ("hf", [file("pytorch_model.bin")], []),
    "links to files elsewhere": (
        "hf", [moved(SINGLE, "../blob of a link"), linked(SINGLE, "../blob of a link")], []),
    "both formats": (
        "both", [],
        ["the folder holds two checkpoints; params.json is read, --format hf reads config.json"]),
    "what a save that was killed has left": (
        "hf", [file(".saving-ab12/x")],
        [".saving-ab12 is left of a save that was killed, and nothing reads it: delete it unless"
         " one runs"]),
}  # fmt: skip

# name: (what came in place of tokenizer.model, the line); inspect says it beside the rest
TOKENIZERS = {
    "none": (
        [], "D must hold tokenizer.model of version v1, v2 or v3, or tokenizer.json"),
    "Tekken": (
        [file("tekken.json", {})],
        "D must hold tokenizer.model of version v1, v2 or v3, or tokenizer.json; its Tekken"
        " tokenizer is newer and not supported"),
    "not pulled": ([file("tokenizer.model", POINTER)], f"D/tokenizer.model{PULL}"),
    "not pulled, v3": ([file("tokenizer.model.v3", POINTER)], f"D/tokenizer.model.v3{PULL}"),
    "tokenizer.json not pulled": ([file("tokenizer.json", POINTER)], f"D/tokenizer.json{PULL}"),
    "a link without its file": (
        [linked("tokenizer.model", "../../blobs/dadf")],
        "D/tokenizer.model is a link to '../../blobs/dadf', which does not exist"),
    "a page of a login": (
        [file("tokenizer.model", "<!doctype html>")],
        "D/tokenizer.model is not a SentencePiece model"),
    "no download": (
        [file("tokenizer.model")], "D/tokenizer.model is not a SentencePiece model"),
    "another tokenizer.json": (
        [file("tokenizer.json", {"a": 1})], "D/tokenizer.json is no tokenizer.json: …"),
    "ids as texts": (
        [file("tokenizer.json", BYTES), file("generation_config.json", {"eos_token_id": "2"})],
        "eos_token_id in D/generation_config.json must be an id or a list of ids, not '2'"),
    "a template that is none": (
        [file("tokenizer.json", BYTES), file("tokenizer_config.json", {"chat_template": 3})],
        "chat_template in D/tokenizer_config.json must be a text, or a list of objects with name"
        " and template"),
}  # fmt: skip

# name: (the model, what came with it, what is said to it line by line, the lines on stderr but for
# the summaries)
CHATS = {
    "no template": ("hf", [], "Hi\nBye\n", ["chat template: Mistral's v1"]),
    "a template of its own": (
        "tuned", [file("added_tokens.json", ADDED),
                  file("tokenizer_config.json", {"chat_template": CHATML})],
        "Hi\nBye\n", ["chat template: tokenizer_config.json"]),
    "a template in a file of its own": (
        "tuned", [file("added_tokens.json", ADDED), file("chat_template.jinja", CHATML),
                  file("tokenizer_config.json", {"chat_template": "another"})],
        "Hi\nBye\n", ["chat template: chat_template.jinja"]),
    "more ids than pieces and names": (
        "tuned", [], "Hi\n",
        ["note: tokenizer.model, v1, 768 pieces, but vocab_size is 770",
         "chat template: Mistral's v1"]),
    "tokenizer.json alone, with a template": (
        "hf", [without("tokenizer.model"), file("tokenizer.json", BYTES),
               file("chat_template.jinja", CHATML)],
        "Hi\n", ["note: tokenizer.json, v1, 97 pieces, but vocab_size is 768",
                 "chat template: chat_template.jinja"]),
    "tokenizer.json alone, without": (
        "hf", [without("tokenizer.model"), file("tokenizer.json", BYTES)], "Hi\n",
        ["note: tokenizer.json, v1, 97 pieces, but vocab_size is 768",
         "chat template: Mistral's v1",
         "minimistral chat: error: messages need a chat template, and the folder of"
         " D/tokenizer.json has none: add chat_template.jinja, or tokenizer.model for Mistral's"
         " own; the chat continues without this line"]),
    "a template that gives nothing": (
        "hf", [file("chat_template.jinja")], "Hi\n",
        ["chat template: chat_template.jinja",
         "minimistral chat: error: messages must fit the chat template in chat_template.jinja: it"
         " gives no text; the chat continues without this line"]),
    "a template that is broken": (
        "hf", [file("chat_template.jinja", "{% for %}")], "Hi\n",
        ["chat template: chat_template.jinja",
         "minimistral chat: error: messages must fit the chat template in chat_template.jinja:"
         " Expected an expression, got 'end of statement block'; the chat continues without this"
         " line"]),
    "more than the context, without a window": (
        "full", [params(max_seq_len=24)], "word " * 30 + "\n",
        ["chat template: Mistral's v1",
         "note: 74 tokens are to be read, but the model's context_len is 24; what it writes may"
         " make no sense",
         "minimistral chat: error: cache is full: row 0 holds 0 of max_tokens = 24 and cannot take"
         " 77 more; use /reset, or a larger --context; the chat continues without this line"]),
    "more than the context, with a window": (
        "mistral", [params(max_seq_len=24)], "word " * 30 + "\n", ["chat template: Mistral's v1"]),
}  # fmt: skip

# name: (a command line, its exit code, the line); D is Mistral's format, F the shards
COMMAND_LINES = {
    "no path": (["inspect", ""], 1, "path must name a folder, but is empty; the current folder is"
                                    " '.'"),
    "a file of a model": (
        ["generate", f"F/{SHARDS[0]}", *GENERATE], 1,
        f"path must be a folder, not the file F/{SHARDS[0]}; give the folder that it is in, F"),
    "its config": (
        ["chat", f"D/{PARAMS}"], 1,
        f"path must be a folder, not the file D/{PARAMS}; give the folder that it is in, D"),
    "a name of the hub": (
        ["inspect", "mistralai/Mistral-7B-v0.1"], 1,
        "there is no folder mistralai/Mistral-7B-v0.1"),
    "a format that is not there": (
        ["inspect", "F", "--format", "mistral"], 1,
        "F holds no checkpoint: it needs params.json with consolidated.safetensors or"
        " consolidated.00.pth; it holds one in the format hf"),
    "NumPy in bfloat16": (
        ["generate", "D", *GENERATE, "--dtype", "bfloat16"], 2,
        "argument --dtype: NumPy has no bfloat16; use --backend pt"),
    "a device that torch was not built for": (
        ["generate", "D", *GENERATE, "--backend", "pt", "--device", "vulkan"], 2,
        "argument --device: device must be on this machine, not vulkan: …"),
    "no file of tools": (
        ["chat", "D", "--tools", ""], 2, "argument --tools: must not be empty"),
    "another template": (
        ["chat", "D", "--tokenizer-version", "v3"], 1,
        "version must be v1 for 'tokenizer.model', because it has no piece [INST], not 'v3'"),
    "a prompt of nothing": (
        ["generate", "D", "--prompt", ""], 2, "argument --prompt: must not be empty"),
    "a seed of 33 bits": (
        ["train", "--seed", 2**32], 2, "seed must be below 2**32, not 4294967296"),
    "an option of another program": (
        ["train", "--length", 64], 2,
        "unrecognized arguments: --length (see minimistral --help)"),
    "a rate beyond float32": (
        ["train", "--learning-rate", "1e30"], 2,
        "learning_rate must be finite, above 0 and at most 100, not 1e+30"),
    "very many threads": (
        ["train", "--threads", 10**12], 2, "argument --threads: must be below …"),
    "very many threads of a measurement": (
        ["bench", "--threads", 10**7], 2, "argument --threads: N must be below …"),
    "no folder to train into": (
        ["train", "--out", ""], 2, "argument --out: must not be empty"),
    "a folder that is not empty": (
        ["train", "--out", "D"], 1, "D is not empty: resume continues, overwrite starts again"),
    "nothing to resume": (
        ["train", "--out", "D", "--resume"], 1,
        "cannot resume: D has no training_state.safetensors"),
    "a file to train into": (
        ["train", "--out", f"D/{PARAMS}"], 1, f"D/{PARAMS}: Not a directory"),
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_all(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def given(saved, tmp_path):
    """A function: the name of a model and what came with it -> the folder."""
    return lambda model, changes: came(saved / model, changes, tmp_path / "m")


@pytest.fixture
def run(monkeypatch, capsys):
    """A function: a command line and the text that is piped in -> exit code, stdout, stderr."""

    def run(*words, piped=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(piped))
        code = cli.main([str(word) for word in words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def assert_line(line, printed, folder):
    """That one line was printed, and which; the folder's own path stands as D."""
    assert printed.count("\n") == 1 and printed.endswith("\n"), printed
    printed = printed[:-1].replace(str(folder), "D")
    if line.endswith("…"):
        assert printed.startswith(line[:-1])
    else:
        assert printed == line


COMMANDS = [
    ("inspect", []), ("inspect", ["--json"]), ("generate", GENERATE),
    ("generate", [*GENERATE, "--backend", "pt"]), ("chat", FEW),
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(given, run, name):
    """By every command and by `load` of both twins; nothing is written, not even to the folder."""
    model, changes, line = REFUSED[name]
    folder = given(model, changes)
    before = contents(folder)
    for command, words in COMMANDS:
        code, out, err = run(command, folder, *words, piped="Hi\n")
        assert (code, out) == (1, "")
        assert_line(f"minimistral {command}: error: {line}", err, folder)
    for mm in (mn, mp):
        with pytest.raises((ValueError, TypeError, FileNotFoundError)) as refused:
            mm.load(folder)
        assert_line(line, f"{refused.value}\n", folder)
    assert contents(folder) == before


@pytest.mark.parametrize("name", READ)
def test_what_is_read(given, saved, run, name):
    model, changes, notes = READ[name]
    folder = given(model, changes)
    text = run("generate", saved / "mistral", *GENERATE)[1]
    for backend in ("np", "pt"):
        code, out, err = run("generate", folder, *GENERATE, "--backend", backend)
        assert (code, out) == (0, text)
        assert err.splitlines()[:-1] == [f"note: {note}" for note in notes]
    code, out, err = run("inspect", folder)
    assert (code, err) == (0, "")
    assert [line[14:] for line in out.splitlines() if line.startswith("  note  ")] == notes


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_is_none(given, run, name):
    changes, line = TOKENIZERS[name]
    folder = given("hf", [without("tokenizer.model"), *changes])
    for command, words in COMMANDS[2:]:
        code, out, err = run(command, folder, *words, piped="Hi\n")
        assert (code, out) == (1, "")
        assert_line(f"minimistral {command}: error: {line}", err, folder)
    code, out, err = run("inspect", folder)
    assert (code, err) == (0, "")
    (shown,) = [text for text in out.splitlines() if text.startswith("  tokenizer   ")]
    assert_line(f"  tokenizer   none: {line}", f"{shown}\n", folder)


@pytest.mark.parametrize("name", CHATS)
def test_a_chat(given, run, name):
    model, changes, lines, shown = CHATS[name]
    folder = given(model, changes)
    code, out, err = run("chat", folder, *FEW, piped=lines)
    assert code == any("error" in line for line in shown)
    summaries = [line for line in err.splitlines() if line.startswith("[")]
    assert len(summaries) == len(out.splitlines()) == (0 if code else lines.count("\n"))
    found = [line.replace(str(folder), "D") for line in err.splitlines() if line not in summaries]
    assert found == shown
    template = next(line for line in shown if "template: " in line).removeprefix("chat template: ")
    code, out, err = run("inspect", folder)
    assert (code, err) == (0, "") and f"  template    {template}\n" in out


@pytest.mark.parametrize(("model", "noted"), [("full", True), ("mistral", False)])
def test_a_prompt_longer_than_the_context(given, run, model, noted):
    """Without a window it is said, because the model was never trained for it."""
    folder = given(model, [params(max_seq_len=24)])
    code, _, err = run("generate", folder, "--prompt", "word " * 30, *FEW)
    notes = [line for line in err.splitlines() if not line.startswith("[")]
    line = (
        "note: 62 tokens are to be read, but the model's context_len is 24; what it writes may make"
        " no sense"
    )
    assert (code, notes) == (0, [line] * noted)


def test_every_id_that_ends_an_answer(given):
    """A fine-tune says so in several files, as a number or as a list."""
    own = [file("added_tokens.json", ADDED), file("tokenizer_config.json", {
        "eos_token": "<|im_end|>"}), file("generation_config.json", {"eos_token_id": [2, 769]}),
        config(eos_token_id=700)]  # fmt: skip
    assert load_tokenizer(given("tuned", own)).stop_ids == [2, 768, 769, 700]


def test_an_image_in_a_message(saved):
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    with pytest.raises(ValueError, match=r"^messages must fit the v1 template: "):
        load_tokenizer(saved / "hf").chat([{"role": "user", "content": image}])


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_a_command_line(saved, run, tmp_path, monkeypatch, name):
    """One line, and nothing is written; the files of the models stay as they are."""
    words, expected, line = COMMAND_LINES[name]
    monkeypatch.chdir(tmp_path)
    before = contents(saved)
    folders = {"D": saved / "mistral", "F": saved / "shards"}
    words = [str(word) for word in words]
    for letter, folder in folders.items():
        words = [str(folder) if word == letter else word.replace(f"{letter}/", f"{folder}/")
                 for word in words]  # fmt: skip
    code, out, err = run(*words)
    assert (code, out) == (expected, "")
    err = err.replace(str(folders["F"]), "F")
    ending = f" (see minimistral {words[0]} --help)\n"
    err = err if line.endswith("--help)") else err.replace(ending, "\n")
    program = "minimistral" if line.startswith("unrecognized") else f"minimistral {words[0]}"
    assert_line(f"{program}: error: {line}", err, folders["D"])
    assert contents(saved) == before and not list(tmp_path.iterdir())


def test_the_other_of_two_formats(saved, run):
    texts = [run("generate", saved / "both", *GENERATE, *words)[1] for words in (
        [], ["--format", "mistral"], ["--format", "hf"])]  # fmt: skip
    assert texts[0] == texts[1] != texts[2]
    assert "  format      hf, 1 file(s)\n" in run("inspect", saved / "both", "--format", "hf")[1]


def test_save_over_what_came(given, saved):
    """The shards that the old index names go; what it does not name may be somebody's own."""
    own = [file(name, "mine") for name in ("tokenizer_config.json", "lora-notes.txt",
                                           "model-00009-of-00009.safetensors")]  # fmt: skip
    folder = given("shards", own)
    mn.save(mn.load(saved / "hf"), folder, "hf", overwrite=True)
    assert {path.name for path in folder.iterdir()} == {
        CONFIG, SINGLE, "tokenizer.model", "tokenizer_config.json", "lora-notes.txt",
        "model-00009-of-00009.safetensors",
    }  # fmt: skip


LAPTOP = [  # with 16 GiB that are free
    (["--backend", "pt"], "the weights in float32 need 27.5 GiB, but 16.0 GiB are free; these would"
                          " fit: --dtype bfloat16, --quantize int8, --backend np"),
    (["--backend", "pt", "--dtype", "float64"], "the weights in float64 need 55.0 GiB, …"),
    (["--dtype", "float64"], "the weights in float64 need 55.0 GiB, but 16.0 GiB are free; these"
                             " would fit: --mmap"),
]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="a sparse file of 14 GB")
@pytest.mark.parametrize(("words", "line"), LAPTOP)
def test_7b_on_a_laptop(tmp_path, run, monkeypatch, words, line):
    """The file has the header and the size of v0.3, and takes no space."""
    write_7b(tmp_path)
    monkeypatch.setattr(memory, "free_memory", lambda: 16 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for command in (["generate", *GENERATE], ["chat"]):
        code, out, err = run(command[0], tmp_path, *command[1:], *words)
        assert (code, out) == (1, "")
        assert_line(f"minimistral {command[0]}: error: out of memory: {line}", err, tmp_path)


OTHER_RUNS = [  # what is asked for now, and the line
    (["--seed", 1], {}, "cannot resume: seed was 0, now 1"),
    (["--steps", 5], {}, "cannot resume: steps was 4, now 5"),
    ([], {"window_size": 9}, "cannot resume: window_size was 4, now 9"),
    ([], {"dim": 16}, "cannot resume: dim was 8, now 16"),
]


def test_a_training_is_not_resumed_as_another(run, tmp_path, monkeypatch):
    """It is stopped after a checkpoint, and goes on with the same settings alone."""
    tiny = replace(MODEL, vocab_size=280)
    texts = ("the cat sat on the mat. " * 60, "the dog sat on the cat.\n")
    monkeypatch.setattr(corpus, "split", lambda: texts)
    monkeypatch.setattr(ModelConfig, "tiny", classmethod(lambda cls: tiny))
    words = ["train", "--out", tmp_path / "m", "--steps", 4, "--batch-size", 2, "--seq-len", 16,
             "--checkpoint-every", 2, "--threads", 1]  # fmt: skip

    def stopped(training):
        save_state(training)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_run, "save_state", stopped)
        assert run(*words)[0] == 130
    before = contents(tmp_path)
    for more_words, changes, line in OTHER_RUNS:
        with monkeypatch.context() as patch:
            other = replace(tiny, **changes)
            patch.setattr(ModelConfig, "tiny", classmethod(lambda cls, other=other: other))
            code, out, err = run(*words, *more_words, "--resume")
        assert (code, out) == (1, "")
        assert_line(f"minimistral train: error: {line}", err, tmp_path)
        assert contents(tmp_path) == before
    assert run(*words, "--resume")[0] == 0


def test_a_cluster_has_set_a_rank(saved, run, monkeypatch):
    """As in a job of several processes; this command is a process of its own."""
    expected = run("generate", saved / "mistral", *GENERATE)
    for name, value in {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    for backend in ("np", "pt"):
        code, out, err = run("generate", saved / "mistral", *GENERATE, "--backend", backend)
        assert (code, out) == expected[:2] and err.startswith("[") and err.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
@pytest.mark.parametrize("name", [PARAMS, CONSOLIDATED, "tokenizer.model"])
def test_a_file_that_may_not_be_read(given, run, name):
    """It is not called missing; test_findings.py has this for root."""
    folder = given("mistral", [lambda folder: (folder / name).chmod(0)])
    code, out, err = run("generate", folder, *GENERATE)
    assert (code, out) == (1, "")
    assert_line(f"minimistral generate: error: D/{name}: Permission denied", err, folder)


def test_names_that_a_terminal_would_obey(saved, run, tmp_path):
    """A folder's name is shown as Python writes it, and without them in errors."""
    folder = came(saved / "mistral", [], tmp_path / "m\x1b[2J")
    code, out, err = run("inspect", folder)
    assert (code, err, out.splitlines()[0]) == (0, "", repr(str(folder)))
    (folder / PARAMS).unlink()
    code, out, err = run("inspect", folder)
    assert code == 1 and "\x1b" not in err


def test_the_tables_are_long_enough():
    tables = REFUSED, READ, TOKENIZERS, CHATS, COMMAND_LINES
    assert [len(table) for table in tables] == [57, 17, 11, 10, 19]
