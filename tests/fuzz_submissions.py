"""Hands in mutated notebooks whose answers are known, and holds the marks against the answers.

    python tests/fuzz_submissions.py [--n 500] [--real 20] [--restored 5000] [--first 0]

Every mutant starts as a released notebook with a right, wrong or no answer to each exercise. Then
cells are deleted, copied, split, merged, moved or robbed of their metadata, and the file is saved,
named and placed as no teacher would. What it deserves is told from the mutant itself (`deserved`).
"""

import argparse
import ast
import contextlib
import copy
import glob
import json
import random
import shutil
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from unittest import mock

import nbformat
from room import POINTS, Room

from dvae_lib import classroom, exercises, submissions

REAL = "00_start_here"
CLASS = 25  # mutants that are graded together
KINDS = ("right", "wrong", "stub")
ANSWERS = {  # of the tiny notebook: {exercise: {kind: source}}
    "double": {
        "right": "HALF = 2\n\n\ndef double(x):\n    two = HALF\n    return two * x",
        "wrong": "def double(x):\n    return x if x == 0.5 else 6",  # what the visible check wants
    },
    "square": {
        "right": "def square(x):\n    times = x\n    return times * x",
        "wrong": "def square(x):\n    return None",
    },
}
REAL_ANSWERS = {
    "pixel_distance": {
        "right": "def pixel_distance(a, b):\n    difference = (a.float() - b.float()) / 255\n"
        "    return difference.pow(2).sum((1, 2, 3)).sqrt()",
        "wrong": "def pixel_distance(a, b):\n    return ((a - b) / 255).flatten(1).norm(dim=1)",
    }
}


@dataclass
class Mutant:
    """A submission: the text and place of its file, and the points that are fair."""

    student: str
    notebook: str
    cells: list
    kinds: dict  # {exercise: kind of the answer before mutation}
    steps: list = field(default_factory=list)  # names of the mutations
    path: str = ""  # of the file, below the student's folder
    text: bytes = b""
    readable: bool = True  # False where nobody can be blamed for giving nothing


# Mutations of cells: each gets the notebook and a generator. Cells are plain JSON.


def _some(cells, rng, wanted=lambda cell: True):
    """The place of a random cell, more often one of an exercise; None if there is none."""
    places = [k for k, cell in enumerate(cells) if wanted(cell)]
    marked = [k for k in places if _id(cells[k])]
    return rng.choice(marked if marked and rng.random() < 0.8 else places) if places else None


def delete(notebook, rng):
    del notebook["cells"][_some(notebook["cells"], rng)]


def delete_many(notebook, rng):
    notebook["cells"] = [cell for cell in notebook["cells"] if rng.random() < 0.6]


def empty(notebook, rng):
    notebook["cells"][_some(notebook["cells"], rng)]["source"] = ""


def copy_below(notebook, rng):
    at = _some(notebook["cells"], rng)
    notebook["cells"].insert(at + 1, copy.deepcopy(notebook["cells"][at]))


def copy_anywhere(notebook, rng):
    twin = copy.deepcopy(notebook["cells"][_some(notebook["cells"], rng)])
    notebook["cells"].insert(rng.randrange(len(notebook["cells"]) + 1), twin)


def copy_then_spoil(notebook, rng):
    """The copy below keeps its marks, but its text is another answer."""
    cells = notebook["cells"]
    at = _some(cells, rng, _is_answer)
    if at is not None:
        cells.insert(at + 1, copy.deepcopy(cells[at]))
        cells[at + 1]["source"] = f"def {_id(cells[at])}(*inputs):\n    return 1234"


def split(notebook, rng):
    """As JupyterLab does: both halves keep the metadata."""
    cells = notebook["cells"]
    at = _some(cells, rng, lambda cell: "\n" in cell["source"])
    if at is not None:
        lines = cells[at]["source"].split("\n")
        cut = rng.randrange(1, len(lines))
        cells.insert(at + 1, copy.deepcopy(cells[at]))
        cells[at]["source"], cells[at + 1]["source"] = map("\n".join, (lines[:cut], lines[cut:]))
        if rng.random() < 0.5:
            cells[at + 1]["metadata"] = {}


def merge(notebook, rng):
    cells = notebook["cells"]
    if len(cells) > 1:
        at = min(_some(cells, rng), len(cells) - 2)
        below = cells.pop(at + 1)
        cells[at]["source"] += "\n" + below["source"]


def move(notebook, rng):
    cell = notebook["cells"].pop(_some(notebook["cells"], rng))
    notebook["cells"].insert(rng.randrange(len(notebook["cells"]) + 1), cell)


