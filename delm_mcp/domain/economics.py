"""What the gate did, what it cost, and what it let through, counted from the board's rows.

What the board cannot know is not guessed: tokens that agents spend on thinking are not counted at all,
a cost that a provider did not tell is unknown, and a sum that has unknown parts is a lower bound.
"""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from delm_mcp.domain.figures import (
    Disputes,
    Figures,
    Judging,
    Proposals,
    Rows,
    Saved,
    Times,
    Verifying,
)
from delm_mcp.domain.model import (
    Check,
    CheckState,
    Entry,
    EntryState,
    Kind,
    Receipt,
    Strength,
    Task,
    TaskKind,
    TaskState,
    Verdict,
    Vote,
)
from delm_mcp.domain.policy import CheckName

NEVER_IN = (EntryState.PENDING, EntryState.REJECTED)
LIVE = (EntryState.ADMITTED, EntryState.SUSPECT)
BY_SERVER = (CheckName.QUOTES, CheckName.COMMAND, CheckName.JUDGE)
"""Checks that a server runs, and so takes time for."""
JUDGEMENT = (CheckName.PEERS, CheckName.JUDGE)
ON_THE_BOARD = "board"

_KEY_IS_TAKEN = "has the live entry"  # in the reason of `fresh`
_LABEL = re.compile(r"\bE(\d+)\b")
_SAYS = re.compile(r"(\S+) says «([^«»]*)»")  # what an agent noted as it gave a task up


def together(rows: Iterable[Rows]) -> Rows:
    """The rows of several runs as one: ids are unique on a board."""
    listed = list(rows)
    return Rows(
        entries=[entry for one in listed for entry in one.entries],
        tasks=[task for one in listed for task in one.tasks],
        checks=[check for one in listed for check in one.checks],
        votes=[vote for one in listed for vote in one.votes],
    )


def figures(rows: Rows) -> Figures:
    """The economics of these rows."""
    outcomes = _dispute_outcomes(rows)
    return Figures(
        proposals=_proposals(rows.entries),
        saved=_saved(rows),
        verifying=_verifying(rows),
        admission=_admission(rows.entries),
        disputes=Disputes(len(outcomes), **Counter(outcome for _, outcome in outcomes)),
        retractions=_retractions(rows.entries, {entry for entry, outcome in outcomes if outcome == "upheld"}),
    )


# -- proposals -----------------------------------------------------------------------------------


def was_admitted(state: EntryState) -> bool:
    """Whether an entry in this state was ever part of the context."""
    return state not in NEVER_IN


def refused_by(entry: Entry) -> str:
    """The check that refused a rejected entry; `run` when the run had moved on without it."""
    name = entry.reason.partition(":")[0]
    return name if name in list(CheckName) else "run"


def refusals(entries: Iterable[Entry]) -> dict[str, int]:
    """How many of these were refused by which check, in the order of the checks."""
    counts = Counter(refused_by(entry) for entry in entries if entry.state is EntryState.REJECTED)
    return {name: counts[name] for name in [*CheckName, "run"] if counts[name]}


def gate_line(admitted: int, pending: int, refused: Mapping[str, int], retracted: int) -> str:
    """The gate's work in a line; empty while there is none."""
    rejected = sum(refused.values())
    total = admitted + pending + rejected
    if not total:
        return ""
    parts = [f"{admitted} of {total} proposals admitted"]
    if rejected:
        parts.append(f"{rejected} refused ({', '.join(f'{name} {n}' for name, n in refused.items())})")
    if pending:
        parts.append(f"{pending} pending")
    if retracted:
        parts.append(f"{retracted} retraction{'s' if retracted > 1 else ''}")
    return ", ".join(parts)


