"""A small course in a folder of its own, graded in a process of its own, and watched.

The library that grades, the home folder and the temporary folder are copies below the room, so
that a hostile hand-in has everything to hurt within reach, and what it hurt can be seen.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import nbformat

from dvae_lib import classroom, paths

REPOSITORY = Path(__file__).resolve().parent.parent
POINTS = {"double": 1.0, "square": 3.0}
SECRET = "k0dak-of-the-lecturer"  # lies in the environment and at home; no page may show it
GRADE = """
import json, sys
from dvae_lib import classroom
if __name__ == "__main__":
    marks = classroom.grade(sys.argv[1], workers=2, cell_seconds=float(sys.argv[2]))
    names = "student notebook points highest remark messages".split()
    rows = [{name: getattr(mark, name) for name in names} for mark in marks]
    json.dump(rows, open(sys.argv[3], "w"))
"""
DEMO = {  # two exercises; the second check leans on built-in functions
    "": "assert tier == 'smoke'",
    "double": """def double(x):
    # BEGIN SOLUTION
    twice = x + x
    return twice
    # END SOLUTION""",
    "double_check": """assert double(3) == 6, "not twice"
# BEGIN HIDDEN TESTS
assert double(0.5) == 1, "hidden: not twice"
# END HIDDEN TESTS""",
    "square": """def square(x):
    # BEGIN SOLUTION
    return x * x
    # END SOLUTION""",
    "square_check": """assert abs(square(3) - 9) < 1e-9, "not the square"
# BEGIN HIDDEN TESTS
assert all(square(x) == x * x for x in (-1, 2)), "hidden: not the square"
# END HIDDEN TESTS""",
}
TENSORS = {  # the same in torch, whose comparisons can be patched
    "": "import torch\n\nassert tier == 'smoke'",
    "double": DEMO["double"],
    "double_check": """assert torch.allclose(double(torch.ones(2)), 2 * torch.ones(2)), "not twice"
# BEGIN HIDDEN TESTS
torch.testing.assert_close(double(torch.tensor([0.5])), torch.tensor([1.0]))
# END HIDDEN TESTS""",
    "square": DEMO["square"],
    "square_check": """assert torch.equal(square(torch.tensor([3.0])), torch.tensor([9.0])), "not"
# BEGIN HIDDEN TESTS
assert (square(torch.tensor([-1.0, 2.0])) == torch.tensor([1.0, 4.0])).all(), "hidden: not it"
# END HIDDEN TESTS""",
}


def notebook_of(parts):
    """A notebook of the workbook with the cells in `parts`, exercises marked for nbgrader."""
    cells = [nbformat.v4.new_code_cell('tier = "classroom"\nseed = 0\ndevice = "auto"')]
    cells[0].metadata["tags"] = ["parameters"]
    for name, source in parts.items():
        cell = nbformat.v4.new_code_cell(source)
        exercise = name.removesuffix("_check")
        about = {"grade_id": name, "schema_version": 3, "task": False}
        if name == exercise:
            about |= {"grade": False, "locked": False, "solution": True}
        else:
            about |= {"grade": True, "locked": True, "solution": False}
            about["points"] = POINTS[exercise]
        if name:
            cell.metadata["nbgrader"] = about
        cells += [nbformat.v4.new_markdown_cell(f"About {name or 'this notebook'}"), cell]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


