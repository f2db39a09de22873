"""Stored runs and their witnesses: what outdates them, and what does not."""

import copy
import lzma
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NOTEBOOKS, REPOSITORY, Checkout, executed

from dvae_lib import evidence, files, paths, workbook
from dvae_lib.evidence import Sweep
from dvae_lib.results import Row

STORED = [name for name in NOTEBOOKS if paths.results_path(name).exists()]


def record(values, picks=(), seed=0, tier="classroom", torch="2.15.1", **settings):
    """What a run of a demo notebook leaves, as far as evidence looks at it."""
    return {
        "tier": tier,
        "seed": seed,
        "settings": settings,
        "rows": [vars(Row(name, value)) for name, value in values.items()],
        "picks": [{"smoke": 1, "classroom": size, "long": size, "paper": 9} for size in picks],
        "spread": {},
        "processor": "a processor",
        "device": "CPU, 1 threads",
        "versions": {"torch": torch},
        "commit": "0123456789abcdef",
        "complete": True,
    }


# --- the stored sweeps of this workbook ----------------------------------------------------------


@pytest.mark.parametrize("name", [executed(name) for name in STORED])
def test_stored_numbers_belong_to_the_code(name, smoke, capsys):
    """The one smoke run of a notebook gives the numbers that its stored witnesses have."""
    outcome = smoke(name)
    assert outcome.error == ""
    today = files.read_json(outcome.job.folder / "results.json")
    for tier, witness in Sweep.read(name).witnesses.items():
        assert witness, f"no witness is stored; run: dvae sweep {name} --tier {tier} --seeds 0-4"
        found = evidence.differences(witness, today, tier)
        if evidence.comparable(witness, today):
            assert found == [], f"run: dvae sweep {name} --tier {tier} --seeds 0-4"
        elif found:  # another torch or processor: nobody can tell the cause
            with capsys.disabled():
                report = "\n  ".join(found)
                print(f"\n{name}, tier {tier}, not comparable with its witness:\n  {report}")


# --- edits of the code ---------------------------------------------------------------------------


def replace(old, new):
    def edit(path):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def swap_two_weights(path):
    weights = bytearray(lzma.decompress(path.read_bytes()))
    half = len(weights) // 2
    path.write_bytes(lzma.compress(weights[half:] + weights[:half]))


HARMLESS = {
    "nothing": ("training.py", lambda path: None),
    "a type hint": (
        "training.py",
        replace("    model: nn.Module,", "    model: object,"),
    ),
    "the words of an error": ("training.py", replace("Lower the learning rate", "Go slower")),
    "the label of a bar": ("training.py", replace('"desc": "training"', '"desc": "learning"')),
    "a local name where it draws": ("figures.py", replace("sheet", "canvas")),
    "trees not called": (
        "metrics/boosting.py",
        replace("learning_rate: float = 0.1", "learning_rate: float = 0.2"),
    ),
}
HARMFUL = {
    "another seed": ("workbook.py", replace("manual_seed(seed)", "manual_seed(seed + 1)")),
    "sizes of tier smoke": ("workbook.py", replace("| values)[self.tier]", '| values)["smoke"]')),
    "the sign of a record": ("workbook.py", replace("= float(value)", "= -float(value)")),
    "another set": ("data/__init__.py", replace('"rooms.load"', '"sprites.load"')),
    "the weights of rooms": ("data/rooms_weights.xz", swap_two_weights),
    "another order": ("data/factor_data.py", replace("seed, epoch)", "seed, epoch + 1)")),
}


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """{edit: record of the same measurement by the library with that edit}."""
    folders = {}
    for name, (file, edit) in (HARMLESS | HARMFUL).items():
        folders[name] = Checkout(tmp_path_factory.mktemp("edit")).folder
        edit(folders[name] / "dvae_lib" / file)
    for name in ("nothing", "trees not called"):  # and where it does call them
        with_dci = f"{name}, with DCI"
        folders[with_dci] = Checkout(tmp_path_factory.mktemp("edit")).folder
        (folders[with_dci] / "with_dci").touch()
        (HARMLESS[name][1])(folders[with_dci] / "dvae_lib" / HARMLESS[name][0])
    script = Path(__file__).with_name("run_edited.py")
    subprocess.run(
        [sys.executable, script, *folders.values()], check=True, stdout=subprocess.DEVNULL
    )
    records = {
        name: files.read_json(folder / "runs" / "demo" / "smoke-seed0" / "results.json")
        for name, folder in folders.items()
    }
    return {name: found | {"spread": {}} for name, found in records.items()}


def test_an_edit_outdates_a_number_only_if_it_changes_it(edited):
    """One test, so that the library with each edit is imported once."""
    same = edited["nothing"]
    for edit in HARMLESS:
        assert evidence.differences(same, edited[edit], "classroom") == [], edit
    for edit in HARMFUL:
        assert evidence.comparable(same, edited[edit])
        assert evidence.differences(same, edited[edit], "classroom"), edit
    found = [edited[f"{name}, with DCI"] for name in ("nothing", "trees not called")]
    (difference,) = evidence.differences(*found, "classroom")
    assert difference.startswith("D was")


# --- comparing -----------------------------------------------------------------------------------


def test_rows_may_move_by_what_rounding_did_to_them():
    witness = record({"loss": 100.0, "share": 0.5}) | {"spread": {"loss": 0.0, "share": 0.01}}
    for loss, share, differ in (
        (100.0, 0.5, []),
        (100.0999, 0.5, []),  # SMALL of 100
        (100.2, 0.5, ["loss was 100 and is 100.2"]),
        (100.0, 0.6, []),  # ten spreads
        (100.0, 0.39, ["share was 0.5 and is 0.39"]),
    ):
        today = record({"loss": loss, "share": share})
        assert evidence.differences(witness, today, "classroom") == differ


