"""Sweeps on a Dask cluster: a scheduler and two workers here, each with a checkout of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid

import psutil
import pytest
from conftest import Checkout
from test_processes import SECONDS_TO_END, marked

import dvae_lib
from dvae_lib import cli, execution, paths

distributed = pytest.importorskip("distributed")

# It records without PyTorch, which takes seconds to import. Seed 1 waits at a gate, seed 2 raises.
DEMO = [
    "import os, time\nfrom pathlib import Path\n\nfrom dvae_lib import files, paths",
    """
path = paths.run_folder("demo", tier, seed) / "results.json"
rows = [{"name": "answer", "value": 40 + seed}]
threads = int(os.environ["OMP_NUM_THREADS"])
about = {"processor": "", "threads": threads, "versions": {"torch": "2.15.1"}, "picks": []}
files.write_json(path, {"tier": tier, "seed": seed, "rows": rows, "seconds": 0.0} | about)
""",
    """
if seed == 1:
    gate = Path(os.environ["GATE"])
    (gate / f"{os.getpid()}").touch()
    while not (gate / "open").exists():
        time.sleep(0.02)
if seed == 2:
    raise RuntimeError("on purpose")
""",
]
# `dvae` as in a terminal, without the runs of a witness.
COMMAND = """
import signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)
from dvae_lib import cli, execution

