"""The page of a review: one file, and what a person sees and does in a real browser."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from fakes.browser import Browser
from fakes.reviewed_game import SGF, reviewed

from agent.review.page import OWNERSHIP_LETTERS, letters, page
from agent.review.values import Review

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium; the CI script installs it")
HOSTILE = "</script><script>document.title = 'owned'</script>{{ review }}<img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """What the page would fetch, its ids, and its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href"):
                self.fetched.append(value or "")


def test_the_page_needs_nothing_beside_it_and_is_the_same_for_the_same_review() -> None:
    text = page(reviewed())
    elements = Elements()
    elements.feed(text)
    assert elements.fetched == [] and elements.scripts == 2 and len(elements.ids) == len(set(elements.ids))
    assert "{{" not in text and "@import" not in text and "url(" not in text
    assert set(re.findall(r"https?://\S+?\"", text)) == {'http://www.w3.org/2000/svg"'}
    assert page(reviewed()) == text


def test_names_stay_text() -> None:
    hostile = msgspec.structs.replace(reviewed(), black=HOSTILE, title=HOSTILE, notes=(HOSTILE,))
    elements = Elements()
    elements.feed(text := page(hostile))
    assert elements.scripts == 2 and elements.fetched == []
    assert f"<title>{html.escape(HOSTILE)} – " in text


def test_every_id_that_the_script_names_is_on_the_page() -> None:
    text = page(reviewed())
    elements = Elements()
    elements.feed(text)
    named = set(re.findall(r"element\(\"([\w-]+)\"\)", text))
    assert named <= set(elements.ids) and len(named) > 15


def test_ownership_in_letters() -> None:
    assert letters((-1.0, 0.0, 1.0, 7.0, -7.0)) == "Af++A".replace("f", OWNERSHIP_LETTERS[31])
    assert letters(()) == ""


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


def opened(browser: Browser, folder: Path, review: Review, fragment: str = "") -> Browser:
    path = folder / "review.html"
    path.write_text(page(review), "utf-8")
    browser.errors.clear()
    browser.size(1280, 900)
    browser.open(path, fragment)
    return browser


def on_board(browser: Browser) -> list[str]:
    """The candidates that are drawn, best last."""
    found: list[str] = browser.ask("[...document.querySelectorAll('.candidate')].map(each => each.dataset.move)")
    return found


@needs_chromium
def test_stepping_with_the_keyboard(browser: Browser, tmp_path: Path) -> None:
    opened(browser, tmp_path, reviewed())
    assert browser.text("#where") == "0 / 6" and browser.text("h1") == "Lee – Go Seigen"
    browser.press("ArrowRight", "ArrowRight")
    assert browser.text("#where") == "2 / 6" and browser.text("#verdict").startswith(
        "Move 2: White C7. Black 44.0 %, W+0.6"
    )
    browser.press("ArrowLeft")
    assert browser.text("#where") == "1 / 6"
    browser.press("n")
    # Before the blunder: what was better is on the board.
    assert browser.text("#where") == "3 / 6" and on_board(browser)[-1] == "G3"
    assert browser.text("#moves-heading") == "Best moves for White, who played A9"
    assert browser.ask("document.querySelectorAll('.next').length") == 1
    browser.press("n", "n", "n")
    assert browser.text("#where") == "4 / 6"
    assert "cost 9.2 points and 33.0 % of win rate. G3 was better" in browser.text("#cost")
    assert browser.ask("document.getElementById('cost').className") == "bad"
    browser.press("p")
    assert browser.text("#where") == "3 / 6"
    browser.press("End", "ArrowRight")
    assert browser.text("#where") == "6 / 6" and browser.ask("document.getElementById('forward').disabled")
    browser.press("PageUp")
    assert browser.text("#where") == "0 / 6"
    browser.wait_until("location.hash === '#0'")
    browser.press("PageDown", "Home")
    assert browser.text("#where") == "0 / 6" and browser.errors == []


@needs_chromium
def test_stones_marks_territory_and_lines_on_the_board(browser: Browser, tmp_path: Path) -> None:
    opened(browser, tmp_path, reviewed(), "#5")
    stones = "[...document.querySelectorAll('#board circle')].filter(each => each.getAttribute('r') === '0.465').length"
    assert browser.text("#where") == "5 / 6" and browser.ask(stones) == 5
    assert browser.ask("document.querySelectorAll('#board .last').length") == 1
    # Its best move is a pass, which has no place.
    assert on_board(browser) == ["J1"]
    browser.press("m")
    assert on_board(browser) == [] and not browser.ask("document.getElementById('show-moves').checked")
    browser.press("t")
    # Every empty point has an owner; three stones on the other side's ground are marked.
    assert browser.ask("document.querySelectorAll('.territory rect').length") == 81 - 5 + 3
    browser.press("t", "u")
    assert (
        browser.ask("[...document.querySelectorAll('#board > text')].map(each => each.textContent).join()")
        == "1,2,3,4,5"
    )
    browser.press("u", "m", "Home")
    browser.move_to("#moves tbody tr")
    numbered = "[...document.querySelectorAll('#board > text')].map(each => each.textContent).join()"
    assert browser.ask(numbered) == "1,2,3" and browser.ask(stones) == 3
    browser.press("Escape")
    assert browser.ask(numbered) == "" and on_board(browser) == ["A9", "E5"]
    assert browser.errors == []


