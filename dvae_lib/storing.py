"""What is stored of an executed notebook: itself, cleaned; its numbers; its weights."""

import hashlib
import io
import itertools
import re
import shutil
import tokenize
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from . import commits, execution, files, paths

MAX_STORED_BYTES = 700_000
ABOUT_BYTES = 2_000  # of what a stored notebook says about its run, at most
STILL = "A still picture of the widget: run the cells up to this one to move its controls."
BLANK = " \n"  # an empty line would be passed over for the next
PROVENANCE = ("tier", "seed", "device", "seconds", "processor", "threads", "versions", "commit")


def source_digest(notebook: NotebookNode) -> str:
    """A checksum of the code cells of a notebook node: of all but comments and empty lines."""
    cells = "\0".join(_without_comments(source) for source in _sources(notebook))
    return hashlib.sha256(cells.encode()).hexdigest()[:16]


def _sources(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def _without_comments(source):
    lines = source.splitlines()
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, SyntaxError):  # no Python, but a command of IPython's
        return source
    return "\n".join(line.rstrip() for line in lines if line.strip())


def store(notebooks: list[str], workers: int = 1) -> list[execution.Outcome]:
    """Execute notebooks at tier classroom and store each in its place, cleaned of litter.

    Each kernel has one thread, as in a sweep, so that the stored run is the sweep's of seed 0.
    Returns the Outcomes. A notebook that raises is not stored, nor is one over MAX_STORED_BYTES.
    Raises ValueError where notebooks/ or dvae_lib/ has uncommitted changes.
    """
    commits.clean_commit()
    jobs = [execution.Job(paths.notebook_path(name).stem) for name in notebooks]
    outcomes = execution.run_all(jobs, workers, threads=1)
    for outcome in outcomes:
        outcome.error = outcome.error or _store_executed(outcome.job)
    return outcomes


def _store_executed(job):
    """Put an executed notebook in the place of its source. Returns why not, or ""."""
    path = paths.notebook_path(job.notebook)
    executed = nbformat.read(job.folder / path.name, as_version=4)
    clean(executed)
    make_room(executed)
    if _sources(executed) != _sources(nbformat.read(path, as_version=4)):
        return f"{path} was edited while it ran, and is left as it is; commit it and store again"
    record = files.read_json(job.folder / "results.json")
    about = {name: record[name] for name in PROVENANCE}
    executed.metadata["dvae"] = {"executed_code": source_digest(executed), **about}
    text = nbformat.writes(executed)
    if len(text.encode()) > MAX_STORED_BYTES:
        return f"{len(text.encode()):,} bytes; the limit is {MAX_STORED_BYTES:,}"
    with files.atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")
    return ""


def store_long(notebook: str, tier: str = "long") -> execution.Outcome:
    """Execute a notebook at tier long or paper; store its rows and the weights that it kept.

    The rows go into notebooks/results/, the weights into notebooks/models/; the notebook itself
    stays as it is. Returns the Outcome; nothing is stored of a run that raises. Raises ValueError
    where notebooks/ or dvae_lib/ has uncommitted changes, or for weights above models.MAX_BYTES.
    """
    from . import models  # imports PyTorch, which takes seconds

    commit = commits.clean_commit()
    job = execution.Job(paths.notebook_path(notebook).stem, tier)
    execution.check([job])
    witness = execution.run_witness(job.notebook)
    shutil.rmtree(job.folder / "models", ignore_errors=True)  # of an earlier run
    (outcome,) = execution.run_all([job])
    if not outcome.error:
        record = files.read_json(job.folder / "results.json")
        models.gather(job.notebook, job.folder / "models", commit, record["processor"])
        execution.gather(job.notebook, tier, [record], witness)
    return outcome


