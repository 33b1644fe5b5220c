"""What the board knows of one entry, as lines: how it got where it is, and what stands behind it.

Whatever an agent wrote is fenced in them; everything else is our own voice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from delm_mcp.domain import rendering
from delm_mcp.domain.economics import bills_of
from delm_mcp.domain.model import (
    Change,
    Check,
    CheckState,
    ContextChange,
    Entry,
    EntryId,
    EntryState,
    Evidence,
    Kind,
    Receipt,
    Task,
    TaskState,
    Verdict,
    Vote,
)
from delm_mcp.domain.patches import is_text
from delm_mcp.domain.policy import CheckName
from delm_mcp.domain.text import fenced, one_line, shortened

QUOTED_CHARS = 240
NOTE_CHARS = 400


class Tone(StrEnum):
    """How a line bears on the entry, for terminals that have colours."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Dossier:
    """All that the board knows of one entry.

    Attributes:
        changes: What the versions of the context did to it.
        verifications: Its unfinished verify tasks.
        cited: The entries that disputes of it cite.
    """

    entry: Entry
    changes: Sequence[ContextChange] = ()
    checks: Sequence[Check] = ()
    votes: Sequence[Vote] = ()
    verifications: Sequence[Task] = ()
    cited: Mapping[EntryId, Entry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the tree behind an entry.

    Attributes:
        section: Under which name its facts stand in the structured form; empty where they are the
            entry's own.
        facts: What it says, as JSON values; several where one line says several things.
        below: The lines that belong to it.
    """

    section: str
    text: str
    facts: tuple[dict[str, Any], ...] = ()
    tone: Tone = Tone.PLAIN
    below: tuple["Line", ...] = ()


_STATE_TONE = {
    EntryState.PENDING: Tone.OPEN,
    EntryState.ADMITTED: Tone.GOOD,
    EntryState.REJECTED: Tone.BAD,
    EntryState.SUPERSEDED: Tone.PLAIN,
    EntryState.SUSPECT: Tone.OPEN,
    EntryState.RETRACTED: Tone.BAD,
}
_CHANGE_TONE = {
    Change.ADMITTED: Tone.GOOD,
    Change.CLEARED: Tone.GOOD,
    Change.SUPERSEDED: Tone.PLAIN,
    Change.SUSPECT: Tone.OPEN,
    Change.RETRACTED: Tone.BAD,
    Change.REJECTED: Tone.BAD,
}
_VERDICT_TONE = {Verdict.PASS: Tone.GOOD, Verdict.FAIL: Tone.BAD, Verdict.ABSTAIN: Tone.OPEN}
_DOUBTS = {
    "disputed": "it is disputed",
    "inputs": "the files that its command depends on changed at head",
}


def headline(entry: Entry, before: str = "") -> Line:
    """An entry's own line, under which all others hang."""
    return Line(
        "rests_on", before + rendering.headline(entry), (rendering.facts(entry),), _STATE_TONE[entry.state]
    )


def about(dossier: Dossier, now: float) -> Iterator[Line]:
    """Everything that hangs under an entry but the entries that it rests on.

    Args:
        now: Seconds since the epoch, to say how long something has waited.
    """
    entry = dossier.entry
    yield _origin(entry)
    yield from (_history(change) for change in dossier.changes)
    yield from _reason(dossier)
    yield from (_doubt(why) for why in entry.doubts)
    yield from (_waiting(check, now) for check in dossier.checks if check.state is not CheckState.DONE)
    yield from (_verification(task) for task in dossier.verifications)
    yield from (_evidence(number, item, entry) for number, item in enumerate(entry.evidence, 1))
    yield from _receipts(dossier)
    if entry.commit or entry.admitted_as:
        said = [f"commit {entry.commit}"] if entry.commit else []
        said += [f"head became {entry.admitted_as}"] if entry.admitted_as else []
        yield Line("", ", ".join(said), ({"head": entry.admitted_as},))
    yield from (_verdict(vote) for vote in dossier.votes if not vote.is_dispute)
    yield from (_dispute(vote, dossier.cited) for vote in dossier.votes if vote.is_dispute)
    if entry.kind is Kind.FAIL and entry.state is EntryState.ADMITTED:
        yield Line("", "A fail is binding within its scope until new evidence challenges it.")


def _origin(entry: Entry) -> Line:
    task = f" for T{entry.task}" if entry.task else ""
    replaced = [f"E{label}" for label in entry.supersedes]
    supersedes = f", to supersede {', '.join(replaced)}" if replaced else ""
    facts = {
        "task": f"T{entry.task}" if entry.task else "",
        "base_version": entry.base_version,
        "supersedes": replaced,
    }
    read = f"with v{entry.base_version} read" if entry.base_version else "without saying what was read"
    return Line("", f"proposed{task}, {read}{supersedes}", (facts,))


def _history(change: ContextChange) -> Line:
    note = shortened(one_line(change.note), NOTE_CHARS)
    said = f" ({note})" if note else ""
    if change.what is Change.REJECTED:
        said = " (only its author was told)"
    return Line(
        "history",
        f"v{change.version} {change.what}{said}",
        ({"version": change.version, "change": change.what.value, "note": note},),
        _CHANGE_TONE[change.what],
    )


def _reason(dossier: Dossier) -> Iterator[Line]:
    """Why it is not admitted, unless its history or its receipts say so anyway."""
    entry = dossier.entry
    if not entry.reason or entry.state is EntryState.ADMITTED:
        return
    probe = one_line(entry.reason)[:100]
    said = [change.note for change in dossier.changes]
    said += [f"{receipt.check}: {receipt.reason}" for receipt in entry.receipts]
    if not any(probe in one_line(text) for text in said):
        reason = shortened(one_line(entry.reason), NOTE_CHARS)
        yield Line("", f"{entry.state}: {reason}", tone=_STATE_TONE[entry.state])


def _doubt(why: str) -> Line:
    said = _DOUBTS.get(why, f"{why}, which it rests on, is in doubt or was retracted")
    return Line("doubts", f"in doubt: {said}", ({"doubt": why},), Tone.OPEN)


def _waiting(check: Check, now: float) -> Line:
    reason = one_line(check.reason)
    facts: dict[str, Any] = {"check": check.name, "state": check.state.value, "tries": check.tries}
    if check.state is CheckState.RUNNING:
        text = f"check {check.name}: running, try {check.tries}"
    else:
        waited = round(max(0.0, now - check.created_at), 1)
        text = f"check {check.name}: waiting for {waited:g} s" + (f" ({reason})" if reason else "")
        facts |= {"waited_s": waited, "reason": reason}
    return Line("waiting", text, (facts,), Tone.OPEN, tuple(_bill(bill) for bill in bills_of(check)))


def _verification(task: Task) -> Line:
    text = {
        TaskState.LEASED: f"{task.label}: {task.agent} is judging it",
        TaskState.BLOCKED: f"{task.label}: a verdict is asked for once what it rests on is out of doubt",
    }.get(task.state, f"{task.label}: a verdict is asked for")
    agent = task.agent if task.state is TaskState.LEASED else ""
    facts = {"task": task.label, "state": task.state.value, "agent": agent}
    return Line("verify_tasks", text, (facts,), Tone.OPEN)


def _evidence(number: int, item: Evidence, entry: Entry) -> Line:
    said = f": {_quoted(item.text, QUOTED_CHARS)}" if item.text else ""
    facts: dict[str, Any] = {
        "type": item.type,
        "ref": item.ref,
        "text": shortened(item.text, QUOTED_CHARS),
    }
    tone, place = Tone.PLAIN, ""
    if "offset" in item.at:
        source = str(item.at.get("source", ""))
        facts |= {"offset": item.at["offset"], "source": source}
        place = f", found by the server at {item.at['offset']} in {fenced(_short(source))}"
        tone = Tone.GOOD
    elif item.type in {"artifact", "url"} or not any(r.check == CheckName.QUOTES for r in entry.receipts):
        ran = is_text(item) and any(r.check == CheckName.COMMAND for r in entry.receipts)
        place = "" if item.type == "command" else ", applied" if ran else ", not checked by the server"
    return Line("evidence", f"evidence {number}: {item.type} {fenced(item.ref)}{place}{said}", (facts,), tone)


def _quoted(text: str, limit: int) -> str:
    """The beginning of what an agent wrote, fenced."""
    return shortened(fenced(text), limit)


def _short(source: str) -> str:
    """A source with its hash or commit at twelve digits."""
    if source.startswith("sha256:"):
        return source[: len("sha256:") + 12]
    path, at, commit = source.rpartition("@")
    return f"{path}{at}{commit[:12]}"


# -- receipts ------------------------------------------------------------------------------------


def _receipts(dossier: Dossier) -> Iterator[Line]:
    """What each check said; checks that passed without a word share a line."""
    entry = dossier.entry
    runs, dropped = _runs_of(dossier)
    voted = any(not vote.is_dispute for vote in dossier.votes)
    silent = [r for r in entry.receipts if r.verdict is Verdict.PASS and not r.reason]
    if silent:
        yield Line(
            "receipts",
            ", ".join(f"check {receipt.check}: pass" for receipt in silent),
            tuple({"check": receipt.check, "verdict": receipt.verdict.value} for receipt in silent),
            Tone.GOOD,
        )
    for check in dropped:
        yield _receipt(
            Receipt(check.name, Verdict(check.verdict), check.reason, check.ended_at), check, counts=False
        )
    for number, receipt in enumerate(entry.receipts):
        if receipt not in silent:
            by_votes = receipt.check == CheckName.PEERS and voted and receipt.verdict is not Verdict.ABSTAIN
            yield _receipt(replace(receipt, reason="") if by_votes else receipt, runs.get(number))


def _runs_of(dossier: Dossier) -> tuple[dict[int, Check], list[Check]]:
    """The row behind each receipt, by the receipt's place; and the rows whose receipt no longer counts."""
    runs: dict[int, Check] = {}
    dropped = []
    for check in dossier.checks:
        if check.state is not CheckState.DONE:
            continue
        places = [
            place
            for place, receipt in enumerate(dossier.entry.receipts)
            if place not in runs and receipt.check == check.name and receipt.at <= check.ended_at
        ]
        if places:
            runs[_newest(places, dossier.entry.receipts)] = check
        else:
            dropped.append(check)
    return runs, dropped


def _newest(places: Sequence[int], receipts: Sequence[Receipt]) -> int:
    return max(places, key=lambda place: (receipts[place].at, -place))


def _receipt(receipt: Receipt, check: Check | None, *, counts: bool = True) -> Line:
    reason = one_line(receipt.reason)
    took = f" in {receipt.duration_s:g} s" if receipt.duration_s else ""
    old = "" if counts else " (no longer counts)"
    facts: dict[str, Any] = {
        "check": receipt.check,
        "verdict": receipt.verdict.value,
        "reason": reason,
        "duration_s": receipt.duration_s,
        "counts": counts,
    }
    below: list[Line] = []
    if check is not None:
        below += [_command(statement) for statement in check.receipt.get("statements", ())]
        below += [_bill(bill) for bill in bills_of(check)]
    text = f"check {receipt.check}: {receipt.verdict}{took}{old}" + (f": {reason}" if reason else "")
    return Line("receipts", text, (facts,), _VERDICT_TONE[receipt.verdict], tuple(below))


def _command(statement: Mapping[str, Any]) -> Line:
    """A command's receipt, which is an in-toto statement."""
    predicate = statement["predicate"]
    ours = predicate["delmMcp"]
    name = str(predicate["configuration"][0]["name"]).removeprefix("command:")
    tree = str(statement["subject"][0]["digest"]["gitTree"])
    killed = str(ours["killedReason"])
    ended = f"stopped ({one_line(killed)})" if killed else f"exit {ours['exitCode']}"
    counts = {kind: count for kind, count in ours["counts"].items() if count}
    parts = [f"{name}: {ended} in {ours['durationS']:g} s"]
    parts += [f"commit {ours['commit'][:12]}"] if ours["commit"] else []
    parts += [f"tree {tree[:12]}", f"head {ours['head'][:12]}"]
    parts += [" and ".join(f"{count} {kind}" for kind, count in counts.items())] if counts else []
    facts = {
        "command": name,
        "exit_code": ours["exitCode"],
        "killed": killed,
        "duration_s": ours["durationS"],
        "commit": ours["commit"],
        "tree": tree,
        "head": ours["head"],
        "tests": counts,
    }
    tone = Tone.GOOD if predicate["result"] != "FAILED" else Tone.BAD
    return Line("commands", ", ".join(parts), (facts,), tone)


def _bill(bill: Mapping[str, Any]) -> Line:
    cost = bill["cost_usd"]
    said = "cost unknown" if cost is None else f"{cost:.4g} USD"
    plural = "" if bill["requests"] == 1 else "s"
    names = ("model", "requests", "input_tokens", "output_tokens", "cost_usd")
    return Line(
        "bills",
        f"asked {_quoted(str(bill['model']), 100)}: {bill['requests']} request{plural}, "
        f"{bill['input_tokens']} tokens in, {bill['output_tokens']} out, {said}",
        ({name: bill[name] for name in names},),
    )


# -- verdicts and disputes -----------------------------------------------------------------------


def _verdict(vote: Vote) -> Line:
    fails = f" ({', '.join(vote.fails)})" if vote.fails else ""
    facts = {
        "round": vote.round + 1,
        "agent": vote.agent,
        "verdict": vote.verdict.value,
        "fails": list(vote.fails),
        "reason": shortened(vote.reason, NOTE_CHARS),
    }
    text = (
        f"round {vote.round + 1}: {vote.agent} says {vote.verdict}{fails}: {_quoted(vote.reason, NOTE_CHARS)}"
    )
    return Line("verdicts", text, (facts,), _VERDICT_TONE[vote.verdict])


def _dispute(vote: Vote, cited: Mapping[EntryId, Entry]) -> Line:
    fails = f" ({', '.join(vote.fails)})" if vote.fails else ""
    rows = [row for label in vote.against if (row := cited.get(EntryId(label)))]
    facts = {
        "round": vote.round + 1,
        "agent": vote.agent,
        "fails": list(vote.fails),
        "reason": shortened(vote.reason, NOTE_CHARS),
        "against": [f"E{label}" for label in vote.against],
    }
    text = f"round {vote.round + 1}: {vote.agent} disputes it{fails}: {_quoted(vote.reason, NOTE_CHARS)}"
    below = [Line("cited", f"against it: {rendering.headline(row)}", (rendering.facts(row),)) for row in rows]
    return Line("disputes", text, (facts,), Tone.BAD, tuple(below))