@needs_chromium
def test_a_browser_that_refuses_addresses_is_stepped_through_all_the_same(browser: Browser, tmp_path: Path) -> None:
    opened(browser, tmp_path, reviewed())
    browser.ask("history.replaceState = () => { window.refused = (window.refused || 0) + 1; throw new Error('no'); }")
    browser.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert browser.text("#where") == "3 / 6" and browser.text("#verdict").startswith("Move 3: ")
    # Once for all the steps; what it threw is nobody's error.
    browser.wait_until("window.refused")
    assert browser.ask("window.refused") == 1 and browser.errors == []


@needs_chromium
def test_a_pointer_goes_from_one_candidate_to_the_next_and_a_tap_takes_the_line_away(
    browser: Browser, tmp_path: Path
) -> None:
    opened(browser, tmp_path, reviewed())
    numbered = "[...document.querySelectorAll('#board > text')].map(each => each.textContent).join()"
    shown = "[...document.querySelectorAll('#moves .shown')].map(each => each.dataset.move).join()"
    first, second = (browser.middle(f"[data-move={move}] circle") for move in ("E5", "A9"))
    for at, line, row in ((first, "1,2,3", "E5"), (second, "1", "A9"), (first, "1,2,3", "E5")):
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=at[0], y=at[1])
        assert browser.ask(numbered) == line and browser.ask(shown) == row
    # Between them there is nothing to show, and all are there again.
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=first[0], y=(first[1] + second[1]) / 2)
    assert browser.ask(numbered) == "" and on_board(browser) == ["A9", "E5"]
    browser.move_to("h1")
    for line in ("1,2,3", ""):
        browser.tap(*first)
        browser.wait_until(f"{numbered} === '{line}'")
    assert browser.errors == []


@needs_chromium
def test_the_mouse_goes_by_graph_mistake_and_stone(browser: Browser, tmp_path: Path) -> None:
    opened(browser, tmp_path, reviewed())
    browser.click("#mistakes li:first-child button")
    assert browser.text("#where") == "3 / 6" and browser.ask("document.querySelectorAll('#mistakes .here').length") == 1
    browser.click("#graph", across=0.99)
    assert browser.text("#where") == "6 / 6"
    browser.click("#back10")
    assert browser.text("#where") == "0 / 6"
    browser.click("#forward")
    browser.click("#last")
    assert browser.text("#where") == "6 / 6"
    # On Black's first stone, in the middle of the board.
    browser.click("#board")
    assert browser.text("#where") == "1 / 6"
    browser.click("#show-territory")
    assert browser.ask("document.querySelectorAll('.territory rect').length") > 70 and browser.errors == []


@needs_chromium
@pytest.mark.parametrize(
    ("width", "height", "dark"), [(1280, 900, False), (1280, 900, True), (390, 844, False), (320, 568, True)]
)
def test_nothing_sticks_out_and_nothing_is_fetched(
    browser: Browser, tmp_path: Path, width: int, height: int, dark: bool
) -> None:
    hostile = msgspec.structs.replace(reviewed(), black=HOSTILE, white="W" * 300, notes=(HOSTILE, "long " * 100))
    opened(browser, tmp_path, hostile)
    browser.size(width, height, dark=dark, phone=width < 1000)
    browser.open(tmp_path / "review.html", "#3")
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("document.getElementById('board').getBoundingClientRect().width") > min(width, 500) * 0.85
    paper = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(22, 24, 27)") == dark
    assert browser.text("#where") == "3 / 6" and browser.ask("document.title") != "owned"
    assert browser.errors == []
    assert [each.partition("#")[0] for each in browser.fetched] == [(tmp_path / "review.html").as_uri()]


@needs_chromium
def test_reviews_with_gaps_and_of_a_single_position(browser: Browser, tmp_path: Path) -> None:
    opened(browser, tmp_path, reviewed(without=(0, 3)), "#3")
    assert browser.text("#verdict") == "Move 3: Black G7. Not analysed." and browser.text("#cost") == ""
    assert browser.ask("document.querySelectorAll('.winrates').length") == 2
    browser.press("t", "ArrowRight", "ArrowRight")
    assert "Black 70.0 %" in browser.text("#verdict")
    alone = msgspec.structs.replace(reviewed(SGF), positions=reviewed(SGF).positions[:1])
    opened(browser, tmp_path, alone)
    browser.press("ArrowRight", "n", "End")
    assert browser.text("#where") == "0 / 0" and "None" in browser.text("#mistakes")
    assert browser.errors == []
