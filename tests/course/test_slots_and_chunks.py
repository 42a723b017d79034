"""Every frame of the players of lessons 06 and 07, read back and compared with the rule."""

import html
import itertools
import re
import xml.etree.ElementTree as ET

import pytest
from effort import rare

from minimistral.course.draw import chunks, rolling
from minimistral.course.widgets.chunks import chunk_stepper
from minimistral.course.widgets.slots import cache_player

SVG = "{http://www.w3.org/2000/svg}"
BLUE, ORANGE, FAINT, PAPER, QUIET = "#0072B2", "#E69F00", "#ececec", "#ffffff", "#595959"
WORDS = "The cat of an old hut on that far rock has not".split()
LONG = [["extraordinary", "mammoth", "mmmmmmmmm", "<&>"][n % 4] for n in range(40)]
ONE = 2 * 2 * 32 * 4  # bytes per token: k and v, 2 KV heads of 32, float32


def slow_slots(step, W):
    """A list of slots: position i goes into slot i % W. Also which one step evicts."""
    slots, evicted = [-1] * W, -1
    for i in range(step):
        evicted, slots[i % W] = slots[i % W], i
    return slots, evicted


def numbers(element, *names):
    return tuple(float(element.get(name)) for name in names)


def rects(svg, **style):
    """The corners of the rectangles of a style, in their order."""
    rects = [r for r in ET.fromstring(svg).iter(f"{SVG}rect") if r.get("x")]
    return [r for r in rects if all(r.get(k.replace("_", "-")) == v for k, v in style.items())]


def texts_in(svg, rect):
    """What stands inside a rectangle, from top to bottom."""
    x, y, width, height = numbers(rect, "x", "y", "width", "height")
    inside = []
    for text in ET.fromstring(svg).iter(f"{SVG}text"):
        tx, ty = numbers(text, "x", "y")
        if x <= tx <= x + width and y <= ty <= y + height:
            inside.append("".join(text.itertext()))
    return inside


def rows_of_slots(svg, W):
    """The three rows of W boxes: the slots, what is seen, the shifting buffer."""
    boxes = [r for r in rects(svg) if float(r.get("x")) >= rolling.LEFT]
    boxes = [r for r in boxes if float(r.get("height")) in (44, 20, 40)]
    by_height = {h: [r for r in boxes if float(r.get("height")) == h] for h in (44, 20, 40)}
    assert [len(row) for row in by_height.values()] == [W] * 3
    return by_height.values()


@pytest.mark.parametrize("W", range(1, 13))
def test_cache_player_shows_slots_and_what_is_seen(W):
    player, T = cache_player(WORDS, window=W), len(WORDS)
    assert len(player.frames) == T + 1 and player.title == "Rolling buffer cache"
    for step in range(T + 1):
        player.set(step=step)
        slots, _ = slow_slots(step, W)
        main, seen, shifting = rows_of_slots(player.svg, W)
        for s, (box, cell) in enumerate(zip(main, seen, strict=True)):
            j = slots[s]
            assert texts_in(player.svg, box) == ([] if j < 0 else [WORDS[j], str(j)])
            assert (box.get("stroke") == ORANGE) == (step > 0 and s == (step - 1) % W)
            sees = j >= 0 and 0 <= step - 1 - j < W
            assert (cell.get("fill") == BLUE) == sees
            said = ["sees" if sees else "empty"] if step else []  # at first nobody looks
            assert texts_in(player.svg, cell) == said
        kept = list(range(max(0, step - W), step))
        moves = step > W
        for n, box in enumerate(shifting):
            here = texts_in(player.svg, box)
            if n >= len(kept):
                assert here == [] and box.get("stroke-dasharray")
                continue
            arrow = "← " if moves and kept[n] != step - 1 else ""
            assert here == [WORDS[kept[n]], f"{arrow}{kept[n]}"]


@pytest.mark.parametrize(
    ("tokens", "W"), [(WORDS, 1), (WORDS, 3), (WORDS, 8), (WORDS, 12), (LONG, 3)]
)
def test_cache_player_marks_the_text(tokens, W):
    player = cache_player(tokens, window=W)
    for step in range(len(tokens) + 1):
        player.set(step=step)
        chips = [r for r in rects(player.svg) if r.get("height") == str(rolling.LINE - 5)]
        assert [texts_in(player.svg, r)[0] for r in chips] == [str(j) for j in range(len(tokens))]
        struck = re.findall(r"M(\d+) (\d+)h65", player.svg)
        struck = {(int(x) - 2, int(y) - 11) for x, y in struck}
        for j, chip in enumerate(chips):
            held = j < step and step - 1 - j < W
            assert (chip.get("fill") == FAINT) == held
            assert (numbers(chip, "x", "y") in struck) == (j < step and not held)
            assert (chip.get("stroke") == ORANGE) == (j == step - 1)
            assert bool(chip.get("stroke-dasharray")) == (j >= step)


