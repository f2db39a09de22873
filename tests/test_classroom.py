"""Assignments: what is handed out leaks nothing, and what is handed in is graded fairly."""

import contextlib
import csv
import datetime
import functools
import html
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
from conftest import NOTEBOOKS
from exercises import prepared
from IPython.core.interactiveshell import InteractiveShell

from dvae_lib import cli, exercises, paths, submissions

classroom = pytest.importorskip("dvae_lib.classroom")
from dvae_lib.course import Course, Gradebook  # noqa: E402
from dvae_lib.marks import write  # noqa: E402

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


# The contract of 01's exercise says so in words, and a later section calls it, too. In 06 the last
# line of the solution is that of the loss above.
PUBLIC = {
    "mean, log_var = vae.posterior(x)",
    "return loss_of_code(vae, mean, log_var, y, regulariser)",
}


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
    notebook = nbformat.read(paths.notebook_path(name), as_version=4)
    secrets = [line for cell in notebook.cells for line in secret_lines(cell.source)]
    assert secrets
    texts = [p.read_text() for p in folder.iterdir() if p.suffix not in (".whl", "")]
    handed_out = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    lines = {line.strip() for cell in handed_out.cells for line in cell.source.splitlines()}
    assert {s for s in secrets if len(s) > 12 and s in lines} <= PUBLIC
    assert not any("BEGIN SOLUTION" in text or "HIDDEN TESTS" in text for text in texts)
    assert not any(cell.get("outputs") for cell in handed_out.cells)


@every_notebook
def test_of_a_link_to_a_notebook_that_is_not_handed_out_the_words_stay(name):
    stored = nbformat.read(paths.notebook_path(name), as_version=4)
    before, after = (
        "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        for notebook in (stored, classroom._assignment(name)[0])
    )
    for other in NOTEBOOKS:
        before = before.replace(f"]({other}.ipynb)", "")
    assert before.replace("[", "") == after.replace("[", "")
    assert ".ipynb)" not in after


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
    """Why `require_own_answer` refuses an answer, or "" if it does not."""
    shell.run_cell(answer)
    try:
        exercises.require_own_answer("demo", exercise, shell.user_ns)
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
    exercises.use_reference("demo", "double", space)
    assert space["double"](4) == 8
    assert "the reference's double" in capsys.readouterr().out
    shell.run_cell("def double(x):\n    return 2.0 * x")
    exercises.passed("double")
    for _ in range(2):
        exercises.use_reference("demo", "double", space)
        assert isinstance(space["double"](4), float)
        assert "your answer" in capsys.readouterr().out
    exercises.require_own_answer("demo", "double", space)  # the check begins anew
    exercises.use_reference("demo", "double", space)
    assert "not passed" in capsys.readouterr().out


def test_a_missing_reference_says_where_it_belongs(shell, tmp_path):
    (tmp_path / "demo.reference").unlink()
    with pytest.raises(FileNotFoundError, match=r"demo\.reference is not in .*keep it beside"):
        exercises.use_reference("demo", "double", shell.user_ns)


# What was handed in: found, read, restored


def cells_of(course, kind="release"):
    return nbformat.read(course / kind / "demo" / "demo.ipynb", as_version=4).cells


def by_name(cells):
    return {name: cell for cell in cells if (name := submissions.grade_id(cell))}


DOUBLE, SQUARE = "def double(x):\n    return 2 * x", "def square(x):\n    return x**2"


@pytest.fixture
def restored(course):
    """`restored(edit)`: (sources by name in order, remarks) of right answers after an edit."""
    contracts = exercises.unpack(course / "source" / "demo" / "demo.reference")

    def restore(edit):
        cells = cells_of(course)
        by_name(cells)["double"].source, by_name(cells)["square"].source = DOUBLE, SQUARE
        cells = edit(cells) or cells
        parts = cells_of(course, "source"), cells_of(course), contracts
        cells, remarks = submissions.restore(cells, *parts)
        return cells, {name: cell.source for name, cell in by_name(cells).items()}, remarks

    return restore


NAMES = [f"{e}{part}" for e in ("double", "square") for part in ("", "_check", "_go_on")]


def without(*names):
    return lambda cells: [c for c in cells if submissions.grade_id(c) not in names]


