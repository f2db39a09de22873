"""Notebooks to practise in: what is in them, what their checks say, and what is kept."""

import ast
import html
import json
import linecache
import re
import shutil
import subprocess
from unittest import mock

import nbformat
import pytest
from conftest import NOTEBOOKS, REPOSITORY, commit_all, committed
from exercises import answers_of, prepared
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

from dvae_lib import cli, exercises, files, paths, practice
from dvae_lib.cells import at_tier

TITLES = r"<summary>([^<]*)</summary>"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with all notebooks to practise in. What tests write beside them matters to none."""
    folder = tmp_path_factory.mktemp("practice")
    practice.make(NOTEBOOKS, folder)
    return folder


@pytest.fixture
def here(made, monkeypatch):
    monkeypatch.chdir(made)
    monkeypatch.setattr(practice, "_standing_in", {})
    return made


def cells_of(path):
    return nbformat.read(path, as_version=4).cells


def marked(name, kind):
    """{grade_id: source} of the cells of a workbook's notebook that are solutions, or checks."""
    cells = [c for c in cells_of(committed(name)) if "nbgrader" in c.metadata]
    return {c.metadata.nbgrader.grade_id: c.source for c in cells if c.metadata.nbgrader[kind]}


# --- the notebooks -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_answers_are_empty_and_solutions_and_checks_are_folded(made, name):
    cells = cells_of(made / f"{name}.ipynb")
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    folded = "\n".join(re.findall(r"<details>.*?</details>", prose, re.DOTALL))
    for exercise, answer in marked(name, "solution").items():
        head, _, rest = answer.partition("# BEGIN SOLUTION\n")
        solution = rest.partition("# END SOLUTION")[0].strip()
        assert head + "# YOUR CODE HERE" in code
        assert solution not in code
        assert solution in folded
        assert f'practice.check("{name}", "{exercise}", globals())' in code
    for check in marked(name, "grade").values():
        assert check.splitlines()[0] in folded
    ast.parse(re.sub(r"(?m)^[%!].*$", "", code))
    original = "\n".join(c.source for c in cells_of(committed(name)))
    assert [t for t in re.findall(TITLES, prose) if "Hint" in t] == re.findall(
        r"<summary>(Hint[^<]*)</summary>", original
    )


def test_a_copy_is_made_of_what_is_committed(checkout, tmp_path):
    """A reader may have tried an answer of their own in the notebook that is read."""
    path = checkout.notebooks / "04_label_relevant_vae.ipynb"
    shutil.copy(REPOSITORY / "notebooks" / path.name, path)
    subprocess.run(["git", "init", "-q"], cwd=checkout.folder, check=True)
    commit_all(checkout.folder)
    _, before = practice._copy(path.stem)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("# BEGIN SOLUTION", "# BEGIN SOLUTION\\n    return 0"), "utf-8")
    assert practice._copy(path.stem)[1] == before
    shutil.rmtree(checkout.folder / ".git")  # as in an archive without git
    assert practice._copy(path.stem)[1] != before


def test_nothing_of_another_run_is_left_and_only_helpers_of_checks_are_folded(made):
    """A helper shows what a wrong answer would give, and so the right one, above the exercise."""
    for name in NOTEBOOKS:
        folded = []
        for cell in cells_of(made / f"{name}.ipynb"):
            assert not cell.get("outputs")
            assert "nbgrader" not in cell.metadata
            if "jupyter" in cell.metadata:
                assert cell.metadata["jupyter"] == {"source_hidden": True}
                folded.append(cell.source)
        assert folded == [
            cell.source
            for cell in cells_of(committed(name))
            if "nbgrader" not in cell.metadata
            and cell.metadata.get("jupyter", {}).get("source_hidden")
        ]


def test_what_is_there_stays_as_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["practice", "00_start_here"]) == 0
    path = tmp_path / "practice" / "00_start_here.ipynb"
    assert "practice/00_start_here.ipynb: written" in capsys.readouterr().out
    path.write_text("my own work")
    assert cli.main(["practice", "00_start_here", "03_measuring_disentanglement"]) == 0
    said = capsys.readouterr().out
    assert "practice/00_start_here.ipynb: is there and stays as it is" in said
    assert "practice/03_measuring_disentanglement.ipynb: written" in said
    assert path.read_text() == "my own work"