@pytest.mark.parametrize("W", range(1, 13))
def test_cache_player_counts_bytes_and_tells_the_step(W):
    player, T = cache_player(WORDS, window=W), len(WORDS)
    assert player.words == f"Step 0: {f'all {W} slots are' if W > 1 else 'the only slot is'} empty."
    for step in range(1, T + 1):
        player.set(step=step)
        i, (_, evicted) = step - 1, slow_slots(step, W)
        moved = (W - 1) * ONE if step > W else 0
        wanted = [W * ONE, step * ONE, ONE, ONE + moved]
        bars = [numbers(r, "width")[0] for r in rects(player.svg, height=str(rolling.BAR))]
        scale = rolling.BAR_ROOM / (ONE * max(T, W))
        assert bars == pytest.approx([size * scale for size in wanted], abs=0.06)
        shown = re.findall(r">([\d,]+) bytes(?:<| =)", player.svg)
        assert shown == [f"{size:,}" for size in wanted]
        wanted_gone = f'"{WORDS[evicted]}" at {evicted}' if evicted >= 0 else None
        old = f" and evicts {wanted_gone};" if wanted_gone else ", which was empty;"
        first = max(0, step - W)
        sees = f"{step - first} tokens, positions {first} to {i}."
        sees = sees if step - first > 1 else f"1 token, position {i}."
        goes = f'"{WORDS[i]}" at position {i} goes into slot {i} mod {W} = {i % W}'
        assert player.words.startswith(f"Step {step}: {goes}{old} it sees {sees} In one layer")
        assert "of the tiny config, in float32, the buffer" in player.words
        assert f"takes {W * ONE:,} bytes, a growing cache {step * ONE:,};" in player.words
        also = f"move {moved:,} bytes." if moved else "move nothing."
        assert player.words.endswith(
            f"writes {ONE} and moves none, a shifting buffer would also {also}"
        )
        gone = re.search(
            r"evicted: <tspan text-decoration=\"line-through\">(.*?)</tspan>", player.svg
        )
        assert (html.unescape(gone[1]) if gone else None) == wanted_gone


def cells(svg, n, kind):
    """(row, column) of the cells of a kind in the grid."""
    cell, filled = chunks.cell_of(n), set()
    root = ET.fromstring(svg)
    legend = next(g for g in root.iter(f"{SVG}g") if g.get("class") == "legend")
    for path in set(root.iter(f"{SVG}path")) - set(legend):
        shape = {"z": "square", "8": "dash"}.get(path.get("d")[-1])
        shape = "cross" if "l8 8m0 -8l-8 8" in path.get("d") else shape
        if (path.get("fill"), path.get("stroke"), shape) != kind:
            continue
        for part in path.get("d").split("M")[1:]:
            x, y = (float(number) for number in re.match(r"(\d+) (\d+)", part).groups())
            at = int(y - chunks.TOP) // cell, int(x - chunks.LEFT) // cell
            filled.add(at)
    return filled


KINDS = {
    "visible": (BLUE, None, "square"), "too old": (FAINT, "#c8c8c8", "square"),
    "crossed": (None, QUIET, "cross"), "ahead": (PAPER, "#c8c8c8", "square"),
    "gone": (None, QUIET, "dash"), "kept": (FAINT, "#1a1a1a", "square"),
}  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 7, rare(12)])
def test_chunk_stepper_at_every_setting(n):
    tokens = WORDS[:n]
    player = chunk_stepper(tokens)
    assert len(player.frames) == 6 * n * (n + 1) and player.title == "Prefill in chunks"
    for W, size in itertools.product(range(1, 7), range(1, n + 1)):
        held, pairs = [], []
        starts = list(range(0, n, size))
        for step in range(1, n + 2):
            player.set(W=W, chunk=size, step=step)
            shown = {name: cells(player.svg, n, kind) for name, kind in KINDS.items()}
            if step > len(starts):
                check_the_end(player, shown, held, n, len(starts))
                continue
            chunk = list(range(n))[starts[step - 1] :][:size]
            rows = list(enumerate(chunk))
            here = held + chunk
            seen = {(t, j) for t, i in rows for j in here if 0 <= i - j < W}
            old = {(t, j) for t, i in rows for j in here if i - j >= W}
            assert shown["visible"] == seen
            assert shown["too old"] == shown["crossed"] == old
            assert shown["ahead"] == {(t, j) for t, i in rows for j in chunk if j > i}
            gone = [j for j in range(chunk[0]) if j not in held]
            assert shown["gone"] == {(t, j) for t, _ in rows for j in gone}
            assert not shown["kept"]
            check_blocks(player.svg, tokens, gone, held, chunk)
            check_words(player, W, step, len(starts), gone, held, chunk, seen)
            pairs += [(chunk[t], j) for t, j in shown["visible"]]
            held = (held + chunk)[-W:]
        assert sorted(pairs) == [(i, j) for i in range(n) for j in range(i + 1) if i - j < W]


