"""The players in a real browser: in JupyterLab, and on a page without Python."""

import html
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles

import browser as tools
import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from minimistral import pt, tiny, tokenizer
from minimistral.config import ModelConfig
from minimistral.course import widgets
from minimistral.course.exercises import all_tasks, read_cells, tasks
from minimistral.course.mine.progress import attempts, progress_file
from minimistral.course.overview import overview
from minimistral.course.widgets import budget_explorer, mask_explorer
from minimistral.course.widgets.tokens import MAX_CHARACTERS
from minimistral.np import load
from minimistral.publish.notebooks import read
from minimistral.publish.student import student_notebook

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
LESSONS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
LESSON_00 = LESSONS["00"]
SCREENSHOTS = ROOT / "build" / "screenshots"
HINT = "Point at a part"


def save(what: Page | Locator, name: str, **options) -> None:
    """A screenshot for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    what.screenshot(path=SCREENSHOTS / f"{name}.png", **options)


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """The server, and a window whose pages load JupyterLab's own files once."""
    lab = tools.Lab(tmp_path_factory.mktemp("lab"), list(LESSONS.values()))
    lab.window = chromium.new_context(viewport={"width": 1280, "height": 1000})
    try:
        lab.wait()
        yield lab
    finally:
        lab.window.close()
        lab.stop()


class Lesson:
    """A lesson in JupyterLab after Run All."""

    def __init__(self, lab, path: Path) -> None:
        self.page = lab.window.new_page()
        self.watch = tools.Watch(self.page)
        lab.open(self.page, path.name)
        self.lab, self.kernel_file = lab, lab.kernel_file(path.name)
        tools.run_all(self.page, path)

    def check(self) -> None:
        """No cell printed an error, nothing left the machine, the console is clean."""
        assert tools.errors_shown(self.page) == []
        server = self.lab.base.removeprefix("http")
        assert len(self.watch.urls) > 20
        assert any(url.startswith(f"ws{server}/") for url in self.watch.urls)
        assert self.watch.outside(f"http{server}/", f"ws{server}/") == []
        assert self.watch.errors == []


# The players of the lessons, and what Python draws for the same settings

SENTENCE = "The cat sat on the mat and saw the dog go to"
TOKENS = SENTENCE.split()


def attention_player() -> widgets.Player:
    vocabulary = tokenizer.load(tiny.FOLDER)
    ids = vocabulary.encode(SENTENCE, bos=False)
    return widgets.attention_explorer(load(tiny.FOLDER), ids, vocabulary.pieces(SENTENCE))


def names_of_the_lesson() -> widgets.Player:
    """Of a file like the lesson's, which is in bfloat16."""
    model = load(tiny.FOLDER)
    with tempfile.TemporaryDirectory() as folder:
        pt.save(pt.Mistral(model.config, model.weights, dtype="bfloat16"), folder, "hf")
        return widgets.name_map(folder)


PLAYERS = {
    "01": attention_player,
    "02": lambda: widgets.rotation_dial(head_dim=128),
    "03": lambda: widgets.head_map(ModelConfig.mistral_7b()),
    "05": lambda: widgets.stack_explorer(TOKENS, window=4, n_layers=3),
    "06": lambda: widgets.cache_player(TOKENS),
    "07": lambda: widgets.chunk_stepper(TOKENS),
    "08": lambda: widgets.shape_flow(ModelConfig.mistral_7b()),
    "09": widgets.token_inspector,
    "10": widgets.sampling_explorer,
    "11": widgets.loss_curve,
    "12": widgets.threshold_explorer,
    "13": names_of_the_lesson,
    "14": lambda: widgets.roofline_explorer(ModelConfig.mistral_7b()),
    "15": lambda: widgets.claim_explorer("twice-as-fast-at-16k"),
    "04": lambda: widgets.mask_explorer(TOKENS),  # the last to be called `explorer`
}


@pytest.fixture(scope="module")
def together(lab):
    """The players of the lessons in one notebook: a page, a kernel and a Run All for all."""
    path = lab.root / "players.ipynb"
    tools.write_players({number: LESSONS[number] for number in PLAYERS}, path)
    lesson = Lesson(lab, path)
    expect(lesson.page.locator(".mm-player")).to_have_count(len(PLAYERS))
    yield lesson
    lesson.page.close()


def player_of(together: Lesson, number: str) -> Locator:
    player = together.page.locator(".mm-player").nth([*PLAYERS].index(number))
    player.evaluate("node => node.scrollIntoView({block: 'center'})")
    return player