def test_a_notebook_that_was_renamed_is_begun_anew(tmp_path):
    """With the checks of today; those of the earlier one are got back where they were lost."""
    name = "00_start_here"
    path, reference = (tmp_path / f"{name}.{ending}" for ending in ("ipynb", "reference"))
    practice.make([name], tmp_path)
    packed = reference.read_text()
    reference.unlink()
    assert practice.make([name], tmp_path) == ([], [path])
    assert reference.read_text() == packed
    reference.write_text(exercises.pack({"of an earlier workbook": {}}))
    files.write_json(tmp_path / "progress" / f"{name}.json", {"pixel_distance": practice.SOLVED})
    path.rename(tmp_path / "mine.ipynb")
    assert practice.make([name], tmp_path) == ([path], [])
    assert reference.read_text() == packed
    assert practice.progress(tmp_path).rows[-1] == ("together", "0 of 1", "")


def test_it_is_refused_where_it_would_mix_with_the_workbook(tmp_path, capsys):
    assert cli.main(["practice", "--to", str(paths.notebooks_folder())]) == 2
    assert "holds the notebooks that are read; choose another folder" in capsys.readouterr().err
    assert cli.main(["practice", "--progress", "--to", str(tmp_path / "none")]) == 2
    assert "none; make some: dvae practice" in capsys.readouterr().err


# --- checks --------------------------------------------------------------------------------------


def tried(notebook, exercise, answer):
    """The Verdict on an answer of a test file, which uses the library elsewhere, as answers do not.

    Whether an answer is the reader's own is looked at in a test of its own.
    """
    definitions, checks = prepared(notebook)
    namespace = definitions | {checks[exercise][0]: answer}
    with mock.patch.object(exercises, "require_own_answer"):
        return practice.check(notebook, exercise, namespace)


def first_of_each(kind):
    """The first right (0) or wrong (1) answer to each exercise, as it comes with the tests."""
    rows = {(name, row[0]): row[1:] for name in NOTEBOOKS for row in answers_of(name)[kind][::-1]}
    return [(*key, *row) for key, row in rows.items()]


@pytest.mark.parametrize(("notebook", "exercise", "answer"), first_of_each(0))
def test_a_right_answer_is_solved(here, notebook, exercise, answer):
    assert tried(notebook, exercise, answer).state == practice.SOLVED


@pytest.mark.parametrize(("notebook", "exercise", "message", "answer"), first_of_each(1))
def test_a_wrong_answer_is_told_its_mistake_in_a_panel(here, notebook, exercise, message, answer):
    verdict = tried(notebook, exercise, answer)
    assert verdict.state in (practice.TRIED, practice.NEARLY)
    assert re.search(message, verdict.said)
    assert html.escape(verdict.said) in verdict._repr_html_()


def written(source, namespace, cell="<a cell>"):
    """Run an answer as a cell of a notebook, whose lines Python can show."""
    linecache.cache[cell] = (len(source), None, source.splitlines(True), cell)
    exec(compile(source, cell, "exec"), namespace)


def distance_checked(*body):
    namespace = dict(prepared("00_start_here")[0])
    written("\n    ".join(["def pixel_distance(a, b):", *body]), namespace)
    return practice.check("00_start_here", "pixel_distance", namespace), namespace


def test_an_error_within_an_answer_is_told_with_its_line(here):
    verdict, _ = distance_checked("c = a.float()", "return c.no_such_thing(b)")
    assert verdict.said == "AttributeError: 'Tensor' object has no attribute 'no_such_thing'"
    assert verdict.code == "line 3 of your answer: return c.no_such_thing(b)"


def test_an_answer_that_the_check_cannot_use_is_told_with_the_line_of_the_check(here):
    verdict, _ = distance_checked("return 3")
    assert verdict.said.startswith("AttributeError: 'int' object has no attribute 'shape'")
    assert "cannot use what your answer returns" in verdict.said
    assert verdict.code.startswith("assert value.shape == (3,)")


