"""Assignments from the notebooks: an nbgrader course to hand out, and its grading.

`release` turns notebooks into assignments, `grade` grades what was handed in. A course is a folder
of nbgrader's:

    source/A/A.ipynb      with solutions and hidden tests; never handed out
    release/A/            what students get: A.ipynb, A.reference, the library's wheel, and
                          results/, models/ and definitions/, where it opens some
    submitted/S/A/        put there by nbgrader's exchange, JupyterHub or hand: what student S did
    autograded/S/A/, feedback/S/A/, grades.csv, statistics.csv, gradebook.db   written by `grade`
"""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from . import exercises, paths
from .cells import bound_names, code_cells, imported_modules, used_names, without_magics
from .course import CONFIG, Course
from .definitions import definitions_for, definitions_path
from .grading import grade
from .marks import LMS, Mark
from .submissions import set_to_smoke

__all__ = ["LMS", "Mark", "grade", "otter", "release"]

HIDDEN = "# BEGIN HIDDEN TESTS", "# END HIDDEN TESTS"
CASE = """import contextlib
def check(): ...
with contextlib.redirect_stdout(None): check()
"""
LINK = re.compile(r"\[([^]]*)\]\(\w+\.ipynb\)")  # to another notebook

HANDOUT = """Install the workbook once, in a Python 3.11 or later:

    pip install {wheel}

Then open {notebook}.ipynb with `jupyter lab`. Write your answers in the cells that say so, run the
check below each, and hand in {notebook}.ipynb. Keep {notebook}.reference and the folders beside it,
which it opens: where a check does not pass, the notebook goes on with the reference's answer.
"""


def release(notebooks: list[str], folder: str | Path) -> list[Path]:
    """Build or extend an nbgrader course in `folder` with an assignment a notebook.

    Returns the paths of the released notebooks. Raises ValueError for an unknown notebook or one
    without exercises.
    """
    folder = Path(folder).resolve()
    texts = {name: _assignment(name) for name in (paths.notebook_path(n).stem for n in notebooks)}
    course = Course(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "nbgrader_config.py").exists():
        (folder / "nbgrader_config.py").write_text(CONFIG)
    with tempfile.TemporaryDirectory() as temporary:
        wheel = _wheel(temporary)
        for name, assignment in texts.items():
            _write(folder / "source" / name, name, *assignment, wheel)
            course.generate(name)
    return [folder / "release" / name / f"{name}.ipynb" for name in texts]


