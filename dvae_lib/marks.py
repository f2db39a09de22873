"""Marks, and the tables that are made of them: for the lecturer, for Moodle and for Canvas."""

import collections
import csv
import datetime
from dataclasses import dataclass, field
from pathlib import Path

from . import files


@dataclass
class Mark:
    """The grade of one submission: points by exercise, and what a lecturer should know of it.

    handed_in: whether there is anything. by_hand: a person has to look at it. messages: {exercise:
    what its check said}. penalty: points that the course takes for `late` seconds.
    """

    student: str
    notebook: str
    points: dict[str, float] = field(default_factory=dict)
    highest: dict[str, float] = field(default_factory=dict)
    remark: str = ""
    handed_in: bool = True
    by_hand: bool = False
    messages: dict[str, str] = field(default_factory=dict)
    submitted_at: datetime.datetime | None = None
    late: float = 0.0
    penalty: float = 0.0

    @property
    def total(self) -> float:
        return sum(self.points.values()) - self.penalty

    @property
    def graded(self) -> bool:
        """False where the hand-in could not be graded; the remark says why."""
        return "not graded" not in self.remark

    def say(self, remark: str) -> None:
        self.remark = "; ".join(filter(None, (self.remark, remark)))


def write(folder: Path, marks: list[Mark]) -> None:
    """grades.csv, a row a submission, and statistics.csv, a row an exercise."""
    names = sorted({f"{m.notebook}: {e}" for m in marks for e in m.highest})
    rows = [["student", "notebook", *names, "penalty", "points", "of", "remark"]]
    for mark in marks:
        own = {f"{mark.notebook}: {e}": p for e, p in mark.points.items()}
        of = sum(mark.highest.values())
        cells = [own.get(name, "") for name in names]
        rows.append(
            [mark.student, mark.notebook, *cells, mark.penalty, mark.total, of, mark.remark]
        )
    _table(folder / "grades.csv", rows)
    _table(folder / "statistics.csv", _statistics(marks))


def _statistics(marks):
    """An exercise a row: how many handed in, the share that is right, what is said most often."""
    yield ["notebook", "exercise", "handed in", "share right", "commonest message", "how often"]
    handed_in = [mark for mark in marks if mark.handed_in and mark.graded]
    exercises = sorted({(m.notebook, e) for m in handed_in for e in m.highest})
    for notebook, exercise in exercises:
        own = [m for m in handed_in if m.notebook == notebook]
        right = sum(m.points[exercise] == m.highest[exercise] for m in own)
        said = collections.Counter(filter(None, (m.messages.get(exercise) for m in own)))
        message, often = (said.most_common(1) or [("", 0)])[0]
        yield [notebook, exercise, len(own), f"{right / len(own):.2f}", message, often]


def write_moodle(folder: Path, marks: list[Mark]) -> Path:
    """grades_moodle.csv: Moodle's "Grades > Import > CSV file" maps each column to a grade item."""
    names, students = _by_student(marks)
    header = ["Username", *(c for n in names for c in (n, f"{n} feedback"))]
    rows = [header]
    for student, own in students.items():
        cells = [(own[n].total, own[n].remark) if n in own else ("", "") for n in names]
        rows.append([student, *(value for pair in cells for value in pair)])
    return _table(folder / "grades_moodle.csv", rows)


def write_canvas(folder: Path, marks: list[Mark]) -> Path:
    """grades_canvas.csv: the columns of a Canvas gradebook; students are known by their login."""
    names, students = _by_student(marks)
    highest = {m.notebook: sum(m.highest.values()) for m in marks}
    rows = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *names]]
    rows.append(["    Points Possible", "", "", "", "", *(highest[n] for n in names)])
    for student, own in students.items():
        totals = [own[n].total if n in own else "" for n in names]
        rows.append([student, "", "", student, "", *totals])
    return _table(folder / "grades_canvas.csv", rows)


LMS = {"moodle": write_moodle, "canvas": write_canvas}


def _by_student(marks):
    """Names of notebooks, and {student: {notebook: Mark}}, of marks that have a notebook."""
    students = {}
    for mark in marks:
        if mark.notebook:
            students.setdefault(mark.student, {})[mark.notebook] = mark
    return sorted({mark.notebook for mark in marks if mark.notebook}), students


def _table(path, rows):
    with files.atomic(path) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([[_cell(value) for value in row] for row in rows])
    return path


def _cell(value):
    """A spreadsheet takes text that begins so for a formula, and students choose their words."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