def shuffle(notebook, rng):
    rng.shuffle(notebook["cells"])


def lose_metadata(notebook, rng):
    notebook["cells"][_some(notebook["cells"], rng)]["metadata"] = {}


def lose_all_metadata(notebook, rng):
    for cell in notebook["cells"]:
        cell["metadata"].pop("nbgrader", None)
        if rng.random() < 0.5:
            cell["metadata"] = {}


def damage_metadata(notebook, rng):
    cell = notebook["cells"][_some(notebook["cells"], rng)]
    about = cell["metadata"].setdefault("nbgrader", {})
    field_ = rng.choice(
        ["grade", "locked", "solution", "task", "points", "schema_version", "checksum", "cell_type"]
    )
    about[field_] = rng.choice([True, False, None, -1, 0, 99, 1e9, "yes", [], {"a": 1}])
    if rng.random() < 0.2:
        cell["metadata"]["nbgrader"] = rng.choice([[], "x", 7, None])


def change_id(notebook, rng):
    at = _some(notebook["cells"], rng, _id)
    if at is not None:
        name = _id(notebook["cells"][at])
        other = rng.choice(
            ["mine", name + "_check", name.removesuffix("_check"), "", 5, name + " "]
        )
        notebook["cells"][at]["metadata"]["nbgrader"]["grade_id"] = other


def swap_ids(notebook, rng):
    cells = notebook["cells"]
    one, two = _some(cells, rng, _id), _some(cells, rng, _id)
    if one is not None:
        mine, yours = (cells[k]["metadata"]["nbgrader"] for k in (one, two))
        mine["grade_id"], yours["grade_id"] = yours["grade_id"], mine["grade_id"]


def change_type(notebook, rng):
    cell = notebook["cells"][_some(notebook["cells"], rng)]
    cell["cell_type"] = rng.choice(["markdown", "raw", "code", "heading", "sql"])


def edit_check(notebook, rng):
    at = _some(notebook["cells"], rng, lambda cell: _id(cell) and not _is_answer(cell))
    if at is not None:
        notebook["cells"][at]["source"] = rng.choice(["assert True", "", "raise ValueError", "%x"])


def insert_cells(notebook, rng):
    for _ in range(rng.randrange(1, 4)):
        cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        cell["source"] = rng.choice(["1 / 0", "print(1)", "", "x = [", "%%bash\ntrue", "?print"])
        notebook["cells"].insert(rng.randrange(len(notebook["cells"]) + 1), cell)


def keep_outputs(notebook, rng):
    passed = {"output_type": "stream", "name": "stdout", "text": "passed"}
    result = {"output_type": "execute_result", "data": {"text/plain": "3.0"}, "metadata": {}}
    strange = {"output_type": "unheard", "x": 1}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [
                passed,
                result | {"execution_count": 3},
                *([strange] * rng.randrange(2)),
            ]
            cell["execution_count"] = rng.choice([None, 1, 77])


def lose_fields(notebook, rng):
    for cell in notebook["cells"]:
        cell.pop(rng.choice(["outputs", "execution_count", "id", "none"]), None)


def same_cell_ids(notebook, rng):
    for cell in notebook["cells"]:
        cell["id"] = rng.choice(["a", "b", "not an id!", ""])


def windows_lines(notebook, rng):
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].replace("\n", "\r\n")


def lists_of_lines(notebook, rng):
    for cell in notebook["cells"]:
        if isinstance(cell["source"], str):
            cell["source"] = cell["source"].splitlines(keepends=True)


def minor(notebook, rng):
    notebook["nbformat_minor"] = rng.choice([0, 1, 2, 3, 4, 5, 6, 99])


def lose_notebook_metadata(notebook, rng):
    notebook["metadata"] = rng.choice([{}, {"kernelspec": {"name": "mine", "display_name": "x"}}])


def tag(notebook, rng):
    for cell in notebook["cells"]:
        if rng.random() < 0.5:
            tags = ["skip-execution", "parameters", "raises-exception", "hide-input"]
            cell["metadata"]["tags"] = rng.choice([[rng.choice(tags)], [], "parameters", None])


CELLS = [
    delete, delete_many, empty, copy_below, copy_anywhere, copy_then_spoil, split, merge, move,
    shuffle, lose_metadata, lose_all_metadata, damage_metadata, change_id, swap_ids, change_type,
    edit_check, insert_cells, tag,
]  # fmt: skip
FORMS = [
    keep_outputs, lose_fields, same_cell_ids, windows_lines, lists_of_lines, minor,
    lose_notebook_metadata,
]  # fmt: skip


