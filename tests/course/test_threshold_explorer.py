"""The threshold explorer and the loss mask: every setting, read back from the picture."""

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from effort import spread

from minimistral.course.draw import decision as drawn
from minimistral.course.draw import decision_svg, loss_mask_svg, loss_mask_words
from minimistral.course.widgets import threshold_explorer
from minimistral.course.widgets.threshold import ACCEPTABLE, NOT, SHARES, THRESHOLDS

SVG = "{http://www.w3.org/2000/svg}"
rng = np.random.default_rng(12)
KNOWN = (np.round(rng.normal(0, 3, 40), 2), rng.random(40) < 0.5)
JUDGED = {"known": KNOWN, "new": (np.array([4.0, -4.0, 0.5]), np.array([False, True, True]))}


@pytest.fixture(scope="module")
def player():
    return threshold_explorer(JUDGED)


def rates(scores, acceptable, threshold):
    """Recall and false rate of accepting, counted one by one."""
    accepted = {True: [], False: []}
    for score, good in zip(scores, acceptable, strict=True):
        accepted[bool(good)].append(score > threshold)
    return tuple(sum(each) / len(each) for each in (accepted[True], accepted[False]))


def shares(recall, false_rate, share, positive):
    """Of 1,000 requests, what is right and wrong where `positive` is the positive class."""
    good, bad = 1000 * share, 1000 * (1 - share)
    if positive == ACCEPTABLE:
        return [good * recall, bad * false_rate, good * (1 - recall), bad * (1 - false_rate)]
    return [bad * (1 - false_rate), good * (1 - recall), bad * false_rate, good * recall]


def point_of(counts):
    true_positive, false_positive, false_negative, _ = counts
    said = true_positive + false_positive
    return true_positive / (true_positive + false_negative), true_positive / said if said else 1.0


def shown(svg):
    """The circle, the diamond, the curve, the bars and the words of a picture."""
    tree = ET.fromstring(svg)
    marks = [(float(c.get("cx")), float(c.get("cy"))) for c in tree.iter(f"{SVG}circle")]
    paths = [p.get("d") for p in tree.iter(f"{SVG}path")]
    diamond = re.match(r"M([\d.]+) (-?[\d.]+)l7 8", next(p for p in paths if "l7 8" in p))
    curve = next(p for p in paths if "L" in p or not set("vhl") & set(p))
    points = [tuple(map(float, pair.split())) for pair in curve[1:].split("L")]
    bars = [r for r in tree.iter(f"{SVG}rect") if r.get("height") == f"{drawn.BAR}"]
    words = [t.text for t in tree.iter(f"{SVG}text")]
    top = float(diamond[2]) + 8
    return marks[0], (float(diamond[1]), top), points, bars, words


def at(recall, precision):
    x = drawn.LEFT + drawn.SIDE * recall
    return pytest.approx((x, drawn.TOP + drawn.SIDE * (1 - precision)), abs=0.06)


def test_every_setting_is_what_a_loop_counts(player):
    settings = list(itertools.product(THRESHOLDS, SHARES, (ACCEPTABLE, NOT), JUDGED))
    assert len(player.frames) == len(settings)
    paper_rates = (0.956, 0.956 * 0.006 / 0.994)
    for threshold, share, positive, name in spread(settings, 5):
        player.set(threshold=threshold, share=share, positive=positive, requests=name)
        counts = shares(*rates(*JUDGED[name], threshold), share, positive)
        recall, precision = point_of(counts)
        circle, diamond, points, bars, words = shown(player.svg)
        assert circle == at(recall, precision)
        assert diamond == at(*point_of(shares(*paper_rates, share, positive)))
        for edge in (-99, 99, *JUDGED[name][0]):
            found = point_of(shares(*rates(*JUDGED[name], edge), share, positive))
            assert any(point == at(*found) for point in points)
        lengths = [float(bar.get("width")) for bar in bars]
        ordered = [counts[n] for n in (0, 2, 1, 3)]
        assert lengths == pytest.approx([drawn.LONG * c / 1000 for c in ordered], abs=0.06)
        dashed = [bar.get("stroke-dasharray") is not None for bar in bars]
        assert dashed == [False, True, False, True]
        told = re.search(r"precision ([\d.]+), recall ([\d.]+), accuracy ([\d.]+)\.", player.words)
        right = (counts[0] + counts[3]) / 1000
        np.testing.assert_allclose([float(n) for n in told.groups()], [precision, recall, right],
                                   atol=6e-4)  # fmt: skip
        verbs = ("accepted", "refused") if positive == ACCEPTABLE else ("refused", "accepted")
        first, second = (w for w in words if "✓" in w)
        assert re.fullmatch(rf"✓ [\d.]+ {verbs[0]}, ✗ [\d.]+ {verbs[1]}", first)
        assert re.fullmatch(rf"✗ [\d.]+ {verbs[0]}, ✓ [\d.]+ {verbs[1]}", second)
        names = [w.split(":")[0] for w in words if ":" in w]
        assert names == ([ACCEPTABLE, NOT] if positive == ACCEPTABLE else [NOT, ACCEPTABLE])