@pytest.mark.parametrize("number", PLAYERS)
def test_lab_player(together, number):
    """It shows what Python drew, by mouse and by keys, at every end."""
    drive(player_of(together, number), number)
    together.check()


@pytest.fixture
def explorer(together):
    """Lesson 04's player, in sight, with W = 4 and T = 12, its cell active and no row chosen."""
    player = player_of(together, "04")
    player.locator(".mm-row").first.focus()
    player.locator(".mm-title").click()
    for T, W in ((11, 3), (12, 4)):
        set_slider(player, "T", T)
        set_slider(player, "W", W)
    tools.check_mask(player, 4, 12)
    return player


def slider(player: Locator, name: str) -> Locator:
    return player.get_by_role("slider", name=name, exact=True)


def set_slider(player: Locator, name: str, value: int) -> None:
    """Put a slider that counts from 1 at a value, as the browser does."""
    slider(player, name).fill(str(value - 1))


def button(player: Locator) -> Locator:
    return player.locator(".mm-play")


def detail(player: Locator) -> Locator:
    return player.locator(".mm-detail")


# The mask explorer in JupyterLab


def test_lab_mask(together, explorer):
    save(explorer, "mask_w4")
    together.check()


def test_lab_mask_mouse(explorer):
    W = slider(explorer, "W")
    for start, stop in pairwise((3, 11, 0, 6)):
        for value in tools.drag(W, start, stop):
            tools.check_mask(explorer, value + 1, 12)
    save(explorer.page, "mask_dragged")
    T = slider(explorer, "T")
    for value in tools.drag(T, 11, 0):
        tools.check_mask(explorer, 7, value + 1)


def test_lab_mask_keys(explorer):
    page = explorer.page
    slider(explorer, "W").focus()
    for W in range(5, 13):
        page.keyboard.press("ArrowRight")
        tools.check_mask(explorer, W, 12)
    page.keyboard.press("ArrowRight")  # already at the end
    tools.check_mask(explorer, 12, 12)
    for W in range(11, 0, -1):
        page.keyboard.press("ArrowLeft")
        tools.check_mask(explorer, W, 12)
    page.keyboard.press("End")
    tools.check_mask(explorer, 12, 12)
    page.keyboard.press("Home")
    tools.check_mask(explorer, 1, 12)


STATE = """() => {
  const notebook = document.querySelector(".jp-Notebook");
  const cells = [...notebook.querySelectorAll(".jp-Cell")].map(cell => cell.className);
  const scrolled = [...document.querySelectorAll("*")].filter(node => node.scrollTop > 0);
  return { cells, scrolled: scrolled.map(node => [node.className, node.scrollTop]) };
}"""


@pytest.mark.parametrize("focused", ["slider", "button", "row"])
def test_lab_mask_shortcuts_stay_away(explorer, focused):
    """No key that the player could use acts on the notebook around it."""
    page = explorer.page
    rows = explorer.locator(".mm-row")
    {"slider": slider(explorer, "W"), "button": button(explorer), "row": rows.first}[
        focused
    ].focus()
    before = page.evaluate(STATE)
    active = [name for name in before["cells"] if "jp-mod-active" in name]
    assert len(active) == 1 and len(before["scrolled"]) == 1, before["scrolled"]
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft", " ", " ",
                "Escape", "a", "b", "d", "d", "x", "z", "m", "j", "Enter", "Escape"):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate(STATE) == before, key
        inside = "node => node.contains(document.activeElement)"
        assert explorer.evaluate(inside), key


@pytest.mark.parametrize("focused", [".mm-play", ".mm-row"])
def test_lab_mask_control_s_saves(explorer, focused):
    explorer.locator(focused).first.focus()

    def saves(request) -> bool:
        return request.method == "PUT" and "/api/contents/" in request.url

    with explorer.page.expect_request(saves):
        explorer.page.keyboard.press("ControlOrMeta+s")


def test_lab_mask_play(explorer):
    value = explorer.locator(".mm-value").first
    expect(button(explorer)).to_have_text("▶ Play W")
    button(explorer).click()
    expect(button(explorer)).to_have_text("❚❚ Pause W")
    expect(value).to_have_text("5")
    tools.check_mask(explorer, 5, 12)
    expect(value).to_have_text("6")
    button(explorer).click()
    expect(button(explorer)).to_have_text("▶ Play W")
    tools.check_mask(explorer, 6, 12)