def _proposals(entries: Sequence[Entry]) -> Proposals:
    states = Counter(entry.state for entry in entries)
    admitted = [entry for entry in entries if was_admitted(entry.state)]
    strengths = Counter(entry.strength for entry in admitted)
    return Proposals(
        total=len(entries),
        admitted=len(admitted),
        rejected=states[EntryState.REJECTED],
        pending=states[EntryState.PENDING],
        live=states[EntryState.ADMITTED],
        suspect=states[EntryState.SUSPECT],
        superseded=states[EntryState.SUPERSEDED],
        retracted=states[EntryState.RETRACTED],
        by_strength={strength.value: strengths[strength] for strength in reversed(Strength)},
        attested_only=strengths[Strength.ATTESTED],
        without_peers=sum(any(_nobody_came(receipt) for receipt in entry.receipts) for entry in admitted),
        refused=refusals(entries),
        could_not_check=sum(_undecided(entry) for entry in entries),
    )


def _nobody_came(receipt: Receipt) -> bool:
    return receipt.check == CheckName.PEERS and receipt.verdict is Verdict.ABSTAIN


def _undecided(entry: Entry) -> bool:
    last = entry.receipts[-1] if entry.receipts else None
    refused = entry.state is EntryState.REJECTED
    return (
        refused and last is not None and last.verdict is Verdict.ABSTAIN and last.check == refused_by(entry)
    )


# -- false starts --------------------------------------------------------------------------------


def _saved(rows: Rows) -> Saved:
    rejected = [entry for entry in rows.entries if entry.state is EntryState.REJECTED]
    return Saved(
        same_gist=sum(refused_by(entry) == CheckName.NOVEL for entry in rejected),
        same_key=sum(
            refused_by(entry) == CheckName.FRESH and _KEY_IS_TAKEN in entry.reason for entry in rejected
        ),
        skipped=len(skipped(rows)),
    )


def skipped(rows: Rows) -> list[Task]:
    """Work that a `fail` saved somebody, as far as the board can tell.

    A task counts when its result names in `derived_from` a live `fail` of another agent, or when it was
    given up, failed or cancelled with a note that names one. Who avoids a dead end without saying so is
    not counted, so this is a lower bound.
    """
    results: dict[int, Entry] = {entry.id: entry for entry in rows.entries}
    fails = {
        label: entry for label, entry in results.items() if entry.kind is Kind.FAIL and entry.state in LIVE
    }
    return [
        task
        for task in rows.tasks
        if task.kind is TaskKind.WORK and (_steered(task, results, fails) or _spared(task, fails))
    ]


def _steered(task: Task, results: Mapping[int, Entry], fails: Mapping[int, Entry]) -> bool:
    """Whether a task's result stands on what another agent found not to work."""
    result = results.get(task.result) if task.state is TaskState.DONE else None
    if result is None:
        return False
    return any(label in fails and fails[label].agent != result.agent for label in result.derived_from)


def _spared(task: Task, fails: Mapping[int, Entry]) -> bool:
    """Whether a task was given up because of what another agent found not to work, and not taken up since."""
    idle = task.state in {TaskState.READY, TaskState.FAILED, TaskState.CANCELLED}
    if not idle or not (task.attempts or task.ended_at):
        return False
    return any(
        (found := fails.get(int(label))) is not None and found.run == task.run and found.agent != agent
        for agent, note in _SAYS.findall(task.reason)
        for label in _LABEL.findall(note)
    )


# -- verifying -----------------------------------------------------------------------------------


def bills_of(check: Check) -> list[Mapping[str, Any]]:
    """What asking models has cost for a check, also when they gave no opinion."""
    last = [check.receipt["judge"]] if "judge" in check.receipt else []
    return [*check.receipt.get("judge_before", ()), *last]


def _verifying(rows: Rows) -> Verifying:
    asked = [task for task in rows.tasks if task.kind is TaskKind.VERIFY]
    done = [task for task in asked if task.state is TaskState.DONE]
    closed = sum(task.state in {TaskState.CANCELLED, TaskState.FAILED} for task in asked)
    verdicts = [vote for vote in rows.votes if not vote.is_dispute]
    return Verifying(
        asked=len(asked),
        done=len(done),
        abstained=sum(vote.verdict is Verdict.ABSTAIN for vote in verdicts),
        closed=closed,
        open=len(asked) - len(done) - closed,
        lost=sum(task.losses + task.attempts for task in asked),
        agents_s=round(sum(max(0.0, task.ended_at - task.claimed_at) for task in done), 3),
        server_s=_server_times(rows.entries),
        untimed=_untimed(rows),
        judge=_judging(rows.checks),
        case_tokens=sum(vote.case_tokens for vote in verdicts),
    )


