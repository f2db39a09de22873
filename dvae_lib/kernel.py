"""The kernel in which hand-ins are graded: an ordinary one whose checks stand on clean ground.

A cell that begins with CHECK is no cell of the notebook. It does not pass through IPython, whose
hooks belong to the notebook, and it brings the modules and helpers that it needs. Before and after
it the state that a check rests on (builtins, the library, torch, hooks, threads) is compared with
that of the fresh kernel. Code in the same process can always hide better than another looks; this
tells every common way, and the walls around the kernel (`sandbox`) do not depend on it.
"""

import ast
import builtins
import contextlib
import functools
import hashlib
import importlib
import inspect
import json
import os
import sys
import traceback
import types
from pathlib import Path

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp

from . import exercises, kernel_state
from .cells import bound_names
from .kernel_state import WATCHED, State, is_cell

CHECK = "#dvae:check "
MEMORY = 4 * 2**30  # bytes of data of one process; a notebook at tier smoke takes about one
FILE = 2**28  # bytes of one file
PROCESSES = 256  # threads among them
# Modules whose values a check may trust; notebook classes among them are looked at by `_liars`.
PLAIN = WATCHED | {"builtins", "__main__", "enum", "decimal", "fractions"}
# Calls by which code finds what it was not given.
TELLTALE = set(
    "gc.get_objects gc.get_referrers gc.get_referents sys._getframe sys._current_frames "
    "sys.settrace sys.setprofile".split()
)
FRAMES = {"tb_frame", "gi_frame", "cr_frame", "ag_frame"}


class GradedKernel(IPythonKernel):
    """Runs cells as ever, and checks as the module says."""

    def start(self) -> None:
        super().start()
        watchman = _watchman(self, _key())
        next(watchman)
        self._check = watchman.send

    async def do_execute(
        self,
        code,
        silent,
        store_history=True,
        user_expressions=None,
        allow_stdin=False,
        *,
        cell_meta=None,
        cell_id=None,
    ):
        if code.startswith(CHECK):
            return self._check(code.removeprefix(CHECK).split("\n", 1))
        options = {"cell_meta": cell_meta, "cell_id": cell_id}
        return await super().do_execute(
            code, silent, store_history, user_expressions, allow_stdin, **options
        )


def _watchman(kernel, key):
    """A generator that runs checks: is sent (about, source), gives the content of a signed reply.

    The signature binds the outcome to the source that the grader sent. Its key and all that a
    check rests on lie in this frame; a cell that calls for frames or for all objects finds the key
    spoiled, and what was called noted.
    """
    state, sign, run = State(kernel), hashlib.blake2b, _checked
    exercises.home = home = Path.cwd()
    parts = [(vars(o), dict(vars(o))) for o in (sys.modules[__name__], kernel_state, State, state)]
    functions = [f for _, part in parts for f in part.values() if isinstance(f, types.FunctionType)]
    codes = [(f, f.__code__) for f in functions]
    seen, looking, through = [], False, {inspect.__file__, traceback.__file__}

    def hook(event, arguments):
        nonlocal looking, key
        telltale = event in TELLTALE or event.startswith("ctypes.")
        if looking or not (telltale or event == "object.__getattr__" and arguments[1] in FRAMES):
            return
        looking = True
        frame = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename in through:
            frame = frame.f_back
        if frame is not None and is_cell(frame.f_code.co_filename):
            seen.append(event)
            key = b"spoiled"
        looking = False

    def faults():
        found = [f"the notebook called {event}" for event in seen]
        changed = any(now.keys() != before.keys() for now, before in parts)
        changed |= any(now.get(k) is not v for now, before in parts for k, v in before.items())
        if changed or any(function.__code__ is not code for function, code in codes):
            found.append("what watches the kernel was changed")
        if exercises.home is not home:
            found.append("exercises.home was changed")
        return found

    sys.addaudithook(hook)
    about, source = yield
    while True:
        about, found = json.loads(about), faults() + state.faults()
        reply = run(kernel, about, source, found, state.builtins)
        found = list(dict.fromkeys([*found, *state.faults(), *faults()]))[:3]
        signed = "\0".join([about["token"], reply["status"], *found, source])
        proof = sign(signed.encode(), key=key).hexdigest()
        about, source = yield reply | {"dvae": {"faults": found, "proof": proof}}


