"""What a released notebook calls around its exercises.

Before a check, `require_own_answer` sees to it that the answer does not call the library's; after
it, `passed` notes that it went well; in the cell below, `use_reference` puts the reference's answer
in the place of one that did not pass, so that no later part rests on an unsolved exercise.

The reference's answers lie beside the notebook, packed so that nobody reads them by accident. In
grading an answer is put there only after the check of its exercise has run.
"""

import ast
import base64
import json
import linecache
import re
import types
import zlib
from collections.abc import Iterable
from pathlib import Path

from .cells import defined_names, used_names

STUB = "write your answer in this cell"  # what an empty answer of a handout raises
HINT = re.compile(r"<details><summary>(Hint[^<]*)</summary>(.*?)</details>", re.DOTALL)

home = Path()  # where the .reference lies
_passed = set()


def contract(answer: str, tools: str = "", before: Iterable[str] = ()) -> dict:
    """What a check needs to know of an exercise, and its reference's answer.

    answer: the source of the reference. tools: source that makes what the check itself uses.
    before: modules to import before a notebook can change them.
    """
    uses = sorted(used_names(ast.parse(answer)))
    about = {"defines": defined_names(answer), "uses": uses, "tools": tools, "before": [*before]}
    return about | {"answer": answer}


def pack(contracts: dict) -> str:
    """{exercise: contract} as one line of text."""
    return base64.b85encode(zlib.compress(json.dumps(contracts).encode())).decode()


def unpack(path: str | Path) -> dict:
    """{exercise: contract} of a .reference file. Raises FileNotFoundError if it is not here."""
    path = Path(path)
    if not path.exists():
        where = path.parent.absolute()
        raise FileNotFoundError(
            f"{path.name} is not in {where}; keep it beside the notebook, as it was handed out"
        )
    return json.loads(zlib.decompress(base64.b85decode(path.read_text())))


def hints(text: str) -> dict[str, str]:
    """{title: HTML} of the hints that unfold in the Markdown above an exercise."""
    return dict(HINT.findall(text))


def require_own_answer(notebook: str, exercise: str, namespace: dict) -> None:
    """Assert that the answers are there and do not use parts of the library that hold answers.

    What the reference's own answer uses is allowed. namespace: the notebook's globals().
    """
    _passed.discard(exercise)  # of an earlier run of the check
    wanted = unpack(home / f"{notebook}.reference")[exercise]
    for name in wanted["defines"]:
        assert name in namespace, f"there is no {name}: run the cell with your answer first"
        answer = namespace[name]
        assert answer is not None, f"{name} is None: define a function with this name"
        borrowed = _from_library(answer, namespace, set(wanted["uses"]), set())
        assert not borrowed, f"{name} uses {borrowed} of the library: write it yourself"


def passed(exercise: str) -> None:
    """Note that the check of an exercise has passed. The last line of a check."""
    _passed.add(exercise)


def use_reference(notebook: str, exercise: str, namespace: dict) -> None:
    """Define the reference's answer in the notebook unless the exercise's check has passed."""
    if exercise in _passed:
        print(f"{exercise}: passed; the notebook goes on with your answer")
        return
    source = unpack(home / f"{notebook}.reference")[exercise]["answer"]
    exec(compile(source, f"<reference {exercise}>", "exec"), namespace)
    names = ", ".join(defined_names(source))
    print(f"{exercise}: not passed; the notebook goes on with the reference's {names}")


def _from_library(answer, namespace, allowed, seen):
    """The first name by which an answer, or a helper that it calls, uses the library, or ""."""
    if _is_library(answer):
        return getattr(answer, "__qualname__", None) or answer.__name__
    seen.add(id(answer))
    for name in used_names(_tree(answer)) - allowed:
        used = namespace.get(name)
        if name == "dvae_lib" or _is_library(used):
            return name
        helper = isinstance(used, types.FunctionType) and used.__module__ == "__main__"
        if helper and id(used) not in seen:
            if borrowed := _from_library(used, namespace, allowed, seen):
                return borrowed
    return ""


def _is_library(value):
    """True for a module of the library and for what is defined in one."""
    module = value.__name__ if isinstance(value, types.ModuleType) else _module(value)
    return module.split(".")[0] == "dvae_lib"


def _module(value):
    kinds = types.FunctionType | type | types.MethodType
    return (getattr(value, "__module__", None) or "") if isinstance(value, kinds) else ""


def _tree(answer):
    """The parsed code of a function or class that a cell defined; of nothing where it is lost."""
    code = getattr(answer, "__code__", None)
    if code is None and isinstance(answer, type):
        methods = [m for m in vars(answer).values() if isinstance(m, types.FunctionType)]
        code = methods[0].__code__ if methods else None
    if code is None:
        return ast.parse("")
    cell = ast.parse("".join(linecache.getlines(code.co_filename)))
    own = [
        ast.Expr(node) if isinstance(node, ast.Lambda) else node
        for node in ast.walk(cell)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda)
        and node.lineno <= code.co_firstlineno <= node.end_lineno
    ]
    imports = [node for node in cell.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return ast.Module([*own, *imports], [])
