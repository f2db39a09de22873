"""Exercises for a reader without a class: notebooks with empty answers, and their checks.

`dvae practice` makes a folder of one's own:

    01_vae.ipynb        answers are stubs; below each a call of `check`, and the solution folded
    01_vae.reference    checks and solutions, packed so that nobody reads them by accident
    progress/, runs/    what the last check of each exercise found; what the notebooks write

A check that fails shows a panel and raises nothing, and the notebook goes on with the reference's
answer, so that every later part can be run. A notebook must be open in its own folder, as it is in
JupyterLab.
"""

import html
import linecache
import os
import re
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from IPython import get_ipython
from IPython.display import display

from . import commits, exercises, files, paths
from .tables import Table

SOLVED, NEARLY, TRIED, OPEN = "solved", "nearly right", "not yet right", "no answer yet"
STUBS = OPEN, exercises.STUB  # what an answer says that is not written yet, here or handed out
COLOURS = {SOLVED: "#2e7d32", NEARLY: "#b26a00", TRIED: "#c62828", OPEN: "#757575"}

WELCOME = """**This copy is yours.** Change whatever you like, the cell of parameters, too.

- Write each answer where it says `YOUR CODE HERE`, run the cell, then the check below it.
- Hints unfold above the answer, one at a time; the check and a solution unfold below it.
- Until an exercise is solved, the notebook goes on with the reference's answer.
- To begin anew, rename this file and run `dvae practice` again."""

# Each cell imports what it calls, so that it runs in a fresh kernel.
CALL = "from dvae_lib import practice\n\npractice."
CHECK = CALL + 'check("{notebook}", "{exercise}", globals())'

FOLD = "<details><summary>{title}</summary>\n\n```python\n{code}\n```\n\n</details>"


# --- the folder ----------------------------------------------------------------------------------


