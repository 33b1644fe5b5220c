"""The board as people look at it in a terminal."""

import json
from typing import Any

from rich import markup
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from delm_mcp.board import stats, tending
from delm_mcp.board.operation import Operation
from delm_mcp.cli.wiring import out
from delm_mcp.domain.differences import Difference, difference_line
from delm_mcp.domain.dossiers import Line, Tone
from delm_mcp.domain.explaining import Explanation
from delm_mcp.domain.model import UNFINISHED, Entry, EntryState, Run, TaskState
from delm_mcp.domain.text import one_line, shortened

SHOWN_TASKS = 15
SHOWN_ENTRIES = 12
LATEST = 200
_STATE_STYLE = {
    "open": "green", "finished": "bold green", "stalled": "yellow", "cancelled": "red",
    "leased": "cyan", "ready": "white", "blocked": "dim", "submitted": "magenta",
    "admitted": "green", "rejected": "red", "pending": "magenta", "superseded": "dim", "retracted": "red",
    "suspect": "yellow",
}  # fmt: skip
_MARK_STYLE = {"+": "green", "?": "yellow", "!": "red", "~": "dim", "-": "dim", "=": "dim"}
_TONE_STYLE = {Tone.PLAIN: "", Tone.GOOD: "green", Tone.BAD: "red", Tone.OPEN: "yellow"}
_FENCED = r"«[^»]*»"


def escape(text: str) -> str:
    """Text of agents and owners for a terminal: one line, without escapes of the terminal's or ours."""
    return markup.escape(one_line(text))


def print_json(facts: Any) -> None:
    """Print JSON in which nothing can hide, reorder or steer a terminal: what is not ASCII is escaped."""
    out.print_json(json.dumps(facts), ensure_ascii=True)


def details(op: Operation, run: Run) -> dict[str, Any]:
    """What `status` shows of a run beyond its figures: agents, unfinished tasks, latest entries."""
    tasks = op.tx.tasks(run.id, UNFINISHED, limit=200)
    entries = op.tx.entries(run.id, limit=LATEST, newest=True)
    counts = op.tx.entry_counts(run.id)
    return {
        "verification": stats.gate(op, run),
        "agents": [
            {
                **tending.seen(op, run, agent),
                "seen_at": agent.seen_at,
                "admitted": counts.get((agent.name, EntryState.ADMITTED), 0),
                "rejected": counts.get((agent.name, EntryState.REJECTED), 0),
            }
            for agent in op.tx.agents(run.id)
        ],
        "queue": [
            {
                "task": task.label,
                "kind": task.kind.value,
                "state": task.state.value,
                "subject": task.subject,
                "agent": task.agent if task.state in {TaskState.LEASED, TaskState.SUBMITTED} else "",
                "lease_left_s": round(task.lease_until - op.now, 1) if task.state is TaskState.LEASED else 0,
                "losses": task.losses,
                "attempts": task.attempts,
                "reason": task.reason,
            }
            for task in tasks
        ],
        "latest": [
            {
                "entry": entry.label,
                "kind": entry.kind.value,
                "state": entry.state.value,
                "strength": entry.strength.value,
                "agent": entry.agent,
                "gist": entry.gist,
                "reason": entry.reason,
                "proposed_at": entry.proposed_at,
                "decided_at": entry.decided_at,
                "commit": entry.commit,
                "admitted_as": entry.admitted_as,
            }
            for entry in entries
        ],
    }


def board(seen: dict[str, Any]) -> RenderableType:
    """The whole status as something that rich prints."""
    parts: list[RenderableType] = [
        Text(f"{seen['board']}  ·  {seen['engine']}, {seen['durability']}", style="dim"),
        *[Text(f"warning: {warning}", style="yellow") for warning in seen["warnings"]],
    ]
    if not seen["runs"]:
        parts.append(Text('No runs yet. Open one with delm-mcp init "goal".'))
    return Group(*parts, *[_run(row) for row in reversed(seen["runs"])])


def _styled(state: str) -> str:
    return f"[{_STATE_STYLE.get(state, 'white')}]{state}[/]"


