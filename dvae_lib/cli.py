"""The command `dvae`: run, sweep and store notebooks; solve, hand out, grade; publish."""

import argparse
import ast
import os
import subprocess
import sys
import time
from pathlib import Path

from . import __version__, execution, junit, paths, storing
from .results import TIERS

# A load of the last minute above this is other work. Waiting passively costs a fifth of a training
# step on a quiet machine of 2 cores (tests/benchmarks/waiting.py).
BUSY = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, act, and return the exit status: 0 if all went well."""
    options = _parser().parse_args(arguments)
    # Kernels inherit it. OpenMP's threads wait by spinning, which on a machine with other work
    # takes the cores from the very threads that they wait for; on a quiet one it is faster.
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > BUSY:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return options.act(options)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"dvae: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dvae: interrupted; finished runs are kept", file=sys.stderr)
        return 130


def _parser():
    parser = argparse.ArgumentParser(prog="dvae", description=__doc__)
    parser.add_argument("--version", action="version", version=f"dvae {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="execute notebooks into runs/")
    run.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="default: all of them")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        dest="parameters",
        help="set a parameter of the notebook",
    )
    run.add_argument("--junit", metavar="FILE", help="write a JUnit report, a case a notebook")
    run.set_defaults(act=_run)

    sweep = commands.add_parser("sweep", help="execute a notebook once a seed and setting")
    sweep.add_argument("notebook", metavar="NOTEBOOK")
    sweep.add_argument("--seeds", type=_seeds, required=True, help="for example 0-4 or 0,2,5")
    sweep.add_argument(
        "-p",
        action="append",
        default=[],
        metavar="NAME=V1,V2",
        dest="parameters",
        help="values of a parameter; with several -p every combination is run",
    )
    sweep.add_argument(
        "--cluster",
        default="",
        metavar="ADDRESS",
        help="of a Dask scheduler, whose workers run them; local starts one with --workers workers",
    )
    sweep.set_defaults(act=_sweep)

    for command in (run, sweep):
        command.add_argument("--tier", default="classroom", help=", ".join(TIERS))
        command.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
        command.add_argument("--workers", type=_workers, default=1, help="notebooks at a time")

    store = commands.add_parser(
        "store",
        help="execute at tier classroom and store in place; at tier long or paper, store the "
        "numbers and the trained weights",
    )
    store.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="default: all of them")
    store.add_argument("--tier", default="classroom", choices=("classroom", "long", "paper"))
    store.add_argument("--workers", type=_workers, default=1, help="notebooks at a time")
    store.set_defaults(act=_store)

    lab = commands.add_parser("lab", help="open the notebooks in JupyterLab")
    lab.add_argument("folder", nargs="?", metavar="DIR", help="of `dvae practice`, for example")
    lab.set_defaults(act=_lab)

    practice = commands.add_parser(
        "practice", help="copy the committed notebooks, answers empty, to solve"
    )
    practice.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="default: all of them")
    practice.add_argument("--to", default="practice", metavar="DIR", help="default: practice")
    practice.add_argument("--progress", action="store_true", help="only show what is solved there")
    practice.set_defaults(act=_practice)

    release = commands.add_parser("release", help="build an nbgrader course from notebooks")
    release.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="default: all of them")
    release.add_argument("--to", required=True, metavar="DIR", help="the folder of the course")
    release.add_argument("--otter", action="store_true", help="write otter-grader masters, too")
    release.set_defaults(act=_release)

    grade = commands.add_parser("grade", help="grade what was handed in to a course")
    grade.add_argument("folder", metavar="DIR")
    grade.add_argument("--workers", type=int, default=1, help="submissions at a time")
    grade.add_argument("--cell-seconds", type=int, default=60, help="time limit of a cell")
    grade.add_argument(
        "--show-hidden", action="store_true", help="feedback pages show hidden tests, too"
    )
    grade.add_argument("--lms", choices=("moodle", "canvas"), help="write a table to import there")
    grade.set_defaults(act=_grade)

    site = commands.add_parser("site", help="build a site of pages from the stored notebooks")
    site.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="default: all of them")
    site.add_argument("--to", required=True, metavar="DIR", help="the folder of the site")
    site.add_argument(
        "--repository",
        default="",
        metavar="URL",
        help="of the workbook: pages get buttons that open them in Colab or Binder from there",
    )
    site.add_argument("--npm", metavar="DIR", help="a folder with the packages that npm would get")
    site.set_defaults(act=_site)
    return parser


def _run(options):
    settings = tuple(sorted((name, _value(text)) for name, text in options.parameters))
    jobs = [
        execution.Job(name, options.tier, options.seed, options.device, settings)
        for name in _names(options.notebooks)
    ]
    if options.junit:  # what a killed run leaves there must not say that all is well
        unfinished = "the run did not come to its end"
        junit.write(options.junit, [execution.Outcome(job, 0, error=unfinished) for job in jobs])
    outcomes = execution.run_all(jobs, options.workers)
    if options.junit:
        junit.write(options.junit, outcomes)
    return _report(outcomes)


def _sweep(options):
    settings = {}
    for text in options.parameters:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise ValueError(f"-p {text}: write name=value1,value2")
        settings[name] = [_value(value) for value in values.split(",")]
    outcomes, path, left_out = execution.sweep(
        options.notebook,
        options.seeds,
        settings,
        options.tier,
        options.device,
        options.workers,
        options.cluster,
    )
    status = _report(outcomes)
    print(f"{len(outcomes)} runs executed; results gathered in {path}")
    for run in left_out:
        print(f"left out, since its code gives other numbers: seed {run['seed']} {run['settings']}")
    return status


def _store(options):
    names = _names(options.notebooks)
    if options.tier == "classroom":
        return _report(storing.store(names, options.workers))
    return _report([storing.store_long(name, options.tier) for name in names])


def _lab(options):
    folder = Path(options.folder or paths.notebooks_folder())
    names = sorted(path.name for path in folder.glob("*.ipynb"))
    if not names:
        raise FileNotFoundError(f"there are no notebooks in {folder}")
    return subprocess.call([sys.executable, "-m", "jupyterlab", names[0]], cwd=folder)


def _practice(options):
    from . import practice

    folder = Path(options.to).expanduser()
    if not options.progress:
        written, kept = practice.make(_names(options.notebooks), folder)
        for path in written:
            print(f"{path}: written")
        for path in kept:
            print(f"{path}: is there and stays as it is; to begin anew, rename it")
        print(f"open them with: dvae lab {folder}\n")
    _show(practice.progress(folder).rows)
    return 0


def _release(options):
    from . import classroom

    names = _names(options.notebooks)
    written = classroom.release(names, options.to)
    if options.otter:
        written += classroom.otter(names, options.to)
    print(*written, sep="\n")
    return 0


def _grade(options):
    from . import classroom

    started = time.perf_counter()
    marks = classroom.grade(
        options.folder, options.workers, options.cell_seconds, options.show_hidden
    )
    for mark in marks:
        highest = sum(mark.highest.values())
        print(f"{mark.student:20} {mark.notebook:28} {mark.total:g} of {highest:g}  {mark.remark}")
    seconds = time.perf_counter() - started
    print(f"{len(marks)} submissions in {seconds:.0f} s; see {Path(options.folder, 'grades.csv')}")
    if options.lms:
        print(classroom.LMS[options.lms](Path(options.folder), marks))
    return 0 if all(mark.graded for mark in marks) else 1


def _site(options):
    from .site import build

    started = time.perf_counter()
    names = _names(options.notebooks)
    for warning in build.build(options.to, options.repository, names, options.npm):
        print(warning, file=sys.stderr)
    first = Path(options.to, "index.html")
    print(f"{len(names)} notebooks in {time.perf_counter() - started:.0f} s; open {first}")
    return 0


def _names(given):
    names = given or paths.notebook_names()
    return list(dict.fromkeys(paths.notebook_path(name).stem for name in names))


def _workers(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; choose 1 or more")
    return int(text)


def _value(text):
    """A parameter's value as Python would read it; a bare word is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _seeds(text):
    seeds = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise argparse.ArgumentTypeError(f"{part!r}; write for example 0-4 or 0,2,5")
        seeds += range(int(first), int(last) + 1)
    return list(dict.fromkeys(seeds))


