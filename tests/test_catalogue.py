"""The one door to the data sets."""

import fnmatch
import re
import tomllib
import unittest.mock
from pathlib import Path

import pytest

from dvae_lib import data, workbook
from dvae_lib.cells import code_cells
from dvae_lib.data.published import OFFLINE, STAND_INS
from dvae_lib.paths import notebook_path

ROOT = Path(__file__).parent.parent
MADE_HERE = ("digits", "sprites", "rooms", "faces")


def test_the_catalogue_says_of_every_set_what_it_is():
    head, *rows = data.catalogue().rows
    about = ("name", "images", "factors", "source", "licence")
    assert head == (*about, "stands in for", "read by notebooks")
    assert [row[0] for row in rows] == list(data.SETS)
    for name, *about, stands_in_for, readers in rows:
        assert all(about), name
        assert bool(stands_in_for) == (name in MADE_HERE)
        assert readers == "" or re.fullmatch(r"\d\d(, \d\d)*", readers)
        assert not (readers and stands_in_for)
    assert ">rooms</td>" in data.catalogue()._repr_html_()


def test_every_original_has_one_set_made_here_in_its_place():
    stood_in_for = [original for originals in STAND_INS.values() for original in originals]
    assert set(STAND_INS) == set(MADE_HERE)
    assert sorted((*MADE_HERE, *stood_in_for)) == sorted(data.SETS)


def test_the_readme_has_the_table_of_originals():
    lines = (ROOT / "README.md").read_text().splitlines()
    for made, originals in STAND_INS.items():
        for original, readers in originals.items():
            words = "; ".join(f"{name[:2]}: `{what}`" for name, what in readers.items())
            assert f'| `"{original}"` | `"{made}"` | {words} |'.replace("  ", " ") in lines


class Asked(Exception):
    """data.load was asked for the original."""


@pytest.mark.parametrize(
    ("original", "notebook"),
    [
        (original, notebook)
        for originals in STAND_INS.values()
        for original, readers in originals.items()
        for notebook in readers
    ],
)
def test_a_notebook_reads_the_originals_that_the_table_says(monkeypatch, original, notebook):
    """After its definitions, what is to be written there, and the cells that load sets."""

    def load(name, **options):
        if name == original:
            raise Asked(options["path"])
        loaded = unittest.mock.MagicMock()
        loaded.__len__.return_value = 10**6
        return loaded

    monkeypatch.setattr(data, "load", load)
    taught = vars(workbook.definitions(notebook))
    words = STAND_INS[OFFLINE[original]][original][notebook]
    tier = "paper" if "paper" in words else "classroom"
    setups = dict.fromkeys(["sprites", "rooms", "digits", "CIFAR-10"])
    taught |= {"path": Path("set"), "n_faces": 1, "setups": setups}
    taught["run"] = workbook.start(notebook, tier, device="cpu")
    cells = [code for code in code_cells(notebook_path(notebook)) if "load" in code]
    with pytest.raises(Asked) as asked:
        exec("\n".join([words, *cells]), taught)
    assert asked.value.args == (workbook.data_folder() if tier == "paper" else Path("set"),)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits", {}),
        ("sprites", {"n": 5}),
        ("rooms", {"n": 5}),
        ("faces", {"n": 3}),
    ],
)
def test_every_set_made_here_comes_through_the_door(name, options):
    loaded = data.load(name, **options)
    assert len(loaded) == options.get("n", 4000)
    for size, values in zip(loaded.factor_sizes, loaded.factor_values, strict=True):
        assert len(values) == size


def test_originals_that_are_missing_name_the_path_and_the_set_made_here(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"3dshapes\.h5[\s\S]*rooms"):
        data.load("shapes3d", path=tmp_path / "3dshapes.h5")


def test_an_unknown_set_lists_those_there_are():
    with pytest.raises(ValueError, match="no data set 'shapes'; there are: digits, sprites, rooms"):
        data.load("shapes")


def test_files_that_the_sets_read_are_in_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["dvae_lib.data"]
    stored = [p.name for p in (ROOT / "dvae_lib/data").iterdir() if p.suffix not in (".py", "")]
    assert len(stored) == 3
    for name in stored:
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name