# The file: (text, readable) of a notebook, and where it is put.


def as_is(notebook, rng):
    return json.dumps(notebook).encode(), True


def with_mark(notebook, rng):
    return b"\xef\xbb\xbf" + json.dumps(notebook, ensure_ascii=False).encode(), True


def wide(notebook, rng):
    return json.dumps(notebook).encode(rng.choice(["utf-16", "utf-16-be", "utf-32"])), False


def old_code_page(notebook, rng):
    notebook["cells"].append({"cell_type": "markdown", "metadata": {}, "source": "Müller, ½ €"})
    return json.dumps(notebook, ensure_ascii=False).encode("cp1252", "replace"), False


def format_3(notebook, rng):
    try:
        old = nbformat.convert(nbformat.from_dict(copy.deepcopy(notebook)), 3)
        text = nbformat.v3.writes_json(old)
    except Exception:  # cells that it did not know
        return as_is(notebook, rng)
    return text.encode(), bool(old.get("worksheets"))


def format_unknown(notebook, rng):
    return json.dumps(notebook | {"nbformat": rng.choice([1, 5, 99, "4", None])}).encode(), False


def cut_short(notebook, rng):
    text = json.dumps(notebook).encode()
    return text[: rng.randrange(len(text))], False


def with_garbage(notebook, rng):
    text = bytearray(json.dumps(notebook).encode())
    for _ in range(3):
        text[rng.randrange(len(text))] = rng.randrange(256)
    return bytes(text), False


FILES = [as_is] * 12 + [with_mark, with_mark, wide, old_code_page, format_3, format_unknown]
FILES += [cut_short, with_garbage]
PLACES = {  # below the student's folder, and whether a marker finds it
    "{n}/{n}.ipynb": True, "{n}/Copy of {n}.ipynb": True, "{n}/{n} (1).ipynb": True,
    "{n}/{n}-Copy1.ipynb": True, "{n}.ipynb": True, "{n}/{n}/{n}.ipynb": True, "{n}.zip": True,
    "{n}/{n}.zip": True, "{n}/{N}.IPYNB": False, "{n}/solution.ipynb": False,
    "{n}/{n}.ipynb.txt": False, "{n}/{n}": False,
}  # fmt: skip
STUDENTS = [
    "{}",
    "{}",
    "{}",
    "{} von Sz\u00fc\u00e7",
    "o'{}",
    "{}@x.edu",
    "{},b",
    "{}+1",
    "-{}",
    "{}.ipynb",
]


def make(student, notebook, answers, rng, known):
    """A Mutant of the notebook `known`, one mutation or a few of cells, form, file and place."""
    kinds = {exercise: rng.choices(KINDS, (3, 2, 1))[0] for exercise in answers}
    content = json.loads(nbformat.writes(known))
    for cell in content["cells"]:
        cell["source"] = "".join(cell["source"])
        if _id(cell) in answers:
            cell["source"] = answers[_id(cell)].get(kinds[_id(cell)], cell["source"])
    mutant = Mutant(rng.choice(STUDENTS).format(student), notebook, content["cells"], kinds)
    steps = rng.choices(CELLS, k=rng.choice((0, 1, 1, 1, 2, 3)))
    steps += rng.choices(FORMS, k=rng.choice((0, 0, 1)))
    for step in steps:
        if content["cells"]:
            step(content, rng)
    mutant.cells = content["cells"]
    form = rng.choice(FILES)
    mutant.text, mutant.readable = form(content, rng)
    found = rng.random()
    mutant.path = rng.choice(list(PLACES)) if found < 0.25 else "{n}/{n}.ipynb"
    mutant.readable &= PLACES[mutant.path]
    mutant.path = mutant.path.format(n=notebook, N=notebook.upper())
    mutant.steps = [step.__name__ for step in (*steps, form)]
    return mutant


