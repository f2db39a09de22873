"""Feedback pages: a student's own work and marks, and nothing that others should not see."""

import base64
import copy
import html
import re
import shutil
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from bleach import ALLOWED_TAGS
from nbconvert.exporters import HTMLExporter
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbformat import NotebookNode
from nbgrader import utils
from nbgrader.converters import GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import GetGrades

from . import exercises, pages
from .course import Course, quiet
from .submissions import grade_id

TAGS = [*ALLOWED_TAGS, *"details summary p br sub sup table tr td th thead tbody".split()]
SHORT = 12  # characters; shorter lines of code give nothing away
LEFT_OUT = "(left out: this output shows a part of the grading)\n"


class _Exporter(HTMLExporter):
    """Links of Markdown lead to pages and nowhere else; SanitizeHTML sees only those of HTML."""

    @jinja2.pass_context
    def markdown2html(self, context, source):
        return re.sub('href="([^"]*)"', _harmless, super().markdown2html(context, source))


def _harmless(link):
    target = "".join(filter(str.isprintable, html.unescape(link[1]))).strip().lower()
    scheme, colon, _ = target.partition(":")
    return link[0] if not colon or scheme in ("http", "https", "mailto") else 'href="#"'


def write(course: Any, scratch: Path, mark: Any, notebook: NotebookNode, show_hidden: bool) -> None:
    """Write a graded notebook and its page into scratch/autograded and scratch/feedback."""
    for kind in ("autograded", "feedback"):
        (scratch / kind).mkdir()
    nbformat.write(notebook, scratch / "autograded" / f"{mark.notebook}.ipynb")
    # A copy of the gradebook knows manual scores and comments; the course's own is written by
    # one process alone.
    shutil.copy(course.folder / "gradebook.db", scratch)
    with quiet():
        known = Course(course.folder, scratch / "gradebook.db")
        known.enter(copy.deepcopy(mark))
        page = _page(known, mark, _shown(course, mark.notebook, notebook, show_hidden))
    (scratch / "feedback" / f"{mark.notebook}.html").write_text(page, encoding="utf-8")


def _shown(course, name, notebook, show_hidden):
    """The notebook without hidden tests and lines of solutions that are not the student's."""
    notebook = copy.deepcopy(notebook)
    source, released = course.notebook("source", name), course.notebook("release", name)
    handed_out = {grade_id(cell): cell.source for cell in released.cells if grade_id(cell)}
    contracts = exercises.unpack(course.folder / "source" / name / f"{name}.reference")
    secrets = "\n".join(contract["answer"] for contract in contracts.values())
    if not show_hidden:
        secrets += "\n".join(cell.source for cell in source.cells if utils.is_grade(cell))
        for cell in notebook.cells:
            if utils.is_grade(cell):
                cell.source = handed_out[grade_id(cell)]
    open_lines = _lines("\n".join(c.source for c in (*released.cells, *notebook.cells)))
    secret = {line for line in _lines(secrets) - open_lines if len(line) >= SHORT}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [_as_image(_censored(output, secret)) for output in cell.outputs]
    return notebook


def _lines(text):
    return {line.strip() for line in text.splitlines()}


def _censored(output, secret):
    """An output, or a sentence in its place where a secret line stands in it."""
    text = str(output.get("text") or output.get("data") or output.get("traceback") or "")
    if output.output_type == "error":
        text += output.evalue
    if any(line in text for line in secret):
        return nbformat.v4.new_output("stream", name="stdout", text=LEFT_OUT)
    return output


def _as_image(output):
    """An output as it is, but a figure as an image: a page is cleared of images within HTML."""
    found = pages.from_html(output.get("data", {}).get("text/html", ""))
    if found is None:
        return output
    png, alt = found
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": alt}
    return nbformat.v4.new_output("display_data", data, metadata={"image/png": {"alt": alt}})


def _page(course, mark, notebook):
    """The page as HTML. Scripts of a notebook are shown as text."""
    config = course.config()
    own = GenerateFeedback(coursedir=CourseDirectory(config=config), config=config)
    exporter = _Exporter(config=own.config)
    exporter.register_preprocessor(SanitizeHTML(tags=TAGS, enabled=True))
    for step in (GetGrades, CSSHTMLHeaderPreprocessor):
        exporter.register_preprocessor(step, enabled=True)
    where = {"notebook": mark.notebook, "assignment": mark.notebook, "student": mark.student}
    resources = {"nbgrader": where | {"db_url": course.url}}
    return exporter.from_notebook_node(notebook, resources)[0]