def test_a_hidden_test_is_told_apart(here):
    """Right for the three images of 4 × 4 that the visible check has, and for no others."""
    body = "d = (a.float() - b.float()) / 255", "return d.reshape(3, 16).norm(dim=1)"
    verdict, _ = distance_checked(*body)
    assert verdict.state == practice.NEARLY
    assert "not a further test: RuntimeError" in verdict.said
    body = "d = (a.float() - b.float()) / 255", "return d[:3].flatten(1).norm(dim=1)"
    verdict, _ = distance_checked(*body)
    assert verdict.state == practice.NEARLY


def test_a_message_that_names_a_hint_brings_it_along(here):
    verdict = tried("01_vae", "kl", lambda mean, log_var: 7 + 0 * mean.sum(-1))
    assert verdict.said.endswith("start again from hint 1")
    assert list(verdict.hints) == ["Hint 1"]
    assert verdict.hints["Hint 1"] in verdict._repr_html_()
    assert "Hint 1 helps" in repr(verdict)


def test_without_an_answer_the_notebook_goes_on_with_the_references(here):
    """… which does not count as the reader's, until the reader's own cell is run."""
    stub = "# YOUR CODE HERE", f'raise NotImplementedError("{practice.OPEN}")'
    verdict, namespace = distance_checked(*stub)
    assert verdict.state == practice.OPEN
    a, b = namespace["torch"].zeros(2, 2, 1, 4, 4, dtype=namespace["torch"].uint8)
    assert namespace["pixel_distance"](a, b).tolist() == [0, 0]
    again = practice.check("00_start_here", "pixel_distance", namespace)
    assert (again.state, "Run the cell with your answer" in again.said) == (practice.OPEN, True)
    written(
        "def pixel_distance(a, b):\n    return (a / 255 - b / 255).flatten(1).norm(dim=1)",
        namespace,
    )
    solved = practice.check("00_start_here", "pixel_distance", namespace)
    assert solved.state == practice.SOLVED


def test_the_librarys_function_is_no_answer(here):
    namespace = dict(prepared("01_vae")[0])
    code = "def kl_standard_normal(m, v):\n    return objectives.kl_standard_normal(m, v)"
    written(code, namespace)
    verdict = practice.check("01_vae", "kl", namespace)
    assert verdict.state == practice.TRIED
    assert "uses objectives of the library: write it yourself" in verdict.said


def test_progress_is_kept_over_all_notebooks(here, capsys):
    for name, exercise, answer in first_of_each(0):
        if name == "01_vae":
            tried(name, exercise, answer)
    tried("09_ard_vae", "kl", lambda mean, log_var, s: None)
    assert cli.main(["practice", "--progress", "--to", str(here)]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert re.fullmatch(r"01_vae +4 of 4", rows["01_vae"])
    assert "kl (not yet right)" in rows["09_ard_vae"]
    count = sum(len(exercises.unpack(path)) for path in here.glob("*.reference"))
    assert re.match(rf"together +\d+ of {count}", rows["together"])


@pytest.mark.notebook
def test_a_copy_runs_to_its_end_in_its_own_folder(tmp_path, monkeypatch):
    """As JupyterLab runs it, unsolved; its runs stay in its folder."""
    monkeypatch.delenv("DVAE_RUNS")
    practice.make(["00_start_here"], tmp_path)
    notebook = nbformat.read(tmp_path / "00_start_here.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = at_tier(cell.source, "smoke") if cell.metadata.get("tags") else cell.source
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, resources=where, shutdown_kernel="immediate").execute()
    shown = {c.source.rpartition(".")[2][:5]: c.outputs for c in notebook.cells if "outputs" in c}
    assert "no answer yet" in shown["check"][0]["data"]["text/html"]
    assert "0 of 1" in shown["progr"][0]["data"]["text/html"]
    record = json.loads((tmp_path / "runs/00_start_here/smoke-seed0/results.json").read_text())
    assert record["rows"]


def test_answers_that_are_handed_out_are_open():
    """In the stored notebook they hold a solution, and are folded."""
    classroom = pytest.importorskip("dvae_lib.classroom")
    notebook, _ = classroom._assignment("00_start_here")
    (answer,) = (c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("solution"))
    assert "jupyter" not in answer.metadata


# --- in other notebooks --------------------------------------------------------------------------


def checked(path, exercise, answer, session, monkeypatch):
    """Outputs of the check of an answer in a notebook. session: as Jupyter's server runs it."""
    cells = nbformat.read(path, as_version=4).cells
    by_id = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in cells}
    start = next(cell for cell in cells if "workbook.start" in cell.source)
    tagged = next(cell for cell in cells if cell.metadata.get("tags") == ["parameters"])
    check = by_id[f"{exercise}_check"]
    check.metadata.tags = ["raises-exception"]
    cells = [tagged, start, nbformat.v4.new_code_cell(answer), check]
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if session:
        monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}).execute()
    return check.outputs