def test_lab_mask_play_stops_at_the_end(explorer):
    set_slider(explorer, "W", 11)
    button(explorer).click()
    expect(explorer.locator(".mm-value").first).to_have_text("12")
    expect(button(explorer)).to_have_text("▶ Play W")


def hot(row: Locator) -> str:
    return row.locator(".mm-hot").evaluate("node => getComputedStyle(node).visibility")


def test_lab_mask_hover(explorer):
    expect(detail(explorer)).to_contain_text(HINT)
    row = explorer.locator(".mm-row").nth(7)
    assert hot(row) == "hidden"
    row.locator("text").first.hover()
    expect(detail(explorer)).to_have_text(
        "Query 7, saw, sees 4 keys, positions 4 to 7: the, mat, and, saw."
    )
    assert hot(row) == "visible"


def test_lab_mask_click_on_a_row(explorer):
    rows = explorer.locator(".mm-row")
    rows.nth(7).locator("text").first.click()
    expect(rows.nth(7)).to_be_focused()
    explorer.page.keyboard.press("ArrowDown")
    expect(rows.nth(8)).to_be_focused()
    expect(detail(explorer)).to_contain_text("Query 8, the, sees 4 keys")


def test_lab_mask_focus(explorer):
    page, rows = explorer.page, explorer.locator(".mm-row")
    button(explorer).focus()
    page.keyboard.press("Tab")
    expect(rows.first).to_be_focused()
    expect(detail(explorer)).to_have_text("Query 0, The, sees 1 key, position 0: The.")
    for _ in range(7):
        page.keyboard.press("ArrowDown")
    expect(rows.nth(7)).to_be_focused()
    expect(detail(explorer)).to_contain_text("Query 7, saw, sees 4 keys")
    assert hot(rows.nth(7)) == "visible"
    page.keyboard.press("ArrowRight")  # from inside the picture this moves the slider
    tools.check_mask(explorer, 5, 12)
    expect(rows.nth(7)).to_be_focused()
    expect(detail(explorer)).to_contain_text("Query 7, saw, sees 5 keys")


def test_lab_mask_python_and_page_agree(together, explorer):
    """A slider moves the widget in Python, and Python moves the slider."""
    with tools.kernel(together.kernel_file) as client:
        python = tools.ask(client, "__import__('sys').executable")
        assert python == repr(sys.executable)
        slider(explorer, "W").focus()
        explorer.page.keyboard.press("ArrowRight")
        tools.until(lambda: tools.ask(client, "explorer.index") == "[4, 11]")
        assert tools.ask(client, "explorer.words") == repr(tools.expected_words(5, 12))
        assert tools.ask(client, "explorer.set(W=2, T=7)") == "None"
        tools.check_mask(explorer, 2, 7)


def test_lab_mask_slider_latency(explorer, capsys):
    times = tools.latencies(explorer)
    tools.check_mask(explorer, 12, 12)
    assert len(times) >= 144
    p90 = quantiles(times, n=10)[-1]
    with capsys.disabled():
        print(f"\nslider latency: median {median(times):.1f} ms, p90 {p90:.1f} ms, n {len(times)}")
    assert p90 < 500


def test_lab_mask_stayed_clean(together):
    """After all that: still no error, and still no request that left the machine."""
    together.check()


# Lesson 00 in JupyterLab


def test_lab_lesson_00(lab):
    progress_file().unlink(missing_ok=True)  # in a folder that is for the tests
    lesson = Lesson(lab, LESSON_00)
    players = lesson.page.locator(".mm-player")
    names = players.locator(".mm-title")
    expect(names).to_have_text(["The nine numbers in the model", "Memory budget"])
    check_anatomy(players.nth(0))
    check_budget(players.nth(1))
    check_map(lesson)
    lesson.check()
    lesson.page.close()


def cell_with(page: Page, text: str) -> Locator:
    """The code cell with this text, in sight and ready to be run from the keyboard."""
    cell = page.locator(".jp-CodeCell").filter(has_text=text).first
    cell.evaluate("node => node.scrollIntoView({block: 'center'})")
    cell.locator(".cm-content").click()
    return cell


