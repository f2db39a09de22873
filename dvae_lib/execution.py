"""Executing notebooks through papermill: single runs, and sweeps over seeds."""

import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tqdm import tqdm

from . import commits, files, paths, processes, results
from .evidence import Sweep, read_record
from .results import ASSERTING_TIERS, Row

# tqdm's own lock is a semaphore of the system, which a process that is killed leaves behind.
tqdm.set_lock(threading.RLock())


@dataclass(frozen=True)
class Job:
    """One execution to do. settings: parameters beside tier, seed and device, as sorted pairs."""

    notebook: str
    tier: str = "classroom"
    seed: int = 0
    device: str = "auto"
    settings: tuple = ()

    @property
    def runs(self) -> Path:
        """Runs with other settings than the notebook's own are kept apart, in runs/with/…"""
        folder = paths.runs_folder()
        if self.settings:
            words = (f"{name}={quote(f'{value}', safe='')}" for name, value in self.settings)
            folder = folder / "with" / ",".join(words)
        return folder

    @property
    def folder(self) -> Path:
        return paths.run_folder(self.notebook, self.tier, self.seed, self.runs)

    @property
    def label(self) -> str:
        extra = "".join(f" {name}={value}" for name, value in self.settings)
        return f"{self.notebook} seed {self.seed}{extra}"


@dataclass
class Outcome:
    """What came of a job: how long it took, the rows it recorded, and the error that ended it."""

    job: Job
    seconds: float
    rows: list[Row] = field(default_factory=list)
    error: str = ""

    @property
    def verdicts(self) -> dict[str, str]:
        """{name: verdict} of the claims, none at tier smoke; see Row.verdict."""
        if self.job.tier not in ASSERTING_TIERS:
            return {}
        sweep = Sweep.read(self.job.notebook)
        # Seeds of other settings, or of other code, tell nothing of this run.
        seeds = {} if self.job.settings or sweep.out_of_date else sweep.seeds(self.job.tier)
        claims = [row for row in self.rows if row.is_claim]
        return {row.name: row.verdict(seeds.get(row.name, ())) for row in claims}

    @property
    def refuted(self) -> list[Row]:
        """Rows whose claim is refuted, by its stored seeds or, of one without them, by this run."""
        verdicts = self.verdicts
        return [row for row in self.rows if verdicts.get(row.name) == "refuted"]

    @property
    def good(self) -> bool:
        return not self.error and not self.refuted


def check(jobs: list[Job], here: bool = True) -> None:
    """Raise ValueError for what can be known to fail before anything is run.

    That is a notebook, tier, seed, device or parameter that there is not, listing what exists, and
    a damaged file of stored runs, naming it and the fix. here: False if other machines run them,
    which may have other devices.
    """
    from papermill import inspect_notebook

    for device in {job.device for job in jobs if here} - {"auto", "cpu"}:
        from .workbook import pick_device  # imports PyTorch, which takes seconds

        pick_device(device)
    inspected = {}
    for job in jobs:
        results.check(job.tier, job.seed)
        if reserved := {"tier", "seed", "device"} & dict(job.settings).keys():
            raise ValueError(f"set {', '.join(sorted(reserved))} with its own option, not with -p")
        if job.notebook not in inspected:
            path = paths.notebook_path(job.notebook)
            Sweep.read(job.notebook).out_of_date  # noqa: B018 (reads what it is judged by)
            inspected[job.notebook] = set(inspect_notebook(path))
        known = inspected[job.notebook]
        for name in ("tier", "seed", "device", *dict(job.settings)):
            if name not in known:
                raise ValueError(
                    f"{job.notebook} has no parameter {name!r}; it has: {', '.join(sorted(known))}"
                )


def run_all(
    jobs: list[Job],
    workers: int = 1,
    threads: int | None = None,
    each: Callable = processes.each,
) -> list[Outcome]:
    """Execute jobs, `workers` at a time, with a progress bar over jobs and one over cells each.

    threads: of each kernel, by default what OMP_NUM_THREADS says, else its share of the cores.
    each: what runs them; see cluster.connected.
    """
    check(jobs, here=each is processes.each)
    calls = [(job, k, workers, threads) for k, job in enumerate(jobs)]
    outcomes = {}
    with (
        tqdm(total=len(jobs), desc="notebooks", unit="notebook") as bar,
        contextlib.closing(each(_execute_apart, calls, workers)) as done,
    ):
        for k, outcome, error in done:
            outcomes[k] = outcome or Outcome(jobs[k], 0.0, error=error)
            bar.update()
    return [outcomes[k] for k in range(len(jobs))]


def _execute_apart(job, number, workers, threads):
    # Kernels inherit this; two notebooks side by side must not fight for the cores.
    share = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // workers))
    os.environ["OMP_NUM_THREADS"] = str(threads or share)
    os.environ["DVAE_CORES"] = share  # for parallel.trainings
    return execute(job, 1 + number % workers)