@pytest.mark.notebook
def test_a_check_that_fails_before_a_person_shows_a_panel_and_is_an_error_as_ever(monkeypatch):
    path = paths.notebook_path("00_start_here")
    answer = 'def pixel_distance(a, b):\n    raise ValueError("a > b")'
    (as_ever,) = checked(path, "pixel_distance", answer, False, monkeypatch)
    panel, error = checked(path, "pixel_distance", answer, True, monkeypatch)
    assert "pixel_distance: not yet right" in panel["data"]["text/html"]
    assert "ValueError: a &gt; b" in panel["data"]["text/html"]
    assert "line 2 of your answer" in panel["data"]["text/html"]
    assert (error.output_type, error.ename, error.evalue) == ("error", "ValueError", "a > b")
    assert error.traceback == ["ValueError: see above"]
    assert (as_ever.output_type, as_ever.ename, as_ever.evalue) == ("error", "ValueError", "a > b")
    assert len(as_ever.traceback) > 2


@pytest.mark.notebook
def test_a_notebook_that_is_handed_out_brings_the_hint_that_helps(tmp_path, monkeypatch):
    classroom = pytest.importorskip("dvae_lib.classroom")
    notebook, contracts = classroom._assignment("01_vae")
    path = tmp_path / "01_vae.ipynb"
    nbformat.write(notebook, path)
    path.with_suffix(".reference").write_text(exercises.pack(contracts))
    answer = "def kl_standard_normal(mean, log_var):\n    return 7 + 0 * mean.sum(-1)"
    panel, error = checked(path, "kl", answer, True, monkeypatch)
    assert "start again from hint 1" in panel["data"]["text/html"]
    assert "<summary>Hint 1 helps</summary>" in panel["data"]["text/html"]
    assert error.ename == "AssertionError"
    stub = f"def kl_standard_normal(*_):\n    raise NotImplementedError({exercises.STUB!r})"
    panel, _ = checked(path, "kl", stub, True, monkeypatch)
    assert "kl: no answer yet" in panel["data"]["text/html"]


def test_an_error_elsewhere_is_shown_as_ever(monkeypatch):
    shell, shown = InteractiveShell(), []
    shell._showtraceback = lambda kind, error, lines: shown.append(lines)
    monkeypatch.setattr(practice, "get_ipython", lambda: shell)
    cells = (
        "1 / 0",
        "x = = 1",
        "if True:",
        "def f(x):\n    return 1 / x\nf(0)",
        "assert 1 == 2, 'x'",
    )
    for before in (True, False):
        for cell in cells:
            shell.run_cell(cell)
        if before:
            practice.explain_checks("01_vae")
    assert len(shown) == 2 * len(cells)
    assert shown[: len(cells)] == shown[len(cells) :]


def test_of_a_cell_that_is_no_check_or_an_unknown_one_there_is_no_verdict(here):
    for source in ("1 / 0", 'exercises.require_own_answer("lost", "kl", globals())'):
        with pytest.raises((ZeroDivisionError, NameError)) as caught:
            written(source, namespace := {})
        assert practice._failed("01_vae", namespace, caught.value) is None
