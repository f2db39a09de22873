"""The package: its requirements, imports and style."""

import ast
import importlib
import json
import operator
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version

import pytest
import yaml
from conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORT_ALL = """
import importlib, pkgutil, sys

extras = "nbgrader h5py distributed dask sphinx myst_nb onnx onnxscript playwright pytest ruff"
for name in extras.split():
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
import dvae_lib

for module in pkgutil.walk_packages(dvae_lib.__path__, "dvae_lib."):
    try:
        importlib.import_module(module.name)
        print(module.name)
    except ImportError as error:
        print(f"{module.name}: {error}")
"""
CALL_ALL = """
import contextlib, io, json, sys
from dvae_lib import cli

answers = []
for command in sys.argv[1:]:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        answers.append((cli.main(command.split()), said.getvalue()))
print(json.dumps(answers))
"""


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True
    )


def test_every_module_imports_without_an_extra():
    done = run("-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {"dvae_lib.training", "dvae_lib.data.sprites", "dvae_lib.exercises"} <= set(lines)
    # What is about nbgrader is reached through one module, which says how to get it; so is Dask.
    failed = [line for line in lines if ":" in line]
    assert (
        "dvae_lib.classroom: assignments need nbgrader: pip install 'dvae_lib[classroom]'" in failed
    )
    dask = "dvae_lib.cluster: --cluster needs Dask: pip install 'dvae_lib[cluster]'"
    assert dask in failed
    assert all("nbgrader" in line for line in failed if line != dask), failed


def test_the_conda_environment_installs_this_package_and_no_extra():
    """Requirements live in pyproject.toml alone; the two must not drift apart."""
    environment = (REPOSITORY / "environment.yml").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^ +- (-e.*)$", environment) == ["-e ."]
    (python,) = re.findall(r"- python(>=.*)", environment)
    assert python == PROJECT["requires-python"]


def test_the_test_extra_installs_the_others():
    others = set(PROJECT["optional-dependencies"]) - {"test"}
    (own,) = (r for r in PROJECT["optional-dependencies"]["test"] if r.startswith("dvae_lib"))
    assert set(re.search(r"\[(.*)\]", own)[1].split(",")) == others


def test_the_version_is_one():
    from dvae_lib import __version__

    assert __version__ == PROJECT["version"] == version("dvae_lib")


def test_the_way_of_a_number_names_what_is_there():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    way = text.split("## From the command to the number")[1].split("\n## ")[0]
    names = re.findall(r"`([a-z]+)\.(\w+(?:\.\w+)?)`", way)
    assert len(names) > 20
    for module, name in names:
        if name != "json":
            operator.attrgetter(name)(importlib.import_module(f"dvae_lib.{module}"))


def test_the_map_of_rooms_names_every_file_of_tests():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = text.split("## The rooms")[1].split("\n## ")[0].splitlines()
    rows = [line.split("|")[-2] for line in rooms if line.startswith("| ")][1:]
    named = re.findall(r"\w+", " ".join(rows)) + re.findall(r"`test_(\w+)`", text)
    there = [path.stem.removeprefix("test_") for path in (REPOSITORY / "tests").glob("test_*.py")]
    named, there = ({n for n in names if not n.startswith("notebook_")} for names in (named, there))
    assert named == there


def test_what_other_files_say_of_versions_is_what_the_package_says():
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (PROJECT["version"], PROJECT["license"])
    workflow = (REPOSITORY / ".github/workflows/tests.yml").read_text(encoding="utf-8")
    oldest = re.findall(r'"(\w+)==([\d.]+)\.\*"', workflow)
    assert [name for name, _ in oldest] == ["torch", "torchvision"]
    assert {f"{name}>={number}" for name, number in oldest} <= set(PROJECT["dependencies"])
    first, *_ = yaml.safe_load(workflow)["jobs"]["suite"]["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={first}"


def test_without_its_notebooks_the_command_says_what_to_do(tmp_path):
    """Out of a wheel, whose files are unpacked as pip does, and called from another folder."""
    copy, installed = tmp_path / "copy", tmp_path / "installed"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "dvae_lib", copy / "dvae_lib", ignore=ignored)
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / part, copy)
    build = "from setuptools import build_meta; build_meta.build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    with zipfile.ZipFile(*copy.glob("*.whl")) as wheel:
        wheel.extractall(installed)
    commands = ["run", "run 01_vae", "sweep 01_vae --seeds 0", "store", "lab", "site --to s"]
    done = subprocess.run(
        [sys.executable, "-c", CALL_ALL, *commands],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )
    answers = json.loads(done.stdout)
    assert len(answers) == len(commands)
    for status, said in answers:
        assert status == 2, said
        assert said.startswith("dvae: the library is installed without its notebooks")
        assert "get the workbook's checkout, and run in it: pip install -e ." in said


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_the_style_is_kept(command):
    done = run("-m", "ruff", *command, ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_of_the_library_fit():
    done = run("-m", "ty", "check", "dvae_lib", "--python", sys.prefix)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_public_has_types():
    """Parameters and results of all public functions and methods; shapes stand in docstrings."""
    missing = []
    for path in sorted((REPOSITORY / "dvae_lib").rglob("*.py")):
        for name, node in public_functions(ast.parse(path.read_text(encoding="utf-8")).body):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            arguments += filter(None, (node.args.vararg, node.args.kwarg))
            untyped = [
                a.arg for a in arguments if not a.annotation and a.arg not in ("self", "cls")
            ]
            if untyped or not node.returns:
                missing.append(f"{path.name}: {name}({', '.join(untyped)})")
    assert missing == []


def public_functions(body, owner=""):
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield owner + node.name, node
