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


def notebooks_folder():
    """The folder of the notebooks. Raises FileNotFoundError outside a checkout."""
    folder = root() / "notebooks"
    if not folder.is_dir():
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
    """Where runs are written: the environment variable DVAE_RUNS, else runs/ in the workbook."""
    return Path(os.environ.get("DVAE_RUNS") or root() / "runs")


def data_folder():
    """Where original data sets are kept when a notebook may download them: runs/data."""
    return runs_folder() / "data"


def run_folder(notebook, tier, seed, runs=None):
    """The folder of one run, below `runs` (default: runs_folder())."""
    return (runs or runs_folder()) / notebook / f"{tier}-seed{seed}"


def results_path(notebook):
    """Where the sweeps of a notebook are stored."""
    return notebooks_folder() / "results" / f"{notebook}.json"


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
    """A checksum of the code behind a notebook's numbers: its cells and the modules they import.

    Comments, docstrings and layout do not count, nor do modules that only draw or run.
    """
    sources = code_cells(notebook_path(notebook))
    parts = [_normal("\n".join(sources))]
    for path in sorted(_files_behind("\n".join(sources))):
        parts.append(path.name + _normal(_source(path)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _normal(source):
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(body[0].value, ast.Constant):
                body[0].value.value = ""
    return ast.dump(tree)


def _source(path):
    return "\n".join(code_cells(path)) if path.suffix == ".ipynb" else path.read_text()


def _files_behind(source):
    """Files of the library that a notebook imports, directly or not, or names as a data set.

    So too the notebooks that it reads definitions from.
    """
    package = Path(__file__).parent
    found, pending = set(), [(source, True)]
    while pending:
        text, in_notebook = pending.pop()
        for node in ast.walk(ast.parse(text)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                stem = node.module or ""
                names = [stem] + [f"{stem}.{alias.name}" for alias in node.names]
            elif in_notebook and isinstance(node, ast.Constant) and isinstance(node.value, str):
                names = [f"data.{node.value}"] if node.value.isidentifier() else []
            elif in_notebook and (name := _definitions_of(node)):
                path = notebook_path(name)
                if path not in found:
                    found.add(path)
                    pending.append((_source(path), True))
            for name in names:
                parts = [p for p in name.split(".") if p and p != "dvae_lib"]
                for path in _candidates(package, parts):
                    if path not in found and path.stem not in PRESENTATION:
                        found.add(path)
                        pending.append((_source(path), False))
    return found


def _definitions_of(node):
    """The name in a call definitions("name"), else None."""
    match node:
        case ast.Call(
            func=ast.Name("definitions") | ast.Attribute(attr="definitions"),
            args=[ast.Constant(str() as name)],
        ):
            return name


def _candidates(package, parts):
    if not parts:
        return []
    base = package.joinpath(*parts)
    # A relative import inside dvae_lib/data names its sibling without the folder.
    options = [base.with_suffix(".py"), base / "__init__.py", package / "data" / f"{parts[0]}.py"]
    return [path for path in options if path.is_file()]


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
