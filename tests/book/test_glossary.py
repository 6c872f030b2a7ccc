"""The glossary is in order, names each term once, and is short."""

import re

from tests.book.files import BOOK

TEXT = (BOOK / "appendix" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"(?m)^(\S.*)\n  (\S.*)$", TEXT.split("```{glossary}\n")[1])


def test_terms_stand_in_alphabetical_order_each_once():
    terms = [term.lower() for term, _ in ENTRIES]
    assert len(terms) > 80
    assert terms == sorted(set(terms))


def test_a_term_is_explained_in_at_most_four_sentences_and_leads_to_one_place():
    for term, text in ENTRIES:
        words, *places = text.split(" → ")
        assert 1 <= len(re.findall(r"[.?](?: |$|\))", re.sub(r"^\*.*?\*", "", words))) <= 4, term
        assert len(places) <= 1, term
        assert all(re.fullmatch(r"\[.+\]\(\S+\)", place) for place in places), term


def test_every_term_has_its_place_on_the_built_page(built):
    page = (built / "appendix" / "glossary.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<dt id="term-', page)) == len(ENTRIES)
