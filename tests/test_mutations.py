"""Bugs planted on purpose: each must be caught by the tests that are named for it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LESSONS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").glob("*.ipynb"))
LESSON_01, LESSON_02, LESSON_03, LESSON_04, LESSON_05, LESSON_06, LESSON_07, LESSON_08 = LESSONS[1:]
MODEL = "tests/twins/test_model.py::test_the_model_is_the_loops"
RAGGED = "tests/twins/test_model.py::test_each_row_of_a_ragged_batch_is_as_if_alone"
SLOTS = "tests/twins/test_cache.py::test_position_i_lies_in_slot_i_mod_w"
CHUNKS = "tests/twins/test_cache.py::test_every_chunk_size_gives_the_same_logits"
RESET = "tests/twins/test_cache.py::test_a_reset_cache_is_a_new_one"
BROKEN_OFF = "tests/twins/test_cache.py::test_an_error_in_the_middle_leaves_the_cache_as_it_was"
SAMPLING = "tests/twins/test_sampling.py::"
BLOCKS = "tests/twins/test_block_sparse.py::test_the_blocks_are_those_that_torch_finds"
PARALLEL = "tests/twins/test_parallel.py::"
COMPILED = "tests/twins/test_compiled.py::"
FAKE_CUDA = "tests/twins/test_fake_cuda.py::"
FILES = "tests/checkpoint/test_checkpoint.py::"
TOKENS = "tests/test_tokenizer.py::"
CHATS = "tests/cli/test_chats.py::"
TRAINING = "tests/training/test_train.py::"
FOLDERS = "tests/checkpoint/test_findings.py::"
CAME = "tests/cli/test_as_it_came.py::"
BAD_FILES = "tests/cli/test_bad_files.py::"
LOADING = "tests/cli/test_loading.py::"
MAPPED = "tests/checkpoint/test_mapped.py::"

# file, what stands there, the bug, the checks that must fail
MUTATIONS = [
    ("rule.py", "distance < window", "distance <= window",
     ["tests/twins/test_mask.py", LESSON_04, LESSON_05]),
    ("rule.py", "(distance >= 0)", "(distance > 0)", ["tests/twins/test_mask.py"]),
    ("rule.py", "(k_pos >= 0) & ", "", ["tests/twins/test_mask.py"]),
    ("np/checked.py", "    return values.astype(np.int64)\n", "    return values\n",
     ["tests/twins/test_mask.py"]),
    ("np/attention.py", " * D**-0.5", "", ["tests/twins/test_attention.py", LESSON_03]),
    ("pt/attention.py", "grouped, k, v, mask[:, None])", "grouped, k, v, mask[:, None], scale=1)",
     ["tests/twins/test_attention.py"]),
    ("np/attention.py", "np.exp(scores - top)", "np.exp(scores)",
     ["tests/twins/test_attention.py"]),
    ("np/attention.py", "np.where(mask, scores, -np.inf)", "np.where(mask, scores, 0)",
     ["tests/twins/test_attention.py", LESSON_01]),
    ("pt/attention.py", "mask.repeat(1, grouped.shape[2] // q.shape[2], 1)",
     "mask.repeat_interleave(grouped.shape[2] // q.shape[2], dim=1)",
     ["tests/twins/test_attention.py"]),
    ("np/rope.py", "even * cos - odd * sin", "even * cos + odd * sin",
     ["tests/twins/test_layer_parts.py", LESSON_02]),
    ("np/norm.py", "mean_square + eps", "mean_square", ["tests/twins/test_layer_parts.py"]),
    ("pt/feedforward.py", "silu(linear(x, w1)) * linear(x, w3)",
     "silu(linear(x, w3)) * linear(x, w1)",
     ["tests/twins/test_layer_parts.py", LESSON_08]),
    ("np/rope.py", "np.arange(0, head_dim, 2", "np.arange(0, head_dim // 2", [MODEL, LESSON_02]),
    ("pt/rope.py", "x.unflatten(-1, (-1, 2))", "x.unflatten(-1, (2, -1)).swapaxes(-1, -2)",
     [MODEL]),
    ("pt/rope.py", "[-sin, sin]", "[sin, -sin]", [MODEL]),
    ("pt/norm.py", "x.shape[-1:], weight, eps", "x.shape[-1:], None, eps", [MODEL]),
    ("pt/norm.py", ".to(x.dtype) * weight", ".to(x.dtype)", ["tests/twins/test_layer_parts.py"]),
    ("pt/linear.py", "type(module) is nn.Linear and not (", "type(module) is nn.Linear or (",
     ["tests/twins/test_module.py"]),
    ("np/feedforward.py", "np.tanh(0.5 * x)", "np.tanh(x)", ["tests/twins/test_layer_parts.py"]),
    ("np/mask.py", "slice(int(near[0]), ", "slice(int(near[0]) + 1, ", [MODEL]),
    ("pt/mask.py", "k_pos.clip(own[:, :1], ", "k_pos.clip(own.amax(dim=1, keepdim=True), ",
     [MODEL]),
    # tile for repeat: query head h reads key head h % G
    ("np/attention.py", "q.reshape(B, G, -1, D)",
     "q.reshape(B, H // G, G, T, D).swapaxes(1, 2).reshape(B, G, -1, D)",
     [MODEL, LESSON_03]),
    ("np/layer.py", """h = rms_norm(x, w["ffn_norm"]""",
     """h = rms_norm(x, w["attention_norm"]""", [MODEL]),
    ("np/layer.py", """h = rms_norm(x, w["attention_norm"], config.norm_eps)""", "h = x",
     [MODEL, LESSON_08]),
    ("pt/layer.py", "x = x + linear(", "x = linear(", [MODEL]),
    ("pt/model.py", "self.norm.weight, self.config.norm_eps", "self.norm.weight, 1e-6", [MODEL]),
    ("np/model.py", "config.rope_theta, self.dtype)", "1e6, self.dtype)", [MODEL]),
    ("np/model.py", "np.where(positions[:, :, None] >= 0, x, 0)", "x", [RAGGED]),
    ("pt/model.py", "(lengths - 1).clip(0)", "lengths.clip(0, len(index) - 1)", [RAGGED]),
    # rotation by slot and not by position: right until the cache wraps
    ("pt/model.py", "rope = rope_tables(positions, config.head_dim, config.rope_theta, self.dtype)",
     "rope = rope_tables(positions % (config.window_size or 99), config.head_dim,"
     " config.rope_theta, self.dtype)",
     [MODEL, LESSON_06]),
    ("np/model.py", "seen[:, None] + index", "index", [CHUNKS, LESSON_07]),
    ("rule.py", "position % n_slots", "(position + 1) % n_slots", [SLOTS, LESSON_06]),
    # evict before attend
    ("np/cache.py", "write_first = positions.shape[1] == 1 or bool((last < self.n_slots).all())",
     "write_first = True", [CHUNKS, LESSON_07]),
    ("pt/cache.py", "positions.shape[1] == 1 or", "positions.shape[1] <= self.n_slots or",
     [CHUNKS, LESSON_07]),
    ("pt/cache.py", "visible(last, positions, self.n_slots)",
     "visible(last, positions, self.n_slots - 1)", [SLOTS]),
    ("np/cache.py", "self.positions.max(axis=1) + 1", "(self.positions >= 0).sum(axis=1)", [SLOTS]),
    # a stale slot stays visible after a reset
    ("pt/cache.py", "        self.positions[:] = -1\n", "", [RESET, LESSON_06]),
    # a chunk's keys written as soon as one layer is done, so that an error loses the old ones
    ("np/cache.py", "        plan.waiting.append((layer, new_k, new_v))\n",
     "        old = self.k[layer].copy(), self.v[layer].copy()\n"
     "        self.k[layer][plan.rows, :, plan.slots] = new_k\n"
     "        self.v[layer][plan.rows, :, plan.slots] = new_v\n"
     "        return tuple(np.concatenate(pair, axis=2) for pair in zip(old, (k, v)))\n",
     [BROKEN_OFF]),
    ("np/cache.py", "for _ in range(2):", "for _ in range(1):",
     [SAMPLING + "test_ctrl_c_between_any_two_lines_of_a_commit"]),
    ("np/sampling.py", "before >= top_p", "before + sorted_p >= top_p",
     [SAMPLING + "test_probabilities_are_those_by_hand"]),
    ("pt/sampling.py", "/ temperature)", "* temperature)",
     [SAMPLING + "test_probabilities_are_those_by_hand"]),
    ("np/sampling.py", "edges <= np", "edges < np",
     [SAMPLING + "test_what_cannot_come_is_never_drawn"]),
    ("pt/generate.py", " and token not in stop_ids", "",
     [SAMPLING + "test_stop_ids_end_a_row_and_stand_at_its_end"]),
    ("np/generate.py", "np.where(n_real[:, None] > 0, new, logits)", "new",
     [SAMPLING + "test_each_of_several_prompts_is_as_if_alone"]),
    ("pt/generate.py", ".spawn(len(prompts))", ".spawn(1) * len(prompts)",
     [SAMPLING + "test_a_row_draws_its_own_numbers"]),
    ("np/cache.py", "after = self.positions.copy()", "after = self.positions",
     [SAMPLING + "test_ctrl_c_anywhere_leaves_a_cache_that_can_be_used"]),
    ("pt/cache.py", "self.rolls = self.n_slots == window", "self.rolls = window is not None",
     [SAMPLING + "test_a_cache_with_exactly_enough_room"]),
    # What only torch has: heads dealt out, an ended row that goes on, a scale, an offset
    ("pt/attention.py", "q.reshape(*k.shape[:2], -1, q.shape[3])",
     "q.reshape(k.shape[0], -1, k.shape[1], q.shape[3]).swapaxes(1, 2)", [CHUNKS]),
    ("pt/compiled.py", "torch.where(lengths > 0, cache.seen, -1)", "cache.seen",
     [COMPILED + "test_a_compiled_step_is_the_model"]),
    ("pt/compiled.py", "update(kept_v, v)", "pass",
     [COMPILED + "test_a_compiled_step_is_the_model"]),
    ("pt/compiled.py", "torch.where(running, every, first)", "every",
     [COMPILED + "test_a_compiled_step_is_the_model"]),
    ("pt/compiled.py", "seen += running", "seen += 1",
     [COMPILED + "test_a_compiled_step_is_the_model"]),
    ("pt/compiled.py", "self.positions.copy_(self.cache.positions)", "pass",
     [COMPILED + "test_a_step_sees_what_others_wrote_into_its_cache"]),
    ("pt/compiled.py", "zip(model.layers, joined, kept, strict=True)",
     "zip(model.layers, joined, zip(*map(torch.stack, zip(*kept))))",
     [COMPILED + "test_the_generated_code_copies_no_cache"]),
    ("pt/compiled.py", "[token if run else -1 for", "[token for",
     [COMPILED + "test_a_greedy_text_goes_on_with_what_it_chose"]),
    ("pt/compiled.py", "self.version = cache.positions._version\n", "pass\n",
     ["tests/twins/test_fake_cuda_step.py"]),
    ("pt/join.py", "offset += weight.numel()", "pass",
     [COMPILED + "test_joined_matrices_are_the_model_and_take_no_more_memory"]),
    ("pt/mask.py", "some & ~full", "some", [BLOCKS]),
    ("pt/compiled_prefill.py", "x = x + linear(h", "x = linear(h",
     [COMPILED + "test_a_compiled_layer_is_the_layer"]),
    ("pt/generate.py", "room + -room % ROUND", "room",
     [COMPILED + "test_a_compiled_step_is_compiled_for_few_sizes_of_a_cache"]),
    ("pt/split.py", "values * scale", "values", ["tests/twins/test_split.py"]),
    ("np/split.py", "totals * scale", "totals", ["tests/twins/test_split.py"]),
    ("pt/quantize.py", "low + 8 * scale", "low",
     [COMPILED + "test_a_packed_weight_multiplies_as_its_rounded_values"]),
    ("pt/quantize.py", ".clamp(min=SMALLEST) / 127", ".clamp(min=SMALLEST) / 100",
     [COMPILED + "test_a_packed_weight_multiplies_as_its_rounded_values"]),
    ("pt/model.py", "places = positions.to(device), plan.k_pos.to(device)",
     "places = positions.to(device), plan.k_pos.to(device) + 1",
     [COMPILED + "test_block_sparse_prefill_gives_the_same_logits"]),
    # Tensors on the wrong device, copies that nobody sees, a host that waits for the device
    ("pt/model.py", "self.embed(tokens.to(device), positions)", "self.embed(tokens, positions)",
     [FAKE_CUDA + "test_a_decode_step_copies_seven_small_tensors"]),
    ("pt/model.py", "        positions = positions.to(device)\n", "",
     [FAKE_CUDA + "test_a_ragged_batch_and_its_last_tokens"]),
    ("pt/model.py", "positions = as_tensor(positions, device=x.device)",
     "positions = as_tensor(positions)",
     [FAKE_CUDA + "test_functions_accept_positions_and_masks_of_the_host"]),
    ("pt/model.py", '"device": device}\n    seed', '"device": "cpu"}\n    seed',
     [FAKE_CUDA + "test_a_decode_step_copies_seven_small_tensors"]),
    ("pt/layer.py", "        h = rms_norm(x, self.ffn_norm.weight, config.norm_eps)\n",
     "        bool(x.isfinite().all())\n"
     "        h = rms_norm(x, self.ffn_norm.weight, config.norm_eps)\n",
     [FAKE_CUDA + "test_a_decode_step_copies_seven_small_tensors"]),
    ("pt/cache.py", "return Plan(k_pos, rows, tokens, slots, after, write_first)",
     "return Plan(k_pos, rows.cpu(), tokens.cpu(), slots.cpu(), after, write_first)",
     [FAKE_CUDA + "test_prefill_in_chunks_beyond_two_windows"]),
    ("pt/cache.py", 'self.positions = torch.full((B, self.n_slots), -1, device="cpu")',
     "self.positions = torch.full((B, self.n_slots), -1, device=device)",
     [FAKE_CUDA + "test_a_decode_step_copies_seven_small_tensors"]),
    ("pt/rope.py", ", device=positions.device)", ")",
     [FAKE_CUDA + "test_positions_on_the_device_stay_there"]),
    ("pt/checked.py", "as_tensors(partial(as_tensor, device=x.device), cos=cos",
     "as_tensors(cos=cos",
     [FAKE_CUDA + "test_functions_accept_positions_and_masks_of_the_host"]),
    # Processes that forget the sum, or take other KV heads than their query heads read
    ("pt/parallel.py", '"layers.*.feed_forward.w2": RowwiseParallel()',
     '"layers.*.feed_forward.w2": RowwiseParallel(output_layouts=dist.tensor.Partial())',
     [PARALLEL + "test_two_processes_are_one_model"]),
    ("pt/parallel.py", "distribute_tensor(weight, mesh",
     "distribute_tensor(weight.roll(name.endswith('wk.weight'), 0), mesh",
     [PARALLEL + "test_two_processes_are_one_model"]),
    ("bench/configs.py", "batch_size * config.cache_bytes", "config.cache_bytes",
     ["tests/bench/test_bench.py::test_the_sizes"]),
    ("pt/generate.py", "model(tokens, cache, last_only=True, lengths=lengths)",
     "model(tokens, cache, last_only=True)",
     [SAMPLING + "test_several_conversations_go_on_in_one_cache"]),
    ("_arguments.py", "max(ids) >= vocab_size", "max(ids) > vocab_size",
     ["tests/twins/test_errors.py::test_bad_input_is_named_and_changes_nothing"]),
    # Checkpoints: the theta fallback, pickles that run code, the permutation of Wk and of Wq
    ("checkpoint/configs.py", '"rope_theta": 1e4 if windowed else 1e6', '"rope_theta": 1e6',
     [FILES + "test_the_theta_trap"]),
    ("checkpoint/reading.py", "weights_only=True, ", "weights_only=False, ",
     [FILES + "test_a_pickle_runs_nothing"]),
    ("checkpoint/names.py", "return config.n_kv_heads if name", "return 0 if name",
     [FILES + "test_transformers_opens_what_is_saved"]),
    ("np/checkpoint.py", "return to_pairs(weight, stored.heads) if stored.heads else weight",
     "return weight", [FILES + "test_what_transformers_saved_is_loaded"]),
    ("pt/checkpoint.py", 'to_halves(weight, heads) if heads and format == "hf" else weight',
     "weight", [FILES + "test_transformers_opens_what_is_saved"]),
    ("pt/checkpoint.py", ", copy=True", "", [FILES + "test_a_model_does_not_lean_on_its_file"]),
    # Loading: kinds of layers, a window under another name, unknown keys, adapters, old shards
    ("checkpoint/configs.py", "if kinds is not None and not same:", "if False and not same:",
     [FILES + "test_a_bad_checkpoint_is_refused"]),
    ("checkpoint/configs.py", 'for key in ("sliding_window", "_sliding_window")',
     'for key in ("sliding_window",)', [FILES + "test_the_published_configs_are_known"]),
    ("checkpoint/configs.py",
     '_rope(settings, "rope_scaling", file) or _rope(settings, "rope_parameters", file)',
     '_rope(settings, "rope_parameters", file) or _rope(settings, "rope_scaling", file)',
     [FILES + "test_theta_in_rope_scaling_is_the_one_that_transformers_takes"]),
    ("checkpoint/configs.py", "elif unknown := unknown_keys(settings, format):",
     "elif unknown := []:", [FILES + "test_a_bad_checkpoint_is_refused"]),
    ("checkpoint/reading.py", "    require_no_adapter(folder)\n", "",
     [FOLDERS + "test_an_adapter_beside_a_model_is_not_passed_over"]),
    ("checkpoint/reading.py", "config.n_layers > len(tensors)",
     "config.n_layers > 10**6 * len(tensors)", [FILES + "test_a_bad_checkpoint_is_refused"]),
    ("checkpoint/reading.py", " or _QUANTISED_DTYPE.fullmatch(stored.dtype)", "",
     [FILES + "test_a_bad_checkpoint_is_refused"]),
    ("checkpoint/reading.py",
     'return f"{asks}; a pickle can run any code, so nothing but tensors is read"', "return text",
     [FILES + "test_a_pickle_runs_nothing"]),
    ("checkpoint/writing.py", "if is_plain_name(entry) and", "if isinstance(entry, str) and",
     [FOLDERS + "test_what_the_old_index_named_goes_and_nothing_else"]),
    ("checkpoint/writing.py", "[*files, *_shards_of(folder)]", "files",
     [FILES + "test_old_shards_go"]),
    ("checkpoint/writing.py", "[*_files_of(folder, format), *in_the_way]",
     "_files_of(folder, format)",
     [FOLDERS + "test_a_shard_that_no_index_names_is_not_written_over_unasked"]),
    ("checkpoint/findings.py", "if file.is_symlink() and not file.exists():", "if False:",
     [FOLDERS + "test_a_link_that_leads_nowhere"]),
    ("_arguments.py", 'start.startswith(b"version', 'start.endswith(b"version',
     [FOLDERS + "test_a_tokenizer_that_is_a_pointer"]),
    ("checkpoint/findings.py", 'sorted(folder.glob("snapshots/*"))', "()",
     [CAME + "test_what_is_refused"]),
    ("checkpoint/reading.py", "names the shard {listed([entry])}", "names the shard {entry}",
     [CAME + "test_what_is_refused"]),
    ("checkpoint/files.py", "if key in values:", "if False:", [BAD_FILES + "test_a_bad_file"]),
    ("pt/cache.py", 'if device.type not in ("cpu", "cuda", "meta"):', "if False:",
     [BAD_FILES + "test_a_bad_option"]),
    ("checkpoint/memory.py", "    if needed <= free:", "    if needed <= 2 * free:",
     [LOADING + "test_what_does_not_fit_is_said_with_what_would"]),
    ("cli/engine.py", 'options["format"] = args.format', 'options["format"] = None',
     [LOADING + "test_the_format_chooses"]),
    ("cli/inspect.py", "lines = engine.notes(checkpoint, folder)", "lines = []",
     [LOADING + "test_inspect_says_that_there_are_two"]),
    ("cli/processes.py", '("tensor_parallel", "format",', '("tensor_parallel",',
     [LOADING + "test_the_processes_get_the_format"]),
    # Several processes: where they listen, what ends them, who prints
    ("cli/processes.py", '"GLOO_SOCKET_IFNAME": LOOPBACK',
     '"GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", LOOPBACK)',
     [PARALLEL + "test_it_listens_on_the_loopback_interface_alone"]),
    ("cli/processes.py", "process.stdin.close()", "pass",
     [PARALLEL + "test_a_signal_to_the_command_alone_ends_all[2-130]"]),
    ("cli/processes.py", "signal.signal(number, end)", "signal.getsignal(number)",
     [PARALLEL + "test_a_signal_to_the_command_alone_ends_all[15-143]"]),
    ("cli/processes.py", 'shared() is None or os.environ["RANK"] == "0"',
     'os.environ.get("RANK", "0") == "0"',
     [PARALLEL + "test_what_a_cluster_has_set_changes_nothing"]),
    # Weights in their file: rows in Hugging Face's order, halves of a word, the last block, threads
    ("np/mapped.py", "out = out[:, self._order]", "pass",
     [MAPPED + "test_logits_are_those_of_the_loaded_model"]),
    ("np/mapped.py", "self._order is None else self._order[rows]", "True else 0",
     [MAPPED + "test_rows_are_exactly_those_of_the_loaded_model"]),
    ("np/mapped.py", "flat[:, 1::2].copy()", "flat[:, 0::2].copy()",
     [MAPPED + "test_a_product_is_the_product_with_the_whole_matrix"]),
    ("np/mapped.py", "np.uint32(0xFFFF0000)", "np.uint32(0xFFFE0000)",
     [MAPPED + "test_every_bfloat16_becomes_its_number"]),
    ("np/mapped.py", "n_tiles * n // workers * step", "n_tiles // workers * n * step",
     [MAPPED + "test_a_product_is_the_product_with_the_whole_matrix"]),
    ("np/mapped.py", "stored, flat = self._checkpoint.read(self._name), ",
     "self.kept = self._checkpoint.read(self._name)\n        stored, flat = self.kept, ",
     [MAPPED + "test_memory_stays_far_below_the_file"]),
    # Tokens: half a character shown, a space lost, a control id out of plain text
    ("tokenizer.py", "yield decoder.decode(self._bytes(token, begun))",
     'yield self._bytes(token, begun).decode(errors="replace")', [TOKENS + "test_text_comes_back"]),
    ("tokenizer.py", 'piece.removeprefix("▁") if first else piece', 'piece.removeprefix("▁")',
     [TOKENS + "test_text_comes_back"]),
    ("tokenizer.py", "decoder.decode(self._bytes(token, begun))\n        return",
     "pass\n        return", [TOKENS + "test_a_stream_goes_on_where_another_ended"]),
    ("tokenizer.py", "return self._processor.encode(text.encode(), add_bos=bos)",
     'return [i for part in text.split("[INST]") for i in'
     ' [*self._processor.encode(part, add_bos=bos), 3]][:-1]',
     [TOKENS + "test_no_text_gives_a_control_id"]),
    # Chats: the oldest tokenizer, a forged turn, a template without limits, an answer without end
    ("tokenizer.py", '(".v3", ".v2", ".v1", "")', '(".v1", ".v2", ".v3", "")',
     [TOKENS + "test_the_version_of_a_folder"]),
    ("tokenizer.py", "key=lambda file: file.suffix, reverse=True", "key=lambda file: file.suffix",
     [TOKENS + "test_the_version_of_a_folder"]),
    ("tokenizer.py", "except Exception as error:  # also", "except ValueError as error:  # also",
     [TOKENS + "test_a_bad_argument_is_named"]),
    ("tokenizer.py", '"always": unless', '"always": True',
     [TOKENS + "test_ids_of_a_template_are_those_of_transformers"]),
    ("tokenizer.py", "ids[len(start) :] if ids[: len(start)] == start else",
     "ids if not start else",
     [TOKENS + "test_ids_of_a_template_are_those_of_transformers"]),
    ("tokenizer.py", "            return self.added[token].special\n", "            return True\n",
     [TOKENS + "test_without_a_tokenizer_json_added_tokens_are_known_too"]),
    ("tokenizer_files.py", '("generation_config.json", "config.json")', '("config.json",)',
     [TOKENS + "test_the_ids_that_end_an_answer"]),
    ("tokenizer_files.py", "*range(161, 173)", "*range(161, 174)",
     [TOKENS + "test_tokenizer_json_of_bytes"]),
    ("chat_template.py", "lambda m: m[1][0] + _START + m[1][1:]", "lambda m: m[1]",
     [TOKENS + "test_no_message_forges_a_turn_of_a_template"]),
    ("chat_template.py", "if size > SIZE:", "if size > 99 * SIZE:",
     [TOKENS + "test_a_template_does_not_run_away"]),
    ("chat_template.py", "sandbox.ImmutableSandboxedEnvironment(", "sandbox.Environment(",
     [TOKENS + "test_a_template_does_not_run_away"]),
    ("cli/engine.py", "plain(piece) if to_terminal else piece", "piece",
     [CHATS + "test_a_terminal_gets_no_control_characters"]),
    ("cli/engine.py", "n_tokens > config.context_len", "n_tokens >= config.context_len",
     [CHATS + "test_a_prompt_longer_than_the_context"]),
    ("cli/engine.py", 'if not facts["fits"]:', 'if facts["pieces"] > vocab_size:',
     [CHATS + "test_a_tokenizer_that_does_not_fit_is_named"]),
    ("cli/chat.py", "except (KeyboardInterrupt, Exception) as error",
     "except KeyboardInterrupt as error", [CHATS + "test_a_turn_that_fails_is_not_forgotten"]),
    ("cli/chat.py", "args, tokenizer.stop_ids)", "args, [tokenizer.eos_id])",
     [CHATS + "test_an_added_id_ends_the_answer_and_is_not_shown"]),
    ("cli/__init__.py", "name if name.isprintable() else repr(name)", "name",
     [CHATS + "test_names_of_files_are_shown_by_repr"]),
    ("course/draw/svg.py", 'tag("title", escape(title))', 'tag("title", title)',
     ["tests/course/test_draw.py::test_no_words_leave_their_place_in_a_picture"]),
    ("course/draw/svg.py", "\\ud800-\\udfff", "",
     ["tests/course/test_draw.py::test_what_xml_cannot_hold_is_replaced"]),
    # Training: targets that are the inputs, dropout that shrinks, moments lost on the way
    ("training/data.py", "return sequences[:, :-1], sequences[:, 1:]",
     "return sequences[:, :-1], sequences[:, :-1]",
     [TRAINING + "test_a_batch_is_text_and_the_same_one_token_on"]),
    ("training/weights.py", "generator=generator) / keep", "generator=generator)",
     [TRAINING + "test_dropout_leaves_norms_alone_and_the_mean_as_it_is"]),
    ("training/state.py", '"exp_avg": first.to', '"exp_avg": 0 * first.to',
     [TRAINING + "test_an_interrupted_run_resumes_to_the_same_weights"]),
    ("training/loop.py", "self.weight_sums[name] += weight.detach()",
     "self.weight_sums[name][:] = settings.average * weight.detach()",
     [TRAINING + "test_the_average_is_the_mean_of_the_last_checkpoints"]),
    ("training/state.py", "**asdict(config), ", "",
     [TRAINING + "test_it_resumes_only_with_the_same"]),
    ("training/state.py", "value.shape != weight.shape or", "False or",
     [TRAINING + "test_a_damaged_state_is_named"]),
    ("training/loop.py", "                path.rmdir()", "                pass",
     [TRAINING + "test_a_run_that_fails_leaves_nothing"]),
    ("training/loop.py", "    with made(folder):\n",
     "    with made(folder):\n        (folder / TOKENIZER_FILE).write_bytes(training.vocabulary)\n",
     [TRAINING + "test_what_was_there_stays_until_the_new_model_is_complete"]),
    ("training/report.py", "        remove_average(folder)\n", "        pass\n",
     [TRAINING + "test_what_was_there_stays_until_the_new_model_is_complete"]),
    ("training/settings.py", "self.seed >= 2**32", "self.seed > 2**32",
     [TRAINING + "test_a_bad_setting_is_named"]),
    ("cli/train.py", "(args.resume or _version(file) != before)", "True",
     [TRAINING + "test_ctrl_c_says_how_to_continue"]),
    ("evaluation/baselines.py", "(counts[symbol] + kinds * p) / (counts.total() + kinds)",
     "(counts[symbol] + kinds * p) / (counts.total() + 1)",
     ["tests/evaluation/test_baselines.py::"
      "test_after_any_context_the_ngrams_probabilities_sum_to_1"]),
    ("evaluation/bits_per_byte.py", "ids[start + 1 :][: len(chunk)]", "ids[start:][: len(chunk)]",
     ["tests/evaluation/test_bits_per_byte.py::"
      "test_bits_of_a_model_are_those_of_one_forward_pass"]),
    ("evaluation/reach.py", "index = tokens.shape[1] - 1 - distance",
     "index = tokens.shape[1] - 2 - distance",
     ["tests/evaluation/test_reach.py::test_influence_ends_exactly_at_k_times_w_minus_1"]),
    # Checks that change what they check, a matrix read as a whole, a longer way, a hidden cache
    ("pt/checked.py", 'return x, weight, require_number("eps", eps, above=0)',
     'return x, weight, 2 * require_number("eps", eps, above=0)',
     ["tests/twins/test_checked.py::test_checked_and_plain_give_the_same"]),
    ("np/linear.py", "weight.times(x) if", "x @ weight[:].T if",
     ["tests/twins/test_checked.py::test_a_matrix_in_its_file_stays_there"]),
    ("np/feedforward.py", "return linear(silu(linear(x, w1))",
     "def gate(x):\n        return silu(x)\n\n    return linear(gate(linear(x, w1))",
     ["tests/twins/test_path.py::test_at_most_20_functions_stand_between_ids_and_logits"]),
    ("np/model.py", "NoCache(B) if cache is None", "self.new_cache(B, len(index)) if cache is None",
     ["tests/twins/test_path.py::test_without_a_cache_the_way_is_the_same"]),
    ("config.py", "kv_dim = self.n_heads * self.head_dim, self.n_kv_heads",
     "kv_dim = self.n_heads * self.head_dim, self.n_heads", ["tests/test_config.py"]),
    # Half precision, a fork, one token alone, arguments that are no arrays
    ("np/attention.py", "if dtype.itemsize < 4:", "if dtype.itemsize < 2:",
     ["tests/twins/test_attention.py::test_half_precision_is_rounded_once",
      "tests/twins/test_attention.py::test_a_sum_beyond_half_precision"]),
    ("course/checks/lesson_04.py", "max(n_tokens**2 // 2, 2**18)", "max(4 * n_tokens**2, 2**18)",
     ["tests/course/test_checks.py"]),
    ("np/mapped.py", "threads(os.getpid())", "threads(0)",
     [MAPPED + "test_a_fork_has_threads_of_its_own"]),
    ("evaluation/reach.py", "contexts.min() == contexts.max()", "len(contexts) == 0",
     ["tests/evaluation/test_reach.py::test_bad_input_is_named"]),
    ("np/checked.py", "[as_array(name, make, value) for", "[make(value) for",
     ["tests/twins/test_strange.py"]),
    ("pt/checked.py", "[as_array(name, make, value) for", "[make(value) for",
     ["tests/twins/test_strange.py"]),
    ("_arguments.py", "int(window) >= 2**63", "int(window) >= 2**999",
     ["tests/twins/test_strange.py"]),
    ("_arguments.py", 'if "complex" in str', 'if "complexes" in str',
     ["tests/twins/test_strange.py"]),
    # Settings of a user that reach the kernels, root, a compiler that is missing
    ("course/lab.py", "os.environ.pop(name, None)", "pass",
     ["tests/course/test_lab.py::test_saved_outputs_do_not_depend_on_the_user"]),
    ("course/lab.py", 'os.environ["IPYTHONDIR"]', 'os.environ["IPYTHON_DIR"]',
     ["tests/course/test_lab.py::test_saved_outputs_do_not_depend_on_the_user"]),
    ("course/lab.py", "not (home and can_write(Path(home)))", "not home",
     ["tests/course/test_lab.py::test_without_a_home"]),
    ("course/lab.py", "if is_root() and", "if not is_root() and",
     ["tests/course/test_lab.py::test_root_may_run_jupyter_and_is_told"]),
    ("publish/notebooks.py", "    use_own_settings()\n", "",
     ["tests/course/test_lab.py::test_saved_outputs_do_not_depend_on_the_user"]),
    ("cli/__init__.py", '"No working C++ compiler found" in', '"no compiler" in',
     ["tests/cli/test_commands.py::test_what_nobody_thought_of_is_one_line_too"]),
    ("course/widgets/explorers.py", "window_mask(positions, positions, W)",
     "window_mask(positions, positions, W + (W == 9))",
     ["tests/course/test_explorers.py", LESSON_04]),
]  # fmt: skip


def copy_with_bug(folder, file, right, wrong):
    """A copy of the package in `folder`, with one bug."""
    shutil.copytree(ROOT / "minimistral", folder / "minimistral")
    path = folder / "minimistral" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(right) == 1, f"{right!r} stands {text.count(right)} times in {file}"
    path.write_text(text.replace(right, wrong), encoding="utf-8")


def run(check, package):
    """pytest's exit code for one check against the package in another folder."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    command = [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-rs", "-p", "no:cacheprovider"]
    if check.endswith(".ipynb"):
        command += [check, "--nbval"]
    else:  # nbval takes seconds to import
        command += [check, "--hypothesis-profile=find", "-p", "no:nbval", "-o", "addopts="]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "right", "wrong", "checks"),
    MUTATIONS,
    ids=[f"{mutation[0]}-{n}" for n, mutation in enumerate(MUTATIONS)],
)
def test_a_planted_bug_is_caught(tmp_path, file, right, wrong, checks):
    copy_with_bug(tmp_path, file, right, wrong)
    for check in checks:
        result = run(check, tmp_path)
        no_compiler = re.search("torch.compile needs .+", result.stdout)
        if result.returncode == 0 and no_compiler:
            pytest.skip(no_compiler[0])
        assert result.returncode == 1, f"{check} did not fail:\n{result.stdout[-2000:]}"
        assert "1 failed" in result.stdout


@pytest.mark.slow
def test_without_a_bug_the_copy_passes(tmp_path):
    """Otherwise the failures above would prove nothing."""
    copy_with_bug(tmp_path, "rule.py", "distance < window", "window > distance")
    for check in ("tests/twins/test_mask.py", LESSON_04):
        assert run(check, tmp_path).returncode == 0