def make(notebooks: list[str], folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Write notebooks to practise in into a folder: (paths written, paths that were there).

    What is there stays as it is. Raises ValueError for an unknown notebook, and for the folder of
    the workbook's own notebooks.
    """
    folder = Path(folder).expanduser()
    if folder.resolve() == paths.notebooks_folder().resolve():
        raise ValueError(f"{folder} holds the notebooks that are read; choose another folder")
    written, kept = [], []
    for name, (notebook, contracts) in {name: _copy(name) for name in notebooks}.items():
        path = folder / f"{name}.ipynb"
        reference = path.with_suffix(".reference")
        if path.exists():
            kept.append(path)
            if reference.exists():
                continue
        else:
            written.append(path)
            _write(path, nbformat.writes(notebook))
            _progress_file(folder, name).unlink(missing_ok=True)  # of a notebook that was renamed
        _write(reference, exercises.pack(contracts))
    return written, kept


def _write(path, text):
    with files.atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _copy(name):
    """(notebook to practise in, {exercise: contract with its check and hints}) of a notebook.

    Of the committed one: its reader may have tried something in the other, in an answer even.
    """
    notebook = nbformat.reads(commits.committed(paths.notebook_path(name)), as_version=4)
    cells, contracts, text, answer = [], {}, "", None
    for cell in notebook.cells:
        about = cell.metadata.pop("nbgrader", {})
        folded = cell.metadata.pop("jupyter", {}).get("source_hidden")
        cell.metadata.pop("collapsed", None)
        if folded and not about:  # what a check is made of stays folded: answers can be seen in it
            cell.metadata["jupyter"] = {"source_hidden": True}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        elif answer is None:
            text = cell.source
        if about.get("solution"):
            exercise, answer = about["grade_id"], cell.source
            cell.source = _stub(answer)
        if not about.get("grade"):
            cells.append(cell)
            continue
        parts = {"check": cell.source, "hints": exercises.hints(text)}
        assert answer is not None  # it stands above its check
        contracts[exercise] = exercises.contract(answer) | parts
        cell.source = CHECK.format(notebook=name, exercise=exercise)
        folds = {"What is checked": parts["check"], "A solution": answer}
        shown = "\n".join(FOLD.format(title=k, code=_unmarked(v)) for k, v in folds.items())
        cells += [cell, nbformat.v4.new_markdown_cell(shown)]
        answer = None
    begin = nbformat.v4.new_markdown_cell(WELCOME), nbformat.v4.new_code_cell(CALL + "begin()")
    end = nbformat.v4.new_code_cell(CALL + "progress()")
    notebook.cells = [cells[0], *begin, *cells[1:], end]
    notebook.metadata.pop("dvae", None)  # how the stored notebook was executed
    return notebook, contracts


def _stub(answer):
    """The source of an answer with its solution taken out."""
    stub = rf'\1# YOUR CODE HERE\n\1raise NotImplementedError("{OPEN}")'
    return re.sub(r"(?ms)^( *)# BEGIN SOLUTION$.*?# END SOLUTION$", stub, answer)


def _unmarked(source):
    """Source without the lines that mark the parts of a cell, but for where hidden tests begin."""
    source = source.replace("# BEGIN HIDDEN TESTS", "# further tests")
    return re.sub(r"(?m)^ *# (?:BEGIN|END) (?:SOLUTION|HIDDEN TESTS)\n?", "", source).strip()


# --- in a notebook -------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What a check found, shown as a panel.

    said: what is wrong, in words. code: the line where it was found, or "". hints: those that the
    words name, as {title: HTML}. after: what follows of it.
    """

    exercise: str
    state: str
    said: str
    code: str = ""
    hints: dict = field(default_factory=dict)
    after: str = ""

    def __repr__(self):
        hints = [f"{title} helps: unfold it above your answer." for title in self.hints]
        lines = [f"{self.exercise}: {self.state}", self.said, self.code, *hints, self.after]
        return "\n".join(line for line in lines if line)

    def _repr_html_(self):
        parts = [f"<b>{html.escape(self.exercise)}: {self.state}</b>"]
        parts += [f'<div style="white-space: pre-wrap">{html.escape(self.said)}</div>']
        parts += [f"<pre>{html.escape(self.code)}</pre>"] if self.code else []
        for title, text in self.hints.items():
            parts.append(f"<details><summary>{title} helps</summary>{text}</details>")
        parts += [f"<div>{html.escape(self.after)}</div>"] if self.after else []
        style = f"border-left: 4px solid {COLOURS[self.state]}; padding: 2px 12px"
        return f'<div style="{style}">{"".join(parts)}</div>'


def begin() -> Table:
    """Keep the runs of this folder in its runs/, unless DVAE_RUNS names another, and show progress.

    Apart, since a training goes on from the checkpoint that it finds: that of another's answers.
    """
    os.environ.setdefault("DVAE_RUNS", str(Path("runs").resolve()))
    return progress()


_standing_in = {}  # {exercise: {name: the reference's object}}, where an answer did not pass


def check(notebook: str, exercise: str, namespace: dict) -> Verdict:
    """Check an answer, hidden tests included, and note what came of it. Returns the Verdict.

    namespace: the notebook's globals(). Of an answer that does not pass the names are defined as
    the reference does. Raises FileNotFoundError where the notebook's .reference is missing.
    """
    contract = exercises.unpack(f"{notebook}.reference")[exercise]
    verdict = _judged(notebook, exercise, contract, namespace)
    _note(notebook, exercise, verdict.state)
    if verdict.state == SOLVED:
        _standing_in.pop(exercise, None)
        solved, count = _count(Path())
        verdict.after = f"{solved} of {count} exercises in this folder are solved."
    else:
        exec(compile(contract["answer"], f"<reference {exercise}>", "exec"), namespace)
        _standing_in[exercise] = {name: namespace[name] for name in contract["defines"]}
        names = ", ".join(contract["defines"])
        verdict.after = f"Until it is solved, the notebook goes on with the reference's {names}."
    return verdict


def _judged(notebook, exercise, contract, namespace):
    ours = _standing_in.get(exercise, {})
    if any(namespace.get(name) is ours.get(name) for name in contract["defines"]):
        return Verdict(exercise, OPEN, "Run the cell with your answer first, then this one.")
    try:
        exercises.require_own_answer(notebook, exercise, namespace)
        code = compile(contract["check"], f"<check {exercise}>", "exec")
        exec(code, dict(namespace))  # a copy: what a check names is nothing to the notebook
    except Exception as error:
        return _explained(exercise, contract, namespace, error, f"<check {exercise}>")
    return Verdict(exercise, SOLVED, "The check passes, and so do the further tests.")


def _explained(exercise, contract, namespace, error, check):
    """The Verdict on an answer that made its check raise. check: the file name of its code."""
    if isinstance(error, NotImplementedError) and str(error) in STUBS:
        return Verdict(exercise, OPEN, "Write it in the cell above, run that, then this one.")
    lines = contract["check"].splitlines()
    steps = list(traceback.walk_tb(error.__traceback__))
    found = [line for frame, line in steps if frame.f_code.co_filename == check]
    at = found[0] if found else 0  # the line of the check that did not go well
    own = _in_answer(steps, [namespace.get(name) for name in contract["defines"]])
    said, code = f"{error}", own or (lines[at - 1].strip() if at else "")
    if not isinstance(error, AssertionError):
        said = f"{type(error).__name__}: {said}\n{'' if own else _why(error)}".rstrip()
    elif said:  # it says all
        code = own
    hidden = next((k for k, line in enumerate(lines) if "BEGIN HIDDEN TESTS" in line), len(lines))
    state = NEARLY if at > hidden else TRIED
    if state == NEARLY:
        said = f"The check passes, but not a further test: {said}"
    named = {f"Hint {number}" for number in re.findall(r"hint (\d)", said)}
    hints = {title: text for title, text in contract["hints"].items() if title in named}
    return Verdict(exercise, state, said, code, hints)


def _why(error):
    """What an error of Python's in a line of the check itself is likely to come from."""
    if isinstance(error, NameError):
        return "Run the cells above first, from the top of the notebook. The line of the check:"
    return "The check cannot use what your answer returns, in this line:"


def _in_answer(steps, answers):
    """The innermost line of the answers' own cells on a traceback, in words, or ""."""
    cells = {answer.__code__.co_filename for answer in answers if hasattr(answer, "__code__")}
    for frame, number in reversed(steps):
        if (cell := frame.f_code.co_filename) in cells:
            return f"line {number} of your answer: {linecache.getline(cell, number).strip()}"
    return ""


# --- in the workbook's own notebooks, and in those handed out ------------------------------------

OWN_WORK = re.compile(r'exercises\.require_own_answer\("(\w+)", "(\w+)", globals\(\)\)')


def explain_checks(notebook: str) -> None:
    """From now on a check that fails in this kernel shows its Verdict in place of the traceback.

    It fails as ever: the cell's error keeps its name and message, and %tb shows the traceback.
    """

    def explain(shell, kind, error, trace, tb_offset=None):
        if verdict := _failed(notebook, shell.user_ns, error):
            display(verdict)
            error._render_traceback_ = lambda: [f"{kind.__name__}: see above"]  # IPython asks it
        ran = not isinstance(error, SyntaxError)
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset, running_compiled_code=ran)
        vars(error).pop("_render_traceback_", None)

    if shell := get_ipython():
        shell.set_custom_exc((Exception,), explain)


