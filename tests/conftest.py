"""What several test files share: a smoke run of each notebook, and folders for what tests write."""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
import torch

from dvae_lib import commits, execution, paths
from dvae_lib.data import FactorData

REPOSITORY = Path(__file__).resolve().parent.parent
# Small tensors on a busy machine: threads would wait for each other. Subprocesses inherit this.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

NOTEBOOKS = paths.notebook_names()


def without_grammar(folder):
    """On PYTHONPATH: over a second of each import of nbformat is a grammar that nobody here needs.

    jsonschema, which makes it to check addresses, goes on without it.
    """
    Path(folder, "rfc3987_syntax.py").write_text("raise ImportError")
    return str(folder)


_without_grammar = tempfile.TemporaryDirectory(prefix="without-grammar-")  # until Python ends
sys.path.insert(0, without_grammar(_without_grammar.name))
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [_without_grammar.name, os.environ.get("PYTHONPATH")])
)
_committed = tempfile.TemporaryDirectory(prefix="committed-")


def committed(name):
    """The path of a notebook as it is committed; as it lies there where it is in no commit.

    Whoever reads a notebook in JupyterLab saves it with parameters and outputs of their own.
    """
    path = Path(_committed.name, f"{name}.ipynb")
    path.write_text(commits.committed(paths.notebook_path(name)), encoding="utf-8", newline="\n")
    return path


def commit_all(folder):
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["add", "."], [*author, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def executed(name):
    """A parameter for a test that takes the smoke run of a notebook of the workbook."""
    return pytest.param(name, marks=pytest.mark.notebook, id=name)


def pytest_collection_modifyitems(items):
    """Notebooks first: the last tests of a run are short, so that no worker waits for another."""
    items.sort(key=lambda item: item.get_closest_marker("notebook") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One worker takes all tests of the browser, one those of the site, and one test_…[01_vae].

    So there is one JupyterLab, one built site and one smoke run a notebook. Marks would say it
    better, but the groups of pytest-xdist 3.8 have no effect with pytest 9.2 (its issue 1386).
    """
    from xdist.scheduler import LoadGroupScheduling

    class Scheduler(LoadGroupScheduling):
        def _split_scope(self, nodeid):
            for group in ("browser", "site"):
                if f"test_{group}.py::" in nodeid:
                    return group
            (name,) = re.findall(r"\[(\w+)\](?:@|$)", nodeid) or [""]
            return name if name in NOTEBOOKS else super()._split_scope(nodeid)

    return Scheduler(config, log) if config.getvalue("dist") == "loadgroup" else None


PARAMETERS = 'tier = "classroom"\nseed = 0\ndevice = "auto"'


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """No test writes into the repository's runs/."""
    monkeypatch.setenv("DVAE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def smoke_runs(tmp_path_factory):
    """(folder, execute): executes a notebook into the folder at tier smoke, once."""
    folder = tmp_path_factory.mktemp("smoke")

    @functools.cache
    def execute(name):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DVAE_RUNS", str(folder))
            patch.setenv("PYTHONSTARTUP", str(REPOSITORY / "tests" / "move_controls.py"))
            patch.setenv("CONTROLS", str(folder / f"{name}.controls"))
            return execution.execute(execution.Job(name, tier="smoke"))

    return folder, execute


@pytest.fixture
def smoke(smoke_runs, runs, monkeypatch):
    """`smoke("01_vae")` is the Outcome of a notebook at tier smoke, executed once a session.

    Its job.folder holds results.json and the executed notebook. Beside it, in 01_vae.controls, is
    what moving each control of each widget did (see move_controls.py).
    """
    folder, execute = smoke_runs
    monkeypatch.setenv("DVAE_RUNS", str(folder))  # job.folder is told from it
    return execute


def notebook_of(*cells, parameters=PARAMETERS):
    """A notebook of code cells, the first of which holds the parameters."""
    code = [nbformat.v4.new_code_cell(source) for source in (parameters, *cells)]
    code[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=code, metadata={"kernelspec": kernel})


class Checkout:
    """A copy of the library beside an empty notebooks folder."""

    def __init__(self, folder):
        self.folder, self.library, self.notebooks = (
            folder,
            folder / "dvae_lib",
            folder / "notebooks",
        )
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "dvae_lib", self.library, ignore=ignored)
        (self.notebooks / "results").mkdir(parents=True)
        without_grammar(folder)

    def write(self, name, *cells, parameters=PARAMETERS):
        path = self.notebooks / f"{name}.ipynb"
        nbformat.write(notebook_of(*cells, parameters=parameters), path)
        return path


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A temporary checkout that `paths` takes for its own."""
    copy = Checkout(tmp_path / "checkout")
    monkeypatch.setattr(paths, "__file__", str(copy.library / "paths.py"))
    return copy


def paint(factors):
    """A renderer that can be read back: channel k of the image is 10 times level k."""
    return (10 * factors).to(torch.uint8)[:, :, None, None].expand(-1, -1, 4, 4).contiguous()


@pytest.fixture
def painted():
    """All 24 combinations of three factors, as images that `paint` made."""
    sizes = (2, 3, 4)
    factors = torch.cartesian_prod(*map(torch.arange, sizes))
    values = tuple(tuple(range(size)) for size in sizes)
    return FactorData("painted", paint(factors), factors, ("a", "b", "c"), sizes, values, paint)
