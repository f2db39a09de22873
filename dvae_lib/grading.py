"""Grading what was handed in: each submission in a process of its own, its code within walls.

`grade` goes through a course; `work` is what each process does. A process that fails, is killed or
hangs costs its own submission alone, and what is finished stays finished.
"""

import contextlib
import copy
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from nbclient.exceptions import DeadKernelError
from nbgrader import utils
from nbgrader.preprocessors import LimitOutput
from tqdm import tqdm

from . import checking, exercises, feedback, marks, submissions
from .checking import WHOLE, Execute
from .course import CELL_SECONDS, Course, quiet
from .marks import Mark
from .submissions import Refused, grade_id

LOOK = "look at it by hand"
NOTHING = "nothing handed in"


def grade(
    folder: str | Path,
    workers: int = 1,
    cell_seconds: float = CELL_SECONDS,
    show_hidden: bool = False,
) -> list[Mark]:
    """Grade every submission of a course; write tables, feedback pages and the gradebook.

    The tables, grades.csv and statistics.csv, are written anew after each submission, so that an
    interrupted grading keeps what is finished. A student who handed in nothing has a row for each
    assignment that others handed in.

    workers: submissions at a time. cell_seconds: the time limit of a cell. show_hidden: whether
    feedback pages show hidden tests. Returns the Marks, by student and notebook.
    Raises FileNotFoundError if nothing was handed in.
    """
    course = Course(folder)
    assignments, known = course.assignments()
    found = submissions.find(course.folder, list(assignments))
    if not found:
        where = course.folder / "submitted"
        raise FileNotFoundError(f"nothing in {where}: expected STUDENT/NOTEBOOK/")
    done = _absent(found, assignments, known)
    options = cell_seconds, show_hidden
    with _Processes(workers) as processes:
        jobs = [
            processes.submit(course, one, assignments.get(one.notebook, {}), *options)
            for one in found
        ]
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="submissions"):
            done.append(_entered(course, job.result()))
            done.sort(key=lambda mark: (mark.student, mark.notebook))
            marks.write(course.folder, done)
    return done


def _absent(found, assignments, known):
    """A Mark for each student and assignment without a hand-in."""
    handed_in = {(one.student, one.notebook) for one in found}
    collected = {one.notebook for one in found if one.notebook}
    refused = {one.student for one in found if not one.notebook}
    students = {one.student for one in found if one.notebook} | set(known) - refused
    return [
        Mark(
            student, name, dict.fromkeys(assignments[name], 0.0), assignments[name], NOTHING, False
        )
        for student in students
        for name in collected
        if (student, name) not in handed_in
    ]


def _entered(course, mark):
    """The Mark with what the gradebook adds to it: manual scores, penalties, being late."""
    if mark.notebook:
        with quiet():
            course.enter(mark)
        if mark.late:
            mark.say(f"{mark.late / 3600:.1f} hours late")
    return mark


class _Processes:
    """Grades submissions side by side, a process each, and ends all when it is left."""

    def __init__(self, workers):
        self.pool = ThreadPoolExecutor(workers)
        self.running, self.ended = set(), False
        known = multiprocessing.get_all_start_methods()
        self.context = multiprocessing.get_context(
            "forkserver" if "forkserver" in known else "spawn"
        )
        self.context.set_forkserver_preload([__name__])  # nbgrader takes seconds to import

    def __enter__(self):
        # The server that forks and, in a folder of its own, each kernel have sockets there.
        self.before, tempfile.tempdir = tempfile.tempdir, checking.short_folder(47)
        return self

    def __exit__(self, *about):
        self.ended = True
        for process in list(self.running):
            _end(process)
        self.pool.shutdown(cancel_futures=True)
        tempfile.tempdir = self.before

    def submit(self, *job):
        return self.pool.submit(self._run, *job)

    def _run(self, course, one, highest, *options):
        mark = Mark(one.student, one.notebook, dict.fromkeys(highest, 0.0), highest)
        with tempfile.TemporaryDirectory(prefix="dvae-") as scratch:
            scratch = Path(scratch)
            if one.refused:
                _refuse(mark, one.refused)
            else:
                mark = self._graded(mark, course.folder, scratch, one, *options)
            if not self.ended:  # else earlier pages stay
                _bring(course, mark, scratch)
        return mark

    def _graded(self, mark, folder, scratch, one, cell_seconds, show_hidden):
        """The Mark that `work` sends from its process, or one that says how that ended."""
        ours, theirs = self.context.Pipe()
        job = theirs, mark, folder, scratch, one, cell_seconds, show_hidden
        process = self.context.Process(target=work, args=job, daemon=True)
        process.start()
        self.running.add(process)
        theirs.close()
        seconds = WHOLE * cell_seconds * (1 + len(mark.highest)) + 300
        try:
            if self.ended or not ours.poll(seconds):
                return _refuse(mark, f"no result after {seconds:.0f} s")
            return ours.recv()
        except (EOFError, OSError):
            process.join(10)
            return _refuse(mark, f"its process ended with status {process.exitcode}")
        finally:
            _end(process)
            self.running.discard(process)
            ours.close()


