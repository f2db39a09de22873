"""Broken, mutilated and unusual hand-ins, each with the mark that a fair marker gives.

In most of them both answers are right, and something around them is not as it was handed out.
"""

import base64
import copy
import json
import os
import zlib

import nbformat
from hostile import BOTH, RIGHT, WRONG, HandIn, find, grade_id
from hostile_checks import FALSE

UNUSUAL = []

# The notebook itself.


def edits(name, fair=(), answers=BOTH, exact=True, **more):
    """A decorator: the hand-in whose notebook the function changes, with `answers` right."""

    def enter(edit):
        sources = {e: (RIGHT if e in answers else WRONG)[e] for e in BOTH}
        UNUSUAL.append(HandIn(name, fair, sources, edit, exact=exact, **more))
        return edit

    return enter


@edits("check_edited_and_unlocked", answers=())
def _(notebook):
    for exercise in BOTH:
        cell = notebook.cells[find(notebook, f"{exercise}_check")]
        cell.source = "assert True"
        cell.metadata.nbgrader.locked = False


@edits("check_given_no_source", answers=())
def _(notebook):
    for exercise in BOTH:
        notebook.cells[find(notebook, f"{exercise}_check")].source = ""


@edits("checks_skipped_by_tag", answers=())
def _(notebook):
    for cell in notebook.cells:
        cell.metadata["tags"] = ["skip-execution", "remove-cell", "injected-parameters"]


@edits("checks_are_text", answers=())
def _(notebook):
    for exercise in BOTH:
        at = find(notebook, f"{exercise}_check")
        cell = nbformat.v4.new_markdown_cell(notebook.cells[at].source)
        cell.metadata = notebook.cells[at].metadata
        notebook.cells[at] = cell


@edits("points_raised", BOTH)
def _(notebook):
    for exercise in BOTH:
        notebook.cells[find(notebook, f"{exercise}_check")].metadata.nbgrader.points = 100


@edits("points_of_both_swapped", ("double",), ("double",))
def _(notebook):
    for exercise, points in (("double", 3), ("square", 1)):
        notebook.cells[find(notebook, f"{exercise}_check")].metadata.nbgrader.points = points


@edits("checks_swap_their_ids", BOTH)
def _(notebook):
    one, two = (find(notebook, f"{exercise}_check") for exercise in BOTH)
    ids = [notebook.cells[k].metadata.nbgrader for k in (one, two)]
    ids[0].grade_id, ids[1].grade_id = ids[1].grade_id, ids[0].grade_id


@edits("answer_marked_as_a_check", answers=())
def _(notebook):
    for exercise in BOTH:
        about = notebook.cells[find(notebook, exercise)].metadata.nbgrader
        about.update(grade=True, solution=False, points=50)


@edits("check_of_its_own_added", BOTH)
def _(notebook):
    about = {"grade": True, "grade_id": "bonus", "locked": False, "solution": False}
    about |= {"points": 50, "schema_version": 3, "task": False}
    notebook.cells.append(nbformat.v4.new_code_cell("assert True", metadata={"nbgrader": about}))


@edits("schema_of_another_version", BOTH)
def _(notebook):
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.schema_version = 1


@edits("schema_of_the_future", BOTH)
def _(notebook):
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.schema_version = 99


@edits("all_metadata_lost_from_wrong_answers", answers=())
@edits("all_metadata_lost", BOTH)
def _(notebook):
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode()


@edits("all_metadata_lost_from_stubs", exact=True)
def _(notebook):
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
        if "def " in cell.source and "x" in cell.source:
            cell.source = "raise NotImplementedError"


@edits("no_cells")
def _(notebook):
    notebook.cells = []


@edits("answers_deleted")
def _(notebook):
    notebook.cells = [cell for cell in notebook.cells if grade_id(cell) not in BOTH]


@edits("one_answer_deleted", ("double",))
def _(notebook):
    del notebook.cells[find(notebook, "square")]


@edits("checks_and_calls_deleted", ("double",), ("double",))
def _(notebook):
    notebook.cells = [cell for cell in notebook.cells if grade_id(cell) in ("double", "square")]


@edits("answer_copied_unchanged", BOTH)
def _(notebook):
    at = find(notebook, "double")
    notebook.cells.insert(at, copy.deepcopy(notebook.cells[at]))


