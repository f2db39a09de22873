"""Where the notebooks are, and reading the code in them without running it."""

import ast
import os
import re
import subprocess
import sys
import types
from pathlib import Path

from . import exercises

PLAIN_TIER = r"""(?m)^(tier\b[^=\n]*=\s*)(["'])\w*\2(?=\s*(?:[;#]|$))"""


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
            f"the library is installed without its notebooks (there is no {folder}): get the "
            "workbook's checkout, and run in it: pip install -e ."
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
    if chosen := os.environ.get("DVAE_RUNS"):
        return Path(chosen).expanduser()
    return (root() if in_checkout() else Path.cwd()) / "runs"


def data_folder():
    """Where original data sets are kept when a notebook may download them: runs/data."""
    return runs_folder() / "data"


def run_folder(notebook, tier, seed, runs=None):
    """The folder of one run, below `runs` (default: runs_folder())."""
    return (runs or runs_folder()) / notebook / f"{tier}-seed{seed}"


def results_path(notebook):
    """Where the sweeps of a notebook are stored; outside a checkout, beside it."""
    return _stored() / "results" / f"{notebook}.json"


def models_path(notebook):
    """Where the weights of a notebook's long run are stored; outside a checkout, beside it."""
    return _stored() / "models" / f"{notebook}.safetensors"


def _stored():
    return notebooks_folder() if in_checkout() else Path.cwd()


def at_tier(source, tier):
    """The source of a cell of parameters with its tier set, however it was written."""
    if re.search(PLAIN_TIER, source):
        return with_tier(source, tier)
    return f'{source}\ntier = "{tier}"'


def with_tier(source, tier):
    """The source of any cell with the tier exchanged, if it sets one to a plain string."""
    return re.sub(PLAIN_TIER, rf'\g<1>"{tier}"', source)


def code_cells(path):
    """The sources of a notebook's code cells, magics left out."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [without_magics(cell.source) for cell in cells]


def without_magics(source):
    """The source of a cell as Python: IPython's lines that begin with % or ! are left empty."""
    return re.sub(r"(?m)^[%!].*$", "", source)


def definitions(notebook):
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


def definitions_for(notebook):
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


def definitions_path(notebook):
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
            elif (
                isinstance(node, ast.Assign)
                and all(isinstance(t, ast.Name) and t.id.isupper() for t in node.targets)
                and not any(isinstance(n, ast.Call) for n in ast.walk(node.value))
                and {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)} <= constants
            ):
                body.append(node)
                constants |= {t.id for t in node.targets}
    return ast.Module(body, [])


def commit():
    """The commit of the workbook's code, with "+" when the tree has changes; "" without git."""
    try:
        return _git("rev-parse", "HEAD") + ("+" if uncommitted() else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def clean_commit():
    """The commit of the workbook's code, for numbers that are to be stored.

    Raises ValueError, naming the files, where notebooks/ or dvae_lib/ has uncommitted changes, and
    where there is no git: then nobody could find the code behind the numbers again.
    """
    try:
        head, changed = _git("rev-parse", "HEAD"), uncommitted()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f"{root()} is no git checkout with a commit ({error}): what is stored must name the "
            "commit of its code"
        ) from error
    if changed:
        raise ValueError(
            f"uncommitted changes in {', '.join(changed)}: commit them first, since what is stored "
            "must name the commit of its code"
        )
    return head


def uncommitted():
    """Paths in notebooks/ and dvae_lib/ that differ from the commit, new files among them."""
    status = _git("status", "--porcelain", "--untracked-files=all", "notebooks", "dvae_lib")
    return [line[2:].strip() for line in status.splitlines()]


def same_code(notebook, old, new):
    """True if the library and the notebook's own file are the same in two commits."""
    if old == new:
        return True
    parts = ["dvae_lib", f"notebooks/{notebook}.ipynb"]
    try:
        _git("diff", "--quiet", old, new, "--", *parts)
    except subprocess.CalledProcessError:  # they differ, or git does not know the old one
        return False
    return True


def _git(*arguments):
    done = subprocess.run(
        ["git", *arguments], cwd=root(), capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout.rstrip("\n")
