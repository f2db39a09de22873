"""Where the notebooks are, and reading the code in them without running it."""

import ast
import hashlib
import os
import re
import subprocess
import sys
import types
from pathlib import Path

# What draws and runs cannot change a number, so a change there outdates no stored result.
PRESENTATION = (
    "figures",
    "widgets",
    "workbook",
    "results",
    "sources",
    "execution",
    "cli",
    "classroom",
    "files",
)


def root():
    """The folder of the workbook: the one that holds notebooks/ and dvae_lib/."""
    return Path(__file__).resolve().parent.parent


def in_checkout():
    """False where the library alone is installed, as it is beside a notebook handed out."""
    return (root() / "notebooks").is_dir()


def notebooks_folder():
    """The folder of the notebooks. Raises FileNotFoundError outside a checkout."""
    folder = root() / "notebooks"
    if not in_checkout():
        raise FileNotFoundError(
            f"no notebooks at {folder}: install the workbook from its checkout (pip install -e .)"
        )
    return folder


def notebook_path(name):
    """The path of a notebook by name. Raises ValueError for an unknown one, listing what exists."""
    name = Path(name).stem
    path = notebooks_folder() / f"{name}.ipynb"
    if not path.exists():
        names = sorted(p.stem for p in notebooks_folder().glob("*.ipynb"))
        raise ValueError(f"no notebook {name!r}; there are: {', '.join(names)}")
    return path


def runs_folder():
    """Where runs are written: the environment variable DVAE_RUNS, else runs/ in the workbook.

    Outside a checkout: runs/ beside the notebook.
    """
    return Path(os.environ.get("DVAE_RUNS") or (root() if in_checkout() else Path.cwd()) / "runs")


def data_folder():
    """Where original data sets are kept when a notebook may download them: runs/data."""
    return runs_folder() / "data"


def run_folder(notebook, tier, seed, runs=None):
    """The folder of one run, below `runs` (default: runs_folder())."""
    return (runs or runs_folder()) / notebook / f"{tier}-seed{seed}"


def results_path(notebook):
    """Where the sweeps of a notebook are stored; outside a checkout, results/ beside it."""
    folder = notebooks_folder() if in_checkout() else Path.cwd()
    return folder / "results" / f"{notebook}.json"


def code_cells(path):
    """The sources of a notebook's code cells, magics left out."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [re.sub(r"(?m)^[%!].*$", "", cell.source) for cell in cells]


def definitions(notebook):
    """A module with the imports, constants, functions and classes of a notebook, nothing run.

    Of the top-level statements, imports, functions, classes and assignments to NAMES_IN_CAPITALS
    are kept, these where they need no call and no other name. The last definition of a name wins,
    as in a run of the notebook.
    """
    path = notebook_path(notebook)
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    body, constants = [], set()
    for source in code_cells(path):
        for node in ast.parse(source).body:
            if isinstance(node, kept):
                body.append(node)
            elif (
                isinstance(node, ast.Assign)
                and all(isinstance(t, ast.Name) and t.id.isupper() for t in node.targets)
                and not any(isinstance(n, ast.Call) for n in ast.walk(node.value))
                and {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)} <= constants
            ):
                body.append(node)
                constants |= {t.id for t in node.targets}
    # Classes and dataclasses look their module up by name.
    sys.modules[f"notebook_{path.stem}"] = module
    module.__name__ = f"notebook_{path.stem}"
    exec(compile(ast.Module(body, []), str(path), "exec"), module.__dict__)
    return module


def code_digest(notebook):
    """A checksum of the code behind a notebook's numbers.

    That is its cells, the notebooks that it reads definitions from, and those functions, classes
    and constants of the library that their code names, directly or through one another. Comments,
    docstrings and layout do not count, nor do modules that only draw or run.
    """
    trees = _notebook_trees(notebook)
    words = {word for tree in trees for word in _strings(tree)}
    library = _library_definitions(words, _imports(trees))
    parts = [_normal(tree) for tree in trees]
    # A word counts as a name: data.load("shapes3d") reaches the function of that name.
    pending, reached = [name for tree in trees for name in _names(tree)] + list(words), set()
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            for node in library.get(name, ()):
                parts.append(_normal(node))
                pending += _names(node)
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def _notebook_trees(notebook):
    """The parsed code of a notebook and of those that it reads with definitions("name")."""
    trees, pending = {}, [notebook]
    while pending:
        path = notebook_path(pending.pop())
        if path not in trees:
            trees[path] = ast.parse("\n".join(code_cells(path)))
            for node in ast.walk(trees[path]):
                match node:
                    case ast.Call(
                        func=ast.Name("definitions") | ast.Attribute(attr="definitions"),
                        args=[ast.Constant(str() as name)],
                    ):
                        pending.append(name)
    return list(trees.values())


def _library_definitions(words, imports):
    """The top-level definitions of the library by name: {name: [nodes]}.

    A module of data/ that holds sets counts only if `words` has the name of one: the module's own
    if it has a function `load`, else that of any of its functions. The metrics, whose names are
    everyday ones, count only if `imports` has them.
    """
    shared = ("factor_data", "download", "rasteriser")
    found = {}
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        if path.stem in PRESENTATION:
            continue
        body = ast.parse(path.read_text()).body
        functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
        holds_sets = path.parent.name == "data" and path.stem not in shared
        if holds_sets and not words & ({path.stem} if "load" in functions else functions):
            continue
        if path.parent.name == "metrics" and "metrics" not in imports:
            continue
        for node in body:
            names = [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
            if isinstance(node, ast.Assign):
                names = [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
            for name in names:
                found.setdefault(name, []).append(node)
    return found


def _names(tree):
    """Every name and attribute that code uses."""
    nodes = list(ast.walk(tree))
    return [node.id for node in nodes if isinstance(node, ast.Name)] + [
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    ]


def _imports(trees):
    """Every name in the import statements of the trees, dotted ones in parts."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [a.name for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {part for name in names for part in name.split(".")}


def _strings(tree):
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def _normal(tree):
    """A text of the code that leaves out docstrings, comments and layout."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(body[0].value, ast.Constant):
                body[0].value.value = ""
    return ast.dump(tree)


def commit():
    """The commit of the workbook's code, with "+" when the tree has changes; "" without git."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + (
            "+" if _git("status", "--porcelain", "dvae_lib", "notebooks/*.ipynb") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments):
    done = subprocess.run(
        ["git", *arguments], cwd=root(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
