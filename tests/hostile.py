"""Hostile hand-ins, each with the mark that a fair marker gives (`unusual` has the honest ones).

What is fair follows from the answers alone: an exercise is worth its points if the student wrote a
right answer to it. Every act is bounded and aimed at the class's own folders and processes, so that
it can be tried on a grader without walls. @MARK@ and the like are filled in by the room.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import nbformat
from hostile_checks import FALSE, FALSE_TENSORS
from room import POINTS

RIGHT = {
    "double": "def double(x):\n    return 2 * x\n",
    "square": "def square(x):\n    return x**2\n",
}
WRONG = {name: f"def {name}(x):\n    return 0 * x\n" for name in POINTS}

BOTH = ("double", "square")


@dataclass
class HandIn:
    """One submission. fair: the exercises that deserve their points.

    exact: the answers stand apart from what else was done, so nothing but `fair` will do; else
    the student tampered with the grading, and a look by hand instead of points is fair, too.
    walled: its act reaches beyond its own kernel, which only a sandbox can stop.
    """

    name: str
    fair: tuple = ()
    answers: dict = field(default_factory=dict)
    edit: Callable | None = None  # of the notebook
    files: Callable | None = None  # of the folder, after the notebook was written
    notebook: str = "demo"
    exact: bool = False
    walled: bool = False


def hand_in(room, case, port=0):
    """Put a hand-in into the course of a room, as student case.name."""
    folder = room.place(case.name, case.notebook)
    notebook = room.released(case.notebook)
    for cell in notebook.cells:
        if (name := grade_id(cell)) in case.answers:
            cell.source = case.answers[name]
    if case.edit:
        case.edit(notebook)
    for cell in notebook.cells:
        if isinstance(cell, dict) and isinstance(cell.get("source"), str):
            cell.source = room.filled(cell.source, PORT=port)
    path = folder / f"{case.notebook}.ipynb"
    path.write_text(nbformat.v4.writes(notebook))
    if case.files:
        case.files(folder, room)


def grade_id(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def find(notebook, name):
    return next(k for k, cell in enumerate(notebook.cells) if grade_id(cell) == name)


OUTSIDE = {
    "exit_hook_writes_marks", "other_kernels_are_told_to_stop", "source_above_the_folder",
    "neighbours_answers",
}  # fmt: skip


def false(name, code, notebook="demo"):
    """Wrong answers, below code of `hostile_checks` that is to make them pass."""
    own, divider, answers = code.partition("##\n")
    cells = {"double": code + WRONG["double"], "square": WRONG["square"]}
    if divider:
        cells = {"double": own + answers, "square": "square = square"}
    return HandIn(name, answers=cells, notebook=notebook, walled=name in OUTSIDE)


# Acts beyond the kernel: with wrong answers. Only walls stop them.

ACTS = {
    "trigger_in_the_gradebook": """
import glob, sqlite3
for place in ["@COURSE@/gradebook.db", *glob.glob("../../../gradebook.db")]:
    book = sqlite3.connect(place)
    for event in ("INSERT", "UPDATE"):
        book.execute(f"CREATE TRIGGER IF NOT EXISTS t{event} AFTER {event} ON grade BEGIN "
                     "UPDATE grade SET auto_score = 999; END")
    book.commit()
""",
    "library_edited_in_place": """
for name in ("exercises.py", "__init__.py", "classroom.py"):
    with open("@LIBRARY@/" + name, "a") as file:
        file.write("\\nrequire_own_answer = passed = use_reference = lambda *a: 1 / 0  # @MARK@\\n")
""",
    "library_edited_through_its_module": """
import dvae_lib
place = dvae_lib.__path__[0]
if place.startswith("@LIBRARY@"):
    open(place + "/exercises.py", "a").write("\\nraise OSError  # @MARK@\\n")
""",
    "bytecode_of_the_library": """
