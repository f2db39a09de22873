"""Executing notebooks: tiny notebooks in a copy of the checkout, through papermill and kernels."""

import copy
import functools
import io
import json
import operator
import os
import re
import shlex
import subprocess
import sys
from xml.etree import ElementTree

import nbformat
import numpy as np
import pytest
import torch
import yaml
from conftest import PARAMETERS, REPOSITORY, Checkout, commit_all
from PIL import Image

from dvae_lib import (
    __version__,
    cli,
    commits,
    execution,
    figures,
    files,
    live,
    pages,
    paths,
    storing,
    widgets,
    workbook,
)
from dvae_lib.evidence import Sweep
from dvae_lib.execution import Job
from dvae_lib.results import Row

# What happens is chosen by a parameter.
PARAMETERS_OF_DEMO = PARAMETERS + '\nmode = "holds"\nrate = 0.5'
DEMO = [
    'from dvae_lib import workbook\n\nrun = workbook.start("demo", tier, seed, device)',
    'run.record("answer", 40 + seed, at_least=100 if mode == "misses" else 1)\n'
    'run.record("rate", rate)',
    'if mode == "raises":\n    raise RuntimeError("on purpose")',
]


def write_demo(checkout):
    checkout.write("demo", *DEMO, parameters=PARAMETERS_OF_DEMO)


def values(run):
    return {row["name"]: row["value"] for row in run["rows"]}


# --- the command, in processes of its own --------------------------------------------------------


@pytest.fixture(scope="module")
def dvae(tmp_path_factory):
    """Runs `dvae` in a checkout of its own, under git, as a user would."""
    copy = Checkout(tmp_path_factory.mktemp("execution") / "checkout")
    write_demo(copy)
    (copy.folder / ".gitignore").write_text("runs/\n__pycache__/\n")
    subprocess.run(["git", "init", "-q"], cwd=copy.folder, check=True)
    commit_all(copy.folder)
    environment = os.environ | {
        "PYTHONPATH": str(copy.folder),
        "DVAE_RUNS": str(copy.folder / "runs"),
    }

    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "dvae_lib.cli", *arguments],
            cwd=copy.folder,
            env=environment,
            capture_output=True,
            text=True,
        )

    call.checkout = copy
    return call


def test_a_sweep_gathers_runs_with_provenance_and_is_not_run_twice(dvae):
    """Two settings at tier classroom; one misses its claim, so the exit status is 1."""
    arguments = ["sweep", "demo", "--seeds", "1", "-p", "mode=holds,misses", "--workers", "2"]
    done = dvae(*arguments, "-p", "rate=0.25", "--device", "cpu")
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("1 of 1 held") == 1
    assert done.stdout.count("0 of 1 held") == 1
    assert "demo seed 1 mode=misses rate=0.25: claim failed: answer = 41, ≥ 100" in done.stdout

    path = dvae.checkout.notebooks / "results" / "demo.json"
    runs = files.read_json(path)["sweeps"]["classroom"]["runs"]
    found = {(run["settings"]["mode"], run["seed"]): values(run) for run in runs}
    assert found == {(mode, 1): {"answer": 41, "rate": 0.25} for mode in ("holds", "misses")}
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=dvae.checkout.folder, capture_output=True, text=True
    ).stdout.strip()
    for run in runs:
        assert run["tier"] == "classroom"
        assert run["device"].startswith("CPU")
        assert 0 < run["seconds"] < 300
        assert {"torch", "numpy", "dvae_lib"} <= run["versions"].keys()
        assert run["commit"] == head
        assert run["threads"] == 1
        assert len(run["processor"]) > 3

    # What was gathered is committed, or the next sweep refuses.
    again = dvae(*arguments, "-p", "rate=0.25", "--device", "cpu")
    assert again.returncode == 2
    assert "uncommitted changes in notebooks/results/demo.json: commit them first" in again.stderr
    commit_all(dvae.checkout.folder)
    again = dvae(*arguments, "-p", "rate=0.25", "--device", "cpu")
    assert "0 runs executed" in again.stdout
    stored = files.read_json(path)["sweeps"]["classroom"]
    assert stored["runs"] == runs
    assert [row["value"] for row in stored["witness"]["rows"]] == [40, 0.5]
    assert stored["witness"]["spread"] == {"answer": 0, "rate": 0}


# --- in this process -----------------------------------------------------------------------------


@pytest.fixture
def demo(checkout, monkeypatch):
    """The demo notebook, executed in this process in place of workers, which would import anew.

    The checkout stands for a clean one at commit "first".
    """
    write_demo(checkout)
    calls = []

    def run_all(jobs, *_, **__):
        execution.check(jobs)
        calls.extend(jobs)
        return [execution.execute(job) for job in jobs]

    monkeypatch.setattr(execution, "run_all", run_all)
    monkeypatch.setattr(commits, "clean_commit", lambda: "first")
    monkeypatch.setattr(commits, "commit", lambda: "first")
    checkout.calls = calls
    return checkout


