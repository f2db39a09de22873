"""Every notebook: it runs, it is stored as it was executed, and it keeps to the design."""

import ast
import json
import re
import statistics
import subprocess
import sys

import nbformat
import pytest
from conftest import NOTEBOOKS, committed, executed

from dvae_lib import pages, paths, storing

PATHS = [committed(name) for name in NOTEBOOKS]
every_notebook = pytest.mark.parametrize("path", PATHS, ids=NOTEBOOKS)
every_smoke_run = pytest.mark.parametrize("name", [executed(name) for name in NOTEBOOKS])
TITLE = r"# The check of exercise \d$"
WIDGET = "application/vnd.jupyter.widget-view+json"
OURS = ("LiveImage(", "Switch(")
# What need not change a picture: "reset" where nothing was moved, the strength of no expression,
# and another image where a network hardly trained has nearly the same code for all.
SILENT = {"reset", "intensity", "image"}


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def lines(source):
    return [line for line in source.splitlines() if line.strip()]


@every_smoke_run
def test_every_notebook_runs_at_tier_smoke(smoke, name):
    outcome = smoke(name)
    assert outcome.error == ""
    assert outcome.rows
    cells = code(read(outcome.job.folder / f"{name}.ipynb"))
    printed = [o.text for cell in cells for o in cell.outputs if o.get("name") == "stderr"]
    assert printed == []


@every_smoke_run
def test_every_control_of_a_widget_changes_its_picture(smoke, name):
    outcome = smoke(name)
    cells = code(read(outcome.job.folder / f"{name}.ipynb"))
    data = [output.get("data", {}) for cell in cells for output in cell.outputs]
    # Not the progress bars, which are widgets as well.
    shown = sum(d.get("text/plain", "").startswith(OURS) for d in data if WIDGET in d)
    path = outcome.job.runs / f"{name}.controls"
    moved = [json.loads(line) for line in path.read_text().splitlines()] if shown else []
    assert len(moved) == shown
    for widget in moved:
        assert widget["width"] > 200
        assert {control for control, changed in widget["changed"].items() if not changed} <= SILENT


@pytest.mark.notebook
def test_plain_papermill_works_from_any_folder(tmp_path):
    notebook = paths.notebook_path("00_start_here")
    command = [sys.executable, "-m", "papermill", notebook, "out.ipynb", "-p", "tier", "smoke"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    executed = read(tmp_path / "out.ipynb")
    assert any("tier smoke" in str(cell.outputs) for cell in code(executed))


@every_notebook
def test_a_stored_notebook_is_as_it_was_executed(path):
    assert storing.faults(path) == []


@every_notebook
def test_a_notebook_keeps_to_the_anatomy(path):
    notebook = read(path)
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    titles = [line for text in prose for line in text.splitlines() if line.startswith("# ")]
    assert len(titles) == 1
    assert notebook.cells[0].source.startswith("# ")
    assert "(https://doi.org/" in "".join(prose)
    assert "**Predict:**" in "".join(prose)
    assert "run.results()" in "".join(cell.source for cell in code(notebook))
    lengths = [len(lines(cell.source)) for cell in code(notebook)]
    assert statistics.median(lengths) <= 8
    assert max(lengths) <= 40
    tagged = [c.source for c in code(notebook) if "parameters" in c.metadata.get("tags", [])]
    assert tagged == ['tier = "classroom"\nseed = 0\ndevice = "auto"']


@every_notebook
def test_every_figure_has_alternative_text(path):
    outputs = [o.get("data", {}) for cell in code(read(path)) for o in cell.outputs]
    found = filter(None, (pages.from_html(data.get("text/html", "")) for data in outputs))
    texts = [alt for _, alt in found]
    assert texts
    assert min(map(len, texts)) > 20
    # Without the text, which JupyterLab and the exported page leave out of these.
    assert not any(kind.startswith("image/") for data in outputs for kind in data)


@every_notebook
def test_exercises_are_ready_for_the_grader(path):
    cells = [cell for cell in code(read(path)) if "nbgrader" in cell.metadata]
    names = [cell.metadata.nbgrader.grade_id for cell in cells]
    assert len(set(names)) == len(names)
    for solution, check in zip(cells[::2], cells[1::2], strict=True):
        mine, its = solution.metadata.nbgrader, check.metadata.nbgrader
        assert (mine.solution, mine.grade, mine.locked) == (True, False, False)
        assert (its.solution, its.grade, its.locked) == (False, True, True)
        assert its.points > 0
        assert its.grade_id == f"{mine.grade_id}_check"
        assert markers(solution.source) == ["BEGIN SOLUTION", "END SOLUTION"]
        assert markers(check.source) == ["BEGIN HIDDEN TESTS", "END HIDDEN TESTS"]
        titled = re.match(TITLE, check.source.splitlines()[0])  # JupyterLab shows it of a fold
        assert titled or len(lines(check.source)) == 40, "there is room for a title"
        visible = check.source.split("# BEGIN HIDDEN TESTS")[0]
        for node in ast.walk(ast.parse(visible)):
            assert not isinstance(node, ast.Assert) or node.msg, "a visible check explains itself"
    if path.stem != "00_start_here":
        assert 3 <= len(cells) / 2 <= 5


def markers(source):
    return re.findall(r"# ((?:BEGIN|END) (?:SOLUTION|HIDDEN TESTS))", source)
