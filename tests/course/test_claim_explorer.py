"""The claim explorer: every entry of the ledger, read back from its picture."""

import re
import xml.etree.ElementTree as ET

import pytest

from minimistral.course.draw import claim as drawn
from minimistral.course.draw import claim_svg
from minimistral.course.draw.svg import BLUE, PAPER
from minimistral.course.widgets import claim_explorer
from minimistral.ledger import CLAIMS, FALSE, LIMITS, OPEN, TRUE, VERDICTS, Claim, Finding

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def player():
    return claim_explorer()


def rows(svg):
    """heading -> text of each row, put together again from its lines."""
    told = {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        lines = [text.text for text in group.findall(f"{SVG}text")]
        heading = group.get("aria-label").partition(": ")[0]
        if heading not in told:
            assert lines.pop(0) == heading
        said = " ".join(lines)
        assert group.get("aria-label") == f"{heading}: {said}" and len(said) < 240
        told[heading] = f"{told[heading]} {said}" if heading in told else said
        assert all(len(line) <= drawn.COLUMNS for line in lines)
    return told


def signs(svg):
    """The marks in order, as the verdicts that their shapes stand for; and the one in the frame."""
    root = ET.fromstring(svg)
    found = {}
    for circle in root.iter(f"{SVG}circle"):
        x, y = int(circle.get("cx")), int(circle.get("cy"))
        found[y, x] = TRUE if circle.get("fill") == BLUE else OPEN
    for path in root.iter(f"{SVG}path"):
        x, y = map(int, re.match(r"M(\d+) (\d+)", path.get("d")).groups())
        if "a7 7" in path.get("d"):
            assert path.get("fill") == BLUE
            found[y + drawn.MARK, x] = LIMITS
        else:
            found[y + 5, x + 5] = FALSE
    questions = [t for t in root.iter(f"{SVG}text") if t.text == "?"]
    assert len(questions) == sum(sign == OPEN for sign in found.values())
    *strip, _, _, _, _ = sorted(found)  # the last four are those of the legend
    frame = next(r for r in root.iter(f"{SVG}rect") if r.get("stroke-width") == "2")
    corner = int(frame.get("y")) + 11, int(frame.get("x")) + 11
    return [found[place] for place in strip], strip.index(corner), [
        found[place] for place in sorted(found)[-4:]
    ]  # fmt: skip


def test_every_claim_is_told_as_in_the_ledger(player):
    assert len(player.frames) == len(CLAIMS) == 31
    heights = set()
    for n, claim in enumerate(CLAIMS):
        player.set(claim=claim.slug)
        assert player.words == f"Claim {n + 1} of 31. {claim.claim} Verdict: {claim.verdict}."
        assert rows(player.svg) == claim.lines()
        root = ET.fromstring(player.svg)
        assert root.find(f"{SVG}title").text == claim.claim
        heights.add(root.get("height"))
        lowest = max(float(text.get("y")) for text in root.iter(f"{SVG}text"))
        assert lowest < float(root.get("height"))
    assert len(heights) == 1  # Play must not jump


def test_the_strip_shows_all_verdicts_by_their_shapes(player):
    for n, claim in enumerate(CLAIMS):
        player.set(claim=claim.slug)
        strip, framed, legend = signs(player.svg)
        assert strip == [each.verdict for each in CLAIMS]
        assert framed == n and tuple(legend) == VERDICTS


def test_a_claim_of_your_own_is_shown_with_what_its_evidence_finds():
    mine = Claim(
        "mine", "Two and two are five.", ("A",), "", TRUE, "computed", "They are {total}.",
        lambda: Finding(FALSE, {"total": 2 + 2}),
    )  # fmt: skip
    player = claim_explorer("mine", [*CLAIMS[:3], mine])
    assert player.values == {"claim": "mine"} and player.words.startswith("Claim 4 of 4. Two")
    assert rows(player.svg)["Verdict"] == "true (computed); its evidence finds: false"
    assert rows(player.svg)["Why"] == "They are 4."


def test_many_claims_go_into_a_second_row():
    svg = claim_svg("title", {"Why": "So."}, VERDICTS, [0, 2] * 25, 40)
    strip, framed, _ = signs(svg)
    assert strip == [TRUE, FALSE] * 25 and framed == 40
    assert PAPER not in {circle.get("fill") for circle in ET.fromstring(svg).iter(f"{SVG}circle")
                         if int(circle.get("cy")) < drawn.LEGEND}  # fmt: skip


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: claim_explorer("nono"), "slug must be one of seven"),
        (lambda: claim_explorer(claims=[]), "claims must be one or more"),
        (lambda: claim_explorer(claims=[CLAIMS[0], CLAIMS[0]]), "claims must be one or more"),
        (lambda: claim_svg("t", {}, VERDICTS[:3], [0], 0), "verdicts must be 4 names, not 3"),
        (lambda: claim_svg("t", {}, VERDICTS, [0, 4], 0), "marks must be from 0 to 3"),
        (lambda: claim_svg("t", {}, VERDICTS, [0, 1], 2), "current must be below 2"),
    ],
)
def test_a_bad_argument_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()
