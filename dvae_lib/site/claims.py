"""The index of claims: of every notebook what it claims, and what its stored runs say."""

import re
from collections import Counter
from dataclasses import dataclass
from html import escape, unescape

import nbformat

from .. import paths
from ..evidence import Sweep
from ..results import Row, interval

VERDICTS = ("held", "undecided", "refuted")
INTRODUCTION = """# Index of claims

Every claim of every notebook, from `notebooks/results/`. A bound comes from the paper, from a
derivation, or was fixed before its seeds were run; none was moved to pass. At tier *classroom* a
claim is judged on the 95 % interval over stored seeds: held if all of it meets the bound, refuted
if none of it does, undecided between. At tier *long* one seed is judged by itself.
"""


@dataclass
class Claim:
    """A claim of a notebook, in words. Verdicts are "" where no run of the tier is stored."""

    name: str
    bound: str
    paper: str
    classroom: str
    verdict: str
    long: str
    long_verdict: str


def of(notebook: str) -> list[Claim]:
    """The claims of a notebook, in the order of its table, then those that only stored runs have.

    What is asked today stands in the table of the stored notebook; a claim that failed may have
    become a plain measurement since its seeds were run, and another is asked at tier long alone.
    """
    sweep, asked = Sweep.read(notebook), in_table(notebook)
    rows = {tier: _rows(sweep.select(tier)) for tier in ("classroom", "long")}
    stored = [name for tier in rows.values() for name, row in tier.items() if row.is_claim]
    return [_claim(name, asked.get(name), rows, sweep) for name in dict.fromkeys([*asked, *stored])]


def _rows(runs):
    """{name: row} of runs; with bounds, if one of them has any."""
    rows = {}
    for row in (Row(**row) for run in runs for row in run["rows"]):
        if row.is_claim or row.name not in rows:
            rows[row.name] = row
    return rows


def in_table(notebook: str) -> dict[str, dict[str, str]]:
    """{claim: {head of a column: words}} of the table at the end of a stored notebook."""
    stored = nbformat.read(paths.notebook_path(notebook), as_version=4)
    (shown,) = (
        output.data["text/html"]
        for cell in stored.cells
        if cell.cell_type == "code" and cell.source.endswith("run.results()")
        for output in cell.outputs
        if "<table>" in output.get("data", {}).get("text/html", "")
    )
    rows = re.findall(r"<tr>(.*?)</tr>", shown.partition("<details")[0])
    head, *body = ([unescape(c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t", r)] for r in rows)
    head[-1] = "verdict"  # like that of the names it has no head
    found = {row[0]: dict(zip(head, row, strict=True)) for row in body}
    return {name: row for name, row in found.items() if row["claim"]}


def _claim(name, asked, rows, sweep):
    short, long = rows["classroom"].get(name), rows["long"].get(name)
    if asked:
        bound = asked["claim"]
    elif short and short.is_claim:
        bound = f"{short.bound}, asked no more"
    else:
        bound = f"{long.bound}, at long alone"
    if not short and asked:  # nothing is stored but the notebook's own run
        return Claim(name, bound, "", f"{asked['this run, classroom']}", asked["verdict"], "", "")
    row, seeds = short or long, sweep.values(name)
    return Claim(
        name,
        bound,
        "" if row.paper is None else f"{row.paper}",
        _measured(seeds, row.unit),
        short.verdict(seeds) if short else "",
        _measured([long.value], row.unit) if long else "",
        {"refuted": "failed"}.get(long.verdict(), long.verdict()) if long else "",
    )


def _measured(values, unit):
    if len(values) < 2:
        return f"{values[0]:.4g} {unit}".strip() if values else ""
    found = interval(values)
    words = f"{found.mean:.4g} [{found.low:.4g}, {found.high:.4g}] {unit}".strip()
    return f"{words}, {found.n} seeds"


def page(titles: dict[str, str]) -> str:
    """The page in Markdown. titles: {notebook: its title}."""
    found = {name: claims for name in titles if (claims := of(name))}
    counts = Counter(claim.verdict for claims in found.values() for claim in claims)
    total = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    parts = [INTRODUCTION, f"**{sum(map(len, found.values()))} claims; at classroom {total}.**"]
    for name, claims in found.items():
        table = "".join(map(_row, claims))
        head = "".join(
            f"<th>{word}</th>"
            for word in ("claim", "bound", "paper", "ours, classroom", "", "ours, long", "")
        )
        parts.append(f"## {titles[name]}")
        parts.append(
            '<div class="dvae-table"><table class="dvae-claims">'
            f"<thead><tr>{head}</tr></thead><tbody>{table}</tbody></table></div>"
        )
    return "\n\n".join(parts) + "\n"


def _row(claim):
    cells = [escape(value) for value in vars(claim).values()]
    for k in (4, 6):
        cells[k] = f'<span class="dvae-{cells[k]}">{cells[k]}</span>' if cells[k] else ""
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
