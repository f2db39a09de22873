"""Assignments: what is handed out leaks nothing, and what is handed in is graded fairly."""

import csv
import functools
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from conftest import NOTEBOOKS
from IPython.core.interactiveshell import InteractiveShell

from dvae_lib import cli, exercises, sources

classroom = pytest.importorskip("dvae_lib.classroom")
Gradebook = pytest.importorskip("dvae_lib.course").Gradebook
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)

DEMO = {
    "double": """def double(x):
    # BEGIN SOLUTION
    twice = x + x
    return twice
    # END SOLUTION""",
    "square": """def square(x):
    # BEGIN SOLUTION
    return double(x) * x / 2
    # END SOLUTION""",
}
CHECKS = {
    "double": """assert double(3) == 6, "not twice"
# BEGIN HIDDEN TESTS
assert double(0.5) == 1
# END HIDDEN TESTS""",
    "square": """assert square(3) == 9, "not the square"
# BEGIN HIDDEN TESTS
assert square(-1) == 1
# END HIDDEN TESTS""",
}
POINTS = {"double": 1.0, "square": 3.0}


def packed(answers):
    return exercises.pack({name: exercises.contract(text) for name, text in answers.items()})


def exercise_cells(name):
    solution = {"grade": False, "grade_id": name, "locked": False, "solution": True}
    check = {"grade": True, "grade_id": f"{name}_check", "locked": True, "solution": False}
    check["points"] = POINTS[name]
    rest = {"schema_version": 3, "task": False}
    cells = nbformat.v4.new_code_cell(DEMO[name]), nbformat.v4.new_code_cell(CHECKS[name])
    for cell, about in zip(cells, (solution, check), strict=True):
        cell.metadata["nbgrader"] = about | rest
    return cells