def _server_times(entries: Iterable[Entry]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for entry in entries:
        for receipt in entry.receipts:
            if receipt.check in BY_SERVER:
                sums[receipt.check] += receipt.duration_s
    return {name.value: round(sums[name], 3) for name in BY_SERVER if name in sums}


def _untimed(rows: Rows) -> int:
    """Checks that ended without leaving a receipt on their entry."""
    ended = Counter(
        (check.entry, check.name)
        for check in rows.checks
        if check.state is CheckState.DONE and check.name in BY_SERVER
    )
    kept = Counter((entry.id, receipt.check) for entry in rows.entries for receipt in entry.receipts)
    return sum((ended - kept).values())


def _judging(checks: Iterable[Check]) -> Judging:
    bills = [bill for check in checks for bill in bills_of(check)]
    costs = [bill["cost_usd"] for bill in bills if bill["cost_usd"] is not None]
    return Judging(
        bills=len(bills),
        requests=sum(bill["requests"] for bill in bills),
        input_tokens=sum(bill["input_tokens"] for bill in bills),
        output_tokens=sum(bill["output_tokens"] for bill in bills),
        uncounted=sum(not bill["input_tokens"] for bill in bills),
        usd=sum(costs) if costs or not bills else None,
        unknown_costs=len(bills) - len(costs),
    )


# -- time to admission ---------------------------------------------------------------------------


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile of at least one value, interpolated between the two around it."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _admission(entries: Iterable[Entry]) -> dict[str, Times]:
    waits: dict[str, list[float]] = defaultdict(list)
    for entry in entries:
        if was_admitted(entry.state):
            waited_s = max(0.0, entry.decided_at - entry.proposed_at)
            waits["all"].append(waited_s)
            waits[_waited_for(entry)].append(waited_s)
    order = ["all", ON_THE_BOARD, *BY_SERVER, CheckName.PEERS]
    return {str(name): _times(waits[name]) for name in order if name in waits}


def _waited_for(entry: Entry) -> str:
    """The slowest check before an admission; what came later, when it was in doubt, does not count."""
    checks = {receipt.check for receipt in entry.receipts if receipt.at <= entry.decided_at}
    slowest = (CheckName.PEERS, CheckName.JUDGE, CheckName.COMMAND, CheckName.QUOTES)
    return next((name.value for name in slowest if name in checks), ON_THE_BOARD)


def _times(values: Sequence[float]) -> Times:
    return Times(
        len(values),
        round(percentile(values, 50), 3),
        round(percentile(values, 99), 3),
        round(max(values), 3),
    )


# -- misses --------------------------------------------------------------------------------------


def _dispute_outcomes(rows: Rows) -> list[tuple[int, str]]:
    """Each dispute's entry, with what came of it."""
    entries = {entry.id: entry for entry in rows.entries}
    return [(vote.entry, _outcome(vote, entries[vote.entry])) for vote in rows.votes if vote.is_dispute]


def _outcome(dispute: Vote, entry: Entry) -> str:
    """The first verdict by peers or a judge after it decides; without one, what became of the entry."""
    later = (receipt for receipt in entry.receipts if receipt.check in JUDGEMENT and receipt.at > dispute.at)
    verdict = next((receipt.verdict for receipt in later if receipt.verdict is not Verdict.ABSTAIN), None)
    if verdict is not None:
        return "dismissed" if verdict is Verdict.PASS else "upheld"
    return "open" if entry.state is EntryState.SUSPECT else "moot"


def _retractions(entries: Iterable[Entry], upheld: set[int]) -> dict[str, int]:
    counts = Counter(_caught_by(entry, upheld) for entry in entries if entry.state is EntryState.RETRACTED)
    return {name: counts[name] for name in ("dispute", "parents", "command", "owner") if counts[name]}


def _caught_by(entry: Entry, upheld: set[int]) -> str:
    if entry.reason.startswith("by the owner"):
        return "owner"
    if entry.reason.startswith(f"{CheckName.COMMAND}:"):
        return "command"
    return "dispute" if entry.id in upheld else "parents"
