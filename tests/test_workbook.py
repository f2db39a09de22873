"""The runtime of a notebook: start, record, saved codes, and reading code without running it."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dvae_lib import data, workbook
from dvae_lib.cells import at_tier
from dvae_lib.evidence import Sweep


@pytest.fixture
def run():
    return workbook.start("demo", "smoke", 0, "cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tier": "fast"}, "tier 'fast'; choose one of: smoke, classroom, long, paper"),
        ({"seed": -1}, "seed -1; choose an integer from 0 to 4294967295"),
        ({"seed": 0.5}, "seed 0.5; choose an integer"),
        ({"seed": True}, "seed True; choose an integer"),
        ({"seed": 2**32}, "seed 4294967296; choose an integer from 0 to 4294967295"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not on this machine; there are: cpu"),
        ({"device": "abacus"}, "device 'abacus'; there are: auto, cpu"),
    ],
)
def test_a_wrong_start_lists_what_exists(options, message):
    with pytest.raises(ValueError, match=message):
        workbook.start("demo", **options)


def test_a_seed_repeats_every_generator():
    def draw(seed):
        workbook.start("demo", "smoke", seed, "cpu")
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    first, other = draw(3), draw(4)
    assert draw(3) == first
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_devices():
    assert workbook.pick_device("cpu").type == "cpu"
    best = "cuda" if torch.cuda.is_available() else None
    best = best or ("mps" if torch.backends.mps.is_available() else "cpu")
    assert workbook.pick_device("auto").type == best


@pytest.mark.parametrize(
    ("tier", "value", "without_long"),
    [("smoke", 20, 20), ("classroom", 4_000, 4_000), ("long", 9_000, 4_000), ("paper", 7, 7)],
)
def test_pick_takes_the_value_of_the_tier(tier, value, without_long):
    run = workbook.start("demo", tier, 0, "cpu")
    assert run.pick(smoke=20, classroom=4_000, long=9_000, paper=7) == value
    assert run.pick(smoke=20, classroom=4_000, paper=7) == without_long


def test_pick_wants_a_value_for_each_tier(run):
    with pytest.raises(ValueError, match=r"pick\(smoke, paper\); give a value for each"):
        run.pick(smoke=20, paper=200_000)


# --- records -------------------------------------------------------------------------------------


def test_a_record_is_on_the_disk_at_once_and_replaces_its_name(run, runs):
    path = runs / "demo" / "smoke-seed0" / "results.json"
    run.record("accuracy", torch.tensor(0.5), paper=0.97, at_least=torch.tensor(0.25))
    run.record("loss", np.float32(2), unit="nats", at_most=np.float32(4))
    run.record("accuracy", 0.75)
    stored = json.loads(path.read_text())
    assert [(row["name"], row["value"]) for row in stored["rows"]] == [
        ("loss", 2.0),
        ("accuracy", 0.75),
    ]
    assert stored["rows"][0] == {
        "name": "loss",
        "value": 2.0,
        "unit": "nats",
        "paper": None,
        "at_least": None,
        "at_most": 4.0,
    }
    assert stored["tier"] == "smoke"
    assert stored["seed"] == 0
    assert stored["device"].startswith("CPU")
    assert stored["seconds"] >= 0
    assert torch.__version__.startswith(stored["versions"]["torch"])
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor(float("-inf"))])
def test_only_finite_numbers_are_recorded(run, runs, value):
    run.record("good", 1)
    with pytest.raises(ValueError, match="bad is .*only finite numbers"):
        run.record("bad", value)
    stored = json.loads((runs / "demo" / "smoke-seed0" / "results.json").read_text())
    assert [row["name"] for row in stored["rows"]] == ["good"]


# --- saved codes ---------------------------------------------------------------------------------


class Noisy(nn.Module):
    """A decoder with a layer that behaves otherwise in training, in a class of this test."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 48), nn.Dropout(0.5), nn.Sigmoid())

    def forward(self, codes):
        return self.layers(codes).view(-1, 3, 4, 4)


@pytest.fixture
def saved(run, painted):
    encoder = nn.Sequential(nn.Conv2d(3, 2, 4), nn.Flatten())
    encoder.to(memory_format=torch.channels_last)
    decoder = Noisy()
    codes = encoder(painted.floats())
    return encoder, decoder, codes, run.save_codes("vae", encoder, decoder, codes, painted)


def test_saved_codes_open_and_take_any_batch(saved, painted):
    encoder, decoder, codes, folder = saved
    assert decoder.training  # what is saved is a copy
    opened = workbook.load_codes(folder)
    decoder.eval()
    assert torch.equal(opened.codes, codes)
    assert torch.equal(opened.factors, painted.factors)
    for n in (1, 2, 7):
        images = painted.floats()[:n]
        torch.testing.assert_close(opened.encode(images), encoder(images))
        torch.testing.assert_close(opened.decode(codes[:n]), decoder(codes[:n]))
    assert opened.about["method"] == "vae"
    assert json.loads(opened.about["factor_names"]) == ["a", "b", "c"]
    assert json.loads(opened.about["factor_sizes"]) == [2, 3, 4]