@edits("answer_copied_the_right_one_last", BOTH)
def _(notebook):
    at = find(notebook, "double")
    first = copy.deepcopy(notebook.cells[at])
    first.source = WRONG["double"]
    notebook.cells.insert(at, first)


@edits("answer_copied_the_wrong_one_last", ("square",))
def _(notebook):
    at = find(notebook, "double")
    last = copy.deepcopy(notebook.cells[at])
    last.source = WRONG["double"]
    notebook.cells.insert(at + 1, last)


@edits("answer_copied_the_stub_last", BOTH)
def _(notebook):
    at = find(notebook, "double")
    last = copy.deepcopy(notebook.cells[at])
    last.source = "def double(x):\n    raise NotImplementedError('write your answer in this cell')"
    notebook.cells.insert(at + 1, last)


@edits("check_copied", BOTH)
def _(notebook):
    at = find(notebook, "double_check")
    notebook.cells.insert(at, copy.deepcopy(notebook.cells[at]))


@edits("check_copied_with_an_edited_last", answers=())
def _(notebook):
    for exercise in BOTH:
        at = find(notebook, f"{exercise}_check")
        notebook.cells.insert(at + 1, copy.deepcopy(notebook.cells[at]))
        notebook.cells[at + 1].source = "assert True"


@edits("parameters_edited", answers=())
def _(notebook):
    notebook.cells[0].source += (
        "\nimport ast\nclass Drop(ast.NodeTransformer):\n    def visit_Assert(self, node):\n"
        "        return ast.copy_location(ast.Pass(), node)\n"
        "get_ipython().ast_transformers.append(Drop())"
    )


@edits("parameters_in_single_quotes", BOTH)
def _(notebook):
    notebook.cells[0].source = "tier = 'classroom'\nseed = 0\ndevice = 'auto'"


@edits("attack_between_answer_and_check", answers=())
def _(notebook):
    code = FALSE["asserts_dropped_from_the_tree"]
    for exercise in BOTH:
        at = find(notebook, f"{exercise}_check")
        notebook.cells.insert(at, nbformat.v4.new_code_cell(code))


@edits("answer_moved_to_a_cell_of_its_own", BOTH)
def _(notebook):
    at = find(notebook, "double")
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(notebook.cells[at].source))
    notebook.cells[at].source = "# see below"


@edits("kernel_of_another_name", BOTH)
def _(notebook):
    notebook.metadata.kernelspec = {"name": "my-conda-env", "display_name": "mine"}


@edits("no_notebook_metadata", BOTH)
def _(notebook):
    notebook.metadata = nbformat.NotebookNode()


@edits("kernel_of_another_language", BOTH)
def _(notebook):
    notebook.metadata.kernelspec = {"name": "bash", "display_name": "sh", "language": "bash"}
    notebook.metadata.language_info = {"name": "bash"}


@edits("twins_among_cell_ids", BOTH)
def _(notebook):
    for cell in notebook.cells:
        cell.id = "same"


@edits("tags_that_are_a_word", BOTH)
def _(notebook):
    for cell in notebook.cells[1:]:
        cell.metadata["tags"] = "parameters"


@edits("script_in_outputs", BOTH)
def _(notebook):
    html = {"text/html": "<script>alert('@SCRIPT@')</script>", "text/plain": "x"}
    svg = {"image/svg+xml": "<svg onload=\"alert('@SCRIPT@')\"></svg>"}
    js = {"application/javascript": "alert('@SCRIPT@')"}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source += (
                "\n<script>alert('@SCRIPT@')</script><img src=x onerror=alert('@SCRIPT@')>"
            )
        else:
            cell.outputs = [nbformat.v4.new_output("display_data", d) for d in (html, svg, js)]


# Files beside the notebook, in place of it, and around it.


def holds(name, fair=(), answers=BOTH, exact=True, **more):
    """A decorator: the hand-in whose folder the function changes, with `answers` right."""

    def enter(files):
        sources = {e: (RIGHT if e in answers else WRONG)[e] for e in BOTH}
        UNUSUAL.append(HandIn(name, fair, sources, files=files, exact=exact, **more))
        return files

    return enter