import importlib.util, os
place = importlib.util.cache_from_source("@LIBRARY@/exercises.py")
os.makedirs(os.path.dirname(place), exist_ok=True)
open(place, "ab").write(b"@MARK@")
open("@LIBRARY@/torch.py", "w").write("raise OSError  # @MARK@")
""",
    "startup_file_at_home": """
import os
for home in ("@HOME@", os.path.expanduser("~")):
    if home.startswith("@HOME@"):
        os.makedirs(home + "/.ipython/profile_default/startup", exist_ok=True)
        open(home + "/.ipython/profile_default/startup/0.py", "w").write("raise OSError  # @MARK@")
""",
    "neighbours_overwritten": """
from pathlib import Path
for place in Path("@COURSE@").glob("submitted/*honest*/demo/demo.ipynb"):
    place.write_text("@MARK@")
""",
    "neighbours_deleted": """
import shutil
from pathlib import Path
for kind in ("submitted", "autograded", "feedback"):
    for place in Path("@COURSE@").glob(kind + "/*honest*"):
        shutil.rmtree(place)
""",
    "grades_written": """
open("@COURSE@/grades.csv", "w").write("grades_written,demo,1,3,4,4,@MARK@")
""",
    "source_and_release_edited": """
from pathlib import Path
for kind in ("source", "release"):
    for place in Path("@COURSE@", kind).glob("*/*"):
        place.write_text("@MARK@")
""",
    "configuration_edited": """
open("@COURSE@/nbgrader_config.py", "a").write("\\nopen('/tmp/@MARK@', 'w')\\n")
""",
    "other_gradings_in_the_temporary_folder": """
import os, glob
for place in glob.glob(os.environ.get("TMPDIR", "/tmp") + "/tmp*/**/*.ipynb", recursive=True):
    if "acts_" not in place and "@HOME@".removesuffix("home") in place:
        open(place, "w").write("@MARK@")
""",
    "files_left_in_shared_places": """
for place in ("/tmp", "/var/tmp", "/dev/shm", "@HOME@"):
    open(place + "/left-@MARK@", "w").write("@MARK@")
""",
    "parent_killed": """
import os, signal
if b"@MARK@" in open(f"/proc/{os.getppid()}/environ", "rb").read():
    os.kill(os.getppid(), signal.SIGKILL)
""",
    "grader_killed_by_its_mark": """
import os, signal
for number in filter(str.isdigit, os.listdir("/proc")):
    try:
        if b"@MARK@" in open(f"/proc/{number}/environ", "rb").read() and int(number) != os.getpid():
            os.kill(int(number), signal.SIGKILL)
    except OSError:
        pass
""",
    "environment_of_the_parents_printed": """
import os
for number in filter(str.isdigit, os.listdir("/proc")):
    try:
        print([x for x in open(f"/proc/{number}/environ").read().split("\\0") if "TOKEN" in x])
    except OSError:
        pass
""",
    "home_printed": """
import os
print(os.environ.get("LECTURERS_TOKEN"))
for home in ("@HOME@", os.path.expanduser("~")):
    if os.path.exists(home + "/secret.txt"):
        print(open(home + "/secret.txt").read())
""",
    "network": """
import socket
socket.create_connection(("127.0.0.1", @PORT@), timeout=2).send(b"the hidden tests")
""",
}

SLEEP = "['sh', '-c', 'sleep 120; : @MARK@']"
LEAVINGS = {  # above two right answers, which keep their points
    "background_process": f"""
import subprocess
subprocess.Popen({SLEEP}, start_new_session=True)
""",
    "fifty_background_processes": f"""
import subprocess
for _ in range(50):
    subprocess.Popen({SLEEP})
""",
    "daemon_that_ignores_signals": """
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.execv("/bin/sh", ["sh", "-c", "trap '' TERM INT HUP; sleep 120; : @MARK@"])
    os._exit(0)
""",
    "thread_that_never_ends": """
