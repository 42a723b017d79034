"""The player: shows frames that Python has drawn, one for each setting of its sliders.

All frames are drawn before it appears, so moving a slider asks Python nothing, and the same
player works on a page that has no Python behind it (`to_html`).
"""

import base64
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import traitlets

_HERE = Path(__file__).parent
MAX_FRAMES = 2000


class Player(anywidget.AnyWidget):
    """Frames behind sliders, with a play button, arrow keys and the state in words.

    title: the player's name. sliders: name -> the values it can take, in order.
    draw(**values) -> (SVG text, one sentence that says what it shows).
    start: the values to begin with; a slider that is not named begins at its first.
    Raises ValueError for an empty slider, an unknown name or value, or too many frames.

    >>> player = Player("Squares", {"n": [1, 2, 3]}, lambda n: ("<svg/>", f"{n * n}"))
    >>> player.set(n=3)
    >>> player.words
    '9'
    """

    _esm = _HERE / "player.js"
    _css = _HERE / "player.css"
    title = traitlets.Unicode().tag(sync=True)
    sliders: traitlets.List = traitlets.List().tag(sync=True)  # [{"name": …, "labels": […]}]
    frames: traitlets.List = traitlets.List().tag(
        sync=True
    )  # [[svg, words]], the last slider varies fastest
    index = traitlets.List(traitlets.Int()).tag(sync=True)  # the value of each slider, by number
    # A player with a text box draws the last values of its first slider anew when one types.
    box = traitlets.Unicode().tag(sync=True)  # the label of the text box; "" is none
    typed = traitlets.Unicode().tag(sync=True)  # what stands in it
    own: traitlets.List = traitlets.List().tag(sync=True)  # frames made of it, behind `frames`

    def __init__(
        self,
        title: str,
        sliders: Mapping[str, Sequence[Any]],
        draw: Callable[..., tuple[str, str]],
        start: Mapping[str, Any] | None = None,
    ) -> None:
        self._values = {name: list(values) for name, values in sliders.items()}
        n_frames = 1
        for name, values in self._values.items():
            if not values:
                raise ValueError(f"slider {name!r} must have at least one value")
            n_frames *= len(values)
        if not self._values or n_frames > MAX_FRAMES:
            raise ValueError(f"sliders must make 1 to {MAX_FRAMES} frames, not {n_frames}")
        index = self._index_of(dict.fromkeys(self._values, 0), start or {})
        super().__init__(
            title=title,
            sliders=[
                {"name": name, "labels": [str(value) for value in values]}
                for name, values in self._values.items()
            ],
            frames=[
                list(draw(**dict(zip(self._values, values, strict=True))))
                for values in itertools.product(*self._values.values())
            ],
            index=list(index.values()),
        )

    def set(self, **values: Any) -> None:
        """Move sliders. Raises ValueError, and moves none, for an unknown name or value."""
        index = dict(zip(self._values, self.index, strict=True))
        self.index = list(self._index_of(index, values).values())

    @property
    def values(self) -> dict[str, Any]:
        """What the sliders show now."""
        pairs = zip(self._values.items(), self.index, strict=True)
        return {name: values[index] for (name, values), index in pairs}

    @property
    def svg(self) -> str:
        """The picture shown now, as SVG text."""
        return self._frame()[0]

    @property
    def words(self) -> str:
        """What the picture shows now, in words."""
        return self._frame()[1]

    def to_html(self) -> str:
        """The same player for a page without Python: one HTML fragment, nothing fetched."""
        state = {"title": self.title, "sliders": self.sliders, "index": self.index,
                 "frames": self._all_frames(), "own": [], "box": self.box}  # fmt: skip
        data = json.dumps(state, ensure_ascii=False).replace("<", "\\u003c")
        script = base64.b64encode(str(self._esm).encode()).decode()
        return (
            f'<div class="mm-host">{self.svg}<p>{escape(self.words)}</p>\n'
            f'<script type="application/json">{data}</script>\n'
            f"<style>{self._css}</style>\n"
            '<script type="module">\n'
            f'import player from "data:text/javascript;base64,{script}";\n'
            'for (const host of document.querySelectorAll(".mm-host:not(.mm-live)")) {\n'
            "  player.renderStatic(host);\n"
            "}\n"
            "</script></div>\n"
        )

    def __repr__(self) -> str:
        """The state and a digest of every frame, so that a saved output vouches for them all."""
        state = ", ".join(f"{name} = {value}" for name, value in self.values.items())
        frames = self._all_frames()
        shown = json.dumps([self.title, self.sliders, frames]).encode()
        digest = hashlib.sha256(shown).hexdigest()[:8]
        return f"[{self.title}: {state}] {self.words} ({len(frames)} frames, digest {digest})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:
        """The live player, and its picture for viewers that run nothing.

        Where MINIMISTRAL_STATIC is set the page will have no Python: then it is `to_html`.
        """
        if os.environ.get("MINIMISTRAL_STATIC"):
            return {"text/plain": repr(self), "text/html": self.to_html()}, {}
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "image/svg+xml": self.svg}, metadata

    @traitlets.validate("index")
    def _check_index(self, proposal: Any) -> list[int]:
        index = proposal["value"]
        lengths = [len(values) for values in self._values.values()]
        if len(index) != len(lengths) or any(
            not 0 <= number < length for number, length in zip(index, lengths, strict=True)
        ):
            raise traitlets.TraitError(f"index must lie below {lengths}, not {index}")
        return index

    def _frame(self) -> list[str]:
        frame = 0
        for values, index in zip(self._values.values(), self.index, strict=True):
            frame = frame * len(values) + index
        return self._all_frames()[frame]

    def _all_frames(self) -> list[list[str]]:
        return [*self.frames, *self.own]

    def _index_of(self, index: dict[str, int], values: Mapping[str, Any]) -> dict[str, int]:
        for name, value in values.items():
            if name not in self._values:
                raise ValueError(f"slider must be one of {list(self._values)}, not {name!r}")
            if value not in self._values[name]:
                raise ValueError(f"{name} must be one of {self._values[name]}, not {value!r}")
            index[name] = self._values[name].index(value)
        return index
