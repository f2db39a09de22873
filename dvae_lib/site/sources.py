"""A stored notebook as what Sphinx reads: nothing is executed, and its text stays as it is."""

import html
import json
import re
import struct
from collections.abc import Container
from pathlib import Path

from .. import pages

EQUATION = re.compile(r"(?ms)^\$\$(?=.*?\S)(.*?)\$\$[ \t]*$")
# What stands on the button that unfolds a cell, by what the cell is.
PROMPTS = {
    "solution": "A solution",
    "check": "The check of this exercise",
    "helper": "What the check is made of",
    "predicted": "See what came out",
}


def prepared(
    text: str, name: str, folder: Path, live: dict[str, str] | None = None, note: str = ""
) -> str:
    """The source of a stored notebook, with its pictures written into `folder`/pictures.

    live: {words of a cell: the HTML that takes the place of what it shows}. note: Markdown that
    goes below the title. Raises ValueError for words that are not in exactly one cell.
    """
    notebook, live = json.loads(text), live or {}
    shown = {}
    for words, widget in live.items():
        found = [k for k, cell in enumerate(notebook["cells"]) if words in _source(cell)]
        if len(found) != 1:
            raise ValueError(f"{name}: {words!r} is in {len(found)} cells, expected one")
        shown[found[0]] = widget
    notebook["cells"][0]["source"] = _source(notebook["cells"][0]) + note
    equations = _Numbers(f"eq-{name}")
    for k, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            cell["source"] = EQUATION.sub(equations, _source(cell))
            continue
        _fold(cell)
        if k in shown:
            cell["outputs"] = [_html_output(shown[k])]
        for position, output in enumerate(cell["outputs"]):
            if "text/html" in (data := output.get("data", {})):
                picture = f"pictures/{name}/{k}-{position}.png"
                data["text/html"] = _outside("".join(data["text/html"]), folder, picture)
    return json.dumps(notebook)


def unlinked(text: str, names: Container[str]) -> str:
    """A source whose links to notebooks without a page are left as words."""
    return re.sub(
        r"\[([^\]\[]*)\]\((\d\d_\w+)\.ipynb\)",
        lambda link: link[0] if link[2] in names else link[1],
        text,
    )


def _source(cell):
    return "".join(cell["source"])


class _Numbers:
    """Gives equations labels, so that they are numbered and can be linked to."""

    def __init__(self, label):
        self.label, self.n = label, 0

    def __call__(self, found):
        self.n += 1
        return f"$$\n{found[1].strip()}\n$$ ({self.label}-{self.n})"


def _fold(cell):
    """Say to Sphinx what JupyterLab is told: which sources and outputs are folded."""
    meta = cell["metadata"]
    folds, grader = meta.get("jupyter", {}), meta.get("nbgrader")
    tags = meta.setdefault("tags", [])
    prompt = None
    if folds.get("source_hidden"):
        tags.append("hide-input")
        prompt = "helper" if grader is None else "solution" if grader["solution"] else "check"
    elif folds.get("outputs_hidden"):
        tags.append("hide-output")
        prompt = "predicted"
    if prompt:
        words = PROMPTS[prompt]
        meta["mystnb"] = {"code_prompt_show": words, "code_prompt_hide": words}


def _outside(text, folder, picture):
    """HTML with its picture in a file of its own, and tables in a box that scrolls."""
    found = pages.from_html(text)
    if found is None:
        is_table = text.lstrip().startswith("<table")
        return f'<div class="dvae-table">{text}</div>' if is_table else text
    return image(*found, folder, picture)


def image(png: bytes, alt: str, folder: Path, picture: str) -> str:
    """A PNG, written to the path `picture` below a folder, as HTML that shows it there."""
    (folder / picture).parent.mkdir(parents=True, exist_ok=True)
    (folder / picture).write_bytes(png)
    width, height = struct.unpack(">II", png[16:24])
    return (
        f'<img alt="{html.escape(alt)}" src="{picture}" width="{width}" height="{height}" '
        'loading="lazy">'
    )


def _html_output(text):
    return {"output_type": "display_data", "metadata": {}, "data": {"text/html": text}}