def check_map(lesson: Lesson) -> None:
    """Run All has run the solutions too, and they do not count; what is solved here does."""
    name, page = "00.layer_params", lesson.page
    assert attempts()[name].state == "☐"
    drawn = cell_with(page, "progress_map()").locator(".jp-OutputArea .jp-RenderedMarkdown")
    expect(drawn).to_have_text(overview().words())
    task = next(task for task in all_tasks() if task.name == name)
    cells = {cell["id"]: cell["source"] for cell in read_cells(LESSON_00)}
    solution = cells[task.solution].partition("check.")[0].replace("_solution", "")
    answer = cell_with(page, cells[task.answer[0]].splitlines()[0])
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(
        solution.replace("# A solution", "").replace("def ", "def my_").strip()
    )
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")  # the check below it
    expect(answer.locator("xpath=following-sibling::*[1]")).to_contain_text("✓")
    tools.until(lambda: attempts()[name].state == "✓")
    before = drawn.text_content()
    cell_with(page, "progress_map()")
    page.keyboard.press("ControlOrMeta+Enter")
    expect(drawn).not_to_have_text(before)
    expect(drawn).to_have_text(overview().words())
    save(page, "lesson_00_map")


def check_anatomy(player: Locator) -> None:
    """However long the slider's value is, Play stays under the mouse that clicks it."""
    player.evaluate("node => node.scrollIntoView({block: 'center'})")
    number, positions = slider(player, "number"), set()
    for n in range(9):
        number.fill(str(n))
        positions.add(round(button(player).bounding_box()["x"]))
        if n == 3:
            words = player.locator(".mm-words")
            expect(words).to_have_text("hidden_dim = 14336 is used in w1, w3 and w2.")
            save(player, "lesson_00_anatomy")
    assert len(positions) == 1


def check_budget(player: Locator) -> None:
    player.evaluate("node => node.scrollIntoView({block: 'center'})")
    words = player.locator(".mm-words")
    expect(words).to_contain_text("Weights 13.49 GiB, KV cache 0.50 GiB")
    slider(player, "window").press("ArrowRight")
    expect(words).to_contain_text("Weights 13.49 GiB, KV cache 4.00 GiB")
    save(player, "lesson_00_budget")


# The players in JupyterLab: every slider, over its whole range


def test_every_lesson_is_opened():
    assert sorted([*PLAYERS, "00"]) == sorted(LESSONS)


@pytest.mark.rare
@pytest.mark.parametrize("number", PLAYERS)
def test_lab_lesson(lab, number):
    """All of it runs, and its player is driven.

    `make test` does so with lesson 00; nbval runs all lessons.
    """
    lesson = Lesson(lab, LESSONS[number])
    player = lesson.page.locator(".mm-player")
    expect(player).to_have_count(1)
    drive(player, number)
    lesson.check()
    lesson.page.close()


def drive(player: Locator, number: str) -> None:
    """Move every slider of a lesson's player to its ends."""
    wanted = PLAYERS[number]()
    player.evaluate("node => node.scrollIntoView({block: 'center'})")
    expect(player.locator(".mm-title")).to_have_text(wanted.title)
    check_frame(player, wanted)
    save(player, f"lesson_{number}_player")
    for name, values in wanted._values.items():
        middle = len(values) // 2
        slider(player, name).fill(str(middle))
        wanted.set(**{name: values[middle]})
        check_frame(player, wanted)
        for key, n in (("End", len(values) - 1), ("Home", 0)):
            slider(player, name).press(key)
            wanted.set(**{name: values[n]})
            check_frame(player, wanted)
        if len(values) > 1:
            slider(player, name).press("ArrowRight")
            wanted.set(**{name: values[1]})
            check_frame(player, wanted)


def check_frame(player: Locator, wanted: widgets.Player) -> None:
    """The page shows the words and the picture that Python has for the same setting."""
    expect(player.locator(".mm-words")).to_have_text(wanted.words)
    title = wanted.svg.split("<title>")[1].split("</title>")[0]
    expect(player.locator("svg > title").first).to_have_text(html.unescape(title))


# A text that the learner types: JupyterLab sends it to Python, a page without Python says so


@pytest.fixture
def inspector(together):
    """Lesson 09's player."""
    player = player_of(together, "09")
    slider(player, "text").press("Home")
    slider(player, "tokenizer").press("Home")
    return player


def text_box(player: Locator) -> Locator:
    return player.get_by_role("textbox", name="Your text", exact=True)


def shown_ids(player: Locator) -> list[int]:
    """The ids in the picture: the second text of each token."""
    read = "rows => rows.map(row => Number(row.querySelectorAll('text')[1].textContent))"
    return player.locator(".mm-row").evaluate_all(read)


