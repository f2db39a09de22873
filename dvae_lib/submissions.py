"""What students handed in: finding it, reading it, and putting it back into the assignment's form.

Nothing here runs a student's code or follows a link.
"""

import copy
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dateutil.parser
import nbformat
from nbformat import NotebookNode

from .cells import at_tier, defined_names, with_tier

LARGEST = 100_000_000  # bytes of a notebook


class Refused(ValueError):
    """A hand-in that cannot be graded; the message is the reason, for the lecturer."""


@dataclass
class HandIn:
    """One submission: where it was found, and what a lecturer should know of that.

    path: a notebook, or a zip that holds it as `member`. refused: why it cannot be graded.
    """

    student: str
    notebook: str
    path: Path | None = None
    member: str = ""
    refused: str = ""
    remarks: list = field(default_factory=list)

    def read(self) -> NotebookNode:
        """The notebook, in today's format. Raises Refused."""
        assert self.path is not None  # only what was refused may have none
        text = _text(_member(self.path, self.member) if self.member else _bytes(self.path))
        name = self.member or self.path.name
        try:
            raw = json.loads(text)
            notebook = nbformat.reads(text, as_version=4)
            cells = [_clean(cell) for cell in notebook.cells]
        except Exception as error:
            raise Refused(f"{name} is not a notebook ({_short(error)})") from error
        if raw.get("nbformat", 4) < 4:
            self.remarks.append(f"{name} has the old format {raw['nbformat']}")
        return nbformat.v4.new_notebook(cells=cells)

    def submitted_at(self) -> Any:
        """The time in timestamp.txt beside the notebook, in UTC; None where there is none."""
        from nbgrader.utils import parse_utc

        assert self.path is not None
        path = self.path.parent / "timestamp.txt"
        if not os.path.lexists(path):
            return None
        try:
            text = _bytes(path).decode().strip()
            # nbgrader takes a numeric offset for seconds.
            return parse_utc(dateutil.parser.parse(text) if text[-5:-4] in "+-" else text)
        except Exception:  # whatever stands there
            self.remarks.append("timestamp.txt holds no time: when it was handed in is unknown")
            return None


# Finding


def find(folder: str | Path, assignments: Iterable[str]) -> list[HandIn]:
    """The HandIns of a course, by student and assignment. One a student and assignment."""
    found = []
    for entry in sorted(Path(folder, "submitted").glob("*")):
        if entry.is_symlink():
            found.append(HandIn(entry.name, "", refused="a link in the place of a folder"))
        elif entry.is_dir():
            found += _of_student(entry, assignments)
        elif not entry.name.startswith("."):
            reason = "expected a folder for each student; unpack an archive first"
            found.append(HandIn(entry.name, "", refused=reason))
    return found


def _of_student(folder, assignments):
    """The HandIns of a student's folder."""
    found, loose = {}, []
    for entry in sorted(folder.iterdir()):
        if entry.name in assignments:
            found[entry.name] = _in_folder(folder.name, entry.name, entry)
        elif entry.is_symlink() or not entry.is_dir():
            loose.append(entry)
        else:  # a folder of another name
            loose += [Path(p, n) for p, _, names in os.walk(entry) for n in names]
    candidates = _notebooks(loose)
    for name in assignments:
        fitting = [c for c in candidates if _fits(_title(c), name, assignments)]
        if fitting and name not in found:
            found[name] = _chosen(folder.name, name, fitting, f"found outside of {name}/")
    if not found and len(assignments) == 1 and len(candidates) == 1:
        name = assignments[0]
        found[name] = _chosen(folder.name, name, candidates, f"found outside of {name}/")
    if not found:
        what = ", ".join(sorted({path.name for path in loose})[:5]) or "nothing"
        reason = f"no notebook of this course in the folder, which holds {what}"
        return [HandIn(folder.name, "", refused=reason)]
    return list(found.values())


