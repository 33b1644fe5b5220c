"""What the terminal says of a team at its end, and how to take its result."""

from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from delm_client.session import server_name
from delm_client.team.record import Ended, Entered, Holds, Line, Noted, Started, TeamFacts
from delm_client.team.sentences import printable, signal_name
from delm_client.team.spending import purse_of
from delm_client.team.supervise import BY_US
from delm_client.team.team import Team
from delm_client.words import plural, shortened

REASONS = {
    "finished": "finished",
    "stalled": "stalled: nobody could go on",
    "cancelled": "cancelled by its owner",
    "budget": "stopped: its budget is spent",
    "timeout": "stopped: its time is over",
    "interrupted": "interrupted",
    "no agent left": "stopped: no agent is left",
}
NOTES = 12


def print_summary(out: Console, team: Team, facts: TeamFacts, reports: list[Path]) -> None:
    """Print how it ended, who did what, and what to do now."""
    done = facts.outcome == "finished"
    spent_s = facts.ended_at - facts.started_at
    head = Text.assemble(
        ("✓ " if done else "✗ ", "green" if done else "red"),
        (f"The team is {REASONS.get(facts.outcome, facts.outcome)}", "bold"),
        f" after {_duration(spent_s)}.",
    )
    out.print()
    out.print(head)
    if facts.simulated:
        out.print("A scripted model answered in place of a real one.", style="yellow")
    if facts.answer:
        out.print(_indented(facts.answer))
    tasks = ", ".join(f"{count} {state}" for state, count in facts.status.get("tasks", {}).items())
    out.print(f"  tasks: {tasks or 'unknown'}", markup=False)
    for label in team.labels:
        out.print(_indented(_agent(label, team.record.lines)))
    now = team.record.lines[team.record.earlier :]
    notes = [line.what.text for line in now if isinstance(line.what, Noted)][-NOTES:]
    for note in notes:
        out.print(_indented(note, "yellow"))
    out.print()
    _print_next(out, team, facts, reports)


def _agent(label: str, lines: list[Line]) -> str:
    """One agent's part in a line."""
    own = [line.what for line in lines if line.agent == label]
    states: dict[str, str] = {what.entry: what.state for what in own if isinstance(what, Entered)}
    admitted = sum(state in {"admitted", "superseded"} for state in states.values())
    rejected = sum(state == "rejected" for state in states.values())
    starts = sum(isinstance(what, Started) for what in own)
    judged = {what.task for what in own if isinstance(what, Holds) and what.kind == "verify"}
    parts = [f"{admitted} admitted, {rejected} rejected", str(purse_of(own))]
    if judged:
        parts.insert(1, f"{len(judged)} judged")
    if starts > 1:
        parts.append(f"started {starts} times")
    ended = next((what for what in reversed(own) if isinstance(what, Ended)), None)
    if ended is not None and (ended.code or ended.reason) and not ended.reason.startswith(BY_US):
        how = f"ended by {signal_name(-ended.code)}" if ended.code < 0 else f"ended with code {ended.code}"
        parts.append(shortened(printable(ended.reason or how), 120))
    return f"{label}: " + "; ".join(parts)


def _print_next(out: Console, team: Team, facts: TeamFacts, reports: list[Path]) -> None:
    rows: list[tuple[str, str]] = []
    if facts.branch:
        count = plural(len(facts.commits), "commit")
        checked = ", checked as merged" if facts.commands else ""
        rows.append(("result", f"{count} on {facts.branch}{checked}"))
        rows.append(("look", f"git log --stat {facts.base[:12]}..{facts.branch}"))
        rows.append(("take it", f"git merge {facts.branch}"))
    else:
        rows.append(("result", "nothing was admitted" if not facts.head else f"commit {facts.head}"))
    if facts.outcome not in {"finished", "cancelled", "stalled"}:
        rows.append(("go on", f"delm-run resume {facts.run}"))
    if team.wish.keep:
        rows.append(("worktrees", _near(team.folder.root)))
    if reports:
        kinds = ", ".join(path.suffix for path in reports[1:])
        rows.append(("report", _near(reports[0]) + (f" (and {kinds})" if kinds else "")))
    rows.append(("board", f"{server_name()} status --run {facts.run}"))
    for name, value in rows:
        out.print(f"{name:10} {value}", markup=False, soft_wrap=True)


def _indented(text: str, style: str = "") -> Padding:
    """Words of agents and notes, below the line that they belong to."""
    return Padding(Text(printable(text), style=style), (0, 0, 0, 2))


def _near(path: Path) -> str:
    """A path as short as it can be typed here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _duration(value_s: float) -> str:
    minutes, seconds = divmod(round(value_s), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    )
