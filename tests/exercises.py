"""The exercises of a notebook, and running the check of one on any answer."""

import functools
import importlib

import nbformat
import pytest

from dvae_lib import workbook
from dvae_lib.cells import defined_names
from dvae_lib.paths import notebook_path


@functools.cache
def prepared(notebook):
    """(the notebook's definitions by name, {exercise: (what it defines, its check compiled)})."""
    cells = nbformat.read(notebook_path(notebook), as_version=4).cells
    by_id = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell.source for cell in cells}
    checks = {}
    for exercise in (name for name in by_id if f"{name}_check" in by_id):
        (name,) = defined_names(by_id[exercise])
        checks[exercise] = name, compile(by_id[f"{exercise}_check"], exercise, "exec")
    return vars(workbook.definitions(notebook)), checks


def check(notebook, exercise, answer):
    """Run the check of an exercise, hidden tests included, with `answer` for the solution."""
    definitions, checks = prepared(notebook)
    name, code = checks[exercise]
    exec(code, definitions | {name: answer})


def assert_rejected(notebook, exercise, message, answer):
    """The check must fail with a message that matches `message`."""
    with pytest.raises(AssertionError, match=message):
        check(notebook, exercise, answer)


def answers_of(notebook):
    """The answers that come with a notebook's exercises, in test_notebook_NN.py.

    [(exercise, right answer)] and [(exercise, message that must name the mistake, wrong answer)].
    """
    module = importlib.import_module(f"test_notebook_{notebook[:2]}")
    return module.RIGHT, module.WRONG
