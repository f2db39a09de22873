"""Assignments from the notebooks: an nbgrader course to hand out, and its grading.

`release` turns notebooks into assignments, `grade` grades what was handed in. Both go through
nbgrader's own API. A course is a folder:

    source/A/A.ipynb      with solutions and hidden tests; never handed out
    release/A/            what students get: A.ipynb, A.reference, the library's wheel, and
                          results/ and models/, where some are stored
    submitted/S/A/        put there by nbgrader's exchange, JupyterHub or hand: what student S did
    autograded/S/A/, feedback/S/A/, grades.csv, gradebook.db   written by `grade`
"""

import contextlib
import csv
import importlib.util
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from tqdm import tqdm

from . import exercises, files, sources

try:
    from nbgrader import utils
    from nbgrader.api import Gradebook, MissingEntry
    from nbgrader.apps.api import NbGraderAPI
    from nbgrader.preprocessors import NbGraderPreprocessor
    from traitlets.config import Config
except ImportError as error:
    raise ImportError("assignments need nbgrader: pip install 'dvae_lib[classroom]'") from error

STUB = "raise NotImplementedError('write your answer in this cell')"
CELL_SECONDS = 60  # a cell of a notebook at tier smoke takes a few
GRADING = [
    "dvae_lib.classroom.SmokeTier",
    "nbgrader.preprocessors.Execute",
    "dvae_lib.classroom.DropWarnings",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
CONFIG = f'''# An nbgrader course made by "dvae release": for Formgrader or "dvae grade".
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "dvae"
c.ClearSolutions.code_stub = {{"python": "{STUB}"}}
c.Execute.timeout = {CELL_SECONDS}
c.Autograde.autograde_preprocessors = {GRADING}
'''
HANDOUT = """Install the workbook once, in a Python 3.11 or later:

    pip install {wheel}

Then open {notebook}.ipynb with `jupyter lab`. Write your answers in the cells that say so, run the
check below each, and hand in {notebook}.ipynb. Keep {notebook}.reference beside it: where a check
does not pass, the notebook goes on with the reference's answer.
"""


def release(notebooks, folder):
    """Build or extend an nbgrader course in `folder` with an assignment a notebook.

    Returns the paths of the released notebooks. Raises ValueError for an unknown notebook or one
    without exercises.
    """
    folder = Path(folder).resolve()
    texts = {name: _assignment(name) for name in (sources.notebook_path(n).stem for n in notebooks)}
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "nbgrader_config.py").exists():
        (folder / "nbgrader_config.py").write_text(CONFIG)
    with tempfile.TemporaryDirectory() as temporary:
        wheel = _wheel(temporary)
        for name, (notebook, answers) in texts.items():
            source = folder / "source" / name
            source.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, source / f"{name}.ipynb")
            (source / f"{name}.reference").write_text(exercises.pack(answers))
            (source / "READ_ME.txt").write_text(HANDOUT.format(wheel=wheel.name, notebook=name))
            shutil.copy(wheel, source)
            for stored in (sources.results_path(name), sources.models_path(name)):
                if stored.exists():  # results/ or models/, which the notebook opens beside itself
                    (source / stored.parent.name).mkdir(exist_ok=True)
                    shutil.copy(stored, source / stored.parent.name)
            _succeed(_api(folder).generate_assignment(name, force=True, create=True), name)
    return [folder / "release" / name / f"{name}.ipynb" for name in texts]


def _assignment(name):
    """(source notebook, {exercise: answer}): with calls of `exercises` around every check."""
    notebook = nbformat.read(sources.notebook_path(name), as_version=4)
    cells, answers = [], {}
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("solution"):
            answer, answers[about["grade_id"]] = cell, cell.source
        if about.get("grade"):
            exercise = answer.metadata.nbgrader.grade_id
            call = f'("{name}", "{exercise}", globals())'
            cell.source = (
                f"from dvae_lib import exercises\n\nexercises.own_work{call}\n"
                f'{cell.source}\nexercises.passed("{exercise}")'
            )
            cell.metadata.tags = ["raises-exception"]  # "Run all" goes on after a failed check
            cells += [cell, _locked(f"{exercise}_go_on", f"exercises.go_on{call}")]
        else:
            cells.append(cell)
    if not answers:
        raise ValueError(f"{name} has no exercises to hand out")
    notebook.cells = cells
    return notebook, answers