@pytest.fixture(scope="session", autouse=True)
def _releases_are_cheap(tmp_path_factory):
    """What every release does alike is done once: building the wheel, asking for a version."""
    from nbgrader import api

    wheel = classroom._wheel(tmp_path_factory.mktemp("wheel"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classroom, "_wheel", lambda folder: wheel)
        patch.setattr(api, "get_alembic_version", functools.cache(api.get_alembic_version))
        yield


@pytest.fixture
def course(checkout, tmp_path):
    """A course with one assignment, "demo", of two exercises; the second rests on the first."""
    path = checkout.write("demo", "assert tier == 'smoke'")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += [*exercise_cells("double"), *exercise_cells("square")]
    notebook.cells.append(nbformat.v4.new_code_cell("assert square(4) == 16"))
    nbformat.write(notebook, path)
    folder = tmp_path / "course"
    assert classroom.release(["demo"], folder) == [folder / "release" / "demo" / "demo.ipynb"]
    return folder


def hand_in(course, student, answers=(), name="demo", start="release", edit=None):
    """Put a submission into the course: the released notebook with the cells in `answers`."""
    notebook = nbformat.read(course / start / name / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("grade_id") in dict(answers):
            cell.source = dict(answers)[about["grade_id"]]
    if edit:
        edit(notebook)
    folder = course / "submitted" / student / name
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")


# What is handed out


# The contract of 01's exercise says so in words, and a later section calls it, too.
PUBLIC = {"mean, log_var = vae.posterior(x)"}


def secret_lines(source):
    """The lines of a solution, and the assertions of hidden tests."""
    inside, found = "", []
    for line in map(str.strip, source.splitlines()):
        if line.startswith("# END"):
            inside = ""
        if inside == "SOLUTION" or (line.startswith("assert") and inside and line[-1] != "("):
            found.append(line)
        if line.startswith("# BEGIN"):
            inside = line.removeprefix("# BEGIN ")
    return found


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    """`released("01_vae")` is the folder that students get of a notebook of the workbook."""

    @functools.cache
    def release(name):
        return classroom.release([name], tmp_path_factory.mktemp("course"))[0].parent

    return release


@every_notebook
def test_no_line_of_a_solution_leaves_with_the_assignment(released, name):
    folder = released(name)
    notebook = nbformat.read(sources.notebook_path(name), as_version=4)
    secrets = [line for cell in notebook.cells for line in secret_lines(cell.source)]
    assert secrets
    texts = [p.read_text() for p in folder.iterdir() if p.suffix not in (".whl", "")]
    handed_out = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    lines = {line.strip() for cell in handed_out.cells for line in cell.source.splitlines()}
    assert {s for s in secrets if len(s) > 12 and s in lines} <= PUBLIC
    assert not any("BEGIN SOLUTION" in text or "HIDDEN TESTS" in text for text in texts)
    assert not any(cell.get("outputs") for cell in handed_out.cells)


def test_a_handout_states_how_to_install_and_holds_the_library(released):
    folder = released("01_vae")
    (wheel,) = folder.glob("*.whl")
    assert f"pip install {wheel.name}" in (folder / "READ_ME.txt").read_text()
    names = zipfile.ZipFile(wheel).namelist()
    assert "dvae_lib/metrics/infomec.py" in names
    assert "dvae_lib/data/faces_model.npz" in names
    assert (folder / "results" / "01_vae.json").exists()


def test_what_cannot_be_handed_out_is_refused(checkout, tmp_path):
    checkout.write("plain", "print(1)")
    with pytest.raises(ValueError, match="plain has no exercises"):
        classroom.release(["plain"], tmp_path)
    with pytest.raises(ValueError, match="no notebook '77_x'"):
        classroom.release(["77_x"], tmp_path)


# Going on, and own work


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A notebook's kernel beside the reference of the demo."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.reference").write_text(packed(DEMO))
    kernel = InteractiveShell()
    kernel.run_cell("from dvae_lib import exercises, objectives")
    # The shell's namespace is not __main__ here; in a kernel it is.
    kernel.user_ns["__name__"] = "__main__"
    return kernel


def rejected(shell, answer, exercise="double"):
    """Why `own_work` refuses an answer, or "" if it does not."""
    shell.run_cell(answer)
    try:
        exercises.own_work("demo", exercise, shell.user_ns)
    except AssertionError as error:
        return str(error)
    return ""


def test_own_work_is_told_from_borrowed_work(shell):
    for answer in (
        "def double(x):\n    return x * 2",
        "double = lambda x: 2 * x",
        "def helper(x):\n    return 2 * x\n\ndef double(x):\n    return helper(x)",
        "import torch\n\ndef double(x):\n    return torch.add(x, x)",
        "class double:\n    def __call__(self, x):\n        return 2 * x",
    ):
        assert rejected(shell, answer) == "", answer
    for answer in (
        "double = objectives.mmd",
        "double = lambda x: objectives.mmd(x)",
        "def double(x):\n    return objectives.mmd(x)",
        "def double(x):\n    from dvae_lib.objectives import mmd\n    return mmd(x)",
        "from dvae_lib import objectives as o\n\ndef double(x):\n    return o.mmd(x)",
        "from dvae_lib.objectives import mmd as twice\n\ndef double(x):\n    return twice(x)",
        "def helper(x):\n    return objectives.mmd(x)\n\ndef double(x):\n    return helper(x)",
        "class double:\n    def __call__(self, x):\n        return objectives.mmd(x)",
    ):
        assert "of the library: write it yourself" in rejected(shell, answer), answer
    assert "double is None" in rejected(shell, "double = None")
    assert "there is no double" in rejected(shell, "del double")


def test_what_the_reference_uses_may_be_used(shell, tmp_path):
    source = "def double(x):\n    return objectives.mmd(x)"
    (tmp_path / "demo.reference").write_text(packed({"double": source}))
    assert rejected(shell, "def double(x):\n    return objectives.kl(x)") == ""


def test_the_notebook_goes_on_with_the_reference_until_the_check_passes(shell, capsys):
    space = shell.user_ns
    shell.run_cell("def double(x):\n    return 0")
    exercises.go_on("demo", "double", space)
    assert space["double"](4) == 8
    assert "the reference's double" in capsys.readouterr().out
    shell.run_cell("def double(x):\n    return 2.0 * x")
    exercises.passed("double")
    for _ in range(2):
        exercises.go_on("demo", "double", space)
        assert isinstance(space["double"](4), float)
        assert "your answer" in capsys.readouterr().out
    exercises.own_work("demo", "double", space)  # the check begins anew
    exercises.go_on("demo", "double", space)
    assert "not passed" in capsys.readouterr().out


def test_a_missing_reference_says_where_it_belongs(shell, tmp_path):
    (tmp_path / "demo.reference").unlink()
    with pytest.raises(FileNotFoundError, match=r"demo\.reference is not in .*keep it beside"):
        exercises.go_on("demo", "double", shell.user_ns)


# Grading


def points(marks):
    return {mark.student: sum(mark.points.values()) for mark in marks}


@pytest.mark.notebook
def test_grades_are_what_a_fair_marker_gives(course):
    """Beside submissions that end their kernel or are no notebook, and in the gradebook, too."""
    hand_in(course, "reference", start="source")
    hand_in(course, "untouched")
    first = {"double": "def double(x):\n    return 2 * x"}
    both = first | {"square": "def square(x):\n    return x**2"}
    hand_in(course, "first_only", first)
    hand_in(course, "second_only", {"square": both["square"]})
    hand_in(course, "both", both)
    noisy = "import sys\n\ndef double(x):\n    print('careful', file=sys.stderr)\n    return 2 * x"
    hand_in(course, "stderr", both | {"double": noisy})
    hand_in(course, "none", both | {"double": "def double(x):\n    return None"})
    hand_in(course, "raises", both | {"double": "def double(x):\n    raise RuntimeError"})
    hand_in(course, "broken_syntax", both | {"double": "def double(x:"})
    waiting = "import time\n\ndef double(x):\n    while True:\n        time.sleep(0.1)"
    hand_in(course, "loops", both | {"double": waiting})
    hand_in(course, "killer", both | {"square": "import os\n\ndef square(x):\n    os._exit(1)"})
    borrowed = (
        "from dvae_lib import objectives as o\n\ndef double(x):\n    o.LOG_2PI\n    return 2 * x"
    )
    hand_in(course, "library", both | {"double": borrowed})
    hand_in(course, "visible_only", both | {"double": "def double(x):\n    return 6"})
    hand_in(course, "changed_check", {"double_check": "assert True"})
    hand_in(course, "changed_call", {"double_go_on": "", "square": both["square"]})

    def only_answers(notebook):
        notebook.cells = [
            c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("solution")
        ]

    hand_in(course, "only_answers", both, edit=only_answers)
    (course / "submitted" / "not_json" / "demo").mkdir(parents=True)
    (course / "submitted" / "not_json" / "demo" / "demo.ipynb").write_text("{")
    (course / "submitted" / "no_file" / "demo").mkdir(parents=True)

    marks = classroom.grade(course, workers=2, cell_seconds=20)
    assert points(marks) == {
        "reference": 4, "untouched": 0, "first_only": 1, "second_only": 3, "both": 4, "stderr": 4,
        "none": 3, "raises": 3, "broken_syntax": 3, "loops": 3, "library": 3, "visible_only": 3,
        "killer": 1,  # the other exercise is right
        "changed_check": 0, "changed_call": 3, "only_answers": 4, "not_json": 0, "no_file": 0,
    }  # fmt: skip
    remarks = {mark.student: mark.remark for mark in marks if mark.remark}
    assert set(remarks) == {"killer", "not_json", "no_file"}
    assert "ended the kernel" in remarks["killer"]
    assert "by hand: demo.ipynb is not a notebook" in remarks["not_json"]
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        for mark in marks:  # Formgrader lists those that a person has to look at
            grades = book.find_submission_notebook("demo", "demo", mark.student).grades
            entered = {g.name.removesuffix("_check"): g.auto_score for g in grades}
            assert entered == mark.points
            assert [g.needs_manual_grade for g in grades] == 2 * [bool(mark.remark)]
    rows = list(csv.DictReader((course / "grades.csv").open()))
    assert {row["student"]: float(row["points"]) for row in rows} == points(marks)
    page = (course / "feedback" / "library" / "demo" / "demo.html").read_text()
    assert "write it yourself" in page


@pytest.mark.notebook
def test_nbgrader_itself_grades_the_course(course):
    """As the lecturer's Formgrader does: by the course's own configuration, at tier smoke."""
    noisy = "import sys\n\ndef double(x):\n    print('careful', file=sys.stderr)\n    return 2 * x"
    hand_in(course, "one", {"double": noisy})
    command = [Path(sys.executable).with_name("nbgrader"), "autograde", "demo", "--create"]
    subprocess.run(command, cwd=course, check=True, capture_output=True)
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        grades = book.find_submission_notebook("demo", "demo", "one").grades
        assert {g.name: g.auto_score for g in grades} == {"double_check": 1, "square_check": 0}


@pytest.mark.notebook
def test_the_commands(course, tmp_path, capsys):
    assert cli.main(["grade", str(course)]) == 2
    assert "nothing in" in capsys.readouterr().err
    assert cli.main(["release", "demo", "--to", str(tmp_path / "other")]) == 0
    released = capsys.readouterr().out.split()
    assert released == [str(tmp_path / "other" / "release" / "demo" / "demo.ipynb")]
    hand_in(course, "ann", {"double": "def double(x):\n    return 2 * x"})
    assert cli.main(["grade", str(course)]) == 0
    assert "ann                  demo                         1 of 4" in capsys.readouterr().out


@pytest.mark.notebook
@pytest.mark.parametrize("part", ["odd", "even"])
@every_notebook
def test_every_notebook_pays_for_what_is_solved(name, part, tmp_path):
    """Two hand-ins, so that each exercise is solved once and left out once.

    The reference's smoke run is the third: it has all checks pass, hidden tests included.
    """
    classroom.release([name], tmp_path)
    source = nbformat.read(tmp_path / "source" / name / f"{name}.ipynb", as_version=4)
    about = [(cell.metadata.get("nbgrader", {}), cell.source) for cell in source.cells]
    answers = {a["grade_id"]: source for a, source in about if a.get("solution")}
    worth = {a["grade_id"].removesuffix("_check"): a["points"] for a, _ in about if a.get("grade")}
    solved = list(answers)[part == "even" :: 2]
    hand_in(tmp_path, part, {exercise: answers[exercise] for exercise in solved}, name)
    (mark,) = classroom.grade(tmp_path)
    assert mark.remark == ""
    assert mark.points == {exercise: worth[exercise] * (exercise in solved) for exercise in answers}
    (path,) = tmp_path.glob("autograded/*/*/*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    failed = [c for c in cells for o in c.get("outputs", []) if o.output_type == "error"]
    # Nothing but the checks of unsolved exercises: no later cell depends on one.
    assert [c.source for c in failed if not c.metadata.get("nbgrader", {}).get("grade")] == []


@pytest.mark.notebook
def test_the_otter_master_grades_alike(course, tmp_path):
    pytest.importorskip("otter")
    (master,) = classroom.otter(["demo"], tmp_path)
    tool = Path(sys.executable).with_name("otter")

    def run(*arguments):
        command = [tool, *arguments]
        subprocess.run(command, cwd=master.parent, check=True, capture_output=True)

    run("assign", "--no-pdfs", master.name, "dist")
    dist = master.parent / "dist"
    assert "twice = x + x" not in (dist / "student" / "demo.ipynb").read_text()
    (grader,) = (dist / "autograder").glob("*.zip")
    for made, expected in (("autograder", [1, 3]), ("student", [0, 0])):
        out = tmp_path / made
        out.mkdir()
        run("run", "-a", grader, "-o", out, dist / made / "demo.ipynb")
        tests = json.loads((out / "results.json").read_text())["tests"]
        scores = {test["name"]: test.get("score") for test in tests}
        assert [scores["double"], scores["square"]] == expected
