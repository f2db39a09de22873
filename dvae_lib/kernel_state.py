"""What a fresh kernel looks like, and what a notebook has changed of it."""

import builtins
import dataclasses
import gc
import signal
import sys
import types
from typing import Any

# What checks compute with, and what brings their outcome to the grader.
WATCHED = set(
    "ast cmath collections contextlib copy functools inspect itertools json linecache math numpy "
    "operator random sklearn statistics torch traceback types typing dvae_lib IPython ipykernel "
    "jupyter_client".split()
)
TELLING = {
    f"__{name}__"
    for name in "eq ne lt le gt ge bool float int index complex abs sub rsub array array_ufunc "
    "array_function torch_function torch_dispatch instancecheck subclasscheck getattribute "
    "class".split()
}
MISSING = object()
WRAPPED = {"manual_seed", "step"}  # by torch itself, when it is first used
SMALL = range(-5, 257)  # integers that Python keeps once


class State:
    """What a fresh kernel looks like; `faults` says in words what is no longer so."""

    def __init__(self, kernel: Any) -> None:
        self.kernel, self.shell = kernel, kernel.shell
        self.builtins = dict(vars(builtins))
        self.modules = {k: m for k, m in sys.modules.items() if k.split(".")[0] in WATCHED}
        owners = [m for m in self.modules.values() if isinstance(m, types.ModuleType)]
        classes = {
            id(c): c
            for m in owners
            for c in vars(m).values()
            if issubclass(type(c), type) and c.__module__.split(".")[0] in WATCHED
        }
        self.owners = [(o, _callables(o)) for o in (*owners, *classes.values())]
        found = (f for _, members in self.owners for f in members.values())
        functions = {id(f): f for f in found if isinstance(f, types.FunctionType)}.values()
        self.codes = [(f, f.__code__, f.__defaults__, f.__kwdefaults__) for f in functions]
        self.classes = set(map(id, _all_classes()))
        self.attributes = [(o, dict(vars(o))) for o in (kernel, kernel.session, kernel.shell)]
        self.handlers = dict(kernel.shell_handlers), dict(kernel.control_handlers)
        self.inputs = self._inputs()
        self.small = " ".join(map(str, SMALL))

    def faults(self) -> list[str]:
        """Sentences, none where all is well. Builtins are put back first, to look with."""
        found = []
        for name, value in self.builtins.items():
            if builtins.__dict__.get(name, MISSING) is not value and name != "_":
                found.append(f"builtins.{name} was changed")
                builtins.__dict__[name] = value
        if " ".join(map(str, SMALL)) != self.small:
            found.append("small numbers were rewritten in memory")
        parts = self._hooks, self._library, self._running, self._liars
        return found + [fault for part in parts for fault in part()]

    def _inputs(self):
        """What changes the code of a cell on its way through IPython."""
        shell = self.shell
        manager = shell.input_transformer_manager
        steps = (
            shell.ast_transformers,
            shell.input_transformers_post,
            manager.cleanup_transforms,
            manager.line_transforms,
            manager.token_transformers,
        )
        return [list(step) for step in steps]

    def _hooks(self):
        if not _same_lists(self._inputs(), self.inputs):
            yield "IPython changes the code of cells"
        if self.shell.custom_exceptions:
            yield "IPython's handling of errors was changed"
        callbacks = [c for called in self.shell.events.callbacks.values() for c in called]
        hooks: list = [
            sys.excepthook,
            sys.displayhook,
            sys.unraisablehook,
            *gc.callbacks,
            *sys.meta_path,
        ]
        hooks += [*sys.path_hooks, *map(signal.getsignal, signal.valid_signals())]
        if any(map(_is_notebooks, callbacks + hooks)):
            yield "the notebook's code is called by a hook"
        if sys.gettrace() or sys.getprofile():
            yield "a trace function is set"
        if self.shell.user_ns.get("__builtins__") not in (builtins, vars(builtins)):
            yield "__builtins__ was exchanged"
        handlers = self.kernel.shell_handlers, self.kernel.control_handlers
        if handlers != self.handlers:
            yield "the kernel's handlers were changed"
        for owner, before in self.attributes:
            for name, value in vars(owner).items():
                if callable(value) and before.get(name) is not value and _is_notebooks(value):
                    yield f"{type(owner).__name__}.{name} was changed"

    def _library(self):
        for name, module in self.modules.items():
            if sys.modules.get(name) is not module:
                yield f"the module {name} was exchanged"
        for owner, members in self.owners:
            now = vars(owner)
            for name, value in members.items():
                changed = now.get(name, MISSING)
                if changed is not value and (name not in WRAPPED or _is_notebooks(changed)):
                    yield f"{owner.__name__}.{name} was changed"
            if len(now) > len(members):
                for name, value in list(now.items()):
                    if name not in members and callable(value) and _is_notebooks(value):
                        yield f"{owner.__name__}.{name} was added"
        for function, *before in self.codes:
            now = function.__code__, function.__defaults__, function.__kwdefaults__
            if any(a is not b for a, b in zip(now, before, strict=True)):
                yield f"{function.__module__}.{function.__qualname__} has other code"

    def _running(self):
        own = sys._getframe()
        for frame in sys._current_frames().values():
            while frame is not None and frame is not own:
                if is_cell(frame.f_code.co_filename):
                    yield "the notebook's code runs in a thread"
                    break
                frame = frame.f_back

    def _liars(self):
        for kind in _all_classes():
            if id(kind) not in self.classes and _is_unknown(kind):
                own = {name for name in TELLING & set(vars(kind)) if self._tells(kind, name)}
                if own:
                    yield f"the class {kind.__name__} defines {', '.join(sorted(own))}"

    def _tells(self, kind, name):
        """True where a notebook decides how the values of a class compare."""
        value = vars(kind)[name]
        if _is_notebooks(value):
            return True
        generated = getattr(getattr(value, "__code__", None), "co_filename", "") == "<string>"
        if generated and dataclasses.is_dataclass(kind):
            return False
        return kind.__module__ == "__main__" or (
            kind.__module__ in self.modules and not isinstance(value, types.FunctionType)
        )


def _callables(owner):
    return {name: value for name, value in list(vars(owner).items()) if callable(value)}


def _all_classes():
    found: dict[int, type] = {}
    waiting: list[type] = [object]
    while waiting:
        kind = waiting.pop()
        if id(kind) not in found:
            found[id(kind)] = kind
            waiting += type.__subclasses__(kind)
    return list(found.values())


def _is_unknown(kind):
    """True for a class that is not where its name says, as are those of a notebook."""
    place = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        if part == "<locals>":
            return kind.__module__ == "__main__"
        place = getattr(place, part, None)
    return kind.__module__ == "__main__" or place is not kind


def _same_lists(a, b):
    return all(
        len(x) == len(y) and all(p is q or p == q for p, q in zip(x, y, strict=True))
        for x, y in zip(a, b, strict=True)
    )


def is_cell(filename: str) -> bool:
    """True for the file names that IPython gives to cells."""
    return "/ipykernel_" in filename or filename.startswith("<ipython-input")


def _is_notebooks(value):
    """True for a function that a notebook's cell defines, a method of its class, or an instance."""
    value = getattr(value, "__func__", value)
    code = getattr(value, "__code__", None)
    if code is not None:
        return is_cell(code.co_filename)
    kind = value if isinstance(value, type) else type(value)
    return kind.__module__ == "__main__"
