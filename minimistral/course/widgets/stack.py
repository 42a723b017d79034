"""The player of a stack of layers: how far back one token's output reaches (paper section 2)."""

from collections.abc import Sequence

import numpy as np

from minimistral._arguments import require_count
from minimistral.course.draw import stack_svg
from minimistral.course.widgets.player import Player
from minimistral.evaluation.reach import reachable
from minimistral.np import window_mask

MAX_TOKENS, MAX_WINDOW, MAX_LAYERS = 24, 6, 4


def stack_explorer(tokens: Sequence[str], window: int = 4, n_layers: int = 3) -> Player:
    """What one token's output depends on; sliders for W, the number of layers and the token.

    tokens: 1 to 24 words. window (1 to 6) and n_layers (1 to 4): where the sliders begin; a
    window longer than the text begins at its end. Raises ValueError, naming the argument, when
    one is out of range, and TypeError when a number is not whole.

    >>> print(stack_explorer("a b c d e".split(), window=2).words.replace("; ", ";\\n"))
    W = 2, 3 layers: "e" at position 4 depends on 4 of 5 tokens, positions 1 to 4;
    one hop per layer, 1 position at most: 4, 3, 2, 1.
    """
    T = _within("tokens", len(tokens), MAX_TOKENS, " words")
    window = _within("window", require_count("window", window, minimum=0), MAX_WINDOW)
    n_layers = _within("n_layers", require_count("n_layers", n_layers, minimum=0), MAX_LAYERS)
    positions = np.arange(T)
    powers = {
        W: reachable(window_mask(positions, positions, W), MAX_LAYERS)
        for W in range(1, min(MAX_WINDOW, T) + 1)
    }

    def draw(W: int, layers: int, token: int) -> tuple[str, str]:
        reached = np.array([power[token] for power in powers[W][: layers + 1]])
        path = reached.argmax(axis=1).tolist()  # the oldest token of each level
        return stack_svg(reached, tokens, path, MAX_LAYERS), _words(W, tokens, path)

    sliders = {"W": list(powers), "layers": range(1, MAX_LAYERS + 1), "token": range(T)}
    start = {"W": min(window, T), "layers": n_layers, "token": T - 1}
    return Player("Receptive field", sliders, draw, start)


def _words(W: int, tokens: Sequence[str], path: Sequence[int]) -> str:
    """What the picture shows. Every token from the end of the path to the chosen one counts."""
    n_layers, last, first = len(path) - 1, path[0], path[-1]
    where = f"position {last}" if first == last else f"positions {first} to {last}"
    return (
        f'W = {W}, {_some(n_layers, "layer")}: "{tokens[last]}" at position {last} depends on'
        f" {last - first + 1} of {_some(len(tokens), 'token')}, {where}; one hop per layer,"
        f" {_some(W - 1, 'position')} at most: {', '.join(map(str, path))}."
    )


def _some(n: int, noun: str) -> str:
    """
    >>> _some(1, "layer"), _some(0, "position")
    ('1 layer', '0 positions')
    """
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _within(name: str, value: int, largest: int, unit: str = "") -> int:
    if not 1 <= value <= largest:
        raise ValueError(f"{name} must be 1 to {largest}{unit}, not {value}")
    return value
