"""A class of hostile and broken hand-ins is graded once: right marks, and nothing else moved."""

import html.parser
import os
import shutil
import time

import hostile
import pytest
from room import POINTS, SECRET, Room
from unusual import UNUSUAL

HAND_INS = [*hostile.HOSTILE, *UNUSUAL]
CELL_SECONDS = 8
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
        time.sleep(1)  # what ends with its kernel is gone by now
        wrong = {case.name: list(flaws(room, case, marks)) for case in cases}
        wrong["class"] = list(harm(room, before))
        return {name: reasons for name, reasons in wrong.items() if reasons}
    finally:
        room.end_processes()
        for trace in room.traces():
            if not trace.startswith(str(room.folder)):
                os.unlink(trace)


def flaws(room, case, marks):
    """What is wrong with the mark of a hand-in, and with the pages about it."""
    if case.name not in marks:
        yield "no row"
        return
    mark, pages = marks[case.name], room.pages(case.name)
    for exercise, highest in POINTS.items():
        points, fair = mark.points.get(exercise, 0), highest * (exercise in case.fair)
        if points > fair or (case.exact and points != fair):
            yield f"{exercise}: {points} points, fair are {fair} ({mark.remark or 'no remark'})"
        if points < highest and not (mark.remark or "Error" in pages):
            yield f"{exercise}: no reason for {points} points"
    if mark.highest != POINTS:
        yield f"out of {mark.highest}"
    if SECRET in pages + mark.remark:
        yield "a secret of the lecturer is shown"
    page = Scripts()
    page.feed(pages)
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


@pytest.mark.notebook
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="walls need bubblewrap (bwrap)")
def test_each_hand_in_gets_its_own_fair_mark(tmp_path):
    assert grade(tmp_path, HAND_INS) == {}
