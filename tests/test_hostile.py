"""A class of hostile and broken hand-ins is graded once: right marks, and nothing else moved.

Of the catalogue (`hostile`, `unusual`) the suite grades a sample. All, or some by name:

    python tests/test_hostile.py [NAME ...] [--without-walls]
"""

import argparse
import html.parser
import os
import shutil
import subprocess
import sys
import tempfile
import time

import fuzz_submissions
import hostile
import pytest
from room import POINTS, SECRET, Room
from unusual import UNUSUAL

HAND_INS = {case.name: case for case in (*hostile.HOSTILE, *UNUSUAL)}
SAMPLE = """
a_honest zz_honest asserts_dropped_from_the_tree kernel_forges_the_proof reply_mended_on_its_way
watchman_silenced thread_patches_later builtins_patched reference_unpacked equal_to_everything
frames_of_the_checker_rewritten shows_a_result_of_its_own torch_patched acts_all
fifty_background_processes fork_bomb memory_hog endless_loop_without_signals answers_deleted
checks_skipped_by_tag answer_copied_the_wrong_one_last script_in_outputs library_of_its_own
notebook_is_a_link_to_the_source notebook_is_a_pipe quirk_folder_changed
""".split()  # a hand-in of each kind
CLASS = 60  # hand-ins that are graded together
CELL_SECONDS = 20  # a memory hog takes its time, too, on a busy machine
SECONDS = 1800  # of the whole class, on a busy machine
LARGEST = 20e6  # bytes that grading may keep of one hand-in


def grade(folder, cases, path=None):
    """Grade a class of `cases`: what is wrong with it, {hand-in or "class": reasons}."""
    room = Room(folder)
    try:
        with room.network() as port:
            for case in cases:
                hostile.hand_in(room, case, port)
            before = room.fingerprints()
            marks = room.grade(CELL_SECONDS, SECONDS, path)
        room.wait_for_processes(15)
        wrong = {case.name: list(flaws(room, case, marks)) for case in cases}
        wrong["class"] = list(harm(room, before))
        return {name: reasons for name, reasons in wrong.items() if reasons}
    finally:
        clean(room)


def clean(room):
    """Remove what a class left outside its room."""
    room.end_processes()
    for trace in room.traces():
        if not trace.startswith(str(room.folder)):
            os.unlink(trace)


def flaws(room, case, marks):
    """What is wrong with the mark of a hand-in, and with the pages about it."""
    # A hand-in that is a link as a whole is of no notebook.
    mark = marks.get((case.name, case.notebook)) or marks.get((case.name, ""))
    if mark is None:
        yield "no row"
        return
    pages = room.pages(case.name)
    for exercise, highest in POINTS.items():
        points, fair = mark.points.get(exercise, 0), highest * (exercise in case.fair)
        if points > fair or (case.exact and points != fair):
            yield f"{exercise}: {points} points, fair are {fair} ({mark.remark or 'no remark'})"
        if points < highest and not (mark.remark or mark.messages.get(exercise)):
            yield f"{exercise}: no reason for {points} points"
    if mark.notebook and mark.highest != POINTS:
        yield f"out of {mark.highest}"
    if SECRET in pages + mark.remark:
        yield "a secret of the lecturer is shown"
    page = Scripts()
    page.feed(room.pages(case.name, ["feedback"]))
    if page.live:
        yield f"live script in a page: {page.live[0]}"
    kept = [room.course / kind / case.name for kind in ("autograded", "feedback")]
    size = sum(p.lstat().st_size for folder in kept for p in folder.rglob("*"))
    if size > LARGEST:
        yield f"{size / 1e6:.0f} MB were kept"


def harm(room, before):
    """What grading changed that is not its own."""
    after = room.fingerprints()
    for path in sorted(before.keys() | after.keys()):
        was, now = before.get(path), after.get(path)
        if was != now and not (was is None and path.startswith("home")):
            yield f"{path} was {'made' if was is None else 'changed' if now else 'deleted'}"
    yield from (f"left behind: {path}" for path in room.traces())
    yield from (f"in the temporary folder: {path.name}" for path in room.scratch.iterdir())
    yield from (f"still runs: {command}" for command in room.processes().values())
    yield from (f"{trigger} in the gradebook" for trigger in room.triggers())
    yield from ("something came through the network" for _ in room.heard)