execution.run_witness = lambda notebook: {}
sys.exit(cli.main())
"""


def git(folder, *arguments):
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def wait_until(true):
    until = time.monotonic() + 600
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


class Home:
    """The checkout from which sweeps are started, and the processes that were started."""

    def __init__(self, folder):
        self.folder, self.mark, self.started = folder, uuid.uuid4().hex, []
        self.checkout = Checkout(folder / "home")
        self.checkout.write("demo", *DEMO)
        (self.checkout.folder / ".gitignore").write_text("runs/\n__pycache__/\n")
        for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
            git(self.checkout.folder, *arguments)
        self.commit = git(self.checkout.folder, "rev-parse", "HEAD")
        self.gate = folder / "gate"
        self.gate.mkdir()
        self.results = self.checkout.notebooks / "results" / "demo.json"

    def start(self, *command, checkout=None, runs="runs", mark=None, **options):
        checkout = checkout or self.checkout.folder
        environment = {"PYTHONPATH": str(checkout), "DVAE_RUNS": str(checkout / runs)}
        environment |= {"GATE": str(self.gate), "MARK": mark or self.mark}
        process = subprocess.Popen(
            [sys.executable, *command], cwd=checkout, env=os.environ | environment, **options
        )
        self.started.append(process)
        return process

    def sweep(self, *arguments, **options):
        command = ["-c", COMMAND, "sweep", "demo", *arguments]
        return self.start(
            *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    def kernels(self):
        """The process ids of those that came to the gate."""
        return [int(path.name) for path in self.gate.glob("[0-9]*")]

    def scheduler(self):
        """Start one; the address to which it listens."""
        about = self.folder / "scheduler.json"
        self.start(
            *("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"),
            *("--no-dashboard", "--scheduler-file", str(about)),
        )
        wait_until(about.exists)
        return json.loads(about.read_text())["address"]

    def worker(self, address, name, *options):
        """Start one in a clone of the checkout: (process, folder of the clone)."""
        clone = self.folder / name
        git(self.folder, "clone", "-q", str(self.checkout.folder), str(clone))
        process = self.start(
            *("-m", "distributed.cli.dask_worker", address, "--name", name, "--nthreads", "1"),
            *("--no-dashboard", "--local-directory", str(self.folder / "scratch"), *options),
            checkout=clone,
        )
        return process, clone


@pytest.fixture
def home(tmp_path):
    place = Home(tmp_path)
    yield place
    for process in marked(place.mark):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for process in place.started:
        process.wait()


def without_what_differs(results):
    """(what is stored, {seed: worker}), without seconds."""
    stored = json.loads(results.read_text())
    runs = stored["sweeps"]["classroom"]["runs"]
    for run in runs:
        assert run.pop("seconds") > 0
    return stored, {run["seed"]: run.pop("worker", None) for run in runs}


@pytest.mark.notebook
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by their environment")
def test_a_sweep_on_a_cluster_is_one_without(home, runs, monkeypatch):
    address = home.scheduler()
    first, _ = home.worker(address, "first", "--no-nanny")
    sweep = home.sweep("--seeds", "1,0,2", "--cluster", address)
    wait_until(home.kernels)
    (kernel,) = home.kernels()
    _, clone = home.worker(address, "second")
    with distributed.Client(address) as client:
        client.wait_for_workers(2, timeout=600)

    # One of the two is killed in the middle of seed 1, and takes its kernel with it.
    first.kill()
    wait_until(lambda: not psutil.pid_exists(kernel))
    (home.gate / "open").touch()
    said, errors = sweep.communicate(timeout=600)
    assert sweep.returncode == 1, errors
    assert len(home.kernels()) == 2  # began seed 1
    assert "demo seed 2 raised: cell [5]: RuntimeError: on purpose" in said
    assert "3 runs executed" in said

    found, workers = without_what_differs(home.results)
    assert workers == {0: "second", 1: "second"}
    assert [run["commit"] for run in found["sweeps"]["classroom"]["runs"]] == [home.commit] * 2
    brought = home.checkout.folder / "runs" / "demo"
    assert (brought / "classroom-seed2" / "demo.ipynb").exists()  # to look at

    home.results.unlink()
    local = home.sweep("--seeds", "0-2", runs="runs/local")
    said_locally, errors = local.communicate(timeout=600)
    assert local.returncode == 1, errors
    assert without_what_differs(home.results) == (found, {0: None, 1: None})
    assert said_locally.count("on purpose") == said.count("on purpose") == 1
    home.results.unlink()

    # Runs that are there are not sent again.
    monkeypatch.setattr(paths, "__file__", str(home.checkout.library / "paths.py"))
    monkeypatch.setenv("DVAE_RUNS", str(brought.parent))
    monkeypatch.setattr(execution, "run_witness", lambda notebook: {})
    outcomes, path, _ = execution.sweep("demo", [0, 1], cluster=address)
    assert outcomes == []
    assert without_what_differs(path) == (found, workers)
    path.unlink()

    # When a sweep ends, so do its runs elsewhere.
    from dvae_lib import cluster

    (home.gate / "open").unlink()
    call = execution.Job("demo", "long", seed=1), 0, 1, 1
    with distributed.Client(address) as client:
        running = client.submit(cluster._run, execution._execute_apart, call, home.commit)
        wait_until(lambda: any(map(psutil.pid_exists, home.kernels())))
    wait_until(lambda: not any(map(psutil.pid_exists, home.kernels())))
    assert running.cancelled()

    # A worker with other code is refused: before a run, and where it changes during a sweep.
    with cluster.connected(address) as each:
        (clone / "dvae_lib" / "nets.py").write_text("x = 1")
        call = execution.Job("demo", seed=5), 0, 1, 1
        ((_, outcome, error),) = each(execution._execute_apart, [call], 1)
        assert outcome is None
        assert f"worker second has commit {home.commit}+, and this sweep {home.commit}" in error
    for other in (f"{home.commit}+", None):
        if other is None:
            git(clone, "commit", "-q", "-a", "-m", "other")
            other = git(clone, "rev-parse", "HEAD")
        with pytest.raises(ValueError, match="has commit") as refused:
            execution.sweep("demo", [5], cluster=address)
        assert f"has commit {other}, and this sweep {home.commit}" in str(refused.value)
        assert f"git fetch && git checkout {home.commit}" in str(refused.value)
    assert not (clone / "runs" / "demo" / "classroom-seed5").exists()


@pytest.mark.notebook
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by their environment")
@pytest.mark.parametrize(
    ("number", "kill"), [(signal.SIGINT, os.killpg), (signal.SIGKILL, os.kill)]
)
def test_a_cluster_of_this_machine_ends_with_the_command(home, number, kill):
    """By Ctrl-C, which reaches all of its processes, and where it could do nothing more."""
    mark = uuid.uuid4().hex
    sweep = home.sweep("--seeds", "1", "--cluster", "local", mark=mark, start_new_session=True)
    wait_until(home.kernels)
    assert len(marked(mark)) >= 3  # command, process of the run, kernel
    kill(sweep.pid, number)
    _, errors = sweep.communicate(timeout=SECONDS_TO_END)
    wait_until(lambda: not marked(mark))
    if number == signal.SIGINT:
        assert sweep.returncode == 130
        assert errors.endswith("dvae: interrupted; finished runs are kept\n")
        assert "Traceback" not in errors


def test_without_dask_a_cluster_is_refused_and_nothing_else(checkout, capsys, monkeypatch):
    checkout.write("demo", *DEMO)
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "dvae_lib.cluster", raising=False)
    monkeypatch.delattr(dvae_lib, "cluster", raising=False)
    monkeypatch.setattr("dvae_lib.commits.clean_commit", lambda: "first")
    monkeypatch.setattr(execution, "run_witness", lambda notebook: pytest.fail("a run began"))
    assert cli.main(["sweep", "demo", "--seeds", "0", "--cluster", "local"]) == 2
    needed = "dvae: --cluster needs Dask: pip install 'dvae_lib[cluster]'\n"
    assert capsys.readouterr().err == needed
