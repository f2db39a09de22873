"""A JUnit report of executed notebooks, which CI services show as a table of tests."""

import re
from pathlib import Path
from xml.etree import ElementTree

from . import files


def write(path: str | Path, outcomes: list) -> None:
    """Write a report with a case an Outcome: an error if it raised, a failure if a claim failed.

    outcomes: execution.Outcomes. Raises OSError, naming `path`, if it cannot be written.
    """
    suite = ElementTree.Element("testsuite", name="dvae")
    for outcome in outcomes:
        job = outcome.job
        about = {"classname": job.notebook, "name": f"{job.label}, tier {job.tier}"}
        case = ElementTree.SubElement(suite, "testcase", about, time=f"{outcome.seconds:.1f}")
        if outcome.error:
            ElementTree.SubElement(case, "error", message=_printable(outcome.error))
        elif outcome.refuted:
            claims = "; ".join(f"claim failed: {row.in_words}" for row in outcome.refuted)
            ElementTree.SubElement(case, "failure", message=_printable(claims))
    for attribute, tag in (("tests", "testcase"), ("errors", "error"), ("failures", "failure")):
        suite.set(attribute, f"{sum(1 for _ in suite.iter(tag))}")
    with files.atomic(path) as temporary:
        ElementTree.ElementTree(suite).write(temporary, encoding="utf-8", xml_declaration=True)


def _printable(text):
    """Without colours of a terminal, and without what XML cannot hold."""
    return re.sub(r"\x1b\[[\d;]*m|[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)