def otter(notebooks, folder):
    """Write an otter-grader master of each notebook: folder/otter/A/A.ipynb and A.reference.

    `otter assign A.ipynb dist` makes the handout and the autograder of it. Returns the paths.
    Raises ImportError without otter-grader (the extra "otter").
    """
    if importlib.util.find_spec("otter") is None:
        raise ImportError("masters for otter need it: pip install 'dvae_lib[otter]'")
    paths = []
    for name in notebooks:
        notebook, answers = _assignment(name)
        notebook.cells = _otter_cells(notebook.cells, name)
        path = Path(folder, "otter", name, f"{name}.ipynb")
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        path.with_suffix(".reference").write_text(exercises.pack(answers))
        paths.append(path)
    return paths


def _otter_cells(cells, name):
    """Cells with nbgrader's marks, as otter's master format has them."""
    config = f"name: {name}\nexport_cell: false\nfiles:\n  - {name}.reference"
    out = [_raw(f"# ASSIGNMENT CONFIG\n{config}")]
    for cell in cells:
        about = cell.metadata.pop("nbgrader", {})
        if about.get("solution"):
            question = f"name: {about['grade_id']}\npoints: {{points}}\nall_or_nothing: true"
            begin = _raw(f"# BEGIN QUESTION\n{question}")
            out += [begin, _raw("# BEGIN SOLUTION"), cell, _raw("# END SOLUTION")]
        elif about.get("grade"):
            begin.source = begin.source.format(points=about["points"])
            before, _, rest = cell.source.partition("# BEGIN HIDDEN TESTS\n")
            hidden, _, after = rest.partition("# END HIDDEN TESTS\n")
            visible, hidden = _code(before + after), _code("# HIDDEN\n" + textwrap.dedent(hidden))
            out += [_raw("# BEGIN TESTS"), visible, hidden, _raw("# END TESTS")]
            out += [_raw("# END QUESTION")]
        else:
            out.append(cell)
    return out


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
            shutil.copy(sources.root() / part, copy)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(sources.root() / "dvae_lib", Path(copy, "dvae_lib"), ignore=ignored)
        subprocess.run([*command, "--no-build-isolation", copy], check=True)
    return next(Path(folder).glob("*.whl"))


@dataclass
class Mark:
    """The grade of one submission: points by exercise, and what a lecturer should know of it."""

    student: str
    notebook: str
    points: dict[str, float] = field(default_factory=dict)
    highest: dict[str, float] = field(default_factory=dict)
    remark: str = ""


def grade(folder, workers=1, cell_seconds=CELL_SECONDS):
    """Grade every submission of a course; write grades.csv, feedback pages and the gradebook.

    Each submission is graded by itself, in a process and a folder of its own, at tier smoke, so
    that a broken one touches no other. cell_seconds: the time limit of a cell. Returns the Marks.
    Raises FileNotFoundError if nothing was handed in.
    """
    folder = Path(folder).resolve()
    found = sorted(path for path in folder.glob("submitted/*/*") if path.is_dir())
    if not found:
        raise FileNotFoundError(f"nothing in {folder / 'submitted'}: expected STUDENT/NOTEBOOK/")
    jobs = [(folder, path.parent.name, path.name, cell_seconds) for path in found]
    slots = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, slots) as pool:
        marks = list(tqdm(pool.map(_grade_one, jobs), total=len(jobs), desc="submissions"))
    for mark in marks:
        _enter(folder, mark)
    _write_csv(folder / "grades.csv", marks)
    return marks