def test_a_missing_answer_is_the_cell_that_was_handed_out(restored):
    for edit, lost in (
        (without("double"), ["double"]),
        (without("double", "square"), ["double", "square"]),
        (lambda cells: [cells[0]], ["double", "square"]),
        (lambda cells: [nbformat.v4.new_raw_cell("")], ["double", "square"]),
    ):
        _, sources, remarks = restored(edit)
        assert list(sources) == NAMES
        assert remarks == [f"{name}: its cell is missing" for name in lost]
        for name in lost:
            assert "NotImplementedError" in sources[name]
            assert "twice" not in sources[name]


def test_locked_cells_are_the_assignments_in_its_order(restored, course):
    hidden = {n: c.source for n, c in by_name(cells_of(course, "source")).items()}
    orders = (
        lambda cells: cells[::-1],
        without(*[name for name in NAMES if "_" in name]),
        lambda cells: cells + [by_name(cells)["double_go_on"]],
        lambda cells: by_name(cells)["double_check"].update(source="assert True"),
        lambda cells: [by_name(cells)["double_go_on"], *without("double_go_on")(cells)],
    )
    for edit in orders:
        _, sources, remarks = restored(edit)
        assert list(sources) == NAMES
        assert not remarks
        answers = {"double": DOUBLE, "square": SQUARE}
        assert sources == hidden | answers


def test_the_last_changed_copy_of_an_answer_counts(restored):
    def copies(*sources):
        def edit(cells):
            at = cells.index(by_name(cells)["double"])
            twins = [nbformat.v4.new_code_cell(s, metadata=cells[at].metadata) for s in sources]
            return [*cells[:at], *twins, *cells[at + 1 :]]

        return edit

    stub = "def double(x):\n    raise NotImplementedError('write your answer in this cell')"
    for copied, counts in (
        ((stub, DOUBLE), DOUBLE), ((DOUBLE, stub), DOUBLE), (("x = 1", DOUBLE), DOUBLE),
        ((DOUBLE, "def double(x):\n    return 0"), "def double(x):\n    return 0"),
    ):  # fmt: skip
        cells, found, remarks = restored(copies(*copied))
        assert found["double"] == counts
        assert found["square"] == SQUARE
        assert remarks == ["double: its cell is there 2 times; the last changed one counts"]
        kept = [cell.source for cell in cells]
        assert kept.count(stub) == 0  # would undo the answer
        assert ("x = 1" in kept) == ("x = 1" in copied)  # a split cell needs both halves


def test_an_answer_that_lost_its_name_is_known_by_what_it_defines(restored):
    def lose(cells):
        for cell in cells:
            cell.metadata = nbformat.NotebookNode()

    def rename(cells):
        by_name(cells)["double"].metadata.nbgrader.grade_id = "duble"

    for edit, said in ((lose, "has lost its name"), (rename, "has the name 'duble'")):
        cells, sources, remarks = restored(edit)
        assert (sources["double"], sources["square"]) == (DOUBLE, SQUARE)
        assert remarks[0] == f"double: its cell {said}; it is known by what it defines"
        assert sum("assert double(3)" in cell.source for cell in cells) == 1


def found_in(course, assignments=("demo",)):
    return {one.student: one for one in submissions.find(course, list(assignments))}


def test_hand_ins_are_found_wherever_they_are(course, tmp_path):
    text = (course / "release" / "demo" / "demo.ipynb").read_text()

    def put(place, data=text):
        path = course / "submitted" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    put("plain/demo/demo.ipynb")
    put("loose/demo.ipynb")
    put("copy/demo/Copy of demo.ipynb")
    put("deep/demo/demo/demo.ipynb")
    put("marked/demo/demo.ipynb", b"\xef\xbb\xbf" + text.encode())
    put("wide/demo/demo.ipynb", text.encode("utf-16"))
    old = nbformat.v3.writes_json(nbformat.convert(nbformat.reads(text, 4), 3))
    put("old/demo/demo.ipynb", old)
    with zipfile.ZipFile(put("zipped/assignment_1234.zip", ""), "w") as archive:
        archive.writestr("some folder/demo.ipynb", text)
    found = found_in(course)
    for student, one in found.items():
        assert (one.notebook, one.refused) == ("demo", ""), student
        assert len(one.read().cells) == len(cells_of(course)), student
        assert bool(one.remarks) == (student not in {"plain", "marked", "wide"}), student
    assert len(found) == 8