def _refuse(mark, reason):
    mark.points = dict.fromkeys(mark.highest, 0.0)
    mark.messages, mark.by_hand = {}, True
    mark.remark = f"not graded, {LOOK}: {reason}"
    return mark


def _end(process):
    """Kill a process of `work` and its group; walls around a kernel fall with it."""
    with contextlib.suppress(OSError, AttributeError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _bring(course, mark, scratch):
    """Put a submission's pages into the course in the place of earlier ones."""
    for kind in ("autograded", "feedback"):
        target = course.folder / kind / mark.student / mark.notebook
        if mark.notebook:
            shutil.rmtree(target, ignore_errors=True)
            if (scratch / kind).is_dir():
                shutil.copytree(scratch / kind, target)


# In the process of a submission


def work(
    pipe: Any,
    mark: Mark,
    folder: str | Path,
    scratch: Path,
    one: submissions.HandIn,
    cell_seconds: float,
    show_hidden: bool,
) -> None:
    """Grade one submission: send its Mark through the pipe, write its pages into scratch."""
    _alone_with(pipe)
    tempfile.tempdir = str(scratch)  # goes even if this process is killed
    course = Course(folder)
    try:
        mark.submitted_at = one.submitted_at()
        notebook = _graded(course, one, mark, cell_seconds)
        for remark in one.remarks:
            mark.say(remark)
        mark.by_hand = bool(mark.remark)
        feedback.write(course, scratch, mark, notebook, show_hidden)
    except Refused as error:
        _refuse(mark, str(error))
    except Exception as error:  # whatever a submission does, it has a row with the reason
        _refuse(mark, f"{type(error).__name__}: {error}")
    pipe.send(mark)


def _alone_with(pipe):
    """A group of its own without output, which ends when the other end of the pipe does."""
    if hasattr(os, "setsid"):
        os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()


def _end_with(pipe):
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    with contextlib.suppress(OSError, AttributeError):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _graded(course, one, mark, cell_seconds):
    """The executed notebook of a submission; its points and messages go into the mark."""
    name = one.notebook
    source, released = course.notebook("source", name), course.notebook("release", name)
    contracts = exercises.unpack(course.folder / "source" / name / f"{name}.reference")
    cells, remarks = submissions.restore(one.read().cells, source.cells, released.cells, contracts)
    one.remarks += remarks
    source.cells = cells
    for cell in cells:
        submissions.set_to_smoke(cell)
    run = _Run(course, name, cell_seconds)
    try:
        notebook, faults = run(source)
    except DeadKernelError as error:
        reason = str(error).strip().splitlines()[-1]
        mark.say(f"the kernel ended ({reason}); each answer was graded alone, {LOOK}")
        notebook, faults = _alone(run, source, released, contracts)
    if faults:
        said = "; ".join(faults)
        mark.say(f"the kernel is not as it was ({said}): no points without that, {LOOK}")
    for cell in notebook.cells:
        if utils.is_grade(cell):
            exercise = grade_id(cell).removesuffix("_check")
            mark.points[exercise] = utils.determine_grade(cell)[0]
            errors = [o for o in cell.outputs if o.output_type == "error"]
            mark.messages[exercise] = (errors[-1].evalue or errors[-1].ename) if errors else ""
    return notebook


class _Run:
    """Executes notebooks of an assignment: (notebook, faults). Raises DeadKernelError."""

    def __init__(self, course, name, cell_seconds):
        self.config = course.config()
        self.config.Execute.timeout = cell_seconds
        self.resources = {
            "metadata": {"path": str(course.folder / "source" / name)},
            "nbgrader": {"notebook": name},
        }

    def __call__(self, notebook):
        execute = Execute(config=self.config)
        notebook, _ = execute.preprocess(notebook, self.resources)
        notebook, _ = LimitOutput(config=self.config).preprocess(notebook, self.resources)
        return notebook, execute.faults


def _alone(run, notebook, released, contracts):
    """Each exercise with all others left unanswered: (the notebook with all outcomes, faults)."""
    stubs = {grade_id(c): c.source for c in released.cells if grade_id(c) in contracts}
    faults = []
    for exercise in stubs:
        alone = copy.deepcopy(notebook)
        for cell in alone.cells:
            if grade_id(cell) in stubs and grade_id(cell) != exercise:
                cell.source = stubs[grade_id(cell)]
        try:
            alone, found = run(alone)
            faults += found
            outputs = {grade_id(c): c.outputs for c in alone.cells if utils.is_grade(c)}
            outputs = outputs[f"{exercise}_check"]
        except DeadKernelError:
            outputs = [checking.error("Ended", "the answer ended the kernel")]
        for cell in notebook.cells:
            if grade_id(cell) == f"{exercise}_check":
                cell.outputs = outputs
    return notebook, faults
