"""Executing notebooks: tiny notebooks in a copy of the checkout, through papermill and kernels."""

import os
import subprocess
import sys

import nbformat
import pytest
from conftest import PARAMETERS, Checkout

from dvae_lib import cli, execution, files, sources
from dvae_lib.execution import Job

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
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *arguments], cwd=copy.folder, check=True)
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
    runs = files.read_json(path)["runs"]
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
        assert len(run["code"]) == 16

    before = path.read_bytes()
    again = dvae(*arguments, "-p", "rate=0.25", "--device", "cpu")
    assert "0 runs executed" in again.stdout
    assert path.read_bytes() == before


# --- in this process -----------------------------------------------------------------------------


@pytest.fixture
def demo(checkout, monkeypatch):
    """The demo notebook, executed in this process in place of workers, which would import anew."""
    write_demo(checkout)
    calls = []

    def run_all(jobs, workers=1):
        execution.check(jobs)
        calls.extend(jobs)
        return [execution.execute(job) for job in jobs]

    monkeypatch.setattr(execution, "run_all", run_all)
    checkout.calls = calls
    return checkout


def test_a_raising_notebook_is_reported_and_kept_out(demo, runs, capsys):
    """What it recorded before it raised is no result; the earlier sweep stays as it was."""
    path = sources.results_path("demo")
    earlier = {"tier": "paper", "settings": {}, "seed": 7, "rows": []}
    files.write_json(path, {"notebook": "demo", "runs": [earlier]})
    status = cli.main(["sweep", "demo", "--seeds", "3", "-p", "mode=raises", "--tier", "smoke"])
    assert status == 1
    output = capsys.readouterr().out
    assert "RAISED" in output
    assert "demo seed 3 mode=raises raised: cell [5]: RuntimeError: on purpose" in output
    assert files.read_json(path)["runs"] == [earlier]
    executed = runs / "with" / "mode=raises" / "demo" / "smoke-seed3"
    assert (executed / "results.json").exists()
    assert (executed / "demo.ipynb").exists()  # to look at
    # It is tried again next time.
    digest = sources.code_digest("demo")
    assert execution.finished(demo.calls[0], digest) is None


def test_a_grid_is_gathered_in_order_and_only_what_is_new_is_run(demo, monkeypatch):
    """The executions are stood in for: what matters is which are done and what is kept."""

    def execute(job):
        record = {
            "tier": job.tier,
            "seed": job.seed,
            "settings": dict(job.settings),
            "code": sources.code_digest(job.notebook),
            "complete": True,
        }
        files.write_json(job.folder / "results.json", record)
        return execution.Outcome(job, 0.0)

    monkeypatch.setattr(execution, "execute", execute)

    def sweep(seeds, rates):
        demo.calls.clear()
        _, path = execution.sweep("demo", seeds, {"rate": rates})
        runs = files.read_json(path)["runs"]
        done = [(dict(job.settings)["rate"], job.seed) for job in demo.calls]
        return sorted(done), [(run["settings"]["rate"], run["seed"]) for run in runs]

    grid = [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert sweep([1, 0], [2, 1]) == (grid, grid)
    assert sweep([0, 2], [1]) == ([(1, 2)], sorted([*grid, (1, 2)]))
    demo.write("demo", *DEMO, "x = 1", parameters=PARAMETERS_OF_DEMO)
    assert sweep([0], [1, 2]) == ([(1, 0), (2, 0)], sorted([*grid, (1, 2)]))


def test_smoke_asserts_no_claim_and_parameters_reach_the_notebook(demo, runs, capsys):
    arguments = ["-p", "mode", "misses", "-p", "rate", "0.125", "--seed", "5", "--tier", "smoke"]
    assert cli.main(["run", "demo", *arguments, "--device", "cpu"]) == 0
    assert "0 of 1 held (not asserted)" in capsys.readouterr().out
    folder = runs / "with" / "mode=misses,rate=0.125" / "demo" / "smoke-seed5"
    record = files.read_json(folder / "results.json")
    assert values(record) == {"answer": 45, "rate": 0.125}
    # Code that has changed since makes the run unfinished.
    (job,) = demo.calls
    assert execution.finished(job, sources.code_digest("demo"))
    demo.write("demo", *DEMO, "x = 1", parameters=PARAMETERS_OF_DEMO)
    assert execution.finished(job, sources.code_digest("demo")) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "demi"], "no notebook 'demi'; there are: bare, demo"),
        (["run", "demo", "--tier", "fast"], "tier 'fast'; choose one of: smoke, classroom, paper"),
        (["run", "demo", "-p", "mod", "1"], "demo has no parameter 'mod'; it has: device, mode"),
        (["run", "demo", "-p", "seed", "1"], "set seed with its own option"),
        (["run", "bare"], "bare has no parameter 'tier'"),
        (["sweep", "demi", "--seeds", "0"], "no notebook 'demi'; there are: bare, demo"),
        (["sweep", "demo", "--seeds", "0", "-p", "mod=1,2"], "demo has no parameter 'mod'"),
        (["sweep", "demo", "--seeds", "0", "-p", "mode"], "-p mode: write name=value1,value2"),
        (["store", "demi"], "no notebook 'demi'; there are: bare, demo"),
    ],
)
def test_what_does_not_exist_is_an_error_that_lists_what_does(demo, capsys, arguments, message):
    demo.write("bare", "x = 1", parameters="y = 2")
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert demo.calls == []