def _in_folder(student, name, folder):
    """The HandIn in the folder of an assignment."""
    if folder.is_symlink() or not folder.is_dir():
        return HandIn(student, name, refused=f"{name} is {_kind(folder)}, not a folder")
    exact = folder / f"{name}.ipynb"
    if os.path.lexists(exact):
        return HandIn(student, name, exact)
    candidates = _notebooks([Path(p, n) for p, _, names in os.walk(folder) for n in names])
    if not candidates:
        return HandIn(student, name, refused=f"there is no {name}.ipynb in the submission")
    named = [c for c in candidates if name.lower() in _title(c).lower()]
    return _chosen(student, name, named or candidates, f"there is no {name}.ipynb")


def _notebooks(paths):
    """[(path, member of a zip or "")] of the notebooks among files, in the order of their age."""
    found = []
    for path in paths:
        if path.suffix == ".ipynb" and ".ipynb_checkpoints" not in path.parts:
            found.append((path, ""))
        elif path.suffix == ".zip":
            try:
                with zipfile.ZipFile(io.BytesIO(_bytes(path))) as archive:
                    names = [n for n in archive.namelist() if n.endswith(".ipynb")]
            except (Refused, zipfile.BadZipFile):
                continue
            found += [(path, n) for n in names if "__MACOSX" not in n and "checkpoint" not in n]
    return sorted(found, key=lambda one: (one[0].lstat().st_mtime, one))


def _title(candidate):
    path, member = candidate
    return Path(member or path).stem


def _fits(title, name, assignments):
    """True if a file's title speaks of an assignment, and of none with a longer name."""
    spoken = [a for a in assignments if a.lower() in title.lower()]
    return max(spoken, key=len, default="") == name


def _chosen(student, name, candidates, why):
    path, member = candidates[-1]
    remark = f"{why}; graded is {member or path.name}"
    if member:
        remark += f" in {path.name}"
    if len(candidates) > 1:
        remark += f", the newest of {len(candidates)} notebooks"
    return HandIn(student, name, path, member, remarks=[remark])


# Reading


def _bytes(path):
    """The bytes of a file that is a file. Raises Refused for anything else."""
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode):
        raise Refused(f"{path.name} is {_kind(path)}, not a file")
    if about.st_size > LARGEST:
        raise Refused(f"{path.name} has {about.st_size:,} bytes; the limit is {LARGEST:,}")
    try:
        # A file may have been exchanged since it was looked at.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            return file.read(LARGEST)
    except OSError as error:
        raise Refused(f"{path.name} cannot be read ({error.strerror})") from error


def _member(path, name):
    with zipfile.ZipFile(io.BytesIO(_bytes(path))) as archive:
        if archive.getinfo(name).file_size > LARGEST:
            raise Refused(f"{name} in {path.name} is larger than {LARGEST:,} bytes")
        try:
            with archive.open(name) as file:
                return file.read(LARGEST)
        except Exception as error:  # damaged, or with a password
            raise Refused(f"{name} in {path.name} cannot be read ({_short(error)})") from error


