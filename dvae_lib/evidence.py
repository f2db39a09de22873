"""Stored runs of a notebook, and the witness that tells whether they still belong to the code.

notebooks/results/NAME.json holds for each tier a sweep: its runs, one a seed and setting, and the
record of a run at tier smoke of the same commit, the *witness*. A smoke run today that records the
witness's numbers says that the code still gives them; one that does not, says that the stored runs
are out of date. So an edit that changes no number outdates nothing.

Equal code on an equal machine gives equal bits. To be told from an edit that adds the same numbers
in another order, a witness is run twice, with one thread and with two, and keeps for each row how
far apart the two are: its `spread`. A row may move by SPREADS of these, and by SMALL in any case.

Beside its rows a record holds what `Run.pick` gave out: sizes of other tiers that a smoke run does
not use can be compared as well. What no smoke run meets, such as code for one tier alone or an
image that only a larger set has, no witness sees.
"""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import files, paths
from .results import TIERS, Row

if TYPE_CHECKING:
    import pandas

# A spread is one draw of what rounding does to a row, so another may well be several times as far.
SPREADS = 10
# In units of the value, or of 1 where that is larger. Of 314 rows of seven notebooks a second
# thread left 202 as they were to the bit, and moved 44 by more than this, at most by 0.054.
SMALL = 1e-3


# What is read of stored runs, and of witnesses.
OF_RUNS = {"tier", "seed", "settings", "rows"}
OF_WITNESSES = {"rows", "picks", "spread", "versions", "processor"}


class Sweep:
    """The stored runs of a notebook, over all tiers: one a seed and setting.

    runs: their records. witnesses: {tier: the record of a smoke run}.
    """

    def __init__(
        self, notebook: str, runs: Iterable[dict] = (), witnesses: dict | None = None
    ) -> None:
        self.notebook, self.runs, self.witnesses = notebook, list(runs), witnesses or {}

    @classmethod
    def read(cls, notebook: str) -> "Sweep":
        """The sweep of a notebook, without runs where none is stored.

        Raises ValueError, naming the file and the fix, if what is stored is damaged.
        """
        path = paths.results_path(notebook)
        sweep = cls(notebook)
        if path.exists():
            fix = "get it back from git, or delete it and run "
            fix += f"dvae sweep {notebook} --seeds 0-4"
            stored = files.read_json(path, fix)
            try:
                for tier, part in stored["sweeps"].items():
                    sweep.runs += [_checked(run, OF_RUNS) for run in part["runs"]]
                    witness = part["witness"]
                    sweep.witnesses[tier] = witness and _checked(witness, OF_WITNESSES)
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path} is damaged ({error!r}); {fix}") from error
        return sweep

    def write(self) -> Path:
        """Store the sweep, its runs in the order of tiers, settings and seeds. Returns the path."""
        tiers = [tier for tier in TIERS if any(run["tier"] == tier for run in self.runs)]
        sweeps = {
            tier: {
                "witness": self.witnesses.get(tier),
                "runs": sorted((run for run in self.runs if run["tier"] == tier), key=key),
            }
            for tier in tiers
        }
        path = paths.results_path(self.notebook)
        files.write_json(path, {"notebook": self.notebook, "sweeps": sweeps})
        return path

    def add(self, tier: str, runs: list[dict], witness: dict) -> list:
        """Put runs of a tier in, in the place of those with their settings and seeds.

        Runs that stay must be of code with the numbers of `witness`; where the stored witness
        differs from it, they are left out. Returns the runs left out.
        """
        own = [run for run in self.runs if run["tier"] == tier]
        new = {key(run) for run in runs}
        left = [run for run in own if key(run) not in new]
        stale = left if differences(self.witnesses.get(tier) or {}, witness, tier) else []
        gone = new | {key(run) for run in stale}
        self.runs = [r for r in self.runs if r["tier"] != tier or key(r) not in gone] + list(runs)
        self.witnesses[tier] = witness
        return stale

    def select(self, tier: str = "classroom", **settings: Any) -> list[dict]:
        """The runs of a tier with exactly these settings beside the notebook's own."""
        return [run for run in self.runs if (run["tier"], run["settings"]) == (tier, settings)]

    def values(self, name: str, tier: str = "classroom", **settings: Any) -> list[float]:
        """The recorded values of `name`, one a seed, in the order of the seeds."""
        runs = sorted(self.select(tier, **settings), key=lambda run: run["seed"])
        return [row["value"] for run in runs for row in run["rows"] if row["name"] == name]

    def seeds(self, tier: str) -> dict[str, list[float]]:
        """{name: values over the stored seeds} of all rows of a tier, with no other settings."""
        names = {row["name"] for run in self.select(tier) for row in run["rows"]}
        return {name: self.values(name, tier) for name in names}

    def frame(self) -> "pandas.DataFrame":
        """All stored runs, a line for each run and recorded quantity, to filter and to group.

        Columns: notebook, tier, seed, each setting by its own name (missing where a run left it as
        the notebook has it), and name, value, unit, paper and bounds of the quantity.
        """
        import pandas  # a quarter of a second, for those alone who ask

        settings = dict.fromkeys(name for run in self.runs for name in run["settings"])
        lines = [
            {"notebook": self.notebook, "tier": run["tier"], "seed": run["seed"]}
            | run["settings"]
            | row
            for run in self.runs
            for row in run["rows"]
        ]
        columns = ["notebook", "tier", "seed", *settings, *(part.name for part in fields(Row))]
        return pandas.DataFrame(lines, columns=pandas.Index(columns))

    @property
    def out_of_date(self) -> bool:
        """True if the notebook's last smoke run on this machine differs from a stored witness.

        False where there is none, and where it cannot be compared (see `comparable`).
        """
        path = paths.run_folder(self.notebook, "smoke", 0) / "results.json"
        record = read_record(path)
        if not record:
            return False
        return any(
            comparable(witness, record) and differences(witness or {}, record, tier)
            for tier, witness in self.witnesses.items()
        )

    def __repr__(self):
        if not self.runs:
            return f"no stored sweep; make one with: dvae sweep {self.notebook} --seeds 0-4"
        state = "OUT OF DATE, a smoke run gives other numbers; " if self.out_of_date else ""
        first = self.runs[0]
        tiers = "/".join(t for t in TIERS if any(run["tier"] == t for run in self.runs))
        return (
            f"{state}{len(self.runs)} stored runs, tier {tiers}, {first['device']}, "
            f"torch {first['versions']['torch']}, code {first['commit'][:12]}"
        )


