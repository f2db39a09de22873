"""Running the check of an exercise on any answer."""

import importlib

import nbformat
import pytest

from dvae_lib import workbook
from dvae_lib.sources import notebook_path


def check_cell(notebook, grade_id, **answers):
    """Run a check cell, hidden tests included, with `answers` in place of the solutions."""
    cells = nbformat.read(notebook_path(notebook), as_version=4).cells
    (cell,) = [c for c in cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id]
    namespace = vars(workbook.definitions(notebook)) | answers
    exec(compile(cell.source, grade_id, "exec"), namespace)


def assert_rejected(notebook, grade_id, message, **answers):
    """The check must fail with a message that matches `message`."""
    with pytest.raises(AssertionError, match=message):
        check_cell(notebook, grade_id, **answers)


def answers_of(notebook):
    """The answers that come with a notebook's exercises.

    [(exercise, right answer)] and [(exercise, message that must name the mistake, wrong answer)],
    which test_notebook_NN.py runs.
    """
    module = importlib.import_module(f"test_notebook_{notebook[:2]}")
    return module.RIGHT, module.WRONG