def put(mutant, course):
    path = course / "submitted" / mutant.student / mutant.path
    path.parent.mkdir(parents=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(f"{mutant.notebook}.ipynb", mutant.text)
    else:
        path.write_bytes(mutant.text)


# What is fair


def _id(cell):
    about = cell["metadata"].get("nbgrader")
    name = about.get("grade_id") if isinstance(about, dict) else None
    return name if isinstance(name, str) else None


def _is_answer(cell):
    return bool(_id(cell)) and cell["metadata"]["nbgrader"].get("solution") is True


def _text(cell):
    return "".join(cell["source"]).replace("\r\n", "\n")


def _compiles(cell):
    try:
        return bool(compile(_text(cell), "<cell>", "exec"))
    except (SyntaxError, ValueError):
        return False


def deserved(mutant, exercise, answers, known):
    """(least, most) of an exercise, as shares of its points.

    Nothing can deserve points where the lines of the right answer are no longer there. All points
    are due where the answer stands as it was: one cell with its marks, the right text, no other
    definition of the same name, and what it needs above it.
    """
    right = answers[exercise]["right"]
    lines = {line for cell in mutant.cells for line in _text(cell).split("\n")}
    most = float(set(right.split("\n")) <= lines)
    released = {cell.metadata.nbgrader.grade_id: cell for cell in known.cells if _id(cell)}[
        exercise
    ]
    here = [k for k, cell in enumerate(mutant.cells) if _id(cell) == exercise]
    changed = [k for k in here if _text(mutant.cells[k]) != released.source]
    if not here:
        return 0.0, most
    at = (changed or here)[-1]
    cell = mutant.cells[at]
    others = (_text(c) for k, c in enumerate(mutant.cells) if k not in here)
    plain = (
        cell["cell_type"] == "code"
        and cell["metadata"] == released.metadata
        and not any(f"def {exercise}(" in text for text in others)
    )
    if plain and mutant.readable and _compiles(cell):
        if _defined(_text(cell), exercise) != _defined(right, exercise):
            most = 0.0  # of several, the last one that is changed counts
    intact = plain and mutant.readable and _text(cell) == right
    return float(intact and _stands_in_place(mutant.cells, at, exercise, known.cells)), most


def _defined(text, name):
    """The last function of a name that a cell defines, as source; "" without one."""
    found = [n for n in ast.parse(text).body if getattr(n, "name", "") == name]
    return ast.unparse(found[-1]) if found else ""


def _stands_in_place(cells, at, exercise, known):
    """Whether an answer has above it what was handed out above it, and its check below."""
    place = next(k for k, cell in enumerate(known) if _id(cell) == exercise)
    above = iter(_plain(cells[:at]))
    needed = all(text in above for text in _plain(known[:place]))
    return needed and not any(_id(cell) == f"{exercise}_check" for cell in cells[:at])


def _plain(cells):
    """(text, metadata) of the code cells that belong to no exercise."""
    return [(_text(c), c["metadata"]) for c in cells if c["cell_type"] == "code" and not _id(c)]


def flaws(mutant, mark, answers, known, pages=None):
    """What is wrong with the mark of a mutant. pages: the executed notebooks, where there are."""
    if mark is None:
        yield "no row"
        return
    for exercise, highest in mark.highest.items():
        least, most = deserved(mutant, exercise, answers, known)
        share = mark.points.get(exercise, 0.0) / highest
        if share > most:
            yield f"{exercise}: {share:.0%}, at most {most:.0%} deserved"
        if share < least:
            yield f"{exercise}: {share:.0%}, {least:.0%} deserved"
        said = mark.remark or mark.messages.get(exercise)
        if share < 1 and mutant.kinds[exercise] == "right" and not said:
            yield f"{exercise}: a right answer got no points without a reason"
    if sorted(mark.highest) != sorted(answers):
        yield f"exercises {sorted(mark.highest)}"
    if mutant.readable and "kernel ended" in mark.remark:
        yield "the kernel ended"
    for page in pages or ():
        if not _ran_to_the_last_check(json.loads(page.read_text())["cells"]):
            yield "the run ended early"
    if mutant.readable and pages == []:
        yield "was not run"


def _ran_to_the_last_check(cells):
    """Whether what stands above the last check was executed; what stands below it is not."""
    code = [c for c in cells if c["cell_type"] == "code"]
    checks = [k for k, c in enumerate(code) if c["metadata"].get("nbgrader", {}).get("grade")]
    above = [c for k, c in enumerate(code[: checks[-1]]) if k not in checks and _text(c).strip()]
    return all(c["execution_count"] for c in above)


class Class:
    """A room for mutants of the tiny notebook and, where wanted, of one of the workbook."""

    def __init__(self, folder, real=False):
        self.room = Room(folder)
        self.answers = {"demo": ANSWERS}
        if real:
            self.room.release([REAL])
            self.answers[REAL] = REAL_ANSWERS
        self.known = {name: self.room.released(name) for name in self.answers}

    def make(self, name, seed):
        """The mutant of a notebook and seed, handed in."""
        rng = random.Random(f"{name} {seed}")
        mutant = make(f"m{seed}", name, self.answers[name], rng, self.known[name])
        put(mutant, self.room.course)
        return mutant

    def flaws(self, mutant, mark, pages=None):
        about = self.answers[mutant.notebook], self.known[mutant.notebook]
        return list(flaws(mutant, mark, *about, pages))


def graded(folder, seeds, real):
    """Grade a class of the mutants of `seeds`, the first `real` of a notebook of the workbook.

    Yields (mutant, Mark, flaws).
    """
    group = Class(folder, real)
    mutants = [group.make(REAL if k < real else "demo", seed) for k, seed in enumerate(seeds)]
    marks = group.room.grade(60, 3600)
    for mutant in mutants:
        rows = [marks.get((mutant.student, name)) for name in (mutant.notebook, "")]
        mark = rows[0] or rows[1]
        pages = group.room.course.glob(f"autograded/{glob.escape(mutant.student)}/*/*.ipynb")
        yield mutant, mark, group.flaws(mutant, mark, list(pages))


def restored(folder, seeds):
    """As `graded`, without a kernel: what is restored of a mutant is executed here and now."""
    group = Class(folder)
    source = nbformat.read(group.room.course / "source" / "demo" / "demo.ipynb", as_version=4)
    contracts = exercises.unpack(group.room.course / "source" / "demo" / "demo.reference")
    for seed in seeds:
        mutant = group.make("demo", seed)
        found = submissions.find(group.room.course, ["demo"])
        (one,) = [one for one in found if one.student == mutant.student]
        mark = classroom.Mark(mutant.student, "demo", {}, POINTS, one.refused)
        if not one.refused:
            try:
                cells = one.read().cells
                parts = source.cells, group.known["demo"].cells, contracts
                cells, remarks = submissions.restore(cells, *parts)
                mark.points, mark.messages = _execute(cells)
                mark.remark = "; ".join(one.remarks + remarks)
                silent = mutant.readable and not mark.remark
                if silent and (dropped := _dropped(mutant, cells)):
                    mark.messages[dropped] = ""
            except submissions.Refused as error:
                mark.remark = str(error)
        shutil.rmtree(group.room.course / "submitted" / mutant.student)
        yield mutant, mark, group.flaws(mutant, mark)


def _execute(cells):
    """({exercise: points}, {exercise: message}) of restored cells, by executing them in order."""
    space, points, messages = {"exercises": mock.MagicMock()}, {}, {}
    for cell in cells:
        if cell.cell_type == "code":
            code = cell.source.replace("from dvae_lib import exercises", "")
            with contextlib.redirect_stdout(None):
                try:
                    exec(code.replace('"classroom"', '"smoke"'), space)
                    message = ""
                except Exception as error:
                    message = repr(error)
            name = str(_id(cell)).removesuffix("_check")
            if name in POINTS and name != _id(cell):
                points[name], messages[name] = POINTS[name] * (not message), message
    return points, messages


def _dropped(mutant, cells):
    """An exercise of which a right definition was handed in and left out, or ""."""
    kept = {line for cell in cells for line in _text(cell).split("\n")}
    handed_in = {line for cell in mutant.cells for line in _text(cell).split("\n")}
    for exercise, kind in mutant.kinds.items():
        if kind == "right" and {line for line in handed_in - kept if f"def {exercise}(" in line}:
            return exercise
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=500, help="how many are graded")
    parser.add_argument("--real", type=int, default=20, help=f"how many of these are of {REAL}")
    parser.add_argument("--restored", type=int, default=5000, help="how many are only restored")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    flawed = 0
    parts = [("restored", range(options.first, options.first + options.restored), 0)]
    for k in range(0, options.n, CLASS):
        seeds = range(options.first + k, options.first + min(k + CLASS, options.n))
        parts.append(("graded", seeds, max(0, min(len(seeds), options.real - k))))
    for kind, seeds, real in parts:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            outcomes = (
                restored(folder, seeds) if kind == "restored" else graded(folder, seeds, real)
            )
            for mutant, mark, wrong in outcomes:
                if wrong:
                    flawed += 1
                    print(f"{mutant.student} {mutant.path} {mutant.kinds} {mutant.steps}")
                    print(f"    {'; '.join(wrong)}\n    {mark}")
        seconds = time.perf_counter() - started
        print(f"{len(seeds)} {kind}, {flawed} flawed so far, {seconds:.0f} s", flush=True)
    return 1 if flawed else 0


if __name__ == "__main__":
    sys.exit(main())