def read_record(path: str | Path) -> dict:
    """What a run wrote into its results.json; {} without one, and of one that did not end.

    Raises ValueError, naming the file and the fix, if it is damaged.
    """
    record = files.read_json(path) if Path(path).exists() else {}
    if not record.get("complete"):
        return {}
    try:
        return _checked(record, OF_RUNS | {"commit", "picks"})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); delete it and run again") from error


def _checked(record, parts):
    """The record, if it holds these parts in the form in which they are read."""
    if missing := parts - record.keys():
        raise KeyError(*sorted(missing))
    _values(record)
    for part in (record.get("settings", {}), *record.get("picks", [])):
        part.keys()
    return record


def _values(record):
    """{name: value} of the rows of a record."""
    return {row["name"]: row["value"] for row in record["rows"]}


def key(run: dict) -> tuple:
    """What tells a stored run from the others of its tier."""
    return (run["tier"], str(sorted(run["settings"].items())), run["seed"])


def differences(witness: dict, record: dict, tier: str) -> list[str]:
    """In what a smoke run differs from a stored witness, as a list of sentences.

    Compared are the names of rows, their values, and the sizes that the notebook picks at `tier`.
    Bounds are not: they are no measurement, and stored values are judged by those of today.
    """
    if not witness:
        return ["no witness is stored"]
    old, new = _values(witness), _values(record)
    found = [f"{name} is recorded no more" for name in old if name not in new]
    found += [f"{name} is new" for name in new if name not in old]
    for name in old.keys() & new.keys():
        was, now = old[name], new[name]
        room = SMALL * max(1, abs(was)) + SPREADS * witness["spread"].get(name, 0)
        if abs(now - was) > room:
            found.append(f"{name} was {was:.6g} and is {now:.6g}")
    sizes = [[pick[tier] for pick in made["picks"]] for made in (witness, record)]
    if sizes[0] != sizes[1]:
        found.append(f"picked at tier {tier} was {sizes[0]} and is {sizes[1]}")
    return sorted(found)


def comparable(witness: dict, record: dict) -> bool:
    """True if numbers of the two records may be compared: same torch minor version and processor.

    Another of either adds numbers in another order from the first step on, and a training makes
    of that what another seed would.
    """
    if not witness:
        return False
    old, new = (made["versions"]["torch"].split(".")[:2] for made in (witness, record))
    return old == new and witness["processor"] == record["processor"]
