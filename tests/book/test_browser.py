"""The built pages in a browser: nothing from elsewhere, all formulas, narrow and dark."""

from __future__ import annotations

import functools
import re

import pytest

from tests.book.files import PAGES as SOURCES
from tests.book.files import name, prose, toc

PHONE, DESK = {"width": 375, "height": 812}, {"width": 1280, "height": 900}

every_page = pytest.mark.parametrize("page", [*toc(), "search"])
every_chapter = pytest.mark.parametrize("page", toc())

# The formulas are typeset by the time that this resolves.
TYPESET = "async () => { if (window.MathJax?.startup) await window.MathJax.startup.promise }"

# The ratio of luminances (WCAG 2.2, 1.4.3) of each visible piece of text and what is behind it.
FAINT = """
(limit) => {
  const parse = (c) => (c.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const over = (top, under) => {
    const a = top[3] ?? 1;
    return [0, 1, 2].map((i) => a * top[i] + (1 - a) * under[i]);
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const faint = new Set();
  const walker = document.createTreeWalker(document.querySelector("article, main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (element.closest("script, style, mjx-container, .headerlink, button, svg, .search-button__kbd-shortcut")) continue;
    const back = behind(element);
    const [light, dark] = [luminance(over(parse(getComputedStyle(element).color), back)), luminance(back)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < limit) faint.add(`${element.tagName}.${element.className} ${ratio.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 30)}`);
  }
  return [...faint];
}
"""  # noqa: E501

# What sticks out of the page to the right, unless a box around it scrolls.
TOO_WIDE = """
() => {
  const boxed = ["auto", "scroll", "hidden"];
  const scrolls = (e) => e && e !== document.body
    && (boxed.includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  const wide = [...document.querySelectorAll("article *")].filter((e) =>
    e.getBoundingClientRect().right > innerWidth + 1 && e.checkVisibility()
    && !scrolls(e.parentElement) && !e.closest("mjx-assistive-mml, .headerlink"));
  return wide.map((e) => `${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 40)}`);
}
"""


FORMULAS = """
() => {
  const text = document.querySelector("article, main").cloneNode(true);
  const all = [...document.querySelectorAll("article .math")];
  text.querySelectorAll("script, style, pre, code, mjx-container").forEach((e) => e.remove());
  return {
    count: all.length,
    errors: [...document.querySelectorAll("mjx-merror, [data-mjx-error]")]
      .map((e) => e.textContent),
    unset: all.filter((e) => !e.querySelector("mjx-container")).map((e) => e.textContent),
    raw: text.textContent.match(/\\$|\\\\(?:tag|frac|begin|left|theta|nabla|[([\\]])/g) ?? [],
  };
}
"""

FIGURES = """
() => [...document.querySelectorAll("article img")].map((e) => ({
  file: e.src.split("/").pop(), width: e.naturalWidth, alt: e.alt,
  output: e.closest(".cell_output") !== null, ground: getComputedStyle(e).backgroundColor,
}))
"""


def _listen(page, address):
    """What a page asks of other hosts, and what it complains about."""
    foreign, complaints = [], []
    ours = (address, "data:", "blob:")
    page.on("request", lambda r: r.url.startswith(ours) or foreign.append(r.url))
    page.on("console", lambda m: m.type in {"error", "warning"} and complaints.append(m.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda r: r.status >= 400 and complaints.append(f"{r.status} {r.url}"))
    return foreign, complaints


def _observe(browser, address, name):
    """Open a page at a desk, then in the dark, then on a phone, and note what the tests ask."""
    page = browser.new_page(viewport=DESK, color_scheme="light")
    foreign, complaints = _listen(page, address)
    page.goto(f"{address}/{name}.html", wait_until="load")
    page.evaluate(TYPESET)
    page.wait_for_load_state("networkidle")
    seen = {"formulas": page.evaluate(FORMULAS)}
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true })")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("(s) => document.documentElement.dataset.theme === s", arg=scheme)
        page.wait_for_timeout(300)  # colours fade from one to the other
        seen[scheme] = page.evaluate(FAINT, 4.5)
    seen["figures"] = page.evaluate(FIGURES)
    page.set_viewport_size(PHONE)
    page.reload(wait_until="load")
    page.evaluate(TYPESET)
    seen["too wide"] = page.evaluate(TOO_WIDE)
    seen["overflow"] = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.close()
    return {**seen, "foreign": foreign, "complaints": complaints}


@pytest.fixture(scope="module")
def observe(browser, address):
    """What was seen on a page; each is opened once."""
    return functools.cache(lambda name: _observe(browser, address, name))


@every_page
def test_a_page_asks_nothing_of_another_host(observe, page):
    assert observe(page)["foreign"] == []


@every_page
def test_a_page_shows_no_error_on_the_console(observe, page):
    assert observe(page)["complaints"] == []


@every_chapter
def test_every_formula_is_typeset(observe, page):
    formulas = observe(page)["formulas"]
    assert formulas["errors"] == []
    assert formulas["unset"] == []
    assert formulas["raw"] == []
    source = next(p for p in SOURCES if name(p) == page)
    without_code = re.sub(r"(?s)```.*?```|`[^`]*`", "", prose(source))
    assert (formulas["count"] > 0) == ("$" in without_code)


@every_page
def test_nothing_sticks_out_at_the_width_of_a_phone(observe, page):
    assert observe(page)["too wide"] == []
    assert observe(page)["overflow"] <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@every_page
def test_all_text_stands_out_from_its_background(observe, page, scheme):
    assert observe(page)[scheme] == []


@every_chapter
def test_every_figure_is_loaded_and_described(observe, page):
    figures = observe(page)["figures"]
    assert [f for f in figures if f["width"] == 0] == []
    assert [f for f in figures if len(f["alt"]) < 20] == []


@every_chapter
def test_every_figure_lies_on_a_light_ground_in_the_dark_theme(observe, page):
    figures = [f for f in observe(page)["figures"] if f["output"]]
    assert [f for f in figures if min(map(int, re.findall(r"\d+", f["ground"])[:3])) < 190] == []