def execute(job: Job, bar_position: int = 0) -> Outcome:
    """Execute one job into its folder and return its Outcome. A raising notebook is an outcome.

    Raises RuntimeError, naming its process, while another run writes into the folder.
    """
    with files.claimed(job.folder, processes.leader()):
        return _execute(job, bar_position)


def _execute(job, bar_position):
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    parameters = {"tier": job.tier, "seed": job.seed, "device": job.device} | dict(job.settings)
    output = job.folder / f"{job.notebook}.ipynb"
    commit = commits.commit()
    started, clock = time.time(), time.perf_counter()
    error = ""
    with _environment(DVAE_RUNS=str(job.runs)):
        try:
            papermill.execute_notebook(
                str(paths.notebook_path(job.notebook)),
                str(output),
                parameters,
                kernel_name="python3",
                progress_bar={"desc": job.label, "position": bar_position, "leave": False},
                kernel_manager_class=processes.Kernel,
                # All is written; to end by itself would take it seconds.
                shutdown_kernel="immediate",
            )
        except papermill.PapermillExecutionError as failure:
            error = f"cell [{failure.exec_count}]: {failure.ename}: {failure.evalue}"
        except Exception as failure:  # the kernel died, or did not start
            error = f"{type(failure).__name__}: {failure}"
    seconds = time.perf_counter() - clock
    path = job.folder / "results.json"
    # A results file from before this run says nothing of this run.
    if not path.exists() or path.stat().st_mtime < started - 1:
        return Outcome(job, seconds, error=error)
    record = files.read_json(path)
    if not error:
        record |= {
            "settings": dict(job.settings),
            "seconds": round(seconds, 1),
            "commit": commit,
            "complete": True,
        }
        files.write_json(path, record)
    return Outcome(job, seconds, [Row(**row) for row in record["rows"]], error)


@contextlib.contextmanager
def _environment(**values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# --- sweeps ------------------------------------------------------------------------------------


def sweep(
    notebook: str,
    seeds: Iterable[int],
    settings: dict[str, list] | None = None,
    tier: str = "classroom",
    device: str = "auto",
    workers: int = 1,
    cluster: str = "",
) -> tuple[list[Outcome], Path, list]:
    """Execute a notebook once a seed and setting, and gather the rows into notebooks/results/.

    settings: a dict from a parameter to its values; every combination is run. Each kernel has one
    thread, so that a number does not depend on how many ran at a time. Runs that are finished,
    with the present code, are not run again; failed ones are reported and kept out. Stored runs
    whose code gives other numbers are left out. cluster: see cluster.connected; "" for none.

    Returns (outcomes of what was executed, path of the gathered results, runs left out).
    Raises ValueError where notebooks/ or dvae_lib/ has uncommitted changes.
    """
    grid = itertools.product(*([(n, v) for v in values] for n, values in (settings or {}).items()))
    jobs = [
        Job(paths.notebook_path(notebook).stem, tier, seed, device, tuple(sorted(setting)))
        for setting in grid
        for seed in seeds
    ]
    commit = commits.clean_commit()
    check(jobs, here=cluster in ("", "local"))
    left = [job for job in jobs if finished(job, commit) is None]
    pool = contextlib.nullcontext(processes.each)
    if cluster:
        from .cluster import connected  # needs an extra

        pool = connected(cluster, workers)
    with pool as each:
        witness = run_witness(jobs[0].notebook)
        outcomes = run_all(left, workers, 1, each)
    records = [record for job in jobs if (record := finished(job, commit))]
    left_out, path = gather(jobs[0].notebook, tier, records, witness)
    return outcomes, path, left_out


def run_witness(notebook: str) -> dict:
    """The record of a smoke run with one thread, and `spread`: how far two threads move each row.

    Raises RuntimeError if the notebook does not run.
    """
    records = []
    for threads in (2, 1):  # the last of them stays in the runs folder
        job = Job(notebook, "smoke", device="cpu")
        (outcome,) = run_all([job], threads=threads)
        if outcome.error:
            raise RuntimeError(f"{notebook} at tier smoke raised {outcome.error}; see {job.folder}")
        records.append(files.read_json(job.folder / "results.json"))
    two, one = ({row["name"]: row["value"] for row in record["rows"]} for record in records)
    return _stored_part(records[1]) | {"spread": {name: abs(one[name] - two[name]) for name in one}}


def gather(notebook: str, tier: str, records: list[dict], witness: dict) -> tuple[list, Path]:
    """Put records into the stored sweep of a notebook: (runs left out, path)."""
    stored = Sweep.read(notebook)
    left_out = stored.add(tier, [_stored_part(record) for record in records], witness)
    return left_out, stored.write()


def _stored_part(record):
    return {name: value for name, value in record.items() if name != "complete"}


def finished(job: Job, commit: str) -> dict | None:
    """The record of a job that ran to its end with the code of `commit`; None without one."""
    record = read_record(job.folder / "results.json")
    if record and commits.same_code(job.notebook, record["commit"], commit):
        return record
    return None