class Scripts(html.parser.HTMLParser):
    """Collects what a hand-in would run in the browser of whoever opens a page."""

    def __init__(self):
        super().__init__()
        self.live, self.tag = [], ""

    def handle_starttag(self, tag, attributes):
        self.tag = tag
        for name, value in attributes:
            if "@SCRIPT@" in (value or "") and (name.startswith("on") or name in ("href", "src")):
                self.live.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag):
        self.tag = ""

    def handle_data(self, data):
        if self.tag == "script" and "@SCRIPT@" in data:
            self.live.append(data)


@pytest.fixture
def short_path():
    """A folder for a room: a socket below pytest's own would have too long a name."""
    with tempfile.TemporaryDirectory(prefix="room-") as folder:
        yield folder


@pytest.mark.notebook
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="walls need bubblewrap (bwrap)")
def test_each_hand_in_gets_its_own_fair_mark(short_path):
    assert grade(short_path, [HAND_INS[name] for name in SAMPLE]) == {}


def test_without_walls_they_do_harm(short_path):
    """The acts of `hostile`: so that a class without harm says something about the walls."""
    room = Room(short_path)
    hostile.hand_in(room, HAND_INS["a_honest"])
    environment = os.environ | {"LECTURERS_TOKEN": SECRET, "HOME": str(room.home)}
    environment |= {"TMPDIR": str(room.scratch), "PYTHONPATH": str(room.checkout)}
    work = room.scratch / "tmp_of_a_grading"
    work.mkdir()
    (work / "demo.ipynb").touch()
    with room.network() as port:
        try:
            for name, code in hostile.ACTS.items():
                before = room.fingerprints()
                known = set(harm(room, before))
                code = room.filled(code, PORT=port)
                command = [sys.executable, "-c", code]
                done = subprocess.run(command, cwd=work, env=environment, capture_output=True)
                time.sleep(0.1)
                harmed = set(harm(room, before)) - known or SECRET.encode() in done.stdout
                assert harmed or "killed" in name, (name, done.stderr)
        finally:
            clean(room)


@pytest.mark.filterwarnings("ignore")
def test_mutants_are_restored_to_what_they_deserve(tmp_path):
    """The first of many: `fuzz_submissions` restores thousands and grades hundreds."""
    found = [(m.steps, wrong) for m, _, wrong in fuzz_submissions.restored(tmp_path, range(150))]
    assert [about for about in found if about[1]] == []


@pytest.mark.notebook
@pytest.mark.filterwarnings("ignore")
def test_mutants_are_graded_as_they_are_restored(short_path):
    """A few with kernels, so that the fuzz keeps step with what grading does."""
    found = [(m.steps, wrong) for m, _, wrong in fuzz_submissions.graded(short_path, range(4), 0)]
    assert [about for about in found if about[1]] == []


def _without_bwrap(folder):
    """A PATH on which everything is found but bwrap."""
    links = os.path.join(folder, "bin")
    os.mkdir(links)
    for place in os.environ["PATH"].split(os.pathsep):
        for name in os.listdir(place) if os.path.isdir(place) else ():
            if name != "bwrap" and not os.path.lexists(os.path.join(links, name)):
                os.symlink(os.path.join(place, name), os.path.join(links, name))
    return links


def main():
    parser = argparse.ArgumentParser(description="Grade the catalogue of hostile hand-ins.")
    parser.add_argument("names", nargs="*", default=list(HAND_INS))
    parser.add_argument("--without-walls", action="store_true", help="as if bwrap were missing")
    options = parser.parse_args()
    cases = [HAND_INS[name] for name in options.names]
    if options.without_walls:
        cases = [case for case in cases if not case.walled]
    started, wrong = time.perf_counter(), {}
    for first in range(0, len(cases), CLASS):
        with tempfile.TemporaryDirectory() as folder:
            path = _without_bwrap(folder) if options.without_walls else None
            wrong |= grade(folder, cases[first : first + CLASS], path)
    for name, reasons in wrong.items():
        print(f"{name}: {'; '.join(reasons)}")
    print(f"{len(cases)} graded, {len(wrong)} wrong, {time.perf_counter() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