def check_the_end(player, shown, held, n, n_chunks):
    assert shown["kept"] == {(0, j) for j in held}
    assert shown["gone"] == {(0, j) for j in range(n) if j not in held}
    assert not shown["visible"] | shown["ahead"] | shown["too old"]
    many = "1 chunk" if n_chunks == 1 else f"{n_chunks} chunks"
    span = f"positions {held[0]} to {held[-1]}" if len(held) > 1 else f"position {held[0]}"
    read = f"All {n} tokens were" if n > 1 else "The token was"
    assert player.words == f"{read} read in {many}; the cache holds {span}."


def check_blocks(svg, tokens, gone, held, chunk):
    """The brackets: which columns, and a name that tells which block it is."""
    cell = chunks.cell_of(len(tokens))
    later = list(range(chunk[-1] + 1, len(tokens)))
    wanted = [(p, f) for p, f in ((gone, "gL"), (held, "icM"), (chunk, "tcR"), (later, "nl…")) if p]
    brackets = re.findall(r"M(\d+) 97v-4h(\d+)v4", svg)
    names = re.findall(r'y="112" text-anchor="middle" font-size="12">([^<]+)<', svg)
    columns = [(int(x) - 2 - chunks.LEFT) // cell for x, _ in brackets]
    widths = [(int(width) + 4) // cell for _, width in brackets]
    assert [(p[0], len(p)) for p, _ in wanted] == list(zip(columns, widths, strict=True))
    assert all(n[0] in f for n, (_, f) in zip(names, wanted, strict=True))
    words = re.findall(r'rotate\(-45[^>]* fill="(#\w+)">([^<]+)<', svg)
    assert [fill == QUIET for fill, _ in words] == [j in gone for j in range(len(tokens))]


def check_words(player, W, step, n_chunks, gone, held, chunk, seen):
    def many(k, word):
        return f"{k} {word}" if k == 1 else f"{k} {word}s"

    middle = len([j for _, j in seen if j in held])
    own = len(seen) - middle
    keys = len(held + chunk)
    computed = len(chunk) * keys
    span = f"tokens {chunk[0]} to {chunk[-1]}" if len(chunk) > 1 else f"token {chunk[0]}"
    assert player.words == (
        f"W = {W}, chunk {step} of {n_chunks}: {span}."
        f" Left: {many(len(gone), 'token')} {'is' if len(gone) == 1 else 'are'} gone."
        f" Middle: {many(len(held), 'key')} of the cache, {many(middle, 'pair')} visible."
        f" Right: {many(own, 'pair')} visible of the chunk's own."
        f" One rectangle computes {many(computed, 'pair')}, {len(seen)} visible."
    )
    for line in (f"L  gone: {len(gone)}", f"M  in the cache: {len(held)}; visible pairs: {middle}",
                 f"R  this chunk: {len(chunk)}; visible pairs: {own}",
                 f"queries × keys: {len(chunk)} × {keys}",
                 f"= pairs: {computed}; visible: {len(seen)}"):  # fmt: skip
        assert f">{line}<" in player.svg
    bar = next(r for r in rects(player.svg, height="14", fill=BLUE))
    assert numbers(bar, "width")[0] == pytest.approx(200 * len(seen) / computed, abs=0.06)


@pytest.mark.parametrize(("player", "arguments", "name"), [
    (cache_player, ([],), "tokens"), (cache_player, (["a"] * 41,), "tokens"),
    (cache_player, (["a"], 0), "window"), (cache_player, (["a"], 13), "window"),
    (chunk_stepper, ([],), "tokens"), (chunk_stepper, (["a"] * 17,), "tokens"),
    (chunk_stepper, (["a"], 0), "window"), (chunk_stepper, (["a"], 7), "window"),
])  # fmt: skip
def test_a_bad_argument_is_named(player, arguments, name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        player(*arguments)


def test_chunk_stepper_begins_inside_its_sliders():
    assert chunk_stepper(["a", "b"], window=6).values == {"W": 6, "chunk": 2, "step": 1}


@pytest.mark.parametrize("make", [
    lambda: cache_player(LONG, 12), lambda: cache_player(["a"], 1),
    lambda: chunk_stepper(LONG[:16]), lambda: chunk_stepper(["a"]),
])  # fmt: skip
def test_every_frame_is_small_and_legible(make):
    for svg, _ in make().frames:
        width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
        assert width <= 760 and height <= 520
        assert all(int(size) >= 12 for size in re.findall(r'font-size="(\d+)"', svg))
        sides = re.findall(r'<text x="([\d.]+)" y="[\d.]+">([^<]+)</text>', svg)
        assert all(float(x) + 6 * len(words) <= 760 for x, words in sides)
