"""What a progress bar leaves behind in a notebook."""

import pytest
from conftest import notebook_of
from nbclient import NotebookClient

from dvae_lib import storing
from dvae_lib.bars import Bar

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.mark.notebook
def test_a_bar_that_came_to_its_end_leaves_nothing_and_one_that_stopped_stays(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    notebook = notebook_of(
        "from dvae_lib.bars import Bar",
        "for _ in Bar(range(3), desc='three'):\n    pass",
        "with Bar(total=2) as bar:\n    bar.update(2)",
        "with Bar(total=2) as bar:\n    bar.update(1)",
        parameters="",
    )
    NotebookClient(notebook).execute()
    shown = [[output.data for output in cell.outputs] for cell in notebook.cells[2:]]
    nothing = {"text/html": "", "text/plain": ""}
    assert shown[:2] == [[nothing], [nothing]]
    assert VIEW in shown[2][0]
    storing.clean(notebook)
    assert [cell.outputs for cell in notebook.cells] == [[]] * 5


def test_outside_of_a_notebook_it_is_a_line_that_goes(capsys):
    with Bar(total=2, desc="two", disable=False) as bar:
        bar.update(2)
    assert "two" in capsys.readouterr().err
