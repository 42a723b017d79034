"""Players of lessons 05 and 08: what a stack of layers sees, and the shapes on the way."""

from collections.abc import Sequence

import numpy as np

from minimistral.config import ModelConfig
from minimistral.draw import cone_svg, flow_svg
from minimistral.flow import steps_of
from minimistral.np import window_mask
from minimistral.reach import reachable
from minimistral.widgets.player import Player


def stack_explorer(tokens: Sequence[str], window: int = 4, n_layers: int = 3) -> Player:
    """What one token depends on, layer by layer; sliders for W, the layers and the token.

    tokens: 1 to 24 words. window (1 to 6) and n_layers (1 to 4): where the sliders begin; a
    window longer than the text begins at its end. Raises ValueError when there are no tokens,
    too many, or a start that is off the sliders.

    >>> stack_explorer("a b c d e".split(), window=2, n_layers=3).words
    'W = 2, 3 layers: e at 4 depends on 4 of 5 tokens, positions 1 to 4; longest way 4, 3, 2, 1.'
    """
    if not 1 <= len(tokens) <= 24:
        raise ValueError(f"tokens must be 1 to 24 words, not {len(tokens)}")
    T = len(tokens)
    positions = np.arange(T)

    def draw(W: int, layers: int, token: int) -> tuple[str, str]:
        powers = reachable(window_mask(positions, positions, W), layers)
        reached = [power[token] for power in powers]
        path = [int(np.flatnonzero(row)[0]) for row in reached]
        seen = np.flatnonzero(reached[-1])
        where = f"position {token}" if len(seen) == 1 else f"positions {seen[0]} to {token}"
        words = (
            f"W = {W}, {layers} layer{'s' if layers > 1 else ''}: {tokens[token]} at {token}"
            f" depends on {len(seen)} of {T} tokens, {where};"
            f" longest way {', '.join(map(str, path))}."
        )
        return cone_svg(reached, tokens, path), words

    sliders = {"W": range(1, min(6, T) + 1), "layers": range(1, 5), "token": range(T)}
    start = {"W": min(window, T), "layers": n_layers, "token": T - 1}
    return Player("Receptive field", sliders, draw, start)


def shape_flow(config: ModelConfig) -> Player:
    """Every step from ids to logits with its shape; sliders for the step and the tokens.

    Seen from an empty cache, with one text. tokens: 1, 5, and 4096 where the context allows.
    """
    counts = [n for n in (1, 5, 4096) if n <= config.context_len]
    flows = {n: steps_of(config, n) for n in counts}

    def draw(step: str, tokens: int) -> tuple[str, str]:
        steps = flows[tokens]
        names = [each.name for each in steps]
        chosen = steps[names.index(step)]
        size = int(np.prod(chosen.shape))
        words = f"{step}: {chosen.doing}; {chosen.shape}, {size:,} numbers."
        if chosen.weights:
            total = sum(int(np.prod(shape)) for shape in chosen.weights.values())
            listed = " and ".join(f"{name} {shape}" for name, shape in chosen.weights.items())
            each = " a layer" if chosen.in_layer else ""
            words = f"{words[:-1]}. It uses {listed}: {total:,} parameters{each}."
        return flow_svg(steps, names.index(step), config.n_layers), words

    names = [step.name for step in flows[counts[0]]]
    start = {"step": "scores", "tokens": 5}
    return Player("Shapes from ids to logits", {"step": names, "tokens": counts}, draw, start)