def test_names_and_sizes_are_compared_and_bounds_are_not():
    witness = record({"a": 1.0, "b": 2.0}, picks=[20])
    today = record({"a": 1.0, "c": 2.0}, picks=[30])
    today["rows"][0]["at_least"] = 0.5
    assert evidence.differences(witness, today, "classroom") == [
        "b is recorded no more",
        "c is new",
        "picked at tier classroom was [20] and is [30]",
    ]
    # Tier paper has its own sizes, and they are the same.
    assert "picked" not in str(evidence.differences(witness, today, "paper"))
    assert evidence.differences(None, today, "paper") == ["no witness is stored"]


def test_only_like_is_compared_with_like():
    witness = record({})
    assert evidence.comparable(witness, record({}, torch="2.15.3+cu130"))
    assert not evidence.comparable(witness, record({}, torch="2.14.1"))
    assert not evidence.comparable(witness, record({}) | {"processor": "another"})
    assert not evidence.comparable(None, record({}))


# --- sweeps --------------------------------------------------------------------------------------


def test_a_missing_sweep_says_how_to_make_one(checkout):
    sweep = Sweep.read("demo")
    assert sweep.values("loss") == []
    assert not sweep.out_of_date
    assert "dvae sweep demo --seeds 0-4" in repr(sweep)


@pytest.mark.parametrize("text", ['{"sweeps": [', "{}", "[]", '{"sweeps": {"long": []}}', "3"])
def test_a_damaged_sweep_names_the_file(checkout, text):
    (checkout.notebooks / "results" / "demo.json").write_text(text)
    with pytest.raises(ValueError, match=r"demo\.json is damaged"):
        Sweep.read("demo")


def test_a_sweep_gives_values_by_tier_and_setting_in_the_order_of_seeds(checkout):
    runs = [
        record({"loss": 3.0}, seed=10, beta=1),
        record({"loss": 2.0}, seed=2, beta=1),
        record({"loss": 8.0}, seed=2, beta=4),
        record({"loss": 9.0}, seed=2, tier="long", beta=1),
    ]
    Sweep("demo", runs).write()
    sweep = Sweep.read("demo")
    assert sweep.values("loss", beta=1) == [2.0, 3.0]
    assert sweep.values("loss", beta=4) == [8.0]
    assert sweep.values("loss", tier="long", beta=1) == [9.0]
    assert sweep.values("loss") == []  # settings are never pooled
    assert sweep.values("other") == []


def test_a_sweep_is_a_frame_with_a_line_for_each_run_and_quantity():
    runs = [
        record({"loss": 3.0, "accuracy": 0.5}, seed=10),
        record({"loss": 2.0, "accuracy": 0.25}, seed=2),
        record({"loss": 8.0}, seed=2, beta=4),
        record({"loss": 9.0}, seed=2, tier="long", beta=4),
    ]
    frame = Sweep("demo", runs).frame()
    assert [*frame] == [
        "notebook", "tier", "seed", "beta",
        "name", "value", "unit", "paper", "at_least", "at_most",
    ]  # fmt: skip
    assert len(frame) == 6
    assert set(frame.notebook) == {"demo"}
    own = frame[(frame.tier == "classroom") & frame.beta.isna()]
    assert own.groupby("name").value.mean().to_dict() == {"loss": 2.5, "accuracy": 0.375}
    assert frame[frame.beta == 4].value.tolist() == [8.0, 9.0]
    assert [*Sweep("demo").frame()] == [c for c in frame if c != "beta"]


def test_runs_of_other_code_leave_when_new_ones_come(checkout):
    """Seeds 0 and 1 were stored; seed 1 is run again, by code of the same or of other numbers."""
    old = [record({"loss": 1.0}, seed=seed) for seed in (0, 1)]
    new = [record({"loss": 1.5}, seed=1)]
    for loss, left_out, kept in ((4.0, [], [1.0, 1.5]), (5.0, [0], [1.5])):
        sweep = Sweep("demo", copy.deepcopy(old), {"classroom": record({"loss": 4.0})})
        gone = sweep.add("classroom", new, record({"loss": loss}))
        assert [run["seed"] for run in gone] == left_out
        sweep.write()
        assert Sweep.read("demo").values("loss") == kept
        assert Sweep.read("demo").witnesses["classroom"]["rows"][0]["value"] == loss


def test_a_stored_sweep_knows_when_a_smoke_run_gives_other_numbers(checkout, runs):
    Sweep("demo", [record({"loss": 1.0})], {"classroom": record({"loss": 4.0})}).write()
    smoke = runs / "demo" / "smoke-seed0" / "results.json"
    for loss, out_of_date in ((4.0, False), (5.0, True)):
        files.write_json(smoke, record({"loss": loss}, tier="smoke"))
        sweep = Sweep.read("demo")
        assert sweep.out_of_date is out_of_date
        assert repr(sweep).startswith("OUT OF DATE") is out_of_date
        assert "1 stored runs, tier classroom, CPU, 1 threads, torch 2.15.1, code 012" in repr(
            sweep
        )


def test_what_pick_gives_at_every_tier_is_recorded(runs):
    run = workbook.start("demo", "smoke", 0, "cpu")
    run.pick(smoke=1, classroom=(2, None), paper=REPOSITORY)
    run.record("loss", 1)
    found = files.read_json(runs / "demo" / "smoke-seed0" / "results.json")["picks"]
    # Of a path only the kind: it would be another on each machine.
    kind = type(REPOSITORY).__name__
    assert found == [{"smoke": 1, "classroom": [2, None], "long": [2, None], "paper": kind}]
