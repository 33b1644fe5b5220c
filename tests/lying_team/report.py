"""What became of the lies, as facts and as tables."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from tests.lying_team.liar import Deed, Told, is_true
from tests.lying_team.lies import FAMILIES
from tests.lying_team.scene import Played
from tests.lying_team.story import QUESTIONS

NOTE = (
    "The agents are scripts, and no model took part: the server, its checks, MCP, the tokens and the votes "
    "are real; who lies, when, and how honest members judge is written down. The rules of the honest "
    "verifier were written by the same hand as the lies, so what peers catch here says little about what a "
    "model would catch."
)
_PEERS = re.compile(r"^peers: (.*?) says \w+(?: \(([a-z, ]+)\))?")
Facts = dict[str, Any]


def facts(played: Played) -> Facts:
    """Everything about one run as JSON values."""
    rows = [
        _row(played, told) for told in sorted(played.told, key=lambda told: FAMILIES.index(told.lie.family))
    ]
    wrong = {key: answer.said for key, answer in played.answers.items() if not answer.right}
    return {
        "preset": played.preset,
        "run_state": played.state,
        "lies": rows,
        "deeds": [
            {
                "tried": deed.tried,
                "came_of_it": _named(played, deed.came_of_it) + _in_the_end(played, deed),
                "was_let": deed.succeeded,
            }
            for deed in played.deeds
        ],
        "truths_refused": [
            {"entry": label, "reason": _named(played, reason)}
            for label, reason in played.refused
            if is_true(played.entries[label]["gist"])
        ],
        "slips_refused": [
            _named(played, reason)
            for label, reason in played.refused
            if not is_true(played.entries[label]["gist"])
        ],
        "answers": {key: {"said": a.said, "right": a.right} for key, a in played.answers.items()},
        "summary": {
            "lies_told": len(rows),
            "lies_admitted": sum(row["reached"] for row in rows),
            "lies_standing_at_the_end": sum(row["state"] == "admitted" for row in rows),
            "truths_refused": sum(is_true(played.entries[label]["gist"]) for label, _ in played.refused),
            "questions": len(QUESTIONS),
            "wrong_answers": len(wrong) if played.answers else len(QUESTIONS),
            "wrong_where_nothing_was_found": sum(a.missing for a in played.answers.values()),
            "wrong_but_marked_attested": sum(a.attested and not a.right for a in played.answers.values()),
        },
        "wrong": wrong,
        "judges_of_lies": dict(Counter(_named(played, name) for name in sorted(played.judges))),
        "secret_leaked": played.leaked,
        "audit": "ok" if played.audit_code == 0 else played.audit,
        "calls": played.calls,
        "took_s": round(played.took_s, 1),
    }


def _row(played: Played, told: Told) -> Facts:
    entry = played.entries[told.entry]
    reached = told.entry in played.reached
    case = played.cases.get(told.entry)
    return {
        "family": told.lie.family,
        "how": told.lie.how,
        "decidable": told.lie.decidable,
        "claimed": told.lie.finding.gist,
        "entry": told.entry,
        "state": entry["state"],
        "reached": reached,
        "caught_by": "nobody" if reached else _caught_by(str(entry["reason"])),
        "later": _later(played, entry) if reached else "",
        "flagged_in_context": told.entry in played.flagged if reached else None,
        "flagged_in_case": "\nflagged: " in case if case is not None else None,
        "honest_verdict": played.verdicts.get(told.entry, ""),
    }


def _caught_by(reason: str) -> str:
    """The check that refused an entry; of peers with the axes."""
    peers = _PEERS.match(reason)
    if peers:
        return f"peers: {peers.group(2) or 'no axis'}"
    return reason.split(":", maxsplit=1)[0] or "?"


def _later(played: Played, entry: Mapping[str, Any]) -> str:
    """What became of a lie once it was in the context."""
    reason = str(entry["reason"])
    if entry["state"] == "superseded":
        heir = played.entries[reason.removeprefix("by ")]
        return "superseded by " + ("the truth" if is_true(heir["gist"]) else "another lie")
    if entry["state"] == "retracted":
        return f"retracted, {_caught_by(reason)}"
    return "stays" if entry["state"] == "admitted" else f"is {entry['state']}"


def _in_the_end(played: Played, deed: Deed) -> str:
    """What became of an entry that the liar was let judge or dispute."""
    label = deed.came_of_it.split()[0]
    return f", {played.entries[label]['state']} in the end" if deed.succeeded else ""


def _named(played: Played, text: str) -> str:
    """A text with the liar named, whatever names the server gave it in this run."""
    for name, who in played.names.items():
        text = text.replace(name, who)
    return text


# -- tables --------------------------------------------------------------------------------------


def tables(found: Facts) -> RenderableType:
    """One run for a terminal."""
    table = Table(
        "family",
        "how",
        "what was claimed",
        "reached the context?",
        "who caught it",
        "later",
        title=_title(found),
    )
    family = ""
    for row in found["lies"]:
        table.add_row(
            row["family"] if row["family"] != family else "",
            row["how"],
            escape(row["claimed"]),
            "[red]yes[/]" if row["reached"] else "[green]no[/]",
            row["caught_by"],
            f"[red]{row['later']}[/]" if row["later"] == "stays" else row["later"],
        )
        family = row["family"]
    deeds = Table("what else the liar tried", "what came of it", box=None, padding=(0, 2, 0, 0))
    for deed in found["deeds"]:
        deeds.add_row(deed["tried"], ("" if deed["was_let"] else "refused: ") + escape(deed["came_of_it"]))
    return Group(table, deeds, "")


def _title(found: Facts) -> str:
    return f"preset {found['preset']}: run {found['run_state']}, {found['calls']} calls, {found['took_s']} s"


def summary(runs: Sequence[Facts]) -> RenderableType:
    """All runs beside each other."""
    table = Table("", *(found["preset"] for found in runs), title="with and without the gate")
    for name in runs[0]["summary"]:
        table.add_row(name.replace("_", " "), *(str(found["summary"][name]) for found in runs))
    table.add_row("wrong", *("\n".join(f"{k}: {v}" for k, v in found["wrong"].items()) for found in runs))
    table.add_row("audit", *(found["audit"] for found in runs))
    return Group(table, NOTE)
