"""Decode, compiled: the same layer as in layer.py, with nothing left to decide while it runs.

A step of one token is short, so Python's work between two kernels takes as long as the kernels.
torch.compile makes the step one program, and on a GPU a CUDA graph replays all of it at once. Both
need shapes and addresses that never change, and those of a rolling cache never do.
"""

import functools

import torch

from minimistral._arguments import require_lengths, require_shape, require_tokens
from minimistral.pt.attention import compiled
from minimistral.pt.checked import as_tensor, require_cache
from minimistral.pt.mask import window_mask
from minimistral.pt.rope import rope_tables


class CompiledStep:
    """One token per row, as `model(tokens, cache, last_only=True, lengths=lengths)` does it.

    model: a Mistral. cache: its RollingCache, of B rows; the step is for this cache only.
    step(tokens (B, 1), lengths (B,), each 0 or 1) -> logits (B, V). A row of length 0 stays as
    it is. The first step of a config takes long, because it is compiled then. On a GPU the next
    step overwrites the logits. Raises TypeError or ValueError, naming the argument.
    """

    def __init__(self, model, cache):
        require_cache(cache, model, cache.batch_size)
        self.model, self.cache = model, cache
        self.graph: torch.cuda.CUDAGraph | None = None
        # One by one: written into as parts of one array, torch.compile would copy all of it.
        self.slots = list(zip(cache.k.unbind(0), cache.v.unbind(0), strict=True))

    @torch.no_grad()
    def __call__(self, tokens, lengths):
        model, cache, B = self.model, self.cache, self.cache.batch_size
        tokens, lengths = (as_tensor(each, device="cpu") for each in (tokens, lengths))
        require_tokens(tokens, model.config.vocab_size)
        require_shape("tokens", tokens, (B, 1))
        require_lengths(lengths, B, 1)
        positions = torch.where(lengths > 0, cache.seen, -1)[:, None]
        plan = cache.plan(positions)
        if not len(plan.rows):
            return torch.zeros(B, model.config.vocab_size, device=model.device)
        mask = window_mask(positions, plan.k_pos, model.config.window_size)
        # A finished row repeats the last running row's write, so shapes stay fixed.
        every = torch.arange(B, device=plan.rows.device).clip(max=len(plan.rows) - 1)
        logits = self._run(tokens, positions, mask, plan.rows[every], plan.slots[every])
        cache.commit(plan)
        return logits[:, 0]

    def _run(self, *inputs):
        inputs = tuple(each.to(self.model.device) for each in inputs)
        if self.model.device.type != "cuda":
            return self._forward(*inputs)
        if self.graph is None:
            self._capture(inputs)
        for mine, new in zip(self.inputs, inputs, strict=True):
            mine.copy_(new)
        assert self.graph is not None
        self.graph.replay()
        return self.logits

    def _capture(self, inputs):
        """Record a step. It may run any number of times first: it writes the same keys again."""
        self.inputs, side = inputs, torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._forward(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = self._forward(*inputs)

    def _forward(self, *inputs):
        run = _compiled_step(self.model.device.type)
        return run(self.model, self.slots, *inputs)


@functools.cache
def _compiled_step(device_type):
    # One row times a matrix as a plain sum: a GPU's matrix kernels are made for more rows.
    on_gpu = device_type == "cuda"
    return compiled(
        step, fullgraph=True, dynamic=False, options={"coordinate_descent_tuning": on_gpu}
    )


def step(model, kept, tokens, positions, mask, rows, slots):
    """One token per row, from id to logits, as `Mistral.forward` with a cache's own arrays.

    kept: keys and values (B, G, W, D) of each layer's cache, into which the new ones go.
    tokens and positions (B, 1), mask (B, 1, W), rows and slots (B,) -> (B, 1, V).
    """
    config, x = model.config, model.embed(tokens, positions)
    rope = rope_tables(positions, config.head_dim, config.rope_theta, x.dtype)
    for layer, (old_k, old_v) in zip(model.layers, kept, strict=True):

        def update(k, v, old_k=old_k, old_v=old_v):
            old_k[rows, :, slots] = k[rows, :, 0]
            old_v[rows, :, slots] = v[rows, :, 0]
            return old_k, old_v

        x = layer(x, rope, mask, update)
    return model.unembed(x)
