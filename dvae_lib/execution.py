"""Executing notebooks through papermill: single runs, sweeps over seeds, and storing them."""

import contextlib
import hashlib
import itertools
import logging
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field

from tqdm import tqdm

from . import files, sources
from .results import ASSERTING_TIERS, TIERS, Row

MAX_STORED_BYTES = 1_500_000


@dataclass(frozen=True)
class Job:
    """One execution to do. settings: parameters beside tier, seed and device, as sorted pairs."""

    notebook: str
    tier: str = "classroom"
    seed: int = 0
    device: str = "auto"
    settings: tuple = ()

    @property
    def runs(self):
        """Runs with other settings than the notebook's own are kept apart, in runs/with/…"""
        folder = sources.runs_folder()
        if self.settings:
            folder = folder / "with" / ",".join(f"{name}={value}" for name, value in self.settings)
        return folder

    @property
    def folder(self):
        return sources.run_folder(self.notebook, self.tier, self.seed, self.runs)

    @property
    def label(self):
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
    def failed_claims(self):
        """Rows whose claim fails, at a tier that asserts claims."""
        if self.job.tier not in ASSERTING_TIERS:
            return []
        return [row for row in self.rows if row.held is False]

    @property
    def good(self):
        return not self.error and not self.failed_claims


def check(jobs):
    """Raise ValueError, listing what exists, for an unknown notebook, tier or parameter."""
    from papermill import inspect_notebook

    for job in jobs:
        path = sources.notebook_path(job.notebook)
        if job.tier not in TIERS:
            raise ValueError(f"tier {job.tier!r}; choose one of: {', '.join(TIERS)}")
        known = set(inspect_notebook(path))
        for name in ("tier", "seed", "device", *dict(job.settings)):
            if name not in known:
                raise ValueError(
                    f"{job.notebook} has no parameter {name!r}; it has: {', '.join(sorted(known))}"
                )