def _checked(kernel, about, source, faults, known):
    """Run a check: the content of the reply. What it finds amiss is added to faults."""
    reply = {"status": "ok", "user_expressions": {}, "payload": []}
    reply["execution_count"] = kernel.execution_count
    space = {k: v for k, v in kernel.shell.user_ns.items() if not hasattr(builtins, k)}
    space |= {"__builtins__": builtins, "__name__": "__main__"}
    try:
        exec(compile(about["tools"], "<tools>", "exec"), space)
        before, rest, makes = _parts(source)
        nodes = ast.parse(about["tools"]).body
        brought = {name for node in nodes for name in bound_names(node)} - makes
        tools = {name: space[name] for name in brought}
        exec(before, space)
        for name in about["defines"]:
            if isinstance(space.get(name), types.FunctionType):
                space[name] = _guarded(space[name], name, faults)
        exec(rest, space)
        faults += [f"{k} was exchanged" for k, v in tools.items() if space.get(k) is not v]
        put = [k for k in space if k in known and k not in makes and not k.startswith("__")]
        faults += [f"{k} was put in the check" for k in put]
    except BaseException as error:
        reply |= _told(error)
    return reply


def _key():
    """What the grader signs with: read from stdin, which is then empty for good."""
    key = os.read(0, 64)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    return key


def _parts(source):
    """A check's code until `require_own_answer` has read the answers; the rest; what it assigns."""
    tree = ast.parse(source)
    calls = [k for k, node in enumerate(tree.body) if "require_own_answer" in ast.unparse(node)]
    cut = calls[0] + 1 if calls else 0
    halves = [
        compile(ast.Module(part, []), "<check>", "exec")
        for part in (tree.body[:cut], tree.body[cut:])
    ]
    nodes = list(ast.walk(tree))
    makes = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return *halves, makes.union(*map(bound_names, nodes))


def _told(error):
    """The content of an error's reply: the lines of the notebook's cells, none of the check's."""
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        if is_cell(frame.filename):
            lines.append(f"line {frame.lineno} of a cell, in {frame.name}: {frame.line}")
    try:
        value = str(error)
    except Exception:
        value = "(its message cannot be read)"
    name = type(error).__name__
    return {
        "status": "error",
        "ename": name,
        "evalue": value,
        "traceback": [*lines, f"{name}: {value}" if value else name],
    }


def _guarded(answer, name, faults):
    """An answer whose results are plain values; others are noted as a fault."""

    @functools.wraps(answer)
    def call(*args, **kwargs):
        result = answer(*args, **kwargs)
        if strange := _strange(result):
            faults.append(f"{name} gave a value of type {strange}")
            raise AssertionError(f"{name} returned a {strange}: return plain numbers or tensors")
        return result

    return call


def _strange(value):
    """The name of a type in a result that is none of Python, NumPy or torch, or ""."""
    kind = type(value)
    if kind.__module__.split(".")[0] not in PLAIN:
        return kind.__name__
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, tuple | list | set):
        return next(filter(None, map(_strange, list(value)[:1000])), "")
    return ""


# Starting


def main() -> None:
    """Start the kernel: limits, and what checks use imported before anything can change it."""
    _limit()
    at = sys.argv.index("--before")
    for name in sys.argv[at + 1].split(","):
        with contextlib.suppress(ImportError):  # an attribute of a module, or an extra
            importlib.import_module(name)
    del sys.argv[at : at + 2]
    IPKernelApp.launch_instance(kernel_class=GradedKernel)


def _limit():
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {"RLIMIT_DATA": MEMORY, "RLIMIT_FSIZE": FILE, "RLIMIT_CORE": 0}
    if "--walled" in sys.argv:  # elsewhere it would count the processes of the whole user
        sys.argv.remove("--walled")
        limits["RLIMIT_NPROC"] = PROCESSES
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))