def test_seeds_are_read_as_written():
    assert cli._seeds("0-4") == [0, 1, 2, 3, 4]
    assert cli._seeds("3,0-1,1") == [3, 0, 1]


# --- stored notebooks ----------------------------------------------------------------------------


def test_a_stored_notebook_is_clean_and_knows_its_code(demo):
    """Executed with a widget and a progress bar on stderr, as notebooks are, and stored."""
    slider = "import ipywidgets\nfrom tqdm.auto import tqdm\n\nfor _ in tqdm(range(3)):\n    pass"
    cells = [*DEMO, slider, "ipywidgets.IntSlider()", "6 * 7"]
    path = demo.write("demo", *cells, parameters=PARAMETERS_OF_DEMO)
    assert any("executed" in fault for fault in execution.faults(path))
    outcome = execution.store("demo")
    assert outcome.error == ""
    assert execution.faults(path) == []
    stored = nbformat.read(path, as_version=4)
    assert stored.cells[-1].outputs[0]["data"]["text/plain"] == "42"
    assert [cell.source for cell in stored.cells] == [PARAMETERS_OF_DEMO, *cells]


def executed(*outputs):
    """A notebook as `store` leaves it, with these outputs in its one cell."""
    cell = nbformat.v4.new_code_cell("x = 1", execution_count=1, outputs=list(outputs))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata["dvae"] = {"executed_code": execution.source_digest(notebook)}
    return notebook


def test_text_printed_in_pieces_is_stored_as_one():
    def said(text, name="stdout"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    shown = nbformat.v4.new_output("display_data", data={"text/plain": "picture"})
    notebook = executed(said("one, "), said("two"), shown, said("three"))
    execution.clean(notebook)
    assert notebook.cells[0].outputs == [said("one, two"), shown, said("three")]


STDERR = nbformat.v4.new_output("stream", name="stderr", text="a warning")
ERROR = nbformat.v4.new_output("error", ename="ValueError", evalue="x", traceback=[])
WIDGET = nbformat.v4.new_output(
    "display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
)
BIG = nbformat.v4.new_output("stream", name="stdout", text="x" * 1_500_000)


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
        ([BIG], None, "the limit is 1,500,000"),
    ],
)
def test_each_fault_of_a_stored_notebook_is_found(tmp_path, outputs, change, fault):
    notebook, path = executed(*outputs), tmp_path / "demo.ipynb"
    if change:
        change(notebook)
    nbformat.write(notebook, path)
    (found,) = execution.faults(path)
    assert fault in found
    assert found.endswith("run: dvae store demo")


def test_a_notebook_without_faults_has_none(tmp_path):
    nbformat.write(executed(), tmp_path / "demo.ipynb")
    assert execution.faults(tmp_path / "demo.ipynb") == []


def test_job_folders_keep_settings_apart(runs):
    plain, other = Job("demo", seed=1), Job("demo", seed=1, settings=(("rate", 2),))
    assert plain.folder == runs / "demo" / "classroom-seed1"
    assert other.folder == runs / "with" / "rate=2" / "demo" / "classroom-seed1"
