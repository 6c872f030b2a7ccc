"""A table as text in a notebook, or as Markdown on a page."""

from collections.abc import Sequence

from mlcode.checks import check_choice


def render(
    head: tuple[str, ...], body: Sequence[tuple[str, ...]], *, n_words: int, style: str
) -> str:
    """A table whose first `n_words` columns hold words and whose others hold numbers.

    Raises:
        ValueError: If `style` is neither "markdown" nor "text".
    """
    check_choice("style", style, ("markdown", "text"))
    if style == "markdown":
        rule = ("---",) * n_words + ("---:",) * (len(head) - n_words)
        return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *body])
    widths = [max(map(len, column)) for column in zip(head, *body)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in [head, *body]]
    return "\n".join(lines)
