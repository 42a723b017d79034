"""Decode, compiled: the same mechanisms as in model.py, with nothing left to decide.

A step of one token is short, so Python's work between two kernels takes as long as the kernels.
torch.compile makes the step one program, and on a GPU a CUDA graph replays all of it at once. Both
need shapes and addresses that never change, and those of a rolling cache never do. What changes
from token to token, such as the next slot, is counted on the device too: a copy to the device and
back takes as long as several kernels.
"""

import functools

import torch

from minimistral._arguments import (
    require_count,
    require_lengths,
    require_shape,
    require_tokens,
)
from minimistral.pt.attention import attend, compiled
from minimistral.pt.checked import require_cache
from minimistral.pt.feedforward import silu
from minimistral.pt.join import join_layer, products
from minimistral.pt.linear import linear
from minimistral.pt.mask import window_mask
from minimistral.pt.norm import rms_norm
from minimistral.pt.rope import apply_rope, rope_tables
from minimistral.pt.sampling import likeliest
from minimistral.pt.split import attend_split, best_parts
from minimistral.pt.tensors import as_tensor
from minimistral.rule import slot_of


class CompiledStep:
    """One token per row, as `model(tokens, cache, last_only=True, lengths=lengths)` does it.

    model: a Mistral. cache: its RollingCache, of B rows; the step is for this cache only.
    step(tokens (B, 1), lengths (B,), each 0 or 1) -> logits (B, V). A row of length 0 stays as
    it is, and its logits mean nothing. step.choice (B,): the largest logit of each row, or -1
    where it is not finite. On a GPU the next step overwrites both. The first step of a config
    takes long, because it is compiled then. n_parts: in how many parts the keys are attended
    over, a divisor of cache.n_slots; None chooses.
    Raises TypeError or ValueError, naming the argument, before anything changes.

    The model's matrices are joined in memory (`join`): their values stay, and the step uses those
    that the model has now.
    """

    def __init__(self, model, cache, *, n_parts=None):
        require_cache(cache, model, cache.batch_size)
        self.model, self.cache = model, cache
        self.n_parts = require_count("n_parts", best_parts(cache) if n_parts is None else n_parts)
        if cache.n_slots % self.n_parts:
            raise ValueError(
                f"n_parts must divide the cache's {cache.n_slots} slots, not {n_parts}"
            )
        self.joined = [join_layer(layer) for layer in model.layers]
        # One by one: written into as parts of one array, torch.compile would copy all of it.
        self.kept = list(zip(cache.k.unbind(0), cache.v.unbind(0), strict=True))
        self.tokens = torch.full((cache.batch_size, 1), -1, device=model.device)
        self.positions = torch.empty_like(cache.positions, device=model.device)
        self.seen = torch.empty_like(cache.seen, device=model.device)
        self.version = None  # of the cache's positions when these two were like them
        self.fed: list[int] | None = None  # what stands in self.tokens, if the host knows it
        self.graph: torch.cuda.CUDAGraph | None = None

    @torch.no_grad()
    def __call__(self, tokens, lengths):
        cache, B = self.cache, self.cache.batch_size
        tokens, lengths = (as_tensor(each, device="cpu") for each in (tokens, lengths))
        require_tokens(tokens, self.model.config.vocab_size)
        require_shape("tokens", tokens, (B, 1))
        require_lengths(lengths, B, 1)
        if not cache.rolls:
            cache.require_room(lengths)
        if not lengths.any():
            return torch.zeros(B, self.model.config.vocab_size, device=self.model.device)
        if self.version != cache.positions._version:  # somebody else wrote into the cache
            self._take_over()
        self.version = None
        rows = lengths.nonzero()[:, 0]  # from now on their next slots do not hold what they held
        cache.positions[rows, slot_of(cache.seen[rows], cache.n_slots)] = -1
        self._run(torch.where(lengths[:, None] > 0, tokens, -1))
        # The same on the CPU, while the device is at work.
        positions = torch.where(lengths > 0, cache.seen, -1)[:, None]
        cache.commit(cache.plan(positions, device="cpu"))
        self.version = cache.positions._version
        return self.logits[:, 0]

    def _take_over(self):
        """Count on from where the cache is."""
        self.positions.copy_(self.cache.positions)
        self.seen.copy_(self.cache.seen)

    def greedy(self, tokens, lengths):
        """A step -> the likeliest next token of each row, a list of B; -1 as in step.choice.

        The choice is already where the next step reads its tokens, and is not copied there again.
        """
        self(tokens, lengths)
        if not any(lengths):
            return [-1] * len(tokens)
        chosen = self.choice.tolist()
        self.fed = [token if run else -1 for token, run in zip(chosen, lengths, strict=True)]
        return chosen

    def _run(self, tokens):
        known, self.fed = self.fed, None
        if self.model.device.type == "cuda" and self.graph is None:
            self._capture(tokens)
        if tokens[:, 0].tolist() != known:
            self.tokens.copy_(tokens)
        if self.graph is None:
            self._forward()
        else:
            self.graph.replay()

    def _capture(self, tokens):
        """Record a step. It may run any number of times first: it writes the same keys again."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.tokens.copy_(tokens)
                self._forward()
                self._take_over()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._forward()

    def _forward(self):
        run = _compiled_step(self.model.device.type)
        state = self.tokens, self.seen, self.positions
        self.logits, self.choice = run(self.model, self.joined, self.kept, *state, self.n_parts)


@functools.cache
def _compiled_step(device_type):
    # One row times a matrix as a plain sum: a GPU's matrix kernels are made for more rows.
    on_gpu = device_type == "cuda"
    return compiled(
        step, fullgraph=True, dynamic=False, options={"coordinate_descent_tuning": on_gpu}
    )


def step(model, joined, kept, tokens, seen, k_pos, n_parts=1):
    """One token per row, from id to logits and choice, as `Mistral.forward` with a cache.

    joined: of each layer, from `join_layer`. kept: keys and values (B, G, W, D) of each
    layer. tokens (B, 1), -1 where a row rests; seen (B,) and k_pos (B, W), which position each
    slot holds. -> logits (B, 1, V), choice (B,). All but the model's own are written into, and
    in tokens stands the choice then.
    """
    config, running = model.config, tokens[:, 0] >= 0
    positions = torch.where(running, seen, -1)[:, None]
    # Shapes may not change: a row that rests repeats what the first that runs writes.
    first, every = running.int().argmax(), torch.arange(len(tokens), device=tokens.device)
    rows = torch.where(running, every, first)
    slots = slot_of(seen, k_pos.shape[1])[rows]
    k_pos[rows, slots] = seen[rows]
    seen += running
    mask = window_mask(positions, k_pos, config.window_size)
    rope = rope_tables(positions, config.head_dim, config.rope_theta, model.dtype)

    def update(kept, new):
        kept[rows, :, slots] = new[rows, :, 0]

    x = model.embed(tokens.clamp(min=0), positions)
    for layer, matrices, (k, v) in zip(model.layers, joined, kept, strict=True):
        x = one_layer(layer, matrices, x, rope, mask, k, v, update, n_parts)
    logits = model.unembed(x)
    choice = likeliest(logits[:, 0])
    tokens.copy_(torch.where(running, choice, -1)[:, None])  # the next input of a greedy text
    return logits, choice


def one_layer(layer, joined, x, rope, mask, kept_k, kept_v, update, n_parts):
    """`Layer.forward` for one token per row, with joined matrices and keys in n_parts."""
    config, w, net = layer.config, layer.attention, layer.feed_forward
    h = rms_norm(x, layer.attention_norm.weight, config.norm_eps)
    q, k, v = (
        each.reshape(len(x), 1, -1, config.head_dim).swapaxes(1, 2)
        for each in products(h, (w["wq"], w["wk"], w["wv"]), joined[0])
    )
    q = apply_rope(q, *rope)
    update(kept_k, apply_rope(k, *rope))
    update(kept_v, v)
    if n_parts == 1:
        h = attend(q, kept_k, kept_v, mask)
    else:
        h = attend_split(q, kept_k, kept_v, mask, n_parts)
    x = x + linear(h.swapaxes(1, 2).flatten(2), w["wo"])
    h = rms_norm(x, layer.ffn_norm.weight, config.norm_eps)
    gate, up = products(h, (net["w1"], net["w3"]), joined[1])
    return x + linear(silu(gate) * up, net["w2"])
