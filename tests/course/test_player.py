"""The player in Python; tests/test_browser.py moves it in a browser."""

import json
import re

import pytest
import traitlets

from minimistral.course.widgets import Player
from minimistral.course.widgets.player import MAX_FRAMES


def squares(**changes):
    arguments = {
        "title": "Sums",
        "sliders": {"a": [1, 2, 3], "b": ["x", "yy"]},
        "draw": lambda a, b: (f"<svg><title>{a}{b}</title></svg>", f"{a} and {b}"),
        "start": {"b": "yy"},
    }
    return Player(**{**arguments, **changes})


def test_every_setting_has_its_own_frame():
    player = squares()
    for a in (1, 2, 3):
        for b in ("x", "yy"):
            player.set(a=a, b=b)
            assert player.values == {"a": a, "b": b}
            assert player.words == f"{a} and {b}"
            assert f"{a}{b}" in player.svg


def test_it_starts_where_it_is_told():
    assert squares().values == {"a": 1, "b": "yy"}


def test_its_text_is_fixed_and_vouches_for_every_frame():
    assert repr(squares()) == repr(squares())
    assert "a = 1, b = yy] 1 and yy (6 frames, digest " in repr(squares())

    def one_frame_differs(a, b):
        return "<svg/>", "another" if (a, b) == (3, "x") else f"{a} and {b}"

    def drawn(a, b):
        return "<svg/>", f"{a} and {b}"

    assert repr(squares(draw=drawn)) != repr(squares(draw=one_frame_differs))


def test_viewers_that_run_nothing_get_the_picture():
    data, _metadata = squares()._repr_mimebundle_()
    assert data["image/svg+xml"] == squares().svg
    assert data["text/plain"] == repr(squares())
    assert "application/vnd.jupyter.widget-view+json" in data


def test_a_page_without_python_holds_everything():
    html = squares(title="</script><b>").to_html()
    state = re.search(r'<script type="application/json">(.*?)</script>', html, re.S).group(1)
    assert json.loads(state)["title"] == "</script><b>"
    assert len(json.loads(state)["frames"]) == 6
    assert squares().svg in html
    marked = squares(draw=lambda a, b: ("<svg/>", "<b>1 < 2</b>")).to_html()
    assert "<p>&lt;b&gt;1 &lt; 2&lt;/b&gt;</p>" in marked  # words are text, whoever wrote them
    assert not re.search(r"""(src|href)\s*=|https?://|@import""", html)


def test_where_there_will_be_no_python_the_player_is_that_page(monkeypatch):
    monkeypatch.setenv("MINIMISTRAL_STATIC", "1")
    data, _metadata = squares()._repr_mimebundle_()
    assert data == {"text/plain": repr(squares()), "text/html": squares().to_html()}


def test_no_rule_of_the_model_is_written_in_javascript():
    from pathlib import Path

    import minimistral.course.widgets.player as module

    script = Path(module.__file__).with_suffix(".js").read_text(encoding="utf-8").lower()
    for word in ("window_size", "causal", "visible(", "mask", "softmax", "% w"):
        assert word not in script


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sliders": {}}, "sliders"),
        ({"sliders": {"a": [], "b": [1]}}, "'a'"),
        ({"sliders": {"a": range(50), "b": range(50)}}, "2500"),
        ({"start": {"c": 1}}, "'c'"),
        ({"start": {"a": 9}}, "9"),
    ],
)
def test_a_bad_player_is_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        squares(**changes)


def test_as_many_frames_as_are_allowed():
    player = squares(sliders={"a": range(40), "b": range(50)}, start={})
    assert len(player.frames) == MAX_FRAMES == 2000


def test_a_bad_setting_moves_nothing():
    player = squares()
    for bad in ({"a": 2, "b": "zz"}, {"a": 2, "c": 1}):
        with pytest.raises(ValueError, match=r"zz|'c'"):
            player.set(**bad)
        assert player.values == {"a": 1, "b": "yy"}


@pytest.mark.parametrize("index", [[0], [0, 2], [-1, 0], [0, 0, 0]])
def test_a_bad_index_from_the_page_is_refused(index):
    player = squares()
    with pytest.raises(traitlets.TraitError, match="index"):
        player.index = index
    assert player.values == {"a": 1, "b": "yy"}
