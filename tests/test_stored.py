"""Stored notebooks: they are small, their pictures too; checks and solutions are folded."""

import ast

import nbformat
import pytest
from conftest import NOTEBOOKS, committed

from dvae_lib import figures, pages

PATHS = [committed(name) for name in NOTEBOOKS]
every_notebook = pytest.mark.parametrize("path", PATHS, ids=NOTEBOOKS)


def code(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


@every_notebook
def test_a_stored_notebook_is_at_most_700_kilobytes(path):
    assert path.stat().st_size <= 700_000


@every_notebook
def test_stored_pictures_take_no_more_bytes_than_they_need(path):
    data = [output.get("data", {}) for cell in code(path) for output in cell.outputs]
    pictures = filter(None, (pages.from_html(d.get("text/html", "")) for d in data))
    assert [len(p) for p, _ in pictures if figures.in_palette(p) != p] == []


@every_notebook
def test_solutions_and_checks_are_folded_and_what_they_say_is_not(path):
    for cell in code(path):
        folds = cell.metadata.get("jupyter", {})
        if "nbgrader" in cell.metadata:
            assert folds == {"source_hidden": True}
        elif "source_hidden" in folds:  # what a check is made of: an answer can be seen in it
            first, *others = ast.parse(cell.source).body
            assert all(isinstance(part, ast.FunctionDef) for part in (first, *others))
            assert ast.get_docstring(first).startswith("For the check")