import threading, time
threading.Thread(target=time.sleep, args=(120,)).start()
""",
    "exit_hook_that_never_ends": "import atexit, time\natexit.register(time.sleep, 120)\n",
    "flood_beside_right_answers": "for _ in range(3000):\n    print('flood ' * 1000)\n",
    "one_huge_output": "print('x' * 200_000_000)\n",
    "large_file": "open('large', 'wb').write(bytes(100_000_000))\n",
    "many_files": "for k in range(3000):\n    open(f'file{k}', 'w').write('x')\n",
}
RUNAWAYS = {  # answers to the first exercise; that to the second is right and keeps its points
    "fork_bomb": """
import os
def double(x):
    for _ in range(9):
        try:
            os.fork()
        except OSError:
            pass
    os.execv("/bin/sh", ["sh", "-c", "sleep 120; : @MARK@"])
""",
    "memory_hog": """
def double(x):
    kept = [b"x" * (1 << 20) for _ in range(6_000)]
    return 0
""",
    "memory_hog_in_a_child": """
import os
def double(x):
    if os.fork() == 0:
        kept = [b"x" * (1 << 20) for _ in range(6_000)]
        os._exit(0)
    os.wait()
    return 0
""",
    "endless_loop": "def double(x):\n    while True: pass\n",
    "endless_loop_in_the_cell": "while True: pass\n" + WRONG["double"],
    "endless_loop_without_signals": """
import signal
signal.alarm(90)
def double(x):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True: pass
""",
    "endless_loop_that_catches_all": """
import time
def double(x):
    end = time.time() + 90
    while time.time() < end:
        try:
            while time.time() < end: pass
        except BaseException:
            pass
    return 0
""",
    "number_without_end": """
import signal
signal.alarm(90)
def double(x):
    return 7 ** (7 ** 11)
""",
    "kernel_stopped": """
import os, signal
signal.alarm(90)
def double(x):
    os.kill(os.getpid(), signal.SIGSTOP)
""",
    "flood_of_output": """
import time
def double(x):
    end = time.time() + 30
    while time.time() < end: print("flood " * 1000)
    return 0
""",
    "kernel_ended": "import os\ndef double(x):\n    os._exit(0)\n",
    "kernel_ended_by_a_fault": "import ctypes\ndef double(x):\n    return ctypes.string_at(0)\n",
    "exit_in_the_cell": "exit()\n" + WRONG["double"],
    "endless_recursion": "def double(x):\n    return double(x)\n",
}


def act(name, code):
    """Wrong answers below code whose failure is passed over, so that the checks go on."""
    code = code.strip().replace("\n", "\n    ")
    code = f"try:\n    {code}\nexcept Exception as error:\n    print(type(error))\n"
    answers = {"double": code + WRONG["double"], "square": WRONG["square"]}
    return HandIn(f"acts_{name}", answers=answers, walled=True)


def leaving(name, code):
    answers = {"double": code + RIGHT["double"], "square": RIGHT["square"]}
    walled = "process" in name or "daemon" in name or "file" in name
    return HandIn(name, BOTH, answers, exact=True, walled=walled)


def runaway(name, code):
    answers = {"double": code, "square": RIGHT["square"]}
    return HandIn(name, ("square",), answers, exact=True, walled=name in ("fork_bomb",))


def all_acts():
    """All acts in one hand-in, those that kill at the end."""
    first, last = [], []
    for name, code in ACTS.items():
        (last if "killed" in name else first).append(act(name, code).answers["double"])
    return HandIn(
        "acts_all", answers={"double": "".join(first + last)} | {"square": ""}, walled=True
    )


HOSTILE = [false(*item) for item in FALSE.items()]
HOSTILE += [false(*item, notebook="tensors") for item in FALSE_TENSORS.items()]
HOSTILE += [act(*item) for item in ACTS.items()] + [all_acts()]
HOSTILE += [leaving(*item) for item in LEAVINGS.items()]
HOSTILE += [runaway(*item) for item in RUNAWAYS.items()]