def _grade_one(job):
    """Grade one submission in temporary courses and bring its pages back: a Mark."""
    folder, student, name, cell_seconds = job
    mark = Mark(student, name)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the kernel; submissions run side by side
    try:
        mark.highest = _highest(folder, name)
        cells = _submitted_cells(folder, student, name)
        try:
            mark.points = _autograde(folder, student, name, cells, cell_seconds)
        except RuntimeError:  # an answer took the kernel with it: grade each by itself
            mark.remark = "an answer ended the kernel; each was graded alone, look at it by hand"
            for exercise in mark.highest:
                mark.points[exercise] = _alone(folder, student, name, cells, exercise, cell_seconds)
    except Exception as error:  # whatever a submission does, the others go on
        mark.points = dict.fromkeys(mark.highest, 0.0)
        mark.remark = f"not graded, look at it by hand: {error}"
    return mark


def _alone(folder, student, name, cells, exercise, cell_seconds):
    """The points of one exercise, all others being left unanswered."""
    released = nbformat.read(folder / "release" / name / f"{name}.ipynb", as_version=4)
    stubs = {_grade_id(cell): cell for cell in released.cells if _is_solution(cell)}
    alone = [
        stubs[_grade_id(cell)] if _is_solution(cell) and _grade_id(cell) != exercise else cell
        for cell in cells
    ]
    try:
        return _autograde(folder, student, name, alone, cell_seconds)[exercise]
    except RuntimeError:
        return 0.0


def _autograde(folder, student, name, cells, cell_seconds):
    """Run nbgrader on the cells of a submission, keep the pages that it makes: {exercise: points}.

    Raises RuntimeError where nbgrader does not come to an end.
    """
    with tempfile.TemporaryDirectory() as temporary, _quiet():
        course = Path(temporary)
        shutil.copy(folder / "gradebook.db", course)
        shutil.copytree(folder / "source" / name, course / "source" / name)
        copied = course / "submitted" / student / name
        shutil.copytree(folder / "submitted" / student / name, copied)
        notebook = nbformat.read(course / "source" / name / f"{name}.ipynb", as_version=4)
        notebook.cells = cells
        nbformat.write(notebook, copied / f"{name}.ipynb")
        api = _api(course, cell_seconds)
        _succeed(api.autograde(name, student, force=True, create=True), student)
        _succeed(api.generate_feedback(name, student, force=True), student)
        for kind in ("autograded", "feedback"):
            made = folder / kind / student / name
            shutil.rmtree(made, ignore_errors=True)
            shutil.copytree(course / kind / student / name, made)
        return _points(course, student, name)


def _submitted_cells(folder, student, name):
    """The cells that a student handed in, restored to what may be graded."""
    submitted = folder / "submitted" / student / name / f"{name}.ipynb"
    if not submitted.exists():
        raise ValueError(f"there is no {name}.ipynb in the submission")
    try:
        cells = nbformat.read(submitted, as_version=4).cells
    except Exception as error:
        raise ValueError(f"{name}.ipynb is not a notebook ({error})") from error
    source = nbformat.read(folder / "source" / name / f"{name}.ipynb", as_version=4)
    return restore(cells, source.cells)


def restore(cells, source):
    """The cells of a submission with missing ones of the assignment put back.

    Cells are known by their grade_id; nbgrader itself restores the locked ones that were changed.
    A missing cell goes below the one that stands before it in `source`, the one with the
    parameters above the first code.
    """
    cells = list(cells)
    if not any(map(_is_parameters, cells)):
        codes = [k for k, cell in enumerate(cells) if cell.cell_type == "code"]
        first = min(codes, default=0)
        cells[first:first] = [cell for cell in source if _is_parameters(cell)]
    at = 0
    for wanted in (cell for cell in source if _grade_id(cell)):
        places = [k for k, cell in enumerate(cells) if _grade_id(cell) == _grade_id(wanted)]
        if not places:
            cells.insert(at, wanted)
            places = [at]
        at = places[0] + 1
    return cells


