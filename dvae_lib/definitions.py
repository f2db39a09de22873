"""A notebook as a module: its functions and classes, made without running the rest."""

import ast
import re
import sys
import types
from pathlib import Path

from . import exercises
from .cells import code_cells
from .paths import in_checkout, notebook_path


def definitions(notebook: str) -> types.ModuleType:
    """A module with the imports, constants, functions and classes of a notebook, nothing run.

    Of the top-level statements, imports, functions, classes and assignments to NAMES_IN_CAPITALS
    are kept, these where they need no call and no other name. The last definition of a name wins,
    as in a run of the notebook. Outside a checkout they are read from beside the notebook that
    asks for them, where `definitions_for` put them.
    """
    name = Path(notebook).stem
    if in_checkout():
        path = notebook_path(name)
        tree = _kept(path)
    else:
        path = definitions_path(name)
        tree = ast.parse(exercises.unpack(path)["source"])
    # Classes and dataclasses look their module up by name.
    module = sys.modules[f"notebook_{name}"] = types.ModuleType(f"notebook_{name}")
    module.__file__ = str(path)
    exec(compile(tree, str(path), "exec"), module.__dict__)
    return module


def definitions_for(notebook: str) -> dict[str, str]:
    """{name: packed text} of the definitions that a notebook takes from others, and they in turn.

    For `definitions_path`; packed, since other exercises' answers are among them.
    """
    found, waiting = {}, [notebook]
    while waiting:
        code = "\n".join(code_cells(notebook_path(waiting.pop())))
        for name in re.findall(r'definitions\("(\w+)"\)', code):
            if name not in found:
                found[name] = exercises.pack({"source": ast.unparse(_kept(notebook_path(name)))})
                waiting.append(name)
    return found


def definitions_path(notebook: str) -> Path:
    """Where the definitions of a notebook lie outside a checkout: beside the one that uses them."""
    return Path.cwd() / "definitions" / f"{notebook}.packed"


def _kept(path):
    """The statements of a notebook that `definitions` keeps."""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    body, constants = [], set()
    for source in code_cells(path):
        for node in ast.parse(source).body:
            if isinstance(node, kinds):
                body.append(node)
            elif isinstance(node, ast.Assign):
                names = {t.id if isinstance(t, ast.Name) else "" for t in node.targets}
                parts = list(ast.walk(node.value))
                if (
                    all(name.isupper() for name in names)
                    and not any(isinstance(part, ast.Call) for part in parts)
                    and {part.id for part in parts if isinstance(part, ast.Name)} <= constants
                ):
                    body.append(node)
                    constants |= names
    return ast.Module(body, [])
