"""What the trials come to: figures for each family and preset, as a table and as JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tests.gate_corpus.corpus import Family
from tests.gate_corpus.staging import Trial


@dataclass(frozen=True, slots=True)
class Figures:
    """One family under one preset, or all of them.

    Attributes:
        false: How many false pairs there are.
        accepts: False pairs that were admitted (where flags are expected: admitted without one).
        unseen: False pairs that no check without judgement saw, admitted or left to judgement.
        decidable_unseen: Those among them that such a check ought to have seen.
        true: How many true pairs there are.
        rejects: True pairs that were refused.
        by_policy: True pairs without anything to check, which the preset admits from nobody.
        flags: True pairs that readers are warned of.
        flagged: False pairs that readers are warned of.
        caught_by: Which check refused how many false pairs.
    """

    family: str
    preset: str
    needs: str
    false: int
    accepts: int
    unseen: int
    decidable_unseen: int
    true: int
    rejects: int
    by_policy: int
    flags: int
    flagged: int
    caught_by: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def figures(family: str, preset: str, needs: str, trials: Sequence[Trial]) -> Figures:
    """The figures of some trials under one preset."""
    false = [trial for trial in trials if not trial.pair.true]
    true = [trial for trial in trials if trial.pair.true]
    caught = Counter(trial.caught_by for trial in false if trial.outcome == "refused")
    return Figures(
        family=family,
        preset=preset,
        needs=needs,
        false=len(false),
        accepts=sum(trial.false_accept for trial in false),
        unseen=sum(trial.unseen for trial in false),
        decidable_unseen=sum(trial.unseen and trial.pair.decidable for trial in false),
        true=len(true),
        rejects=sum(trial.false_reject for trial in true),
        by_policy=sum(trial.by_policy for trial in true),
        flags=sum(trial.false_flag for trial in true),
        flagged=sum(bool(trial.flags) for trial in false),
        caught_by=dict(caught.most_common()),
    )


def all_figures(families: Sequence[Family], preset: str, trials: Sequence[Trial]) -> list[Figures]:
    """The figures of each family under a preset, and of all of them together as the last."""
    rows = [
        figures(family.name, preset, family.needs, [t for t in trials if t.pair.family == family.name])
        for family in families
    ]
    return [*rows, figures("all", preset, "", trials)]


COLUMNS = {
    "family": "",
    "false": "right",
    "let in": "right",
    "to judge": "right",
    "true": "right",
    "refused": "right",
    "uncheck.": "right",
    "flagged": "right",
    "caught by": "",
}


def table(rows: Sequence[Figures]) -> Table:
    """The figures of one preset; families that need judgement carry a star."""
    grid = Table(title=f"preset {rows[0].preset}", box=SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for name, side in COLUMNS.items():
        grid.add_column(name, justify="right" if side else "left", no_wrap=bool(side) or name == "family")
    for row in rows:
        if row.family == "all":
            grid.add_section()
        caught = [f"{check} {count}" for check, count in row.caught_by.items()]
        grid.add_row(
            row.family + ("*" if row.needs else ""),
            str(row.false),
            _marked(row.accepts),
            str(row.unseen - row.accepts),
            str(row.true),
            _marked(row.rejects),
            str(row.by_policy),
            str(row.flags),
            ", ".join(caught + ([f"flag {row.flagged}"] if row.flagged else [])),
        )
    return grid


LEGEND = (
    "* needs judgement: peers or a judge. let in: false and admitted (where a flag is due: without one). "
    "to judge: no rule saw it, peers or a judge have the last word. refused: true and refused. "
    "uncheck.: true, and refused by policy because the server could check nothing of it. "
    "flagged: true, and its readers are warned."
)


def _marked(count: int) -> str:
    return f"[bold red]{count}[/]" if count else "0"


def misses(trials: Sequence[Trial]) -> list[str]:
    """A line for each false accept, false reject and false flag, with its reason."""
    lines = []
    for trial in trials:
        name = f"{trial.preset:8} {trial.pair.id:18}"
        if trial.unseen:
            what = "ACCEPTED" if trial.outcome == "admitted" else "to judge"
            lines.append(
                f"{name} {what}: {trial.pair.why}" + ("" if trial.pair.decidable else " (needs judgement)")
            )
        if trial.false_reject:
            lines.append(f"{name} REJECTED by {trial.caught_by}: {trial.reason}")
        if trial.false_flag:
            lines.append(f"{name} flagged: {', '.join(trial.flags)}")
    return lines