def test_lab_a_typed_text_is_drawn_by_python(together, inspector):
    wanted, box = widgets.token_inspector(), text_box(inspector)
    for text in ("Hi [/INST] 🐻", "ab  c\nd"):
        box.fill("")
        box.press_sequentially(text)
        wanted.inspect(text)
        check_frame(inspector, wanted)
        expect(inspector.locator(".mm-value").first).to_have_text("your text")
        assert shown_ids(inspector) == tokenizer.load("v1").encode(text)
        save(inspector, "typed")
    slider(inspector, "tokenizer").press("End")
    wanted.set(tokenizer="tiny")
    check_frame(inspector, wanted)
    with tools.kernel(together.kernel_file) as client:
        assert tools.ask(client, "inspector.typed") == repr("ab  c\nd")
        assert tools.ask(client, "inspector.words") == repr(wanted.words)
    together.check()


def test_lab_a_typed_text_stays_in_the_chat(inspector):
    slider(inspector, "text").press("End")
    text_box(inspector).fill("Hello")
    expect(inspector.locator(".mm-value").first).to_have_text("your chat")
    message = {"role": "user", "content": "Hello"}
    tools.until(lambda: shown_ids(inspector) == tokenizer.load("v1").chat([message]))


def test_lab_python_types_too(together, inspector):
    with tools.kernel(together.kernel_file) as client:
        assert tools.ask(client, "inspector.inspect('from a cell')") == "None"
    expect(text_box(inspector)).to_have_value("from a cell")
    tools.until(lambda: shown_ids(inspector) == tokenizer.load("v1").encode("from a cell"))


def test_lab_keys_in_the_box_are_typed(inspector):
    """None moves a slider, and none is a shortcut of JupyterLab."""
    box = text_box(inspector)
    box.fill("xy")
    before = inspector.page.evaluate(STATE)
    keys = ("Home", "ArrowRight", " ", "End", "ArrowLeft", "d", "d", "a", "b", "m", "Enter", "z")
    for key in keys:
        box.press(key)
    expect(box).to_have_value("x ddabm\nzy")
    expect(box).to_be_focused()
    assert inspector.page.evaluate(STATE)["cells"] == before["cells"]
    expect(inspector.locator(".mm-value")).to_have_text(["your text", "v1"])


def test_lab_the_box_takes_no_longer_text_than_python(inspector):
    text_box(inspector).fill("a" * (MAX_CHARACTERS - 2))
    text_box(inspector).press_sequentially("aaaaa")
    expect(text_box(inspector)).to_have_value("a" * MAX_CHARACTERS)


def test_static_page_says_where_one_can_type(chromium, tmp_path):
    player = widgets.token_inspector()
    player.inspect("on the page")
    path, page = tmp_path / "inspector.html", chromium.new_page()
    head = '<meta charset="utf-8"><title>Tokens</title>'
    path.write_text(
        f'<!DOCTYPE html><html lang="en"><head>{head}</head><body><main><h1>Tokens</h1>\n'
        f"{player.to_html()}</main></body></html>",
        encoding="utf-8",
    )
    page.goto(path.as_uri())
    shown = page.locator(".mm-player")
    expect(shown.locator(".mm-note")).to_contain_text("open this lesson in JupyterLab")
    expect(shown.get_by_role("textbox")).to_have_count(0)
    check_frame(shown, player)
    for number, text in enumerate(player._values["text"]):
        slider(shown, "text").fill(str(number))
        player.set(text=text)
        check_frame(shown, player)
    check_accessible(page)
    page.close()


