"""`make lab` in a real browser: what a learner types stays out of the lessons, and comes along."""

import os

import browser as tools
import pytest
from effort import rare
from playwright.sync_api import expect

from minimistral.course import carried
from minimistral.course.exercises import lessons

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows"),
]
LESSON = lessons()["06"]
ANSWER = "def my_slot_and_evicted(i, W): return i % W, max(-1, i - W)"


def started(folder):
    course = tools.Course(folder, LESSON)
    try:
        course.wait()
    except BaseException:
        course.stop()
        raise
    return course


def save(page):
    """Save with the keyboard, and wait until the server has written it."""

    def saves(response):
        return response.request.method == "PUT" and "/api/contents/" in response.url

    with page.expect_response(saves) as response:
        page.keyboard.press("ControlOrMeta+s")
    assert response.value.status == 200


@pytest.mark.parametrize("opened", [False, rare(True)])
def test_a_learner_writes_in_a_copy_and_takes_the_answer_along(chromium, tmp_path, opened):
    """opened: whether JupyterLab opens the new copy too."""
    course = started(tmp_path)
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    try:
        lesson = course.root / "notebooks" / LESSON.name
        copy = course.root / "my-work" / LESSON.name
        before = lesson.read_bytes()
        page.goto(f"{course.base}/?token={course.token}")  # the address that `make lab` opens
        course.ready(page, f"my-work/{LESSON.name}")
        save(page)
        assert carried.is_as_written(carried.parse(copy.read_bytes()))
        answer = page.locator(".jp-CodeCell").filter(has_text="def my_slot_and_evicted").first
        answer.evaluate("node => node.scrollIntoView({block: 'center'})")
        answer.locator(".cm-content").click()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.insert_text(ANSWER)
        page.keyboard.press("Shift+Enter")
        page.keyboard.press("Shift+Enter")  # the check below it
        expect(answer.locator("xpath=following-sibling::*[1]")).to_contain_text("✓", timeout=60_000)
        save(page)
        assert lesson.read_bytes() == before and ANSWER.encode() in copy.read_bytes()
        assert (course.root / "my-work/parts/slot_and_evicted.py").is_file()
        assert not (course.root / "my-work/my-work").exists()
        mine = copy.read_bytes()
    finally:
        course.stop()
    lesson.write_bytes(before.replace(b"## The order does not matter", b"## Any order will do"))
    course = started(tmp_path)
    try:
        told = course.log.read_text(encoding="utf-8")
        assert f"{LESSON.name}: the lesson has changed." in told and "(exercise 1)" in told
        new = copy.with_suffix(".new.ipynb")
        if opened:
            page.goto(
                f"{course.base}/lab/workspaces/new/tree/my-work/{new.name}?token={course.token}"
            )
            shown = page.locator(".jp-CodeCell").filter(has_text=ANSWER)
            expect(shown).to_have_count(1, timeout=120_000)
        assert b"## Any order will do" in new.read_bytes() and ANSWER.encode() in new.read_bytes()
        assert copy.read_bytes() == mine
    finally:
        course.stop()
        page.close()
