"""Decode, compiled: the same layer as in model.py, with nothing left to decide while it runs.

A step of one token is short, so what Python says between two kernels takes as long as they do.
torch.compile makes a layer one program; on a GPU a CUDA graph replays all layers at once. Both
need shapes and addresses that never change: those of a rolling cache do not.
"""

import functools

import torch

from minimistral._arguments import require_lengths, require_shape, require_tokens
from minimistral.pt.attention import compiled
from minimistral.pt.mask import as_tensor, window_mask
from minimistral.pt.model import layer
from minimistral.pt.norm import normalise
from minimistral.pt.rope import rotation


class CompiledStep:
    """One token a row, as `model(tokens, cache, last_only=True, lengths=lengths)` does it.

    model: a Mistral. cache: its RollingCache, of B rows; the step is for this cache only.
    step(tokens (B, 1), lengths (B,), each 0 or 1) -> logits (B, V). A row of length 0 stays as
    it is. The first step of a config takes long, for it is compiled then. On a GPU the next
    step overwrites the logits. Raises TypeError or ValueError, naming the argument.
    """

    def __init__(self, model, cache):
        model.require_cache(cache, cache.batch_size)
        self.model, self.cache = model, cache
        self.graph: torch.cuda.CUDAGraph | None = None
        self.layers = [model.weights_of(n) for n in range(model.config.n_layers)]

    @torch.no_grad()
    def __call__(self, tokens, lengths):
        model, cache, B = self.model, self.cache, self.cache.batch_size
        tokens, lengths = (as_tensor(each, device="cpu") for each in (tokens, lengths))
        require_tokens(tokens, model.config.vocab_size)
        require_shape("tokens", tokens, (B, 1))
        require_lengths(lengths, B, 1)
        positions = torch.where(lengths > 0, cache.seen, -1)[:, None]
        plan = cache.begin(positions)
        if not len(plan.rows):
            return torch.zeros(B, model.config.vocab_size, device=model.device)
        mask = window_mask(positions, plan.k_pos, model.config.window_size)
        # No shape may change when a row has ended: one that goes on stands in for it, and
        # writes the same to the same place again.
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
        model, cache = self.model, self.cache
        run = _compiled_step(model.device.type)
        return run(model.config, model.weights, self.layers, cache.k, cache.v, *inputs)


@functools.cache
def _compiled_step(device_type):
    # One row times a matrix as a plain sum: a GPU's matrix kernels are made for more rows.
    on_gpu = device_type == "cuda"
    return compiled(
        step, fullgraph=True, dynamic=False, options={"coordinate_descent_tuning": on_gpu}
    )


def step(config, weights, layers, kept_k, kept_v, tokens, positions, mask, rows, slots):
    """One token a row, from id to logits: `layer` with the cache's own arrays for keys.

    layers: the weights of each. kept_k, kept_v (L, B, G, W, D): the cache, into which the new
    keys go. tokens and positions (B, 1), mask (B, 1, W), rows and slots (B,) -> (B, 1, V).
    """
    x = torch.where(positions[:, :, None] >= 0, weights["tok_embeddings.weight"][tokens], 0)
    turns = rotation(positions, config.head_dim, config.rope_theta, x.dtype)
    blocks = [(slice(None), slice(None), mask)]
    for w, old_k, old_v in zip(layers, kept_k, kept_v, strict=True):

        def extend(k, v, old_k=old_k, old_v=old_v):
            old_k[rows, :, slots] = k[rows, :, 0]
            old_v[rows, :, slots] = v[rows, :, 0]
            return old_k, old_v

        x = layer(config, w, x, turns, blocks, extend)
    x = normalise(x, weights["norm.weight"], config.norm_eps)
    logits = x @ weights["output.weight"].T
    return logits.float() if logits.dtype.itemsize < 4 else logits