def _run(row: dict[str, Any]) -> Panel:
    counts = ", ".join(f"{count} {state}" for state, count in row["tasks"].items()) or "no tasks"
    made = ", ".join(f"{count} {state}" for state, count in row["entries"].items()) or "none"
    lines = [
        f"[bold]{escape(row['goal'])}[/]",
        f"tasks: {counts}",
        f"entries: {made}, context version {row['version']}",
    ]
    if row["verification"]["line"]:
        lines.append(f"verification: {row['verification']['line']}")
    if row["head"]:
        lines.append(
            f"head {row['head'][:12]} (base {row['base'][:12]}), "
            f"commands: {', '.join(row['commands']) or 'none'}"
        )
    if row["reason"]:
        lines.append(escape(row["reason"]))
    if row["answer"]:
        lines.append(f"[green]answer:[/] {escape(row['answer'])}")
    lines.append(f"[dim]log {row['log']['rows']} rows, head {row['log']['head']}[/]")
    parts: list[RenderableType] = [Text.from_markup("\n".join(lines))]
    parts += [table for table in (_agents(row), _queue(row), _entries(row)) if table is not None]
    return Panel(Group(*parts), title=f"{row['run']} {_styled(row['state'])}", title_align="left")


def _agents(row: dict[str, Any]) -> Table | None:
    if not row["agents"]:
        return None
    table = Table(
        "agent", "task", "admitted", "rejected", "seen", box=None, padding=(0, 2, 0, 0), title_justify="left"
    )
    for agent in row["agents"]:
        seen = f"{agent['seen_s_ago']:.0f} s ago" + ("" if agent["live"] else " (gone)")
        table.add_row(
            escape(agent["agent"]), agent["task"], str(agent["admitted"]), str(agent["rejected"]), seen
        )
    return table


def _queue(row: dict[str, Any]) -> Table | None:
    if not row["queue"]:
        return None
    table = Table("task", "state", "who", "subject", box=None, padding=(0, 2, 0, 0))
    for task in row["queue"][:SHOWN_TASKS]:
        left = f" {task['lease_left_s']:.0f} s" if task["lease_left_s"] else ""
        table.add_row(
            task["task"], _styled(task["state"]), f"{task['agent']}{left}", escape(task["subject"][:90])
        )
    hidden = len(row["queue"]) - SHOWN_TASKS
    if hidden > 0:
        table.add_row("", "", "", f"[dim]and {hidden} more[/]")
    return table


def _entries(row: dict[str, Any]) -> Table | None:
    if not row["latest"]:
        return None
    table = Table("entry", "kind", "verdict", "by", "gist", box=None, padding=(0, 2, 0, 0))
    for entry in row["latest"][-SHOWN_ENTRIES:]:
        why = f" [dim]({escape(shortened(entry['reason'], 120))})[/]" if entry["reason"] else ""
        strength = f" {entry['strength']}" if entry["state"] == "admitted" else ""
        table.add_row(
            entry["entry"],
            entry["kind"],
            _styled(entry["state"]) + strength,
            entry["agent"],
            escape(entry["gist"][:160]) + why,
        )
    return table


def tree(found: Explanation) -> RenderableType:
    """What stands behind an entry, with branches; what agents wrote is set apart by its colour."""
    drawn = Tree(_toned(found.tree, "bold"), guide_style="dim")
    _grow(drawn, found.tree)
    return Group(drawn, Text(found.note, style="dim")) if found.note else drawn


def _grow(branch: Tree, line: Line) -> None:
    for child in line.below:
        _grow(branch.add(_toned(child)), child)


def _toned(line: Line, style: str = "") -> Text:
    return _with_fences(line.text, f"{style} {_TONE_STYLE[line.tone]}".strip())


def difference(found: Difference, entry: Entry) -> Text:
    """What became of an entry between two versions, in the colour of its mark."""
    line = difference_line(found, entry)
    return _with_fences(line, _MARK_STYLE[line[0]])


def _with_fences(line: str, style: str) -> Text:
    """A line in a colour, but for what agents wrote in it."""
    text = Text(line, style=style)
    text.highlight_regex(_FENCED, "default")
    return text