def test_it_begins_in_the_middle(player):
    fresh = threshold_explorer(JUDGED)
    assert fresh.values == {
        "threshold": 0, "share": 0.5, "positive": ACCEPTABLE, "requests": "known",
    }  # fmt: skip
    assert fresh.words.startswith("Threshold 0, 50% acceptable, positive is acceptable: ")


@pytest.mark.parametrize(
    ("judged", "error", "named"),
    [
        ([1], TypeError, "judged must be a dict"),
        ({}, TypeError, "judged must be a dict"),
        ({"a": ([1.0], [True, False])}, ValueError, "positive must be"),
        ({"a": (["x"], [True])}, TypeError, "scores must be"),
    ],
)
def test_a_bad_argument_is_named(judged, error, named):
    with pytest.raises(error, match=named):
        threshold_explorer(judged)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"point": (1.2, 0.5)}, "recall and precision must be from 0 to 1, not 1.2, 0.5"),
        ({"paper": (0.5, -0.1)}, "must be from 0 to 1"),
        ({"curve": [(0.0, 2.0)]}, "must be from 0 to 1"),
        ({"curve": []}, "four counts and a curve, not 4 and 0"),
        ({"counts": [1, 2, 3]}, "four counts and a curve, not 3 and 1"),
    ],
)
def test_the_picture_names_what_does_not_fit(change, named):
    fits = {"curve": [(0.0, 1.0)], "point": (0.5, 0.5), "paper": (0.9, 0.9), "counts": [1, 2, 3, 4],
            "names": ("a", "b"), "verbs": ("c", "d"), "title": "t"}  # fmt: skip
    with pytest.raises(ValueError, match=named):
        decision_svg(**fits | change)


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_mask_is_told_by_shape_and_words(seed):
    counted = (np.random.default_rng(seed).random(60) < 0.5).tolist()
    pieces = [f"▁{'x' * (n % 9)}<{n}" for n in range(60)]
    tree = ET.fromstring(loss_mask_svg(pieces, counted, "title"))
    groups = list(tree.iter(f"{SVG}g"))
    assert len(groups) == 60
    edges = []
    for n, (group, counts) in enumerate(zip(groups, counted, strict=True)):
        box, ticks = group.find(f"{SVG}rect"), group.findall(f"{SVG}path")
        assert (box.get("stroke-dasharray") is None) == counts == (len(ticks) == 2)
        told = "counts in the loss" if counts else "is only read"
        assert group.get("aria-label") == f"Token {n}: {pieces[n]} {told}."
        left, top, width = (float(box.get(key)) for key in ("x", "y", "width"))
        assert left >= 0 and left + width <= 760
        edges.append((top, left, left + width))
    assert edges == sorted(edges)  # in reading order, and none over another
    assert all(a[0] < b[0] or a[2] < b[1] for a, b in itertools.pairwise(edges))
    n = sum(counted)
    assert loss_mask_words(counted) == f"{n} of 60 tokens count in the loss."


@pytest.mark.parametrize(("pieces", "counted"), [(["a"], []), ([], []), (["a"], [True, False])])
def test_the_loss_mask_needs_as_many_of_both(pieces, counted):
    with pytest.raises(ValueError, match="counted must be as many as pieces"):
        loss_mask_svg(pieces, counted, "title")
