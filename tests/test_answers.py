"""The graders under test: right answers pass, and wrong ones are told their mistake."""

import nbformat
import pytest
from conftest import NOTEBOOKS, REPOSITORY
from exercises import answers_of, assert_rejected, check

from dvae_lib import paths

RIGHT = [(name, *answer) for name in NOTEBOOKS for answer in answers_of(name)[0]]
WRONG = [(name, *answer) for name in NOTEBOOKS for answer in answers_of(name)[1]]


@pytest.mark.parametrize(("notebook", "exercise", "answer"), RIGHT)
def test_right_answers_pass(notebook, exercise, answer):
    check(notebook, exercise, answer)


@pytest.mark.parametrize(("notebook", "exercise", "message", "answer"), WRONG)
def test_wrong_answers_are_told_their_mistake(notebook, exercise, message, answer):
    assert_rejected(notebook, exercise, message, answer)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_exercise_has_right_and_wrong_answers(notebook):
    cells = nbformat.read(paths.notebook_path(notebook), as_version=4).cells
    about = [cell.metadata.get("nbgrader", {}) for cell in cells]
    for exercise in (a["grade_id"] for a in about if a.get("solution")):
        assert sum(row[:2] == (notebook, exercise) for row in RIGHT) >= 2, exercise
        assert sum(row[:2] == (notebook, exercise) for row in WRONG) >= 4, exercise


def test_the_readme_says_over_how_many():
    text = (REPOSITORY / "README.md").read_text()
    assert f"{len(RIGHT)} right answers pass, and {len(WRONG)} wrong answers" in text
