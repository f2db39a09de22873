"""An nbgrader course in a folder: its configuration and its gradebook, through nbgrader's API."""

import contextlib
import logging
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from .marks import Mark

try:
    from nbgrader.api import Gradebook, MissingEntry
    from nbgrader.apps.api import NbGraderAPI
    from nbgrader.preprocessors import AssignLatePenalties
    from traitlets.config import Config, PyFileConfigLoader
except ImportError as error:
    raise ImportError("assignments need nbgrader: pip install 'dvae_lib[classroom]'") from error
import nbformat

from . import exercises

STUB = f"raise NotImplementedError({exercises.STUB!r})"
CELL_SECONDS = 60  # a cell of a notebook at tier smoke takes a few
GRADING = [
    "dvae_lib.checking.SmokeTier",
    "dvae_lib.checking.Execute",
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


class Course:
    """A folder with an nbgrader course. gradebook: by default the one in the folder."""

    def __init__(self, folder: str | Path, gradebook: str | Path | None = None) -> None:
        self.folder = Path(folder).resolve()
        self.url = f"sqlite:///{gradebook or self.folder / 'gradebook.db'}"

    def notebook(self, kind: str, name: str) -> NotebookNode:
        """The notebook of an assignment. kind: "source" or "release"."""
        return nbformat.read(self.folder / kind / name / f"{name}.ipynb", as_version=4)

    def config(self) -> Any:
        """The course's nbgrader_config.py, with its folder filled in."""
        config = Config()
        if str(self.folder) not in sys.path:  # where a course keeps plugins of its own
            sys.path.append(str(self.folder))
        if (self.folder / "nbgrader_config.py").exists():
            config = PyFileConfigLoader("nbgrader_config.py", str(self.folder)).load_config()
        config.CourseDirectory.root = str(self.folder)
        config.ClearSolutions.code_stub = {"python": STUB}
        return config

    def generate(self, name: str) -> None:
        """Make the handout of an assignment from its source. Raises RuntimeError."""
        # nbgrader calls alembic, which lies beside the interpreter.
        scripts = str(Path(sys.executable).parent)
        if scripts not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] = scripts + os.pathsep + os.environ["PATH"]
        api = NbGraderAPI(config=self.config())
        result = api.generate_assignment(name, force=True, create=True)
        if not result["success"]:
            lines = (result.get("error") or result.get("log") or "").strip().splitlines()
            reason = lines[-1] if lines else "no reason given"
            raise RuntimeError(f"nbgrader failed on {name}: {reason}")

    def assignments(self) -> tuple[dict, list[str]]:
        """{assignment: {exercise: points}}, and the students that the gradebook knows."""
        with Gradebook(self.url) as book:
            found = {}
            for assignment in book.assignments:
                with contextlib.suppress(MissingEntry):  # made without a notebook of its name
                    cells = book.find_notebook(assignment.name, assignment.name).grade_cells
                    found[assignment.name] = {_exercise(c): c.max_score for c in cells}
            return found, [student.id for student in book.students]

    def enter(self, mark: Mark) -> Mark:
        """Write a Mark into the gradebook, where Formgrader finds it, and read back what counts.

        A manual score stands, and is looked at again only where the automatic one has changed.
        """
        name = mark.notebook
        with Gradebook(self.url) as book:
            book.update_or_create_student(mark.student)
            options = {"timestamp": mark.submitted_at} if mark.submitted_at else {}
            book.update_or_create_submission(name, mark.student, **options)
            for grade in book.find_submission_notebook(name, name, mark.student).grades:
                points = mark.points[_exercise(grade)]
                known = grade.manual_score is not None and grade.auto_score == points
                grade.auto_score = points
                if not known:
                    grade.needs_manual_grade = mark.by_hand
            book.db.commit()
        where = {"notebook": name, "assignment": name, "student": mark.student, "db_url": self.url}
        penalties = AssignLatePenalties(config=self.config())
        penalties.preprocess(nbformat.v4.new_notebook(), {"nbgrader": where})
        with Gradebook(self.url) as book:
            notebook = book.find_submission_notebook(name, name, mark.student)
            mark.points = {_exercise(grade): grade.score for grade in notebook.grades}
            mark.penalty = notebook.late_submission_penalty or 0.0
            mark.late = book.find_submission(name, mark.student).total_seconds_late
        return mark


def _exercise(cell):
    return cell.name.removesuffix("_check")


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Keep nbgrader's log to itself; its errors come back in the results."""
    logging.disable(logging.CRITICAL)
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stderr(nowhere),
        ):
            yield
    finally:
        logging.disable(logging.NOTSET)