class Room:
    """A course with the assignments "demo" and "tensors" in an empty folder."""

    def __init__(self, folder):
        self.folder = Path(folder).resolve()
        self.checkout, self.course = self.folder / "checkout", self.folder / "course"
        self.home, self.scratch = self.folder / "home", self.folder / "scratch"
        self.mark = f"hostile{os.getpid()}x{abs(hash(self.folder)) % 10**6}"
        self.heard = []  # what came through the network
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "dvae_lib", self.checkout / "dvae_lib", ignore=ignored)
        for new in (self.checkout / "notebooks", self.home, self.scratch):
            new.mkdir()
        (self.home / "secret.txt").write_text(SECRET)
        for name, parts in (("demo", DEMO), ("tensors", TENSORS)):
            nbformat.write(notebook_of(parts), self.checkout / "notebooks" / f"{name}.ipynb")
        self.release(["demo", "tensors"], self.checkout / "dvae_lib" / "paths.py")

    def release(self, names, library=paths.__file__):
        """Add assignments to the course, with an empty file for a wheel."""
        wheel = self.folder / "dvae_lib-0.1.0-py3-none-any.whl"
        wheel.touch()
        with (
            mock.patch.object(paths, "__file__", str(library)),
            mock.patch.object(classroom, "_wheel", return_value=wheel),
        ):
            classroom.release(names, self.course)

    def released(self, name="demo"):
        return nbformat.read(self.course / "release" / name / f"{name}.ipynb", as_version=4)

    def place(self, student, name="demo"):
        """The folder in which a student's submission belongs, made now."""
        folder = self.course / "submitted" / student / name
        folder.mkdir(parents=True)
        return folder

    def filled(self, text, **more):
        """Text with @MARK@, @COURSE@, @LIBRARY@ and @HOME@ of this room, and what is given."""
        known = {"MARK": self.mark, "COURSE": self.course, "HOME": self.home}
        known |= {"LIBRARY": self.checkout / "dvae_lib"} | more
        for word, value in known.items():
            text = text.replace(f"@{word}@", str(value))
        return text

    def grade(self, cell_seconds, seconds, path=None):
        """{(student, notebook): Mark} after grading in a process of its own, within `seconds`.

        path: the grader's PATH, for grading without a program that lies there otherwise.
        """
        out = self.folder / "marks.json"
        environment = os.environ | {
            "PYTHONPATH": str(self.checkout), "HOME": str(self.home), "TMPDIR": str(self.scratch),
            "DVAE_RUNS": str(self.folder / "runs"), "OMP_NUM_THREADS": "1",
            "HOSTILE": self.mark, "LECTURERS_TOKEN": SECRET, "PATH": path or os.environ["PATH"],
        }  # fmt: skip
        script = self.folder / "grade.py"
        script.write_text(GRADE)
        command = [sys.executable, script, self.course, str(cell_seconds), out]
        with open(self.folder / "log.txt", "w") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                status = f"not done after {seconds} s"
            finally:
                if process.poll() is None:
                    process.kill()
        log = (self.folder / "log.txt").read_text(errors="replace")
        if status != 0:
            self.end_processes()
            raise AssertionError(f"grading ended with {status}:\n{log[-3000:]}")
        marks = [classroom.Mark(**row) for row in json.loads(out.read_text())]
        return {(mark.student, mark.notebook): mark for mark in marks}

    # Watching

    @contextlib.contextmanager
    def network(self):
        """A server on this machine; gives its port and keeps in `heard` what reached it."""
        with socket.create_server(("127.0.0.1", 0)) as server:

            def listen():
                with contextlib.suppress(OSError):
                    while True:
                        self.heard.append(server.accept()[1])

            threading.Thread(target=listen, daemon=True).start()
            yield server.getsockname()[1]
            server.shutdown(socket.SHUT_RDWR)

    def processes(self):
        """{process id: command} of what has this room's mark in its environment or command."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (
                    (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                mine = self.mark.encode() in (path / "environ").read_bytes()
                if int(path.name) != os.getpid() and (mine or self.mark in command):
                    found[int(path.name)] = command[:200]
        return found

    def wait_for_processes(self, seconds):
        """Give what is about to end the time to do so."""
        end = time.monotonic() + seconds
        while self.processes() and time.monotonic() < end:
            time.sleep(0.1)

    def end_processes(self):
        for number in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def fingerprints(self):
        """{path: checksum} of all that grading has no reason to change."""
        roots = [self.checkout, self.home, *(self.course / n for n in ("source", "release"))]
        roots.append(self.course / "submitted")
        return {
            str(path.relative_to(self.folder)): _fingerprint(path)
            for root in roots
            for path in sorted(root.rglob("*"))
            if "__pycache__" not in path.parts
        }

    def traces(self):
        """Files that hold this room's mark in their name or text, pages of hand-ins aside."""
        pages = [self.course / kind for kind in ("submitted", "autograded", "feedback")]
        roots = [self.folder, Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")]
        found = [p for root in roots[1:] for p in root.glob(f"*{self.mark}*")]
        for path in self.folder.rglob("*"):
            inside = any(page in path.parents for page in pages) or path.name == "log.txt"
            if not inside and path.is_file() and not path.is_symlink():
                if self.mark in path.name or self.mark.encode() in path.read_bytes():
                    found.append(path)
        return sorted(map(str, found))

    def triggers(self):
        with contextlib.closing(sqlite3.connect(self.course / "gradebook.db")) as book:
            return book.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()

    def pages(self, student, kinds=("autograded", "feedback")):
        """All text that grading wrote about a student."""
        folders = [self.course / kind / student for kind in kinds]
        files = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
        return "\n".join(path.read_text(errors="replace") for path in files)


def _fingerprint(path):
    if path.is_symlink():
        return f"link to {os.readlink(path)}"
    if path.is_file() and path.stat().st_size < 1e8:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{path.stat().st_mode}"