def test_missing_and_damaged_codes_are_errors_that_name_the_folder(saved, tmp_path):
    *_, folder = saved
    with pytest.raises(FileNotFoundError, match="no saved codes in .*nowhere"):
        workbook.load_codes(tmp_path / "nowhere")
    for name in ("codes.safetensors", "encoder.pt2", "decoder.pt2"):
        content = (folder / name).read_bytes()
        for damaged in (b"", content[: len(content) // 2]):
            (folder / name).write_bytes(damaged)
            with pytest.raises(ValueError, match="the codes in .*vae are damaged"):
                workbook.load_codes(folder)
        (folder / name).write_bytes(content)
    workbook.load_codes(folder)
    (folder / "decoder.pt2").unlink()
    with pytest.raises(ValueError, match="the codes in .*vae are damaged"):
        workbook.load_codes(folder)


def test_codes_that_do_not_fit_the_data_are_an_error(run, painted):
    with pytest.raises(ValueError, match="5 codes for 24 images of painted"):
        run.save_codes("vae", nn.Identity(), nn.Identity(), torch.zeros(5, 2), painted)


# --- reading the code of notebooks ---------------------------------------------------------------

CELLS = [
    """
%matplotlib inline
import math
from dataclasses import dataclass

import torch
from torch import nn
from dvae_lib import figures, objectives

LATENTS = 10
BETAS = (1, 4)
NAMES = ["a", "b"]
WIDTH = 2 * LATENTS
LOADED = open("/nowhere")
CODES = codes.shape[1]
ROWS = CODES + 1
steps = 5
""",
    '''
print("this must not run")
raise SystemExit


@dataclass
class Circle:
    """Has an area."""

    radius: float = 1.0

    def area(self):
        return math.pi * self.radius**2


def double(x):
    """Twice x."""
    return 3 * x
''',
    "def double(x):\n    return 2 * x  # mends the one above\n\n\ndouble(undefined)",
]


def test_definitions_keeps_definitions_and_runs_nothing(checkout, capsys):
    checkout.write("demo", *CELLS)
    demo = workbook.definitions("demo")
    assert demo.double(4) == 8
    assert demo.Circle(2).area() == pytest.approx(12.566371)
    assert (demo.LATENTS, demo.BETAS, demo.NAMES, demo.WIDTH) == (10, (1, 4), ["a", "b"], 20)
    assert demo.nn is nn
    assert {"LOADED", "CODES", "ROWS", "steps", "tier", "seed"}.isdisjoint(vars(demo))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "source",
    [
        'tier = "classroom"\nseed = 0',
        "tier = 'classroom'\nseed = 0",
        "tier='classroom'; seed = 0",
        'tier: str = "classroom"  # or smoke\nseed = 0',
        'seed = 0\ntier = """classroom"""',
        'seed, tier = 0, "classroom"',
        'tier = "paper" if True else "classroom"\nseed = 0',
        "TIERS = ('smoke', 'paper')\ntier = TIERS[1]\nseed = 0",
        "seed = 0",
        'tier = "smoke"\nseed = 0\ntiers = "classroom"',
    ],
)
def test_a_cell_of_parameters_is_switched_however_it_was_written(source):
    found = {}
    exec(at_tier(source, "smoke"), found)
    assert (found["tier"], found["seed"]) == ("smoke", 0)
    if "tiers" in source:
        assert found["tiers"] == "classroom"


def test_a_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("DVAE_RUNS", "~/runs")
    monkeypatch.chdir(tmp_path)
    workbook.start("demo", "smoke", 0, "cpu").record("loss", 1)
    assert (tmp_path / "runs" / "demo" / "smoke-seed0" / "results.json").exists()
    assert workbook.data_folder() == tmp_path / "runs" / "data"
    for name in ("mnist", "dsprites"):
        for kind in (str, Path):
            with pytest.raises(FileNotFoundError, match=f"{tmp_path}/sets"):
                data.load(name, path=kind("~/sets"))
    assert not (tmp_path / "~").exists()


def test_an_unknown_notebook_lists_those_there_are(checkout):
    checkout.write("01_vae")
    checkout.write("00_start_here")
    with pytest.raises(ValueError, match="no notebook '07_x'; there are: 00_start_here, 01_vae"):
        workbook.definitions("07_x")


# --- the table at the end ------------------------------------------------------------------------


def stored(seed, tier, value):
    return {"tier": tier, "seed": seed, "settings": {}, "rows": [{"name": "loss", "value": value}]}


def test_the_results_stand_beside_stored_seeds_and_the_long_run(checkout, monkeypatch):
    runs = [stored(seed, "classroom", 2.0 + seed) for seed in (0, 1)] + [stored(0, "long", 0.5)]
    Sweep("demo", runs).write()
    for tier, beside in (
        ("classroom", {"this run, classroom": "9", "stored long run": "0.5"}),
        ("long", {"this run, long": "9"}),
        ("smoke", {"this run, smoke": "9", "stored long run": "0.5"}),
    ):
        run = workbook.start("demo", tier, 0, "cpu")
        run.record("loss", 9, at_most=10)
        heads, row = run.results().rows
        table = dict(zip(heads, row, strict=True))
        assert beside.items() <= table.items()
        assert ("stored seeds" in table) is (tier == "classroom")
        assert ("stored long run" in table) is (tier != "long")
    # Seeds of code that has changed say nothing of it.
    monkeypatch.setattr(Sweep, "out_of_date", True)
    run = workbook.start("demo", "classroom", 0, "cpu")
    run.record("loss", 9, at_most=10)
    assert "stored seeds" not in run.results().rows[0]
