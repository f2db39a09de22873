"""Notebooks as pages: links between them, predictions before pictures, pictures that fit."""

import base64
import json
import re
import struct

import nbformat
import pytest

from dvae_lib import paths

PATHS = sorted(paths.notebooks_folder().glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
LINK = re.compile(r"\[[^\]]*\]\(([^)]*)\)")
WIDEST = 950  # pixels that JupyterLab has for an output on a laptop, with its file browser open


def cells(path):
    return nbformat.read(path, as_version=4).cells


def prose(path):
    """The Markdown of a notebook, without code and without HTML, in which there are no links."""
    text = "\n\n".join(cell.source for cell in cells(path) if cell.cell_type == "markdown")
    return re.sub(r"```.*?```|^<details.*?$", "", text, flags=re.DOTALL | re.MULTILINE)


def is_folded(cell):
    return cell.metadata.get("jupyter", {}).get("outputs_hidden", False)


@every_notebook
def test_links_between_files_lead_somewhere(path):
    targets = [link for link in LINK.findall(prose(path)) if ":" not in link]
    assert targets
    assert [link for link in targets if not (path.parent / link).is_file()] == []


def anchors(path):
    """The places in a Markdown file that a link may name: its headings, as GitHub spells them."""
    heads = re.findall(r"(?m)^#+ (.*)$", path.read_text())
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize(
    "path",
    [*paths.root().glob("*.md"), *paths.notebooks_folder().glob("*.md")],
    ids=lambda path: path.name,
)
def test_links_of_markdown_files_lead_to_files_and_headings(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for link in LINK.findall(text):
        if ":" not in link:
            name, _, anchor = link.partition("#")
            target = path.parent / name if name else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@every_notebook
def test_a_notebook_that_is_named_is_linked(path):
    without_links = LINK.sub("", prose(path))
    assert re.findall(r"(?i)\bnotebooks? \d\d\b.*|`\d\d_[a-z_]+`", without_links) == []


@every_notebook
def test_a_link_looks_like_one(path):
    """JupyterLab shows a link of code as code: grey."""
    assert re.findall(r"\[`[^\]]*`\]\([^)]*\)", prose(path)) == []


@every_notebook
def test_every_notebook_but_the_last_leads_to_the_next(path):
    following = [other.name for other in PATHS if other > path][:1]
    last = cells(path)[-1].source.splitlines()[-1]
    assert (LINK.findall(last) if last.startswith("**Next:**") else []) == following


@every_notebook
def test_what_was_to_be_predicted_is_folded(path):
    found = cells(path)
    predictions = [k for k, cell in enumerate(found) if "**Predict:**" in cell.source]
    for k in predictions:
        answer = next(cell for cell in found[k:] if cell.get("outputs"))
        assert is_folded(answer), found[k].source.splitlines()[-1]


@every_notebook
def test_the_line_that_jupyterlab_shows_of_what_is_folded_is_blank(path):
    for cell in filter(is_folded, cells(path)):
        for output in cell.outputs[:1]:
            texts = [output.text] if "text" in output else output.data.values()
            assert all(text.startswith(" \n") for text in texts), cell.source


@every_notebook
def test_nothing_else_is_folded(path):
    asked = False
    for cell in cells(path):
        if cell.cell_type == "markdown":
            asked = "**Predict:**" in cell.source or asked and not cell.source.startswith("#")
        assert asked or not is_folded(cell), cell.source


@every_notebook
def test_stored_pictures_fit_on_a_laptops_screen(path):
    stored = json.dumps([cell.get("outputs", []) for cell in cells(path)])
    heads = re.findall(r"iVBORw0KGgo[A-Za-z0-9+/]{21}", stored)  # the first 24 bytes of each PNG
    assert heads
    widths = [struct.unpack(">I", base64.b64decode(head)[16:20])[0] for head in heads]
    assert max(widths) <= WIDEST
