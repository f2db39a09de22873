"""Stored notebooks: they are small, their pictures too, and the checks of exercises are folded."""

import nbformat
import pytest

from dvae_lib import figures, sources

PATHS = sorted(sources.notebooks_folder().glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def code(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


@every_notebook
def test_a_stored_notebook_is_at_most_700_kilobytes(path):
    assert path.stat().st_size <= 700_000


@every_notebook
def test_stored_pictures_take_no_more_bytes_than_they_need(path):
    data = [output.get("data", {}) for cell in code(path) for output in cell.outputs]
    pictures = filter(None, (figures.from_html(d.get("text/html", "")) for d in data))
    assert [len(p) for p, _ in pictures if figures.in_palette(p) != p] == []


@every_notebook
def test_checks_of_exercises_are_folded_and_what_they_say_is_not(path):
    cells = {c.metadata.nbgrader.grade_id: c for c in code(path) if "nbgrader" in c.metadata}
    folded = {k for k, c in cells.items() if c.metadata.get("jupyter", {}).get("source_hidden")}
    assert folded == {k for k, c in cells.items() if c.metadata.nbgrader.grade}
    assert not any(c.metadata.get("jupyter", {}).get("outputs_hidden") for c in cells.values())