def test_what_cannot_be_read_has_a_reason(course, tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_text((course / "source" / "demo" / "demo.ipynb").read_text())
    submitted = course / "submitted"
    for name in ("empty", "words", "pipe", "link", "folder", "huge", "other"):
        (submitted / name / "demo").mkdir(parents=True)
    (submitted / "eve").mkdir()
    (submitted / "words" / "demo" / "demo.ipynb").write_text("not json")
    os.mkfifo(submitted / "pipe" / "demo" / "demo.ipynb")
    (submitted / "link" / "demo" / "demo.ipynb").symlink_to(secret)
    (submitted / "linked").symlink_to(submitted / "words")
    (submitted / "folder" / "demo" / "demo.ipynb").mkdir()
    with open(submitted / "huge" / "demo" / "demo.ipynb", "wb") as file:
        file.truncate(submissions.LARGEST + 1)
    (submitted / "other" / "demo" / "essay.pdf").touch()
    (submitted / "all.zip").touch()

    def reason(one):
        if not one.refused:
            with pytest.raises(submissions.Refused) as refusal:
                one.read()
            return str(refusal.value)
        return one.refused

    reasons = {student: reason(one) for student, one in found_in(course).items()}
    for student, words in {
        "empty": "there is no demo.ipynb", "words": "is not a notebook", "pipe": "a named pipe",
        "link": "demo.ipynb is a link", "linked": "a link", "folder": "is a folder",
        "huge": "100,000,001 bytes", "other": "there is no demo.ipynb", "eve": "holds nothing",
        "all.zip": "unpack an archive first",
    }.items():  # fmt: skip
        assert words in reasons.pop(student), student
    assert not reasons


# Marks


@pytest.fixture
def book(course):
    """`book(points, **more)`: the Mark of ann as the gradebook has it after it was entered."""

    def enter(double, square, **more):
        mark = classroom.Mark("ann", "demo", {"double": double, "square": square}, POINTS, **more)
        return Course(course).enter(mark)

    return enter


def graded_by_hand(course, exercise, score):
    with Gradebook(Course(course).url) as book:
        grade = book.find_grade(f"{exercise}_check", "demo", "demo", "ann")
        grade.manual_score, grade.needs_manual_grade = score, False
        book.db.commit()


def waiting(course):
    with Gradebook(Course(course).url) as book:
        return [
            g.needs_manual_grade for g in book.find_submission("demo", "ann").notebooks[0].grades
        ]


def test_manual_marks_stand_and_a_second_grading_changes_nothing(course, book):
    assert book(1.0, 0.0, by_hand=True).points == {"double": 1.0, "square": 0.0}
    assert waiting(course) == [True, True]
    graded_by_hand(course, "square", 2.0)
    for _ in range(2):
        assert book(1.0, 0.0, by_hand=True).total == 3.0
        assert waiting(course) == [True, False]
    book(1.0, 3.0, by_hand=True)  # the answer is another one
    assert waiting(course) == [True, True]


def test_late_work_loses_what_the_course_says(course, book):
    due = datetime.datetime(2026, 11, 1, 12)
    with Gradebook(Course(course).url) as gradebook:
        gradebook.update_or_create_assignment("demo", duedate=due)
    in_time, late = due - datetime.timedelta(hours=1), due + datetime.timedelta(hours=2)
    assert book(1.0, 3.0, submitted_at=late).total == 4.0  # the course takes nothing
    config = course / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.LateSubmissionPlugin.penalty_method = 'zero'\n")
    mark = book(1.0, 3.0, submitted_at=late)
    assert (mark.total, mark.penalty, mark.late) == (0.0, 4.0, 7200.0)
    with Gradebook(Course(course).url) as gradebook:
        assert gradebook.find_submission("demo", "ann").timestamp == late
    assert book(1.0, 3.0, submitted_at=in_time).total == 4.0


def test_the_time_of_a_hand_in(course):
    hand_in(course, "ann")
    for text, moment, remarks in (
        ("2026-11-01 13:00:00.0 UTC", datetime.datetime(2026, 11, 1, 13), 0),
        ("2026-11-01 13:00:00 +0100", datetime.datetime(2026, 11, 1, 12), 0),
        ("yesterday evening", None, 1),
    ):
        (course / "submitted" / "ann" / "demo" / "timestamp.txt").write_text(text)
        one = found_in(course)["ann"]
        assert one.submitted_at() == moment
        assert len(one.remarks) == remarks


def rows(path):
    return list(csv.reader(path.open()))


def test_tables_for_the_lecturer_and_for_their_platform(tmp_path):
    marks = [
        classroom.Mark("ann", "demo", {"double": 1.0, "square": 3.0}, POINTS, penalty=0.5),
        classroom.Mark("bob", "demo", {"double": 0.0, "square": 3.0}, POINTS, "=1+1",
                       messages={"double": "not twice"}),
        classroom.Mark("eve", "demo", {"double": 0.0, "square": 0.0}, POINTS, handed_in=False),
        classroom.Mark("x.zip", "", remark="not graded: unpack it"),
    ]  # fmt: skip
    write(tmp_path, marks)
    table = rows(tmp_path / "grades.csv")
    assert table[0] == [
        "student", "notebook", "demo: double", "demo: square", "penalty", "points", "of", "remark",
    ]  # fmt: skip
    assert table[1] == ["ann", "demo", "1.0", "3.0", "0.5", "3.5", "4.0", ""]
    assert table[2][-1] == "'=1+1"  # no formula
    assert table[4] == ["x.zip", "", "", "", "0.0", "0.0", "0", "not graded: unpack it"]
    assert rows(tmp_path / "statistics.csv")[1:] == [
        ["demo", "double", "2", "0.50", "not twice", "1"], ["demo", "square", "2", "1.00", "", "0"],
    ]  # fmt: skip
    moodle = rows(classroom.LMS["moodle"](tmp_path, marks))
    assert moodle[:2] == [["Username", "demo", "demo feedback"], ["ann", "3.5", ""]]
    canvas = rows(classroom.LMS["canvas"](tmp_path, marks))
    assert canvas[0][:4] == ["Student", "ID", "SIS User ID", "SIS Login ID"]
    assert canvas[1][-1] == "4.0"
    assert canvas[2] == ["ann", "", "", "ann", "", "3.5"]


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

    def no_answers(notebook):
        notebook.cells = [c for c in notebook.cells if submissions.grade_id(c) not in both]

    hand_in(course, "no_answers", edit=no_answers)
    patched = "import builtins\n\nbuiltins.abs = abs\nbuiltins.print = 1\n" + first["double"]
    hand_in(course, "patched", both | {"double": patched})
    script = "from IPython.display import HTML, display\n\ndisplay(HTML('<script>evil()</script>'))"
    peeks = "import sys\n\ndef double(x):\n    print(open('demo.reference').read())\n    return 0"

    def link(notebook):
        notebook.cells.append(nbformat.v4.new_markdown_cell("[x](javascript:evil())"))

    hand_in(course, "script", both | {"double": f"{script}\n{first['double']}"}, edit=link)
    hand_in(course, "peeks", both | {"double": peeks})
    (course / "submitted" / "not_json" / "demo").mkdir(parents=True)
    (course / "submitted" / "not_json" / "demo" / "demo.ipynb").write_text("{")
    (course / "submitted" / "no_file" / "demo").mkdir(parents=True)

    with Gradebook(Course(course).url) as book:
        book.update_or_create_student("enrolled")
    earlier = course / "feedback" / "not_json" / "demo" / "demo.html"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("all points")
    marks = classroom.grade(course, workers=2, cell_seconds=20)
    assert points(marks) == {
        "reference": 4, "untouched": 0, "first_only": 1, "second_only": 3, "both": 4, "stderr": 4,
        "none": 3, "raises": 3, "broken_syntax": 3, "loops": 3, "library": 3, "visible_only": 3,
        "killer": 1,  # the other exercise is right
        "changed_check": 0, "changed_call": 3, "only_answers": 4, "not_json": 0, "no_file": 0,
        "no_answers": 0, "patched": 0, "script": 4, "peeks": 3, "enrolled": 0,
    }  # fmt: skip
    remarks = {mark.student: mark.remark for mark in marks if mark.remark}
    assert set(remarks) == {"killer", "not_json", "no_file", "no_answers", "patched", "enrolled"}
    assert remarks["no_answers"] == "double: its cell is missing; square: its cell is missing"
    assert "builtins.print was changed" in remarks["patched"]
    assert remarks["enrolled"] == "nothing handed in"
    assert "the kernel ended" in remarks["killer"]
    assert "by hand: demo.ipynb is not a notebook" in remarks["not_json"]
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        for mark in (mark for mark in marks if mark.handed_in):
            # Formgrader lists those that a person has to look at.
            grades = book.find_submission_notebook("demo", "demo", mark.student).grades
            entered = {g.name.removesuffix("_check"): g.auto_score for g in grades}
            assert entered == mark.points
            assert [g.needs_manual_grade for g in grades] == 2 * [bool(mark.remark)]
    rows = list(csv.DictReader((course / "grades.csv").open()))
    assert {row["student"]: float(row["points"]) for row in rows} == points(marks)
    pages = {path.parts[-3]: path.read_text() for path in course.glob("feedback/*/*/*")}
    assert set(pages) == set(points(marks)) - {"not_json", "no_file", "enrolled"}
    assert "write it yourself" in pages["library"]
    for student, page in pages.items():  # names and keywords stand in tags of their own
        text = html.unescape(re.sub("<[^>]*>", "", page))
        assert "assert double(0.5)" not in text, student  # a hidden test
        assert ("twice = x + x" in text) == (student == "reference"), student
    assert "&lt;script&gt;evil()" in pages["script"]
    assert not re.search("<script>evil|href=.javascript", pages["script"])


@pytest.mark.notebook
def test_a_lecturer_may_show_hidden_tests(course):
    hand_in(course, "ann", {"double": "def double(x):\n    return 6"})
    (mark,) = classroom.grade(course, show_hidden=True)
    page = (course / "feedback" / "ann" / "demo" / "demo.html").read_text()
    assert "assert double(0.5)" in html.unescape(re.sub("<[^>]*>", "", page))
    assert mark.messages["double"] == "AssertionError"


@pytest.mark.notebook
def test_a_hand_in_is_run_down_to_its_last_check_and_its_figures_are_shown(course):
    draw, after = "from dvae_lib import figures\nfigures.subplots(alt='A box.')[0]", "print(6 * 7)"

    def edit(notebook):
        notebook.cells.insert(1, nbformat.v4.new_code_cell(draw))
        notebook.cells.append(nbformat.v4.new_code_cell(after))

    hand_in(course, "ann", edit=edit)
    assert [mark.remark for mark in classroom.grade(course)] == [""]
    (path,) = course.glob("autograded/ann/*/*.ipynb")
    outputs = {cell.source: cell.outputs for cell in nbformat.read(path, as_version=4).cells}
    assert outputs[draw]
    assert outputs[after] == []
    page = (course / "feedback" / "ann" / "demo" / "demo.html").read_text()
    assert 'src="data:image/png;base64,' in page
    assert "&lt;img" not in page


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
def test_the_temporary_folder_may_have_a_long_name(course, tmp_path):
    """Where sockets lie in it, their names would be longer than a system takes."""
    folder = tmp_path / ("x" * 110)
    folder.mkdir()
    hand_in(course, "ann", {"double": DOUBLE})
    command = [sys.executable, "-m", "dvae_lib.cli", "grade", str(course)]
    subprocess.run(command, env=os.environ | {"TMPDIR": str(folder)}, check=True)
    (row,) = csv.DictReader((course / "grades.csv").open())
    assert (row["points"], row["remark"]) == ("1.0", "")


def twice(assignment):
    """Each exercise of an assignment once more below itself, under a name that ends in _again."""
    notebook, contracts = assignment
    cells, again = [], []
    for cell in notebook.cells:
        cells.append(cell)
        if name := submissions.grade_id(cell):
            exercise = name.removesuffix("_check").removesuffix("_go_on")
            again.append(nbformat.from_dict(cell | {"id": f"again-{len(cells)}"}))
            again[-1].metadata.nbgrader.grade_id = name.replace(exercise, f"{exercise}_again", 1)
            for call in (f'"{exercise}", globals()', f'passed("{exercise}")'):
                renamed = call.replace(exercise, f"{exercise}_again")
                again[-1].source = again[-1].source.replace(call, renamed)
            if name.endswith("_go_on"):
                cells, again = cells + again, []
    notebook.cells = cells
    return notebook, contracts | {f"{name}_again": about for name, about in contracts.items()}


@pytest.mark.notebook
@every_notebook
def test_every_notebook_pays_for_what_is_solved(name, tmp_path, monkeypatch):
    """One hand-in: each exercise is solved, and left out where it is asked again below.

    So every later cell runs after exercises that were left out. That all runs on answers of one's
    own is told by the smoke run, which has all checks pass, hidden tests included.
    """
    plain = classroom._assignment
    monkeypatch.setattr(classroom, "_assignment", lambda name: twice(plain(name)))
    classroom.release([name], tmp_path)
    source = nbformat.read(tmp_path / "source" / name / f"{name}.ipynb", as_version=4)
    about = [(cell.metadata.get("nbgrader", {}), cell.source) for cell in source.cells]
    answers = {a["grade_id"]: source for a, source in about if a.get("solution")}
    worth = {a["grade_id"].removesuffix("_check"): a["points"] for a, _ in about if a.get("grade")}
    solved = [exercise for exercise in answers if not exercise.endswith("_again")]
    assert len(answers) == 2 * len(solved)
    for cell in nbformat.read(tmp_path / "release" / name / f"{name}.ipynb", as_version=4).cells:
        if (exercise := submissions.grade_id(cell)) in answers.keys() - set(solved):
            # Else the answer above would count, which defines the same.
            answers[exercise] = f"{cell.source}\n# left out"
    hand_in(tmp_path, "ann", answers, name)
    (mark,) = classroom.grade(tmp_path)
    assert mark.remark == ""
    assert mark.points == {exercise: worth[exercise] * (exercise in solved) for exercise in answers}
    (path,) = tmp_path.glob("autograded/*/*/*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    failed = [c for c in cells for o in c.get("outputs", []) if o.output_type == "error"]
    # Nothing but the checks of unsolved exercises: no later cell depends on one.
    assert [c.source for c in failed if not c.metadata.get("nbgrader", {}).get("grade")] == []


@every_notebook
def test_cases_of_otter_pass_with_the_reference_and_share_nothing(name, monkeypatch, capsys):
    """Otter runs each in a copy of the notebook's names, the visible and the whole check."""
    monkeypatch.setattr(exercises, "require_own_answer", lambda *about: print("as an answer may"))
    notebook, contracts = classroom._assignment(name)
    sources = [cell.source for cell in classroom._otter_cells(notebook.cells, name, [], "wheel")]
    cases = [k for k, text in enumerate(sources) if text == "# BEGIN TESTS"]
    assert len(cases) == len(contracts)
    for k in cases:
        visible, hidden, end = sources[k + 1 : k + 4]
        assert (hidden.startswith("# HIDDEN\n"), end) == (True, "# END TESTS")
        for case in (visible, hidden):
            exec(compile(case, name, "exec"), dict(prepared(name)[0]))
        assert "HIDDEN" not in visible
    assert capsys.readouterr().out == ""


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
    (wheel,) = (dist / "student").glob("dvae_lib-*.whl")  # as everything that lies beside
    with zipfile.ZipFile(grader) as archive:
        assert f"/autograder/source/files/{wheel.name}" in archive.read("environment.yml").decode()
        assert f"files/{wheel.name}" in archive.namelist()
    for made, expected in (("autograder", [1, 3]), ("student", [0, 0])):
        out = tmp_path / made
        out.mkdir()
        run("run", "-a", grader, "-o", out, dist / made / "demo.ipynb")
        tests = json.loads((out / "results.json").read_text())["tests"]
        scores = {test["name"]: test.get("score") for test in tests}
        assert [scores["double"], scores["square"]] == expected


@pytest.mark.notebook
def test_a_killed_grading_leaves_no_process_and_keeps_what_is_finished(course, tmp_path):
    hand_in(course, "ann", {"double": DOUBLE})
    forever = "import time\n\ndef double(x):\n    time.sleep(500)"
    hand_in(course, "bob", {"double": forever})
    marker = f"killed-{os.getpid()}"
    command = [sys.executable, "-m", "dvae_lib.cli", "grade", str(course), "--cell-seconds", "300"]
    process = subprocess.Popen(command, env=os.environ | {"MARKER": marker})
    deadline = time.monotonic() + 120
    while not (course / "grades.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)
    process.kill()
    process.wait()
    (row,) = csv.DictReader((course / "grades.csv").open())
    assert (row["student"], row["points"]) == ("ann", "1.0")

    def alive():
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                found += [path.parent.name] if marker.encode() in path.read_bytes() else []
        return found

    while alive() and time.monotonic() < deadline + 30:
        time.sleep(0.2)
    assert not alive()
