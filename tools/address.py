"""Write the repository's address, which stands in `_config.yml`, wherever else it is needed.

A fork edits that one line and runs `make address`: the notebooks' install cells are generated from
it, and every mention of the address that was stamped last (CITATION.cff remembers it) is replaced:
the repository's, its links on Colab and its GitHub Pages.

`--check` changes nothing and fails if something is out of step. `--publishable` fails while the
address is the placeholder with which the book started.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER_OWNER = "seed-8d757891"
INSTALL_ID = "install"
INSTALL_TAGS = ["remove-cell"]
INSTALL = """\
# @title Installs the book's package where it is missing, as on Colab
import importlib.metadata

try:
    importlib.metadata.version("learning-to-learn-book")
except importlib.metadata.PackageNotFoundError:
    %pip install -q "learning-to-learn-book @ git+{address}\""""


def address(root: Path = ROOT) -> str:
    """The address in `_config.yml`."""
    return _match(root / "_config.yml", r"(?m)^ +url: *(\S+)$")


def stamped(root: Path = ROOT) -> str:
    """The address that was written into the other files last."""
    return _match(root / "CITATION.cff", r'(?m)^repository-code: *"?([^"\s]+)"?$')


def _match(path: Path, pattern: str) -> str:
    found = re.findall(pattern, path.read_text(encoding="utf-8"))
    if len(found) != 1:
        raise ValueError(f"{path.name}: expected one address, found {found or 'none'}.")
    return found[0]


def owner_and_name(url: str) -> tuple[str, str]:
    """Split an address; Colab and Pages need both parts.

    Raises:
        ValueError: If it is not `https://github.com/<owner>/<name>`.
    """
    match = re.fullmatch(r"https://github\.com/([\w-]+)/([\w.-]+?)(?:\.git)?/?", url)
    if match is None:
        raise ValueError(
            f"The address in _config.yml must read https://github.com/<owner>/<name>, not {url!r}."
        )
    return match[1], match[2]


def rehome(text: str, old: str, new: str) -> str:
    """Replace every form of the old address by the same form of the new one."""
    (old_owner, old_name), (new_owner, new_name) = owner_and_name(old), owner_and_name(new)
    for before, after in (
        (f"{old_owner}/{old_name}", f"{new_owner}/{new_name}"),
        (f"{old_owner}.github.io/{old_name}", f"{new_owner}.github.io/{new_name}"),
    ):
        text = re.sub(rf"(?<![\w-]){re.escape(before)}(?![\w-])", after, text)
    return text


def install_cell(url: str) -> dict:
    """A notebook's first code cell: hidden on the web page, folded on Colab."""
    return {
        "cell_type": "code",
        "execution_count": 1,
        "id": INSTALL_ID,
        "metadata": {"cellView": "form", "tags": INSTALL_TAGS},
        "outputs": [],
        "source": INSTALL.format(address=url).splitlines(keepends=True),
    }


def with_install_cell(text: str, url: str) -> str:
    """The notebook with its install cell as it should be: the first code cell."""
    notebook = json.loads(text)
    cells = notebook["cells"]
    cell = install_cell(url)
    at = next((i for i, c in enumerate(cells) if c.get("id") == INSTALL_ID), None)
    if at is not None:
        cell["execution_count"] = cells[at].get("execution_count")
        cells[at] = cell
    else:
        cell["execution_count"] = None
        first = next((i for i, c in enumerate(cells) if c["cell_type"] == "code"), len(cells))
        cells.insert(first, cell)
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def documents(root: Path = ROOT) -> list[Path]:
    """The files that may mention the address."""
    book = (p for pattern in ("*.md", "*.ipynb") for p in (root / "book").rglob(pattern))
    top = (p for pattern in ("*.md", "*.cff") for p in root.glob(pattern))
    return sorted(p for p in (*top, *book) if ".ipynb_checkpoints" not in p.parts)


def restamp(root: Path = ROOT, *, write: bool = True) -> list[Path]:
    """Bring every document in step with `_config.yml`; return those that were not."""
    new, old = address(root), stamped(root)
    changed = []
    for path in documents(root):
        before = path.read_text(encoding="utf-8")
        after = rehome(before, old, new)
        if path.suffix == ".ipynb":
            after = with_install_cell(after, new)
        if after != before:
            changed.append(path)
            if write:
                path.write_text(after, encoding="utf-8")
    return changed


def publishable(root: Path = ROOT) -> str | None:
    """Why the book may not be published, or None."""
    owner, _ = owner_and_name(address(root))
    if owner == PLACEHOLDER_OWNER:
        return (
            f"Not published: {address(root)} in _config.yml is a placeholder. "
            "Put your repository's address there, run `make address` and commit."
        )
    return None


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Restamp, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--publishable", action="store_true")
    options = parser.parse_args(arguments)
    if options.publishable:
        if reason := publishable(root):
            print(reason, file=sys.stderr)
        return int(reason is not None)
    changed = restamp(root, write=not options.check)
    for path in changed:
        print(f"{path.relative_to(root)}: {'out of step' if options.check else 'written'}")
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