def test_a_raising_notebook_is_reported_and_kept_out(demo, runs, capsys):
    """What it recorded before it raised is no result; the earlier sweep stays as it was."""
    earlier = {"tier": "paper", "settings": {}, "seed": 7, "rows": []}
    Sweep("demo", [earlier]).write()
    status = cli.main(["sweep", "demo", "--seeds", "3", "-p", "mode=raises", "--tier", "smoke"])
    assert status == 1
    output = capsys.readouterr().out
    assert "RAISED" in output
    assert "demo seed 3 mode=raises raised: cell [5]: RuntimeError: on purpose" in output
    assert Sweep.read("demo").runs == [earlier]
    executed = runs / "with" / "mode=raises" / "demo" / "smoke-seed3"
    assert (executed / "results.json").exists()
    assert (executed / "demo.ipynb").exists()  # to look at
    # It is tried again next time.
    assert execution.finished(demo.calls[-1], "first") is None


def test_a_grid_is_gathered_in_order_and_only_what_is_new_is_run(demo, monkeypatch):
    """The executions are stood in for: what matters is which are done and what is kept."""

    def execute(job):
        record = {
            "tier": job.tier,
            "seed": job.seed,
            "settings": dict(job.settings),
            "rows": [],
            "picks": [],
            "versions": {"torch": "2.15.1"},
            "processor": "",
            "commit": head[0],
            "complete": True,
        }
        files.write_json(job.folder / "results.json", record)
        return execution.Outcome(job, 0.0)

    head = ["first"]
    monkeypatch.setattr(execution, "execute", execute)
    monkeypatch.setattr(commits, "clean_commit", lambda: head[0])
    monkeypatch.setattr(commits, "same_code", lambda notebook, old, new: old == new)

    def sweep(seeds, rates):
        demo.calls.clear()
        _, path, _ = execution.sweep("demo", seeds, {"rate": rates})
        runs = Sweep.read("demo").runs
        done = [(dict(job.settings)["rate"], job.seed) for job in demo.calls if job.settings]
        return sorted(done), [(run["settings"]["rate"], run["seed"]) for run in runs]

    grid = [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert sweep([1, 0], [2, 1]) == (grid, grid)
    assert sweep([0, 2], [1]) == ([(1, 2)], sorted([*grid, (1, 2)]))
    head[0] = "second"
    assert sweep([0], [1, 2]) == ([(1, 0), (2, 0)], sorted([*grid, (1, 2)]))


def test_smoke_asserts_no_claim_and_parameters_reach_the_notebook(demo, runs, capsys):
    arguments = ["-p", "mode", "misses", "-p", "rate", "0.125", "--seed", "5", "--tier", "smoke"]
    assert cli.main(["run", "demo", *arguments, "--device", "cpu"]) == 0
    assert "0 of 1 held (not asserted)" in capsys.readouterr().out
    folder = runs / "with" / "mode=misses,rate=0.125" / "demo" / "smoke-seed5"
    record = files.read_json(folder / "results.json")
    assert values(record) == {"answer": 45, "rate": 0.125}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "demi"], "no notebook 'demi'; there are: bare, demo"),
        (["run", "demo", "--tier", "fast"], "tier 'fast'; choose one of: smoke, classroom, long"),
        (["run", "demo", "-p", "mod", "1"], "demo has no parameter 'mod'; it has: device, mode"),
        (["run", "demo", "-p", "seed", "1"], "set seed with its own option"),
        (["run", "demo", "--seed", "-1"], "seed -1; choose an integer from 0 to 4294967295"),
        (["run", "demo", "--device", "cuda:99"], "device 'cuda:99' is not on this machine"),
        (["run", "demo", "--device", "abacus"], "device 'abacus'; there are: auto, cpu"),
        (["run", "bare"], "bare has no parameter 'tier'"),
        (["sweep", "demi", "--seeds", "0"], "no notebook 'demi'; there are: bare, demo"),
        (["sweep", "demo", "--seeds", "0", "-p", "mod=1,2"], "demo has no parameter 'mod'"),
        (["sweep", "demo", "--seeds", "0", "-p", "mode"], "-p mode: write name=value1,value2"),
        (["sweep", "demo", "--seeds", "0", "-p", "seed=1,2"], "set seed with its own option"),
        (["sweep", "demo", "--seeds", "0", "-p", "tier=../../esc"], "set tier with its own option"),
        (["sweep", "demo", "--seeds", "0", "--tier", "../esc"], "tier '../esc'; choose one of"),
        (["sweep", "demo", "--seeds", "4294967296"], "seed 4294967296; choose an integer from 0"),
        (["store", "demi"], "no notebook 'demi'; there are: bare, demo"),
    ],
)
def test_what_does_not_exist_is_an_error_that_lists_what_does(demo, capsys, arguments, message):
    demo.write("bare", "x = 1", parameters="y = 2")
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert demo.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "demo", "--workers", "0"], "argument --workers: '0'; choose 1 or more"),
        (["store", "demo", "--workers", "-1"], "argument --workers: '-1'; choose 1 or more"),
        (["sweep", "demo", "--seeds", "0", "--workers", "two"], "--workers: 'two'; choose 1 or"),
        (["sweep", "demo", "--seeds", "4-0"], "argument --seeds: '4-0'; write for example 0-4"),
        (["sweep", "demo", "--seeds", "0,-1"], "argument --seeds: '-1'; write for example 0-4"),
        (["sweep", "demo", "--seeds", ""], "argument --seeds: ''; write for example 0-4"),
        (["sweep", "demo", "--seeds", "2-"], "argument --seeds: '2-'; write for example 0-4"),
    ],
)
def test_what_no_command_can_do_is_refused_at_once(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_seeds_are_read_as_written():
    assert cli._seeds("0-4") == [0, 1, 2, 3, 4]
    assert cli._seeds("3,0-1,1") == [3, 0, 1]


@pytest.mark.parametrize("name", ["tier", "seed", "device"])
def test_a_sweep_has_no_setting_that_is_a_field_of_its_own(demo, name):
    with pytest.raises(ValueError, match=f"set {name} with its own option"):
        execution.sweep("demo", [0], {name: ["x"]})
    assert demo.calls == []


STORED = {
    "tier": "classroom",
    "seed": 0,
    "settings": {},
    "rows": [{"name": "answer", "value": 1.0}],
    "picks": [],
    "spread": {},
    "versions": {"torch": "2.15.1"},
    "processor": "",
    "commit": "first",
    "complete": True,
}


def with_value(value, *path):
    """Changes text of JSON so that the part at `path` has another value."""

    def change(text):
        stored = json.loads(text)
        holder = functools.reduce(operator.getitem, path[:-1], stored)
        holder[path[-1]] = value
        return json.dumps(stored)

    return change


SWEEP = ("sweeps", "classroom")
DAMAGES = {
    "a list": lambda text: "[]",
    "an empty object": lambda text: "{}",
    "a number": lambda text: "3",
    "nothing": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "sweeps": with_value([], "sweeps"),
    "a sweep": with_value([], *SWEEP),
    "runs": with_value(None, *SWEEP, "runs"),
    "a run": with_value({}, *SWEEP, "runs", 0),
    "settings": with_value(3, *SWEEP, "runs", 0, "settings"),
    "rows": with_value([{"name": "answer"}], *SWEEP, "runs", 0, "rows"),
    "a witness": with_value([1], *SWEEP, "witness"),
    "picks": with_value(3, *SWEEP, "witness", "picks"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("command", [["run"], ["sweep", "--seeds", "0"], ["store"]])
def test_a_damaged_sweep_is_named_with_its_fix_before_anything_is_run(
    demo, capsys, monkeypatch, command, damage
):
    monkeypatch.setattr(execution, "execute", lambda job: pytest.fail("a run began"))
    path = paths.results_path("demo")
    Sweep("demo", [STORED], {"classroom": STORED}).write()
    assert Sweep.read("demo").values("answer") == [1.0]
    path.write_text(DAMAGES[damage](path.read_text()))
    assert cli.main([command[0], "demo", *command[1:]]) == 2
    said = capsys.readouterr().err
    assert f"{path} is damaged" in said
    assert "get it back from git, or delete it and run dvae sweep demo" in said


@pytest.mark.parametrize("damage", ["[]", "3", "", '{"complete": true}', '{"complete": true, "ro'])
def test_a_damaged_record_of_a_run_is_named_before_a_sweep(demo, capsys, monkeypatch, damage):
    monkeypatch.setattr(execution, "execute", lambda job: pytest.fail("a run began"))
    path = Job("demo", seed=1).folder / "results.json"
    path.parent.mkdir(parents=True)
    path.write_text(damage)
    assert cli.main(["sweep", "demo", "--seeds", "0-1"]) == 2
    said = capsys.readouterr().err
    assert f"{path} is damaged" in said
    assert "delete it and run again" in said


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"dvae {__version__}\n"


# --- a report for CI -----------------------------------------------------------------------------


def report(path):
    """{name of a case: (tag, message) of what is wrong, or None} of a JUnit report."""
    suite = ElementTree.parse(path).getroot()
    counts = {tag: str(len(suite.findall(f"*/{tag}"))) for tag in ("error", "failure")}
    assert suite.get("tests") == str(len(suite))
    assert (suite.get("errors"), suite.get("failures")) == (counts["error"], counts["failure"])
    wrong = {case.get("name"): [(part.tag, part.get("message")) for part in case] for case in suite}
    return {name: parts[0] if parts else None for name, parts in wrong.items()}


def test_a_report_has_a_case_a_notebook(demo, monkeypatch, tmp_path):
    """Held, failed, raised with what a terminal may show and XML may not, and not asserted."""
    path = tmp_path / "new" / "report.xml"
    outcomes = {
        "demo": ([Row("answer", 40.0, at_least=1.0)], ""),
        "missed": ([Row("answer", 40.0, at_least=100.0), Row("a < b", 2.0, at_most=1.0)], ""),
        "raised": ([], "cell [3]: ValueError: \x1b[31m<red>\x1b[0m \x00\ud800 & ünïcode"),
    }
    for name in outcomes:
        demo.write(name, *DEMO)

    def run_all(jobs, workers):
        before = report(path)
        assert set(before.values()) == {("error", "the run did not come to its end")}
        assert len(before) == 3
        return [execution.Outcome(job, 1.5, *outcomes[job.notebook]) for job in jobs]

    monkeypatch.setattr(execution, "run_all", run_all)
    assert cli.main(["run", "--junit", str(path)]) == 1
    assert report(path) == {
        "demo seed 0, tier classroom": None,
        "missed seed 0, tier classroom": (
            "failure",
            "claim failed: answer = 40, ≥ 100; claim failed: a < b = 2, ≤ 1",
        ),
        "raised seed 0, tier classroom": ("error", "cell [3]: ValueError: <red>  & ünïcode"),
    }
    assert cli.main(["run", "--junit", str(path), "--tier", "smoke"]) == 1  # one raised
    assert report(path)["missed seed 0, tier smoke"] is None


def test_the_workflow_of_the_readme_is_one():
    """Its YAML is read, and its commands by the parser of commands."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (job,) = yaml.safe_load(block)["jobs"].values()
    commands = [shlex.split(step["run"]) for step in job["steps"] if "run" in step]
    (options,) = [cli._parser().parse_args(rest) for name, *rest in commands if name == "dvae"]
    assert (options.tier, options.junit) == ("smoke", "report.xml")
    (kept,) = [step["with"]["path"] for step in job["steps"] if "if" in step]
    assert kept.split() == ["runs/", "report.xml"]


# --- stored notebooks ----------------------------------------------------------------------------


def test_a_stored_notebook_is_clean_and_knows_its_code(demo):
    """Executed with a widget and a progress bar on stderr, as notebooks are, and stored."""
    slider = "import ipywidgets\nfrom tqdm.auto import tqdm\n\nfor _ in tqdm(range(3)):\n    pass"
    cells = [*DEMO, slider, "ipywidgets.IntSlider()", "6 * 7"]
    path = demo.write("demo", *cells, parameters=PARAMETERS_OF_DEMO)
    assert any("executed" in fault for fault in storing.faults(path))
    (outcome,) = storing.store(["demo"])
    assert outcome.error == ""
    assert storing.faults(path) == []
    stored = nbformat.read(path, as_version=4)
    assert stored.cells[-1].outputs[0]["data"]["text/plain"] == "42"
    assert [cell.source for cell in stored.cells] == [PARAMETERS_OF_DEMO, *cells]
    about = stored.metadata["dvae"]
    assert (about["commit"], about["tier"], about["seed"]) == ("first", "classroom", 0)
    assert {"processor", "threads", "seconds", "versions", "device"} <= about.keys()


@pytest.mark.parametrize(
    ("edited", "differs"),
    [
        ("# of a sum\nx = 'a # b'  # and its end\n\n", False),
        ("x = 'a # c'", True),
        ("if True:\n    x = 'a # b'", True),
        ("%time x = 'a # b'", True),
    ],
)
def test_code_is_what_was_executed_whatever_its_comments_say(demo, edited, differs):
    path = demo.write("demo", "x = 'a # b'")
    executed = nbformat.read(path, as_version=4)
    executed.metadata["dvae"] = {"executed_code": storing.source_digest(executed)}
    executed.cells[-1].source = edited
    nbformat.write(executed, path)
    assert any("differs" in fault for fault in storing.faults(path)) == differs


def test_a_notebook_edited_while_it_ran_is_left_as_it_is(demo, monkeypatch):
    """What a person wrote meanwhile must not be lost."""
    path = paths.notebook_path("demo")
    plain = execution.execute

    def execute(job):
        outcome = plain(job)
        demo.write("demo", *DEMO, "# a new idea", parameters=PARAMETERS_OF_DEMO)
        return outcome

    monkeypatch.setattr(execution, "execute", execute)
    (outcome,) = storing.store(["demo"])
    assert "was edited while it ran, and is left as it is" in outcome.error
    assert "a new idea" in path.read_text()


LONG = """
import torch

torch.manual_seed(seed)
net = torch.nn.Linear(run.pick(smoke=1, classroom=2, long=3, paper=4), 1)
run.keep("line", net)
print(run.stored("line", net))
"""


def test_a_long_run_stores_rows_and_weights_and_leaves_the_notebook(demo, runs, monkeypatch):
    path = demo.write("demo", *DEMO, LONG, parameters=PARAMETERS_OF_DEMO)
    before = path.read_bytes()
    assert cli.main(["store", "demo", "--tier", "long"]) == 0
    assert path.read_bytes() == before
    sweep = Sweep.read("demo")
    (long,) = sweep.select("long")
    assert values(long)["answer"] == 40
    assert long["commit"] == "first"
    assert sweep.witnesses["long"]["tier"] == "smoke"
    # A reader's classroom run has another network, then the right one.
    reader = workbook.start("demo", "classroom", 0, "cpu")
    assert not reader.stored("line", torch.nn.Linear(2, 1)).stored
    opened = reader.stored("line", torch.nn.Linear(3, 1))
    torch.manual_seed(0)
    torch.testing.assert_close(
        opened.module.weight, torch.nn.Linear(3, 1).weight, rtol=2**-11, atol=1e-6
    )
    # A later run that raises changes nothing.
    stored = paths.models_path("demo").read_bytes()
    demo.write("demo", *DEMO, LONG, "1 / 0", parameters=PARAMETERS_OF_DEMO)
    monkeypatch.setattr(execution, "run_witness", lambda notebook: {})
    assert cli.main(["store", "demo", "--tier", "long"]) == 1
    assert paths.models_path("demo").read_bytes() == stored
    assert Sweep.read("demo").select("long") == [long]


HALF = str(max(1, os.cpu_count() // 2))


@pytest.mark.parametrize(
    ("chosen", "asked", "threads", "cores"),
    [("3", None, "3", "3"), ("3", 1, "1", "3"), ("", None, HALF, HALF), ("", 1, "1", HALF)],
)
def test_a_kernel_has_the_threads_that_were_asked_for_or_chosen(
    chosen, asked, threads, cores, monkeypatch
):
    """And its trainings the cores (parallel.trainings)."""
    monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    monkeypatch.setenv("DVAE_CORES", "")
    monkeypatch.setattr(execution, "execute", lambda *_: dict(os.environ))
    seen = execution._execute_apart(Job("demo"), 0, 2, asked)
    assert (seen["OMP_NUM_THREADS"], seen["DVAE_CORES"]) == (threads, cores)


SIDE_BY_SIDE = [
    "import os\n\nimport torch\nfrom torch import nn\n\nfrom dvae_lib import parallel, training",
    """class Noise:
    def __getitem__(self, step):
        return (torch.rand(4, 3, generator=torch.Generator().manual_seed(step)),)

    def __repr__(self):
        return "Noise"


def train(of_seed):
    torch.manual_seed(of_seed)
    net = nn.Linear(3, 1)
    with (run.folder / "processes.txt").open("a") as file:
        file.write(f"{os.getpid()} ")
    player = training.Player(
        lambda batch: {"loss": (net(batch[0]) + torch.randn(4, 1)).square().mean()},
        torch.optim.Adam(net.parameters()),
    )
    where = run.folder / f"{of_seed}.safetensors"
    training.train(net, player, Noise(), 30, checkpoint=where)
    return net.weight.sum().item()""",
    """for of_seed, value in parallel.trainings({k: (train, k) for k in range(3)}).items():
    run.record(f"weight {of_seed}", value)
run.record("processes", len({*(run.folder / "processes.txt").read_text().split()}))""",
]


@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="no forks there")
@pytest.mark.notebook
def test_a_kernel_trains_side_by_side_and_shows_nothing_of_it(demo, monkeypatch, runs):
    demo.write("demo", DEMO[0], *SIDE_BY_SIDE, parameters=PARAMETERS_OF_DEMO)
    seen = {}
    for cores in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", cores)
        (outcome,) = execution.run_all([Job("demo", "smoke", int(cores))], threads=1)
        assert outcome.error == ""
        folder = runs / "demo" / f"smoke-seed{cores}"
        seen[cores] = values(files.read_json(folder / "results.json"))
        executed = nbformat.read(folder / "demo.ipynb", as_version=4)
        shown = [o for cell in executed.cells for o in cell.get("outputs", ())]
        assert not [o for o in shown if o.output_type in ("stream", "error")]
    assert (seen["1"].pop("processes"), seen["2"].pop("processes")) == (1, 4)
    assert seen["1"] == seen["2"]
    assert len(seen["1"]) == 3


# --- commits and verdicts ------------------------------------------------------------------------


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
    return done.stdout.decode().strip()


def test_what_is_stored_names_a_commit_or_is_refused(checkout, capsys):
    """Each kind of change is named; a plain run goes on, and marks its commit."""
    write_demo(checkout)
    for command in (["sweep", "demo", "--seeds", "0"], ["store", "demo"]):
        assert cli.main(command) == 2
        assert "is no git checkout with a commit" in capsys.readouterr().err
    assert commits.commit() == ""
    git(checkout.folder, "init", "-q")
    commit_all(checkout.folder)
    head = git(checkout.folder, "rev-parse", "HEAD")
    assert commits.clean_commit() == commits.commit() == head
    (checkout.folder / "README.md").write_text("not code")
    assert commits.clean_commit() == head
    library, notebook = checkout.library / "nets.py", checkout.notebooks / "demo.ipynb"
    for path, text in ((library, "x"), (notebook, "y"), (checkout.notebooks / "new.ipynb", "z")):
        before = path.read_text() if path.exists() else None
        path.write_text(text)
        name = path.relative_to(checkout.folder).as_posix()
        for command in (["sweep", "demo", "--seeds", "0"], ["store", "demo", "--tier", "long"]):
            assert cli.main(command) == 2
            assert f"uncommitted changes in {name}: commit them" in capsys.readouterr().err
        assert commits.commit() == head + "+"
        path.unlink() if before is None else path.write_text(before)
    assert commits.commit() == head


def test_code_is_the_same_where_neither_library_nor_notebook_changed(checkout):
    write_demo(checkout)
    git(checkout.folder, "init", "-q")
    made = []
    for path in ("README.md", "notebooks/results/demo.json", "notebooks/other.ipynb"):
        (checkout.folder / path).write_text("x")
        commit_all(checkout.folder)
        made.append(git(checkout.folder, "rev-parse", "HEAD"))
    assert commits.same_code("demo", made[0], made[2])
    assert not commits.same_code("other", made[0], made[2])
    (checkout.library / "nets.py").write_text("x")
    commit_all(checkout.folder)
    head = git(checkout.folder, "rev-parse", "HEAD")
    assert not commits.same_code("demo", made[2], head)
    assert not commits.same_code("demo", made[2] + "+", made[2])  # its changes are unknown


def test_a_claim_with_stored_seeds_is_judged_on_them(demo, capsys, monkeypatch):
    """The claim: answer ≥ 100. The interval of 90, 101, 140 reaches from 45 to 175."""
    demo.write("demo", *DEMO, parameters=PARAMETERS_OF_DEMO.replace('"holds"', '"misses"'))
    # Executed once: what is stored, not what is run, tells the cases apart.
    monkeypatch.setattr(execution, "execute", functools.cache(execution.execute))
    held, undecided = "1 of 1 held", "0 of 1 held, 1 undecided"
    for seeds, tier, verdict, status in (
        ([], "classroom", "", 1),  # refuted by this run, whose answer is 40
        ([150, 151, 152], "classroom", held, 0),
        ([90, 101, 140], "classroom", undecided, 0),
        ([50, 51, 52], "classroom", "", 1),
        ([150, 151, 152], "long", "", 1),  # seeds of another tier: judged on this run
    ):
        rows = [{"name": "answer", "value": value} for value in seeds]
        stored = [
            {"tier": tier, "settings": {}, "seed": seed, "rows": [row]}
            for seed, row in enumerate(rows)
        ]
        Sweep("demo", stored).write()
        assert cli.main(["run", "demo"]) == status
        output = capsys.readouterr().out
        assert ("claim failed: answer = 40, ≥ 100" in output) is bool(status)
        assert verdict in output


def test_kernels_wait_without_spinning_on_a_busy_machine(demo, monkeypatch, runs):
    demo.write(
        "demo",
        *DEMO,
        "import os\n\nrun.record('passive', os.environ.get('OMP_WAIT_POLICY') == 'PASSIVE')",
        parameters=PARAMETERS_OF_DEMO,
    )
    path = runs / "demo" / "smoke-seed0" / "results.json"
    for policy, load, passive in ((None, 2.0, 1), (None, 0.1, 0), ("ACTIVE", 2.0, 0)):
        monkeypatch.setattr("os.getloadavg", lambda load=load: (load, 0.0, 0.0))
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if policy:
            monkeypatch.setenv("OMP_WAIT_POLICY", policy)
        assert cli.main(["run", "demo", "--tier", "smoke"]) == 0
        assert values(files.read_json(path))["passive"] == passive


def test_lab_opens_the_first_notebook(demo, monkeypatch):
    demo.write("00_start_here", "x = 1")
    calls = []
    monkeypatch.setattr("subprocess.call", lambda command, cwd: calls.append((command, cwd)) or 0)
    assert cli.main(["lab"]) == 0
    ((command, folder),) = calls
    assert command == [sys.executable, "-m", "jupyterlab", "00_start_here.ipynb"]
    assert folder == demo.notebooks


def executed(*outputs):
    """A notebook as `store` leaves it, with these outputs in its one cell."""
    cell = nbformat.v4.new_code_cell("x = 1", execution_count=1, outputs=list(outputs))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata["dvae"] = {"executed_code": storing.source_digest(notebook)}
    return notebook


def test_text_printed_in_pieces_is_stored_as_one():
    def said(text, name="stdout"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    shown = nbformat.v4.new_output("display_data", data={"text/plain": "picture"})
    notebook = executed(said("one, "), said("two"), shown, said("three"))
    storing.clean(notebook)
    assert notebook.cells[0].outputs == [said("one, two"), shown, said("three")]


def test_a_picture_is_stored_with_its_alternative_text_once():
    described, _ = figures.subplots(alt="A line.")
    table = {"text/html": "<table></table>", "text/plain": "a table"}
    bundles = (described._repr_mimebundle_(), table)
    notebook = executed(*(nbformat.v4.new_output("display_data", data=b) for b in bundles))
    storing.clean(notebook)
    picture, other = (output.data for output in notebook.cells[0].outputs)
    assert list(picture) == ["text/html"]
    assert pages.from_html(picture["text/html"])[1] == "A line."
    assert other == table


def test_a_notebook_that_is_too_large_gets_pictures_of_fewer_tones(monkeypatch):
    """The largest first, and no more of them than must be; no channel is off by more than 8."""
    rng = np.random.default_rng(0)

    def shown(side):
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        noise.save(buffer, "PNG")
        data = {"text/html": pages.as_html(buffer.getvalue(), f"{side} pixels")}
        return nbformat.v4.new_output("display_data", data=data)

    def pixels(output):
        png, alt = pages.from_html(output.data["text/html"])
        return np.asarray(Image.open(io.BytesIO(png))).astype(int), alt

    given = executed(shown(40), shown(60), shown(50))
    given.cells[0].metadata["jupyter"] = {"outputs_hidden": True}
    middle = given.cells[0].outputs[1].data
    middle["text/html"] = storing.BLANK + middle["text/html"]
    fits, small = copy.deepcopy(given), copy.deepcopy(given)
    storing.make_room(small)
    assert small == given
    size = len(nbformat.writes(given).encode())
    monkeypatch.setattr(storing, "MAX_STORED_BYTES", storing.ABOUT_BYTES + size - 4_000)
    storing.make_room(fits)
    before, after = given.cells[0].outputs, fits.cells[0].outputs
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]
    assert after[1].data["text/html"].startswith(storing.BLANK)
    (old, alt), (new, same) = pixels(before[1]), pixels(after[1])
    assert alt == same
    assert 0 < np.abs(old - new).max() <= 8
    assert len(nbformat.writes(fits).encode()) <= storing.MAX_STORED_BYTES - storing.ABOUT_BYTES


def test_the_line_by_which_a_folded_output_is_shown_tells_nothing():
    """JupyterLab takes the first line that is not empty. Cleaned twice, there is still one."""
    described, _ = figures.subplots(alt="A line that falls.")
    bundle = described._repr_mimebundle_() | {"text/plain": "it falls"}
    said = nbformat.v4.new_output("stream", name="stdout", text="it falls\nto 3\n")
    shown = nbformat.v4.new_output("display_data", data=bundle)
    for first, second in ((said, shown), (shown, said)):
        notebook = executed(copy.deepcopy(first), copy.deepcopy(second))
        notebook.cells[0].metadata["jupyter"] = {"outputs_hidden": True}
        for _ in range(2):
            storing.clean(notebook)
        output, other = notebook.cells[0].outputs
        for text in [output["text"]] if "text" in output else output.data.values():
            blank, line, *_ = text.split("\n")
            assert (blank, bool(line)) == (" ", True)
        assert other.get("text") in (None, said.text)
        if "data" in output:
            assert pages.from_html(output.data["text/html"])[1] == "A line that falls."
        assert notebook.cells[0].metadata.collapsed


@pytest.fixture
def shows_a_widget(monkeypatch):
    """A cell as it is after it showed a widget: a still picture of 300 greys, and the view."""
    bundles = []
    monkeypatch.setattr(live, "display", lambda bundle, raw: bundles.append(bundle))
    sheet = torch.linspace(0, 1, 300).reshape(1, 1, 15, 20)
    widgets.switch(
        {name: widgets.sampler(lambda k: sheet, ["one"]) for name in "ab"}
    )._ipython_display_()
    assert [list(bundle)[0] for bundle in bundles] == ["text/html", "text/plain"]
    outputs = [nbformat.v4.new_output("display_data", data=bundle) for bundle in bundles]
    return nbformat.v4.new_code_cell("widgets.switch(…)", outputs=outputs)


def test_of_a_widget_the_still_picture_is_stored_and_not_the_view(shows_a_widget):
    live = re.search("<img[^>]*>", shows_a_widget.outputs[0].data["text/html"])[0]
    notebook = nbformat.v4.new_notebook(cells=[shows_a_widget])
    storing.clean(notebook)
    picture, said = (output.data for output in notebook.cells[0].outputs)
    png, alt = pages.from_html(picture["text/html"])
    assert alt == "Picture at class one"
    assert "run the cells up to this one" in said["text/plain"]
    before, after = (
        Image.open(io.BytesIO(p)).convert("L") for p in (pages.from_html(live)[0], png)
    )
    assert np.abs(np.asarray(before).astype(int) - np.asarray(after)).max() <= 16
    assert figures.in_palette(png) == png
    assert not any(storing._is_widget(output) for output in notebook.cells[0].outputs)


def test_a_widget_that_the_notebook_shows_below_leaves_no_second_picture(shows_a_widget):
    picture = figures.subplots(alt="A line.", size=(1, 1))[0]._repr_mimebundle_()
    shown = nbformat.v4.new_output("display_data", data=picture)
    below = nbformat.v4.new_code_cell("the same", outputs=[shown])
    prose = [nbformat.v4.new_markdown_cell(text) for text in ("The same:", "## 2. Another")]
    silent = nbformat.v4.new_code_cell("x = 1")
    for between, stored in ((prose[:1] + [silent], 0), (prose[1:], 2)):
        cells = [copy.deepcopy(shows_a_widget), *between, below]
        storing.clean(nbformat.v4.new_notebook(cells=cells))
        assert len(cells[0].outputs) == stored


def test_a_still_picture_that_has_no_room_is_left_out(shows_a_widget, monkeypatch):
    size = len(nbformat.writes(nbformat.v4.new_notebook(cells=[shows_a_widget])))
    for limit, stored in ((size, 0), (size + storing.ABOUT_BYTES, 2)):
        monkeypatch.setattr(storing, "MAX_STORED_BYTES", limit)
        cell = copy.deepcopy(shows_a_widget)
        cell.outputs = cell.outputs[:1]
        storing.clean(nbformat.v4.new_notebook(cells=[cell]))
        assert len(cell.outputs) == stored


STDERR = nbformat.v4.new_output("stream", name="stderr", text="a warning")
ERROR = nbformat.v4.new_output("error", ename="ValueError", evalue="x", traceback=[])
WIDGET = nbformat.v4.new_output(
    "display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
)
BIG = nbformat.v4.new_output("stream", name="stdout", text="x" * 700_000)


def stale(notebook):
    notebook.cells[0].source = "x = 2"


def uncounted(notebook):
    notebook.cells[0].execution_count = 3


def litter(notebook):
    notebook.metadata["widgets"] = {}


@pytest.mark.parametrize(
    ("outputs", "change", "fault"),
    [
        ([], stale, "the code differs from what was executed"),
        ([], uncounted, "execution counts are not 1 to n"),
        ([], litter, "widget state is stored"),
        ([STDERR], None, "output to stderr is stored"),
        ([ERROR], None, "an error is stored"),
        ([WIDGET], None, "widget state is stored"),
        ([BIG], None, "the limit is 700,000"),
    ],
)
def test_each_fault_of_a_stored_notebook_is_found(tmp_path, outputs, change, fault):
    notebook, path = executed(*outputs), tmp_path / "demo.ipynb"
    if change:
        change(notebook)
    nbformat.write(notebook, path)
    (found,) = storing.faults(path)
    assert fault in found
    assert found.endswith("run: dvae store demo")


def test_a_notebook_without_faults_has_none(tmp_path):
    nbformat.write(executed(), tmp_path / "demo.ipynb")
    assert storing.faults(tmp_path / "demo.ipynb") == []


def test_two_runs_at_once_do_not_share_a_folder(demo, runs):
    """The other run is a process of its own; when it is killed, nothing is left in the way."""
    folder = Job("demo", "smoke").folder
    holder = f"""
import os, time
from dvae_lib import files

with files.claimed({str(folder)!r}, os.getpid()):
    print("held", flush=True)
    time.sleep(600)
"""
    other = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RuntimeError, match=f"process {other.pid} is writing into {folder}"):
            execution.execute(Job("demo", "smoke"))
        with files.claimed(Job("demo", "smoke", seed=1).folder, 1):  # another seed is free
            pass
    finally:
        other.kill()
        other.wait()
    for _ in range(2):
        with files.claimed(folder, os.getpid()):
            assert (folder / ".owner").read_text() == str(os.getpid())


@pytest.mark.parametrize(
    "value", ["../../../esc", "/etc", "a/../../b", "..", "~", "c:\\x", "{x}", ""]
)
def test_no_setting_leads_out_of_the_runs_folder(runs, value):
    job, plain = Job("demo", settings=(("mode", value),)), Job("demo", settings=(("mode", "x"),))
    folder = job.folder.resolve()
    assert folder.relative_to(runs / "with").parts[1:] == ("demo", "classroom-seed0")
    assert folder != plain.folder
    assert str(folder).format() == str(folder)  # papermill fills in what is in braces


def test_job_folders_keep_settings_apart(runs):
    plain, other = Job("demo", seed=1), Job("demo", seed=1, settings=(("rate", 2),))
    assert plain.folder == runs / "demo" / "classroom-seed1"
    assert other.folder == runs / "with" / "rate=2" / "demo" / "classroom-seed1"