def _failed(notebook, namespace, error):
    """The Verdict on an answer whose check is the cell that raised; None if the cell is none."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    cells = [frame.f_code.co_filename for frame in frames if frame.f_globals is namespace]
    source = "".join(linecache.getlines(cells[0])).strip() if cells else ""
    try:
        if called := OWN_WORK.search(source):
            name, exercise = called.groups()
            found = exercises.unpack(exercises.home / f"{name}.reference")
        else:
            _, found = _copy(notebook)
            exercise = next(k for k, about in found.items() if about["check"].strip() == source)
        contract = found[exercise] | {"check": source}
    except (OSError, ValueError, KeyError, StopIteration):
        return None
    return _explained(exercise, contract, namespace, error, cells[0])


# --- progress ------------------------------------------------------------------------------------


def progress(folder: str | Path = ".") -> Table:
    """A Table of what is solved, over all notebooks of a folder that `make` made.

    Raises FileNotFoundError if it holds none.
    """
    rows = [("notebook", "solved", "open")]
    for name, states in _states(Path(folder)).items():
        open_ones = [
            exercise if state == OPEN else f"{exercise} ({state})"
            for exercise, state in states.items()
            if state != SOLVED
        ]
        solved = f"{len(states) - len(open_ones)} of {len(states)}"
        rows.append((name, solved, ", ".join(open_ones)))
    solved, count = _count(Path(folder))
    return Table([*rows, ("together", f"{solved} of {count}", "")])


def _states(folder):
    """{notebook: {exercise: state}} of the notebooks in a folder that have exercises."""
    found = {}
    for path in sorted(folder.glob("*.reference")):
        noted = _noted(folder, path.stem)
        found[path.stem] = {name: noted.get(name, OPEN) for name in exercises.unpack(path)}
    if not found:
        raise FileNotFoundError(f"no exercises in {folder.resolve()}; make some: dvae practice")
    return {name: states for name, states in found.items() if states}


def _count(folder):
    """(how many exercises of a folder are solved, how many there are)."""
    states = [state for part in _states(folder).values() for state in part.values()]
    return states.count(SOLVED), len(states)


def _progress_file(folder, notebook):
    return folder / "progress" / f"{notebook}.json"


def _noted(folder, notebook):
    path = _progress_file(folder, notebook)
    return files.read_json(path) if path.exists() else {}


def _note(notebook, exercise, state):
    noted = _noted(Path(), notebook) | {exercise: state}
    files.write_json(_progress_file(Path(), notebook), noted)