def _write(folder, name, notebook, contracts, wheel):
    """Write an assignment into a folder, with what belongs beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    (folder / f"{name}.reference").write_text(exercises.pack(contracts))
    (folder / "READ_ME.txt").write_text(HANDOUT.format(wheel=wheel.name, notebook=name))
    shutil.copy(wheel, folder)
    for stored in (paths.results_path(name), paths.models_path(name)):
        if stored.exists():  # results/ or models/, which the notebook opens beside itself
            (folder / stored.parent.name).mkdir(exist_ok=True)
            shutil.copy(stored, folder / stored.parent.name)
    for other, text in definitions_for(name).items():
        path = folder / "definitions" / definitions_path(other).name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def _assignment(name):
    """(source notebook, {exercise: contract}): with calls of `exercises` around every check."""
    notebook = nbformat.read(paths.notebook_path(name), as_version=4)
    modules = sorted(imported_modules("\n".join(code_cells(paths.notebook_path(name)))))
    cells, contracts, before, text = [], {}, [], ""
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown":  # no other notebook lies beside the one handed out
            text = cell.source = LINK.sub(r"\1", cell.source)
        if about.get("solution"):
            answer, hints = cell, exercises.hints(text)
            cell.metadata.pop("jupyter", None)  # folded where it is a solution, open to be written
        if about.get("grade"):
            exercise = answer.metadata.nbgrader.grade_id
            tools = _tools(cell.source, before)
            about = exercises.contract(answer.source, tools, modules)
            contracts[exercise] = about | {"hints": hints}
            call = f'("{name}", "{exercise}", globals())'
            cell.source = (
                f"from dvae_lib import exercises\n\nexercises.require_own_answer{call}\n"
                f'{cell.source}\nexercises.passed("{exercise}")'
            )
            cell.metadata.tags = ["raises-exception"]  # "Run all" goes on after a failed check
            # Of its own import: where hand-ins are graded a check leaves none behind.
            after = f"from dvae_lib import exercises\n\nexercises.use_reference{call}"
            cells += [cell, _locked(f"{exercise}_go_on", after)]
        else:
            cells.append(cell)
            before += [cell] if cell.cell_type == "code" and not about else []
    if not contracts:
        raise ValueError(f"{name} has no exercises to hand out")
    notebook.cells = cells
    return notebook, contracts


def _tools(check, cells):
    """The imports and definitions in cells that a check uses, as source: it brings its own."""
    nodes = [node for cell in cells for node in ast.parse(without_magics(cell.source)).body]
    used, kept = used_names(ast.parse(check)), []
    for node in reversed(nodes):
        if bound_names(node) & used:
            kept.insert(0, node)
            used |= used_names(node)
    return ast.unparse(ast.Module(kept, []))


def otter(notebooks: list[str], folder: str | Path) -> list[Path]:
    """Write an otter-grader master of each notebook, with what belongs beside it: folder/otter/A/.

    `otter assign A.ipynb dist` makes the handout and the autograder of it, whose environment gets
    the library from the wheel. Returns the paths of the masters.
    Raises ImportError without otter-grader (the extra "otter").
    """
    if importlib.util.find_spec("otter") is None:
        raise ImportError("masters for otter need it: pip install 'dvae_lib[otter]'")
    written = []
    with tempfile.TemporaryDirectory() as temporary:
        wheel = _wheel(temporary)
        for name in notebooks:
            notebook, contracts = _assignment(name)
            for cell in notebook.cells:  # otter executes the whole, to assign and to grade
                set_to_smoke(cell)
            master = Path(folder, "otter", name)
            _write(master, name, notebook, contracts, wheel)
            beside = sorted(
                p.name for p in master.iterdir() if p.name not in (f"{name}.ipynb", "dist")
            )
            notebook.cells = _otter_cells(notebook.cells, name, beside, wheel.name)
            written.append(master / f"{name}.ipynb")
            nbformat.write(notebook, written[-1])
    return written


def _otter_cells(cells, name, beside, wheel):
    """Cells with nbgrader's marks, as otter's master format has them."""
    config = f"name: {name}\nexport_cell: false\nfiles: {json.dumps(beside)}\n"
    config += f"requirements: [/autograder/source/files/{wheel}]"  # where Gradescope unpacks it
    out = [_raw(f"# ASSIGNMENT CONFIG\n{config}")]
    for cell in cells:
        about = cell.metadata.pop("nbgrader", {})
        if about.get("solution"):
            question = f"name: {about['grade_id']}\npoints: {{points}}\nall_or_nothing: true"
            begin = _raw(f"# BEGIN QUESTION\n{question}")
            out += [begin, _raw("# BEGIN SOLUTION"), cell, _raw("# END SOLUTION")]
        elif about.get("grade"):
            begin.source = begin.source.format(points=about["points"])
            visible = re.sub(f".*{HIDDEN[0]}(.|\n)*{HIDDEN[1]}.*\n", "", cell.source)
            whole = re.sub(f".*({'|'.join(HIDDEN)}).*\n", "", cell.source)
            visible, hidden = _code(_case(visible)), _code("# HIDDEN\n" + _case(whole))
            out += [_raw("# BEGIN TESTS"), visible, hidden, _raw("# END TESTS")]
            out += [_raw("# END QUESTION")]
        else:
            out.append(cell)
    return out


def _case(check):
    """A check as a case of otter's, which shares no names with the others.

    In a function, and without what an answer prints: cases are doctests, which take any output,
    and any value of a line, for a mistake.
    """
    case = ast.parse(CASE)
    function = next(node for node in case.body if isinstance(node, ast.FunctionDef))
    function.body = ast.parse(check).body
    return ast.unparse(case)


def _raw(source):
    return nbformat.v4.new_raw_cell(source)


def _code(source):
    return nbformat.v4.new_code_cell(source)


def _locked(grade_id, source):
    about = {"grade": False, "grade_id": grade_id, "locked": True, "solution": False, "task": False}
    about |= {"schema_version": 3}
    return nbformat.v4.new_code_cell(source, metadata={"nbgrader": about})


def _wheel(folder):
    """The library as a wheel, so that a student installs exactly the lecturer's version."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", folder]
    with tempfile.TemporaryDirectory() as copy:  # setuptools writes into the folder that it builds
        for part in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(paths.root() / part, copy)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(paths.root() / "dvae_lib", Path(copy, "dvae_lib"), ignore=ignored)
        subprocess.run([*command, "--no-build-isolation", copy], check=True)
    return next(Path(folder).glob("*.whl"))