def instead(folder):
    """The path of the notebook, which is no longer there."""
    path = folder / "demo.ipynb"
    path.unlink()
    return path


@holds("notebook_is_a_link_to_the_source")
def _(folder, room):
    instead(folder).symlink_to("../../../source/demo/demo.ipynb")


@holds("notebook_is_a_link_to_a_neighbour")
def _(folder, room):
    instead(folder).symlink_to(room.course / "submitted" / "a_honest" / "demo" / "demo.ipynb")


@holds("folder_is_a_link_to_a_neighbour")
def _(folder, room):
    instead(folder)
    folder.rmdir()
    folder.symlink_to(room.course / "submitted" / "a_honest" / "demo")


@holds("student_is_a_link_to_a_neighbour")
def _(folder, room):
    instead(folder)
    folder.rmdir()
    folder.parent.rmdir()
    folder.parent.symlink_to("a_honest")


@holds("link_in_a_circle", BOTH, exact=False)
def _(folder, room):
    (folder / "circle").symlink_to(folder)
    (folder / "self").symlink_to("self")


@holds("link_to_a_secret", BOTH, exact=False)
def _(folder, room):
    (folder / "notes.txt").symlink_to(room.home / "secret.txt")


@holds("notebook_is_a_pipe")
def _(folder, room):
    os.mkfifo(instead(folder))


@holds("pipe_beside_the_notebook", BOTH, exact=False)
def _(folder, room):
    os.mkfifo(folder / "data.npz")


@holds("notebook_is_a_folder")
def _(folder, room):
    instead(folder).mkdir()


@holds("notebook_is_huge")
def _(folder, room):
    os.truncate(folder / "demo.ipynb", 3 << 30)


@holds("notebook_is_empty")
def _(folder, room):
    instead(folder).touch()


@holds("notebook_is_deeply_nested")
def _(folder, room):
    instead(folder).write_text("[" * 100_000)


@holds("notebook_is_a_list")
def _(folder, room):
    instead(folder).write_text('[{"cells": []}]')


@holds("cells_are_no_list")
def _(folder, room):
    instead(folder).write_text('{"cells": {"a": 1}, "metadata": [], "nbformat": 4}')


@holds("notebook_is_a_program")
def _(folder, room):
    instead(folder).write_text(RIGHT["double"] + RIGHT["square"])


@holds("notebook_of_format_3_with_wrong_answers", answers=())
@holds("notebook_of_format_3", BOTH)
def _(folder, room):
    notebook = nbformat.read(folder / "demo.ipynb", as_version=4)
    instead(folder).write_text(nbformat.writes(nbformat.convert(notebook, 3)))


@holds("byte_order_mark", BOTH)
def _(folder, room):
    path = folder / "demo.ipynb"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


@holds("two_bytes_a_character", BOTH, exact=False)
def _(folder, room):
    path = folder / "demo.ipynb"
    path.write_text(path.read_text(), encoding="utf-16")


@holds("copy_of_the_notebook", BOTH)
def _(folder, room):
    (folder / "demo.ipynb").rename(folder / "Copy of demo.ipynb")


@holds("library_of_its_own", answers=())
def _(folder, room):
    (folder / "dvae_lib").mkdir()
    (folder / "dvae_lib" / "__init__.py").write_text(
        "import builtins\nbuiltins.all = lambda v: 1\n"
    )
    (folder / "dvae_lib" / "exercises.py").write_text(
        "def require_own_answer(name, exercise, space):\n    space['abs'] = lambda v: 0\n"
        "    space['double'] = lambda x: 2 * x\n    space['all'] = lambda v: True\n"
        "passed = use_reference = lambda *a: None\n"
    )


@holds("modules_of_its_own", BOTH, exact=False, walled=True)
def _(folder, room):
    for name in ("json", "ast", "torch", "sitecustomize", "usercustomize", "ipykernel", "zmq"):
        (folder / f"{name}.py").write_text(f"open('/tmp/{room.mark}', 'w')\nraise OSError\n")


@holds("reference_of_its_own", answers=())
def _(folder, room):
    gives = "class A:\n    pass\nimport builtins\nbuiltins.abs = lambda v: 0\n"
    known = {"defines": [], "uses": [], "tools": gives, "answer": gives}
    text = json.dumps(dict.fromkeys(BOTH, known)).encode()
    (folder / "demo.reference").write_bytes(base64.b85encode(zlib.compress(text)))