def run_all(jobs, workers=1):
    """Execute jobs, `workers` at a time, with a progress bar over jobs and one over cells each."""
    check(jobs)
    cores = os.cpu_count() or 1
    threads = max(1, cores // workers)
    slots = multiprocessing.get_context("spawn")
    outcomes = []
    with (
        ProcessPoolExecutor(workers, slots, _limit_threads, (threads,)) as pool,
        tqdm(total=len(jobs), desc="notebooks", unit="notebook") as bar,
    ):
        waiting = {pool.submit(execute, job, 1 + k % workers) for k, job in enumerate(jobs)}
        for done in as_completed(waiting):
            outcomes.append(done.result())
            bar.update()
    return sorted(outcomes, key=lambda outcome: jobs.index(outcome.job))


def _limit_threads(threads):
    # Kernels inherit this; two notebooks side by side must not fight for the cores.
    os.environ["OMP_NUM_THREADS"] = str(threads)


def execute(job, bar_position=0):
    """Execute one job into its folder and return its Outcome. A raising notebook is an outcome."""
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    parameters = {"tier": job.tier, "seed": job.seed, "device": job.device} | dict(job.settings)
    output = job.folder / f"{job.notebook}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    digest, commit = sources.code_digest(job.notebook), sources.commit()
    started, clock = time.time(), time.perf_counter()
    error = ""
    with _environment(DVAE_RUNS=str(job.runs)):
        try:
            papermill.execute_notebook(
                str(sources.notebook_path(job.notebook)),
                str(output),
                parameters,
                kernel_name="python3",
                progress_bar={"desc": job.label, "position": bar_position, "leave": False},
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
            "code": digest,
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


def sweep(notebook, seeds, settings=None, tier="classroom", device="auto", workers=1):
    """Execute a notebook once a seed and setting, and gather the rows into notebooks/results/.

    settings: a dict from a parameter to its values; every combination is run. Runs that are
    finished, with the present code, are not run again; failed ones are reported and kept out.
    Returns (outcomes of what was executed, path of the gathered results).
    """
    grid = itertools.product(*([(n, v) for v in values] for n, values in (settings or {}).items()))
    jobs = [
        Job(sources.notebook_path(notebook).stem, tier, seed, device, tuple(sorted(setting)))
        for setting in grid
        for seed in seeds
    ]
    check(jobs)
    digest = sources.code_digest(notebook)
    outcomes = run_all([job for job in jobs if finished(job, digest) is None], workers)
    path = sources.results_path(jobs[0].notebook)
    stored = files.read_json(path)["runs"] if path.exists() else []
    runs = {_key(run): run for run in stored}
    for job in jobs:
        if record := finished(job, digest):
            runs[_key(record)] = {k: v for k, v in record.items() if k != "complete"}
    ordered = [runs[key] for key in sorted(runs)]
    files.write_json(path, {"notebook": jobs[0].notebook, "runs": ordered})
    return outcomes, path


def finished(job, digest):
    """The record of a job that ran to its end with the code of `digest`; None without one."""
    path = job.folder / "results.json"
    if not path.exists():
        return None
    record = files.read_json(path)
    return record if record.get("complete") and record["code"] == digest else None


def _key(run):
    return (run["tier"], str(sorted(run["settings"].items())), run["seed"])


# --- storing -----------------------------------------------------------------------------------


def source_digest(notebook):
    """A checksum of the code cells of a notebook node, to the letter."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(cells).encode()).hexdigest()[:16]


def store(notebook):
    """Execute a notebook at tier classroom and store it in its place, cleaned of litter.

    Returns its Outcome. A notebook that raises is not stored, nor is one over 1.5 MB.
    """
    import nbformat

    path = sources.notebook_path(notebook)
    before = source_digest(nbformat.read(path, as_version=4))
    outcome = run_all([Job(path.stem)])[0]
    if outcome.error:
        return outcome
    executed = nbformat.read(outcome.job.folder / path.name, as_version=4)
    clean(executed)
    executed.metadata["dvae"] = {"executed_code": before, "tier": "classroom"}
    text = nbformat.writes(executed)
    if len(text.encode()) > MAX_STORED_BYTES:
        outcome.error = f"{len(text.encode()):,} bytes; the limit is {MAX_STORED_BYTES:,}"
        return outcome
    with files.atomic(path) as temporary:
        temporary.write_text(text + "\n")
    return outcome


def clean(notebook):
    """Remove what only a live session can use: injected parameters, widget views, run times."""
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in tags(c)]
    for key in ("papermill", "widgets"):
        notebook.metadata.pop(key, None)
    count = itertools.count(1)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.metadata.get("tags") == []:
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            cell.outputs = _joined([o for o in cell.outputs if not _is_widget(o)])
            cell.execution_count = next(count)
            for output in cell.outputs:
                if "execution_count" in output:
                    output["execution_count"] = cell.execution_count


def _joined(outputs):
    """Outputs with printed text that came in pieces as one piece."""
    joined = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if "name" in output and output["name"] == last.get("name"):
            last["text"] += output["text"]
        else:
            joined.append(output)
    return joined


def tags(cell):
    return cell.metadata.get("tags", [])


def _is_widget(output):
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def faults(path):
    """What is wrong with a stored notebook, as a list of sentences; empty if all is well."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    found = []
    if notebook.metadata.get("dvae", {}).get("executed_code") != source_digest(notebook):
        found.append("the code differs from what was executed")
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("execution counts are not 1 to n")
    if any(output.output_type == "error" for output in outputs):
        found.append("an error is stored")
    if any(output.get("name") == "stderr" for output in outputs):
        found.append("output to stderr is stored")
    if any(_is_widget(output) for output in outputs) or "widgets" in notebook.metadata:
        found.append("widget state is stored")
    if path.stat().st_size > MAX_STORED_BYTES:
        found.append(f"{path.stat().st_size:,} bytes; the limit is {MAX_STORED_BYTES:,}")
    return [f"{fault}; run: dvae store {path.stem}" for fault in found]