def _report(outcomes):
    """Print a table of outcomes and the reasons behind the bad ones; 1 if there are any."""
    rows = [("notebook", "tier", "seconds", "claims")]
    for outcome in outcomes:
        state = "RAISED" if outcome.error else _claims(outcome)
        rows.append((outcome.job.label, outcome.job.tier, f"{outcome.seconds:.1f}", state))
    _show(rows)
    for outcome in outcomes:
        if outcome.error:
            print(f"\n{outcome.job.label} raised: {outcome.error}\n  see {outcome.job.folder}")
        for row in outcome.refuted:
            print(f"\n{outcome.job.label}: claim failed: {row.in_words}")
    return 0 if all(outcome.good for outcome in outcomes) else 1


def _show(rows):
    """Print rows of words as a table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def _claims(outcome):
    """How many claims of an outcome have which verdict, in words."""
    claims = [row for row in outcome.rows if row.is_claim]
    if not claims:
        return "none"
    if outcome.job.tier not in execution.ASSERTING_TIERS:
        return f"{sum(row.held for row in claims)} of {len(claims)} held (not asserted)"
    found = list(outcome.verdicts.values())
    words = f"{found.count('held')} of {len(claims)} held"
    return words + (f", {n} undecided" if (n := found.count("undecided")) else "")


if __name__ == "__main__":
    sys.exit(main())