def _is_parameters(cell):
    return "parameters" in cell.metadata.get("tags", [])


def _grade_id(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def _is_solution(cell):
    return cell.metadata.get("nbgrader", {}).get("solution", False)


def _write_csv(path, marks):
    """A row a submission: student, notebook, points of every exercise, sum, highest, remark."""
    names = sorted({f"{m.notebook}: {e}" for m in marks for e in m.highest})
    with files.atomic(path) as temporary, open(temporary, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["student", "notebook", *names, "points", "of", "remark"])
        for mark in marks:
            own = {f"{mark.notebook}: {e}": p for e, p in mark.points.items()}
            sums = sum(mark.points.values()), sum(mark.highest.values())
            cells = [own.get(name, "") for name in names]
            table.writerow([mark.student, mark.notebook, *cells, *sums, mark.remark])


# nbgrader


class SmokeTier(NbGraderPreprocessor):
    """Sets the tier of a submission to smoke, so that it is graded in seconds."""

    def preprocess_cell(self, cell, resources, cell_index):
        if _is_parameters(cell):
            cell.source = cell.source.replace('"classroom"', '"smoke"')
        return cell, resources


class DropWarnings(NbGraderPreprocessor):
    """Leaves out what a check wrote to stderr, for which nbgrader would give no points."""

    def preprocess_cell(self, cell, resources, cell_index):
        if utils.is_grade(cell):
            cell.outputs = [o for o in cell.get("outputs", []) if o.get("name") != "stderr"]
        return cell, resources


def _api(folder, cell_seconds=CELL_SECONDS):
    # nbgrader calls alembic, which lies beside the interpreter.
    scripts = str(Path(sys.executable).parent)
    if scripts not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = scripts + os.pathsep + os.environ["PATH"]
    config = Config()
    config.CourseDirectory.root = str(folder)
    config.CourseDirectory.course_id = "dvae"
    config.ClearSolutions.code_stub = {"python": STUB}
    config.Execute.timeout = cell_seconds
    config.Autograde.autograde_preprocessors = GRADING
    return NbGraderAPI(config=config)


@contextlib.contextmanager
def _quiet():
    """Keep nbgrader's log to itself; its errors come back in the results."""
    logging.disable(logging.CRITICAL)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _succeed(result, what):
    if not result["success"]:
        lines = (result.get("error") or result.get("log") or "").strip().splitlines()
        raise RuntimeError(
            f"nbgrader failed on {what}: {lines[-1] if lines else 'no reason given'}"
        )


def _highest(folder, name):
    """{exercise: points} of an assignment."""
    with Gradebook(_url(folder)) as book:
        try:
            cells = book.find_notebook(name, name).grade_cells
        except MissingEntry as error:
            raise ValueError(f"{name} is not an assignment of this course") from error
        return {cell.name.removesuffix("_check"): cell.max_score for cell in cells}


def _points(course, student, name):
    with Gradebook(_url(course)) as book:
        grades = book.find_submission_notebook(name, name, student).grades
        return {grade.name.removesuffix("_check"): grade.auto_score or 0.0 for grade in grades}


def _enter(folder, mark):
    """Write a Mark into the course's own gradebook, where Formgrader finds it."""
    with Gradebook(_url(folder)) as book:
        if not mark.highest:
            return
        book.update_or_create_student(mark.student)
        book.update_or_create_submission(mark.notebook, mark.student)
        for grade in book.find_submission_notebook(
            mark.notebook, mark.notebook, mark.student
        ).grades:
            grade.auto_score = mark.points[grade.name.removesuffix("_check")]
            grade.needs_manual_grade = bool(mark.remark)
        book.db.commit()


def _url(folder):
    return f"sqlite:///{folder / 'gradebook.db'}"