# A page without Python


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """Two players on one page of HTML."""
    players = (mask_explorer(TOKENS), budget_explorer(ModelConfig.mistral_7b()))
    body = "\n".join(player.to_html() for player in players)
    path = tmp_path_factory.mktemp("page") / "players.html"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    path.write_text(
        f'<!DOCTYPE html><html lang="en"><head>{head}<title>Players</title></head>\n'
        f"<body><main><h1>Players</h1>\n{body}</main></body></html>",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def page(chromium, page_file):
    """The page, opened from its file; afterwards it must have asked for nothing else."""
    page = chromium.new_page(viewport={"width": 1280, "height": 1000})
    watch = tools.Watch(page)
    page.goto(page_file.as_uri())
    expect(page.locator(".mm-player")).to_have_count(2)
    yield page
    assert watch.outside(page_file.as_uri()) == []
    assert watch.errors == []
    page.close()


def test_static_page(page):
    """All settings of both sliders, by keyboard."""
    player = page.locator(".mm-player").first
    tools.check_mask(player, 4, 12)
    save(page, "static_1280", full_page=True)
    W, T = slider(player, "W"), slider(player, "T")
    T.press("Home")
    for n_tokens in range(1, 13):
        W.press("Home")
        for window in range(1, 13):
            tools.check_mask(player, window, n_tokens)
            page.keyboard.press("ArrowRight")
        T.press("ArrowRight")


def test_static_page_on_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    save(page, "static_390", full_page=True)


def test_static_page_budget(page):
    budget = page.locator(".mm-player").nth(1)
    slider(budget, "KV heads").press("End")
    slider(budget, "window").press("End")
    expect(budget.locator(".mm-words")).to_contain_text("KV cache 16.00 GiB")
    assert "16.00" in budget.locator("svg title").inner_html()
    expect(detail(budget)).to_be_hidden()  # it has no rows


FOCUSED = """() => {
  const node = document.activeElement;
  const player = node.closest(".mm-player");
  const name = node.getAttribute("aria-label") ?? node.textContent;
  return player && `${player.getAttribute("aria-label")}: ${name}`;
}"""


def test_static_page_keyboard_reaches_everything(page):
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    mask, budget = "Sliding-window mask", "Memory budget"
    assert reached == [
        f"{mask}: W", f"{mask}: T", f"{mask}: ▶ Play T",
        f"{mask}: Query 0, The, sees 1 key, position 0: The.",
        f"{budget}: context", f"{budget}: dtype", f"{budget}: KV heads", f"{budget}: window",
        f"{budget}: ▶ Play window",
    ]  # fmt: skip


def test_static_page_keyboard_reaches_every_row(page):
    rows = page.locator(".mm-player").first.locator(".mm-row")
    rows.first.focus()
    for t in range(1, 12):
        page.keyboard.press("ArrowDown")
        expect(rows.nth(t)).to_be_focused()
        expect(detail(page).first).to_have_text(rows.nth(t).get_attribute("aria-label"))
    page.keyboard.press("ArrowDown")  # already at the end
    expect(rows.nth(11)).to_be_focused()
    for t in range(10, -1, -1):
        page.keyboard.press("ArrowUp")
        expect(rows.nth(t)).to_be_focused()


def test_static_page_play(page):
    player = page.locator(".mm-player").first
    button(player).focus()
    page.keyboard.press("Enter")
    expect(player.locator(".mm-value").first).to_have_text("5")
    page.keyboard.press("Enter")
    expect(button(player)).to_have_text("▶ Play W")
    tools.check_mask(player, 5, 12)


def test_static_page_accessible(page):
    """axe-core finds nothing serious, at rest and while it plays."""
    player = page.locator(".mm-player").first
    for focus in (slider(player, "W"), player.locator(".mm-row").first, button(player)):
        focus.focus()
        check_accessible(page)


def check_accessible(page: Page) -> None:
    serious = [v for v in tools.violations(page) if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in serious] == []


# The edition for students


@pytest.mark.rare
def test_lab_a_students_lesson(lab):
    """The player is driven, the check says ☐ and then ✓, and no solution is folded anywhere.

    In `make test` the learner's copy of lesson 06 is answered in the same way
    (test_lab_copies.py), and every lesson of this edition runs without a page (test_student.py).
    """
    exercises = tasks(LESSONS["06"])
    nb = student_notebook(read(LESSONS["06"].read_text(encoding="utf-8")), exercises)
    path = lab.root / "student_06.ipynb"
    nbformat.write(nb, path)
    lesson = Lesson(lab, path)
    page = lesson.page
    drive(page.locator(".mm-player"), "06")
    folded = page.locator(".jp-Placeholder-contentContainer").all_inner_texts()
    assert folded and all("# Checks the picture above" in text for text in folded)
    shown = page.locator(".jp-Notebook").inner_text()
    assert "# A solution" not in shown and "_solution" not in shown
    answer = cell_with(page, "def my_slot_and_evicted")
    check = answer.locator("xpath=following-sibling::*[1]")
    expect(check).to_contain_text("☐ Where, and which token leaves: not written yet.")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text("def my_slot_and_evicted(i, W): return i % W, max(-1, i - W)")
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")  # the check below it
    expect(check).to_contain_text("✓ Where, and which token leaves: right for all 9 tokens.")
    save(page, "lesson_06_student")
    lesson.check()
    page.close()
