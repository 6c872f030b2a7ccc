"""The table of contents, the pages under `book/` and the built pages agree."""

import functools
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.book.files import HTML, PAGES, name, toc

every_chapter = pytest.mark.parametrize("chapter", toc())


class _Page(HTMLParser):
    """The ids of a page and the links in its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])


_parsed = functools.cache(_Page)


def test_every_page_is_in_the_table_of_contents():
    assert sorted(map(name, PAGES)) == sorted(toc())


@every_chapter
def test_every_chapter_has_a_built_page(built, chapter):
    page = (built / f"{chapter}.html").read_text(encoding="utf-8")
    assert "<h1>" in page


def test_nothing_else_was_built(built):
    pages = {p.relative_to(built).with_suffix("").as_posix() for p in built.rglob("*.html")}
    made = {p for p in pages if not p.startswith(("_static/", "_modules/"))}
    assert made - {"search"} == set(toc())


@every_chapter
def test_every_internal_link_leads_somewhere(built, chapter):
    page = built / f"{chapter}.html"
    dead = []
    for link in _parsed(page).links:
        parts = urlsplit(html.unescape(link))
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not target.is_file():
            dead.append(link)
        elif target.suffix == ".html" and parts.fragment:
            dead += [link] * (unquote(parts.fragment) not in _parsed(target).ids)
    assert dead == []


@every_chapter
def test_a_built_page_names_no_path_of_the_machine(built, chapter):
    text = (built / f"{chapter}.html").read_text(encoding="utf-8")
    assert re.findall(r"(?:file://|[^\w.])/(?:root|home|work|tmp|Users)/\w+", text) == []


def test_the_book_opens_at_the_address_that_the_readme_names(built):
    assert built == HTML
    assert "Learning to Learn" in (built / "index.html").read_text(encoding="utf-8")
