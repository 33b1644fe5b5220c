"""The rows behind the economics of a run, and how they are reported."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from delm_mcp.board.operation import Operation
from delm_mcp.domain.economics import figures, gate_line, refusals, together, was_admitted
from delm_mcp.domain.figures import Figures, Rows
from delm_mcp.domain.model import EntryState, Run
from delm_mcp.domain.policy import OUTSIDE

DEFINITIONS = {
    "proposals.admitted": "ever admitted, whatever became of it then",
    "saved.skipped": "tasks whose result derives from a live fail of another agent, or that were given up, "
    "failed or cancelled with a note that names one; a lower bound, because who avoids a dead end without "
    "saying so is not counted",
    "verifying.agents_s": "from claim to verdict, summed over verify tasks that ended with one",
    "verifying.untimed": "checks of the server whose duration is not known, so server_s is a lower bound",
    "verifying.judge.usd": "the sum of the known costs; null when none is known; a lower bound when "
    "unknown_costs is not 0",
    "verifying.case_tokens": "what verifiers were given to read; what agents spend on thinking is not "
    "known to the board",
    "admission": "seconds from proposal to admission, by the slowest thing that had to be waited for",
    "disputes.moot": "the entry was superseded, or retracted for another reason, before there was a verdict",
    "retractions": "the gate's misses, by what caught them",
}


def collect(op: Operation, run: Run) -> Rows:
    """What is counted of a run."""
    return Rows(
        entries=op.tx.outlines(run.id),
        tasks=op.tx.tasks(run.id),
        checks=[check for name in OUTSIDE for check in op.tx.checks_in(run.id, name)],
        votes=op.tx.votes_in(run.id),
    )


def report(op: Operation, runs: Sequence[Run]) -> dict[str, Any]:
    """The economics of each run and of all of them together, as JSON values."""
    rows = [collect(op, run) for run in runs]
    return {
        "runs": [
            {"run": run.id, "goal": run.goal, "state": run.state.value, **_plain(figures(counted))}
            for run, counted in zip(runs, rows, strict=True)
        ],
        "total": _plain(figures(together(rows))),
        "definitions": DEFINITIONS,
    }


def _plain(found: Figures) -> dict[str, Any]:
    facts = asdict(found)
    facts["saved"]["duplicates"] = found.saved.duplicates
    return facts


def gate(op: Operation, run: Run) -> dict[str, Any]:
    """What the gate did, for `status`: cheap enough to be asked ten times a second."""
    rejected = op.tx.outlines(run.id, [EntryState.REJECTED])
    counts = {state: 0 for state in EntryState}
    for (_, state), count in op.tx.entry_counts(run.id).items():
        counts[state] += count
    admitted = sum(counts[state] for state in EntryState if was_admitted(state))
    refused = refusals(rejected)
    return {
        "admitted": admitted,
        "pending": counts[EntryState.PENDING],
        "refused": refused,
        "retracted": counts[EntryState.RETRACTED],
        "line": gate_line(admitted, counts[EntryState.PENDING], refused, counts[EntryState.RETRACTED]),
    }