def _text(data):
    """Decoded as its byte-order mark says, else as UTF-8, else as Windows wrote it."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _kind(path):
    mode = path.lstat().st_mode
    kinds = (stat.S_ISLNK, "a link"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISDIR, "a folder")
    return next((word for test, word in kinds if test(mode)), "something else")


def _short(error):
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


def _clean(cell):
    """A cell of a student with its source, its kind and what matters of its metadata."""
    kinds = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    source = cell.get("source", "")
    source = source if isinstance(source, str) else "".join(map(str, source))
    source = source.replace("\r\n", "\n")
    metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
    tags, about = metadata.get("tags"), metadata.get("nbgrader")
    kept = {}
    if isinstance(tags, list) and "parameters" in tags:
        kept["tags"] = ["parameters"]
    if isinstance(about, dict) and isinstance(about.get("grade_id"), str):
        kept["nbgrader"] = {"grade_id": about["grade_id"]}
    return kinds.get(cell.get("cell_type"), nbformat.v4.new_raw_cell)(source, metadata=kept)


# Into the form of the assignment


def restore(cells: list, source: list, released: list, contracts: dict) -> tuple[list, list[str]]:
    """(cells, remarks): those of a student in the assignment's form.

    source: the assignment's cells with hidden tests; released: those that were handed out.
    contracts: of exercises.

    Locked cells are the assignment's, in its order; what a student wrote stays below the cell that
    it stood below. An answer is known by its grade_id, else by the names that it defines. Of
    several copies the last that was changed counts. A missing answer is the cell handed out.
    """
    marked = {grade_id(cell): cell for cell in source if grade_id(cell)}
    stubs = {grade_id(cell): cell for cell in released if grade_id(cell) in contracts}
    handed_out = {cell.source.strip() for cell in released if grade_id(cell)}
    own = [cell for cell in cells if cell.source.strip() not in handed_out or _is_stub(cell, stubs)]
    answers, remarks = {}, []
    for name, stub in stubs.items():
        answers[name], remark = _answer(own, name, stub, contracts[name]["defines"])
        remarks += [remark] if remark else []
    names = {id(cell): name for name, cell in answers.items() if cell is not None}
    parts = {"": []}  # a student's own cells below each marked one
    last = ""
    for cell in cells:
        name = names.get(id(cell)) or (grade_id(cell) if grade_id(cell) not in stubs else "")
        if name in marked:
            last = name
            parts.setdefault(name, [])
        elif cell.source.strip() not in handed_out:
            parts[last].append(cell)
    restored, below = parts[""], []
    for name, original in marked.items():
        if name in parts:
            restored += below
            below = parts[name]
        answer = answers.get(name)
        restored.append(_fresh(stubs.get(name, original), answer and answer.source))
    restored += below
    if not any(map(is_parameters, restored)):
        restored[:0] = [_fresh(cell) for cell in source if is_parameters(cell)]
    for cell in restored:
        if grade_id(cell) not in marked:
            cell.metadata.pop("nbgrader", None)
    return restored, remarks


def _answer(cells, name, stub, defines):
    """(the answer to an exercise or None, what is to be said of it). cells: none that is locked."""
    named = [cell for cell in cells if grade_id(cell) == name]
    changed = [cell for cell in named if cell.source.strip() not in ("", stub.source.strip())]
    alike = [c for c in cells if c.source.strip() != stub.source.strip() and _defines(c, defines)]
    if alike and not any(_defines(cell, defines) for cell in changed):
        lost = grade_id(alike[-1])
        how = f"has the name {lost!r}" if lost else "has lost its name"
        return alike[-1], f"{name}: its cell {how}; it is known by what it defines"
    if len(named) > 1:
        remark = f"{name}: its cell is there {len(named)} times; the last changed one counts"
        return (changed or named)[-1], remark
    return (named[0], "") if named else (None, f"{name}: its cell is missing")


def _is_stub(cell, stubs):
    return grade_id(cell) in stubs and cell.source.strip() == stubs[grade_id(cell)].source.strip()


def _defines(cell, names):
    try:
        return cell.cell_type == "code" and set(names) <= set(defined_names(cell.source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _fresh(cell, source=None):
    """A copy of the assignment's cell without outputs, with another source where one is given."""
    make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
    return make(cell.source if source is None else source, metadata=copy.deepcopy(cell.metadata))


def grade_id(cell: NotebookNode) -> str | None:
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def is_parameters(cell: NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def set_to_smoke(cell: NotebookNode) -> None:
    """Set the tier in a code cell to smoke, wherever a student sets one, to run in seconds."""
    if cell.cell_type == "code":
        change = at_tier if is_parameters(cell) else with_tier
        cell.source = change(cell.source, "smoke")
