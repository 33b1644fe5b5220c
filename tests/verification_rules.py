"""What must hold of verdicts, disputes and cascades, told from the rows alone.

The rules are those that are written down; nothing of the board's code is used to judge them. `faults` lists
what does not hold, in words.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from delm_mcp.domain.model import UNFINISHED, Check, ContextChange, Entry, LogRow, Run, Task, Vote
from delm_mcp.domain.policy import Policy, parse
from delm_mcp.store.base import Tx


@dataclass(frozen=True)
class Rows:
    """A run as its tables have it."""

    run: Run
    policy: Policy
    entries: dict[int, Entry]
    tasks: dict[int, Task]
    votes: list[Vote]
    changes: list[ContextChange]
    checks: list[Check]
    principals: dict[str, str]
    needs: dict[int, list[Task]]
    log_head: LogRow | None

    def above(self, entry: Entry) -> list[Entry]:
        """Everything that an entry derives from, however deep."""
        found: dict[int, Entry] = {}
        waiting = list(entry.derived_from)
        while waiting:
            label = waiting.pop()
            parent = self.entries.get(label)
            if parent is not None and label not in found:
                found[label] = parent
                waiting += parent.derived_from
        return list(found.values())

    def about(self, entry: int, *states: str) -> list[Task]:
        """Verify tasks about an entry."""
        wanted = [task for task in self.tasks.values() if (task.kind, task.about) == ("verify", entry)]
        return [task for task in wanted if not states or task.state in states]

    def verdicts(self, entry: int) -> list[Vote]:
        return [vote for vote in self.votes if vote.entry == entry and vote.task]

    def disputes(self, entry: int) -> list[Vote]:
        return [vote for vote in self.votes if vote.entry == entry and not vote.task]


def rows_of(tx: Tx, run_id: str, before: Rows | None = None) -> Rows:
    """The rows now; changes that were there before are not read again, because they cannot change."""
    run = next(run for run in tx.runs() if run.id == run_id)
    agents, after = tx.agents(run.id), before.run.version if before else 0
    heard = {
        change.id: change
        for reader in ("", *(agent.name for agent in agents))
        for change in tx.changes(run.id, after, run.version, reader=reader)
    }
    tasks = {int(task.id): task for task in tx.tasks(run.id)}
    waiting = [task for task in tasks.values() if task.kind == "work" and task.state in {"blocked", "ready"}]
    return Rows(
        run,
        parse(run.policy),
        {int(entry.id): entry for entry in tx.outlines(run.id)},
        tasks,
        tx.votes_in(run.id),
        [*(before.changes if before else []), *(heard[number] for number in sorted(heard))],
        [check for name in ("quotes", "command", "peers", "judge") for check in tx.checks_in(run.id, name)],
        {agent.name: str(agent.principal) for agent in agents},
        {int(task.id): tx.waits_for(task.id) for task in waiting},
        tx.log_head(run.id),
    )


def faults(rows: Rows) -> list[str]:
    """Every rule that does not hold, in words."""
    rules = (standing, history, voting, counted, settled, waiting, verify_tasks, leases, work)
    return [fault for rule in rules for fault in rule(rows)]


def standing(rows: Rows) -> Iterator[str]:
    """Nobody is told to rely on what stands on something doubtful, or fallen and not looked at since."""
    last: dict[tuple[int, bool], int] = {}
    for change in rows.changes:
        if change.what in {"admitted", "cleared", "retracted"}:
            last[change.entry, change.what == "retracted"] = change.version
    for entry in rows.entries.values():
        if entry.state != "admitted":
            continue
        for ancestor in rows.above(entry):
            if ancestor.state == "suspect":
                yield f"{entry.label} is admitted and stands on {ancestor.label}, which is suspect"
            if ancestor.state == "retracted" and last[entry.id, False] <= last[ancestor.id, True]:
                yield f"{entry.label} is admitted since before {ancestor.label} below it was retracted"
            if ancestor.state in {"pending", "rejected"}:
                yield f"{entry.label} is admitted and stands on {ancestor.label}, which is {ancestor.state}"


NEXT = {
    "pending": {"admitted": "admitted", "rejected": "rejected"},
    "admitted": {"superseded": "superseded", "suspect": "suspect", "retracted": "retracted"},
    "suspect": {"superseded": "superseded", "cleared": "admitted", "retracted": "retracted"},
}


def history(rows: Rows) -> Iterator[str]:
    """The tables say what the changes say, and the versions have no gap."""
    told = dict.fromkeys(rows.entries, "pending")
    for change in rows.changes:
        after = NEXT.get(told[change.entry], {}).get(change.what)
        if after is None:
            yield f"v{change.version}: E{change.entry} was {told[change.entry]} and is {change.what}"
        told[change.entry] = after or told[change.entry]
    for entry in rows.entries.values():
        state = told[entry.id]
        if entry.state != state and (entry.state, state) != ("rejected", "pending"):
            yield f"{entry.label} is {entry.state}, and its last change leaves it {state}"
        if bool(entry.doubts) != (entry.state == "suspect"):
            yield f"{entry.label} is {entry.state} with the doubts {entry.doubts}"
        for ancestor in rows.above(entry):
            if ancestor.label in entry.doubts and ancestor.state == "admitted":
                yield f"{entry.label} is in doubt for {ancestor.label}, which is admitted"
    versions = sorted({change.version for change in rows.changes})
    if versions != list(range(1, rows.run.version + 1)):
        yield f"versions {versions}, and the run is at {rows.run.version}"


def voting(rows: Rows) -> Iterator[str]:
    """Nobody decides on its own entry, on one that it disputed, or twice in a round."""
    for vote in rows.votes:
        entry = rows.entries[vote.entry]
        if vote.principal == entry.principal:
            yield f"{vote.principal} judged or disputed its own {entry.label}"
        if vote.principal != rows.principals[vote.agent]:
            yield f"{vote.agent} voted as {vote.principal}"
    for (entry_id, number, principal), count in Counter(
        (vote.entry, vote.round, vote.principal) for vote in rows.votes if vote.task
    ).items():
        if count > 1:
            yield f"{principal} judged E{entry_id} {count} times in round {number}"
    for dispute in (vote for vote in rows.votes if not vote.task):
        for vote in rows.verdicts(dispute.entry):
            if vote.principal == dispute.principal and vote.id > dispute.id:
                yield f"{vote.principal} judged E{vote.entry} after disputing it"
        if sum(other.principal == dispute.principal for other in rows.disputes(dispute.entry)) > 1:
            yield f"{dispute.principal} disputed E{dispute.entry} twice"


def counted(rows: Rows) -> Iterator[str]:
    """What peers decided, enough of them decided."""
    peers = rows.policy.peers
    asked = max(peers.of, peers.approvals)
    for entry in rows.entries.values():
        first = {vote.principal: vote.verdict for vote in rows.verdicts(entry.id) if vote.round == 0}
        passes = sum(verdict == "pass" for verdict in first.values())
        fails = sum(verdict == "fail" for verdict in first.values())
        said = next((receipt for receipt in entry.receipts if receipt.check == "peers"), None)
        was_admitted = entry.state not in {"pending", "rejected"}
        if was_admitted and "peers" in rows.policy.of(entry.kind):
            attested = said is not None and said.verdict == "abstain" and peers.no_peers == "attest"
            if passes < peers.approvals and not attested:
                yield f"{entry.label} was admitted with {passes} approvals of {peers.approvals}"
        if entry.state == "rejected" and said is not None:
            if said.verdict == "fail" and fails <= asked - peers.approvals:
                yield f"{entry.label} was rejected by {fails} of {asked}"
            if said.verdict == "abstain" and peers.no_peers == "wait" and rows.run.state == "open":
                yield f"{entry.label} was given up although its run waits for peers"


def settled(rows: Rows) -> Iterator[str]:
    """A question that is answered is asked of nobody; one that is open is asked of somebody."""
    for entry in rows.entries.values():
        asked = rows.about(entry.id, *UNFINISHED)
        checks = [check for check in rows.checks if check.entry == entry.id and check.state != "done"]
        if entry.state not in {"pending", "suspect"} and asked:
            yield f"{entry.label} is {entry.state}, and {asked[0].label} about it is {asked[0].state}"
        if entry.state == "admitted" and checks:
            yield f"{entry.label} is admitted before its {checks[0].name} check has ended"
        if rows.run.state != "open":
            continue
        if entry.state == "pending":
            yield from pending(rows, entry, checks)
        if entry.state == "suspect":
            later = any(ancestor.state == "suspect" for ancestor in rows.above(entry))
            if not (asked or checks or later or rows.about(entry.id, "failed")):
                yield f"{entry.label} is suspect ({entry.doubts}), and nobody is asked"


def pending(rows: Rows, entry: Entry, checks: list[Check]) -> Iterator[str]:
    """It waits for one check; if that is peers, as many are asked as verdicts are missing."""
    if len(checks) != 1:
        yield f"{entry.label} is pending with {len(checks)} open checks"
    peers = rows.policy.peers
    given = sum(vote.verdict != "abstain" for vote in rows.verdicts(entry.id))
    missing = max(peers.of, peers.approvals) - given - len(rows.about(entry.id, "failed"))
    asked = len(rows.about(entry.id, *UNFINISHED))
    if asked < missing and [check.name for check in checks] == ["peers"]:
        yield f"{entry.label} lacks {missing} verdicts, and {asked} are asked for"


def waiting(rows: Rows) -> Iterator[str]:
    """Entries are verified in the order in which they derive from each other."""
    for entry in rows.entries.values():
        for task in rows.about(entry.id, *UNFINISHED):
            doubtful = sum(ancestor.state == "suspect" for ancestor in rows.above(entry))
            blockers = doubtful if entry.state == "suspect" else 0
            if (task.state == "blocked") != bool(blockers) or (blockers and task.blocked_by != blockers):
                yield (
                    f"{task.label} about {entry.label} ({entry.state}) is {task.state} by {task.blocked_by}, "
                    f"and {doubtful} below it are suspect"
                )


def verify_tasks(rows: Rows) -> Iterator[str]:
    """A verify task ends with one verdict, of the agent that held it."""
    cast = Counter(vote.task for vote in rows.votes if vote.task)
    for task in rows.tasks.values():
        if task.kind != "verify":
            continue
        if cast[task.id] != (task.state == "done"):
            yield f"{task.label} is {task.state} with {cast[task.id]} verdicts"
        if task.state == "submitted" or task.result:
            yield f"{task.label} is a verify task with a result"


def leases(rows: Rows) -> Iterator[str]:
    """Whoever holds a verify task may judge, and holds one a principal and entry."""
    seen: set[tuple[int, str]] = set()
    for task in rows.tasks.values():
        if task.kind != "verify" or task.state != "leased":
            continue
        holder, entry = rows.principals[task.agent], rows.entries[task.about]
        barred = {str(vote.principal) for vote in rows.disputes(entry.id)} | {str(entry.principal)}
        barred |= {str(vote.principal) for vote in rows.verdicts(entry.id) if vote.round == entry.round}
        if holder in barred:
            yield f"{task.label} about {entry.label} is held by {holder}, who may not judge it"
        if (task.about, holder) in seen:
            yield f"{holder} holds two verify tasks about {entry.label}"
        seen.add((task.about, holder))


def work(rows: Rows) -> Iterator[str]:
    """What is done stays done by something, and what has not begun waits for what it needs."""
    for task in rows.tasks.values():
        result = rows.entries.get(task.result)
        if task.result and (result is None or task.state != "done" or result.state == "retracted"):
            yield f"{task.label} is {task.state} by E{task.result}"
        pending = [
            e for e in rows.entries.values() if e.task == task.id and e.completes and e.state == "pending"
        ]
        if (
            (task.state == "submitted") != bool(pending)
            and rows.run.state == "open"
            and task.kind != "verify"
        ):
            yield f"{task.label} is {task.state} with {len(pending)} results on their way"
        if task.kind == "work" and task.state in {"blocked", "ready"}:
            left = [need.label for need in rows.needs[task.id] if need.state != "done"]
            if task.blocked_by != len(left) or (task.state == "blocked") != bool(left):
                yield f"{task.label} is {task.state} by {task.blocked_by}, and {left} are not done"
    if rows.run.state in {"finished", "cancelled"}:
        for task in rows.tasks.values():
            if task.state in UNFINISHED:
                yield f"the run is {rows.run.state}, and {task.label} is {task.state}"


def hasty(rows: Rows, since: int) -> list[str]:
    """Entries that peers cleared or retracted after a version, without being enough.

    Only verdicts count that were given after the last dispute of the entry, or of anything below it.
    """
    peers = rows.policy.peers
    found = []
    for change in rows.changes:
        if change.version <= since or not change.note.startswith("peers:"):
            continue
        entry = rows.entries[change.entry]
        shaken = {entry.id, *(ancestor.id for ancestor in rows.above(entry))}
        last = max((vote.id for vote in rows.votes if not vote.task and vote.entry in shaken), default=0)
        given = {
            v.principal: v.verdict for v in rows.verdicts(entry.id) if v.round == entry.round and v.id > last
        }
        passes = sum(verdict == "pass" for verdict in given.values())
        fails = sum(verdict == "fail" for verdict in given.values())
        if change.what == "cleared" and passes < peers.approvals:
            found.append(f"{entry.label} was cleared by {passes}")
        if change.what == "retracted" and fails <= max(peers.of, peers.approvals) - peers.approvals:
            found.append(f"{entry.label} was retracted by {fails}")
    return found