@holds("reference_that_is_broken", BOTH)
def _(folder, room):
    (folder / "demo.reference").write_text("not a reference")


@holds("configuration_of_its_own", BOTH, walled=True)
def _(folder, room):
    for name in ("nbgrader_config.py", "ipython_config.py", "jupyter_config.py", "nbconvert.py"):
        (folder / name).write_text(f"open('/tmp/{room.mark}', 'w')\nraise OSError\n")


@holds("much_beside_the_notebook", BOTH)
def _(folder, room):
    (folder / "data.bin").write_bytes(bytes(30_000_000))


@holds("timestamp_in_words", BOTH)
def _(folder, room):
    (folder / "timestamp.txt").write_text("yesterday evening\n")


@holds("names_that_are_no_text", BOTH)
def _(folder, room):
    for name in (b"\xff\xfe.txt", b"new\nline.txt", b"-rf *", b"$(touch x);.ipynb"):
        open(os.path.join(os.fsencode(folder), name), "w").close()


# Honest ways that are a little unusual: code above two right answers.

QUIRKS = {
    "names_of_builtins_used": "sum = 0\nlist = [1, 2]\nmax = min = 3\n",
    "folder_changed": "import os\nos.chdir('/')\n",
    "much_on_stderr": "import sys, warnings\nwarnings.warn('look')\nprint('x', file=sys.stderr)\n",
    "cell_timed": "%%time\n",
    "line_magic": "%time 1 + 1\n%xmode Plain\n",
    "shell_command": "!echo hello\n",
    "asks_for_input": "try:\n    input('name')\nexcept Exception as error:\n    print(error)\n",
    "sets_a_seed": "import os, random\nrandom.seed(0)\nos.environ['X'] = '1'\n",
    "prints_its_tests": "print([2 * x for x in range(10)])\n",
    "draws_a_picture": "from matplotlib import pyplot\npyplot.plot([1, 2])\npyplot.show()\n",
    "defines_classes": """
import dataclasses, enum
@dataclasses.dataclass(order=True)
class Point:
    x: float
class Colour(enum.IntEnum):
    RED = 1
""",
    "shows_scripts": """
from IPython.display import HTML, Javascript, Markdown, display
display(HTML("<script>alert('@SCRIPT@')</script><b onclick=alert('@SCRIPT@')>b</b>"))
display(Javascript("alert('@SCRIPT@')"), Markdown("[x](javascript:alert('@SCRIPT@'))"))
""",
}
for _name, _code in QUIRKS.items():
    _answers = {"double": _code + RIGHT["double"], "square": RIGHT["square"]}
    UNUSUAL.append(HandIn(f"quirk_{_name}", BOTH, _answers, exact=True))
_reloads = "%load_ext autoreload\n%autoreload 2\n"  # its hooks may be looked at by hand
_answers = {"double": _reloads + RIGHT["double"], "square": RIGHT["square"]}
UNUSUAL.append(HandIn("quirk_reloads_by_itself", BOTH, _answers))
_answers = {
    "double": "class A:\n    def __call__(self, x): return 2 * x\n\ndouble = A()\n",
    "square": "square = lambda x: x * x\n",
}
UNUSUAL.append(HandIn("quirk_no_plain_functions", BOTH, _answers, exact=True))


@edits("quirk_own_cell_raises", BOTH)
def _(notebook):
    notebook.cells.insert(3, nbformat.v4.new_code_cell("raise ValueError"))


@edits("quirk_own_cell_never_ends", BOTH)
def _(notebook):
    notebook.cells.insert(3, nbformat.v4.new_code_cell("import time\nwhile True: time.sleep(1)"))


@edits("quirk_exit_at_the_end", BOTH)
def _(notebook):
    notebook.cells.append(nbformat.v4.new_code_cell("exit()"))


@edits("quirk_cells_in_another_order", BOTH, exact=False)
def _(notebook):
    notebook.cells = [notebook.cells[0], *reversed(notebook.cells[1:])]


HONEST = ["a_honest", "n_honest", "zz_honest"]
for _name in HONEST:
    UNUSUAL.append(HandIn(_name, BOTH, RIGHT, exact=True))
