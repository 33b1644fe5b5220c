"""What the terminal says of a team at its end, and how to take its result."""

from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from delm_client.session import server_name
from delm_client.team.record import Holds, Line, Noted, TeamFacts
from delm_client.team.tally import duration
from delm_client.team.team import Team
from delm_client.team.view import ASKED, AgentView, View, exit_text
from delm_client.terminal import printable
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
        f" after {duration(spent_s)}.",
    )
    out.print()
    out.print(head)
    if facts.simulated:
        out.print("A scripted model answered in place of a real one.", style="yellow")
    if facts.answer:
        out.print(_indented(facts.answer))
    tasks = ", ".join(f"{count} {state}" for state, count in facts.status.get("tasks", {}).items())
    out.print(f"  tasks: {tasks or 'unknown'}", markup=False)
    view = View(facts)
    for line in team.record.lines:
        view.hear(line)
    for label in team.labels:
        if label in view.agents:
            out.print(_indented(_agent(view.agents[label], team.record.lines)))
    now = team.record.lines[team.record.earlier :]
    notes = [line.what.text for line in now if isinstance(line.what, Noted)][-NOTES:]
    for note in notes:
        out.print(_indented(note, "yellow"))
    out.print()
    _print_next(out, team, facts, reports)


def _agent(agent: AgentView, lines: list[Line]) -> str:
    """One agent's part in a line."""
    judged = {
        line.what.task
        for line in lines
        if line.agent == agent.label and isinstance(line.what, Holds) and line.what.kind == "verify"
    }
    spent = agent.spent
    tokens = f"{spent.tokens(spent.input_tokens + spent.output_tokens)} tokens, cost {spent.cost}"
    parts = [f"{agent.admitted} admitted, {agent.rejected} rejected"]
    parts += [f"{len(judged)} judged"] if judged else []
    parts += [tokens if spent.counted else "tokens and cost unknown"]
    parts += [f"started {agent.attempts} times"] if agent.attempts > 1 else []
    ended = agent.ended
    if ended is not None and (ended.code or ended.reason) and not ended.reason.startswith(ASKED):
        parts.append(shortened(printable(exit_text(ended)), 120))
    return f"{agent.label}: " + "; ".join(parts)


def _print_next(out: Console, team: Team, facts: TeamFacts, reports: list[Path]) -> None:
    rows: list[tuple[str, str]] = []
    if facts.branch:
        count = plural(len(facts.commits), "commit")
        checked = ", checked as merged" if facts.commands else ""
        rows.append(("result", f"{count} on {facts.branch}{checked}"))
        rows.append(("look", f"git log --stat {facts.base[:12]}..{facts.branch}"))
        rows.append(("take it", facts.take))
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