def clean(notebook: NotebookNode) -> None:
    """Remove what only a live session can use: injected parameters, widget views, run times.

    A widget leaves its still picture as a plain one, unless the next output of the section is a
    picture, the notebook's own still of the widget, or the notebook would grow too large. Of a
    picture its text form goes. What is folded begins with a blank line.
    """
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in tags(c)]
    for key in ("papermill", "widgets"):
        notebook.metadata.pop(key, None)
    count, stills = itertools.count(1), []
    for k, cell in enumerate(notebook.cells):
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.metadata.get("tags") == []:
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            found = _stills(cell.outputs)
            if found and not _shown_below(notebook.cells[k + 1 :]):
                stills.append((cell, found))
            cell.outputs = _joined([o for o in cell.outputs if not _is_widget(o)])
            cell.execution_count = next(count)
            for output in cell.outputs:
                if "<img alt=" in output.get("data", {}).get("text/html", ""):
                    output["data"].pop("text/plain", None)  # says the alternative text once more
                if "execution_count" in output:
                    output["execution_count"] = cell.execution_count
            if cell.metadata.get("jupyter", {}).get("outputs_hidden"):
                cell.metadata["collapsed"] = True  # JupyterLab adds it, and the file has changed
                cell.outputs[:1] = [_behind_a_blank_line(o) for o in cell.outputs[:1]]
    for cell, outputs in sorted(stills, key=lambda pair: len(str(pair[1]))):
        without, cell.outputs = cell.outputs, cell.outputs + outputs
        if len(nbformat.writes(notebook).encode()) > MAX_STORED_BYTES - ABOUT_BYTES:
            cell.outputs = without


def make_room(notebook: NotebookNode) -> None:
    """Round the tones of pictures, the largest first, until the notebook may be stored."""
    from . import figures, pages  # imports PyTorch, which takes seconds

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output.data for output in outputs if "text/html" in output.get("data", {})]
    for data in sorted(shown, key=lambda data: len(data["text/html"]), reverse=True):
        if len(nbformat.writes(notebook).encode()) <= MAX_STORED_BYTES - ABOUT_BYTES:
            return
        if parts := pages.from_html(data["text/html"]):
            blank = BLANK if data["text/html"].startswith(BLANK) else ""  # before what is folded
            png, alt = parts
            data["text/html"] = blank + pages.as_html(figures.in_few_tones(png), alt)


def _behind_a_blank_line(output):
    """An output whose first line, which JupyterLab shows of what is folded, tells nothing."""
    holder = output if "text" in output else output.data
    for kind in holder:
        if kind.startswith("text"):  # neither pictures nor JSON
            holder[kind] = BLANK + holder[kind].removeprefix(BLANK)
    return output


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


def _stills(outputs):
    """What shows the widgets among outputs on a page, as outputs."""
    page = "\n".join(output.get("data", {}).get("text/html", "") for output in outputs)
    found = []
    for picture in re.findall('class="dvae-still".*?(<img[^>]*>)', page, re.DOTALL):
        from . import figures, pages  # imports PyTorch, which takes seconds

        if parts := pages.from_html(picture):
            smaller = pages.as_html(figures.in_palette(parts[0]), parts[1])
            shown = {"text/html": smaller}, {"text/plain": STILL}
            found += [nbformat.v4.new_output("display_data", data=data) for data in shown]
    return found


def _shown_below(cells):
    """Whether a picture is the next output of the section of which these cells are the rest."""
    for cell in cells:
        if cell.source.startswith("## "):
            break
        if cell.get("outputs"):
            data = [output.get("data", {}) for output in cell.outputs]
            return any("<img alt=" in d.get("text/html", "") for d in data)
    return False


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _is_widget(output):
    data = output.get("data", {})
    page = data.get("text/html", "no page")
    bar = page == ""  # which has come to its end: see bars.py
    return bar or 'class="dvae-still"' in page or "application/vnd.jupyter.widget-view+json" in data


def faults(path: Path) -> list[str]:
    """What is wrong with a stored notebook, as a list of sentences; empty if all is well."""
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
