"""What the terminal shows of a team: live while it works, and a summary at the end."""

import time
from io import StringIO
from pathlib import Path
from typing import Any

from rich import markup
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from delm_client.demo import AgentView, Scene

PHASES = {"working": "cyan", "checking": "magenta", "waiting": "yellow", "starting": "dim", "gone": "dim"}


def escape(text: str) -> str:
    """Text of agents for a terminal: one line of printable characters, without markup."""
    return markup.escape("".join(char if char.isprintable() else " " for char in text))


def _grid(*headings: str) -> Table:
    return Table(*headings, box=None, padding=(0, 2, 0, 0), header_style="bold")


def live(scene: Scene) -> RenderableType:
    """The scene while the team works."""
    admitted = sum(verdict["state"] == "admitted" for verdict in scene.verdicts)
    done = min(len(scene.targets), admitted + len({row.get("target") for row in scene.gave_up}))
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(f"{admitted} of {len(scene.targets)} repaired", style="bold green"),
        ProgressBar(total=max(1, len(scene.targets)), completed=done, width=30),
        Text(f"{time.monotonic() - scene.started:.0f} s", style="dim"),
        Text(scene.queue_line, style="dim"),
    )
    return Group(
        head,
        Panel(_agents(scene), title="agents", title_align="left"),
        Panel(_verdicts(scene), title="what the gate decided", title_align="left"),
        Panel(
            "\n".join(escape(line) for line in scene.context[-5:]) or "[dim]empty so far[/]",
            title=f"shared context, version {scene.version}",
            title_align="left",
        ),
        *[Text(note, style="yellow") for note in scene.notes[-2:]],
    )


def save(scene: Scene, picture: Path) -> None:
    """The live view as an SVG picture."""
    console = Console(record=True, width=118, file=StringIO(), force_terminal=True)
    console.print(live(scene))
    console.save_svg(str(picture), title="delm-run demo")


def _agents(scene: Scene) -> Table:
    table = _grid("agent", "state", "task", "mutants", "admitted", "rejected")
    for view in scene.agents.values():
        state = f"[{PHASES.get(view.phase, 'white')}]{view.ended or view.phase}[/]"
        table.add_row(
            view.name or view.label,
            state,
            escape(view.target[:60]),
            str(view.mutants_before + view.mutants),
            str(view.admitted),
            str(view.rejected),
        )
    return table


def _verdicts(scene: Scene) -> RenderableType:
    if not scene.verdicts:
        return Text("nothing proposed yet", style="dim")
    table = Table.grid(padding=(0, 1))
    for verdict in scene.verdicts[-6:]:
        good = verdict["state"] == "admitted"
        table.add_row("[green]✓[/]" if good else "[red]✗[/]", verdict["entry"], escape(verdict["edit"][:110]))
    return table


def summary(console: Console, scene: Scene, status: dict[str, Any], patch: str) -> None:
    """What was repaired, what the gate rejected and why, how the time went, and where the board is."""
    run = status["runs"][0]
    repaired = [verdict for verdict in scene.verdicts if verdict["state"] == "admitted"]
    refused = [verdict for verdict in scene.verdicts if verdict["state"] == "rejected"]
    _print_repaired(console, scene, repaired)
    _print_refused(console, refused)
    _print_time(console, scene)
    for note in scene.notes:
        console.print(f"[yellow]{escape(note)}[/]", highlight=False)
    color = "green" if run["state"] == "finished" else "red"
    console.print(
        f"\nThe run is [{color}]{run['state']}[/]: {escape(run['answer'] or run['reason'])}", highlight=False
    )
    console.print(
        f"board      {status['board']}\n"
        f"head       {run['head']} (base {run['base'][:12]}, log {run['log']['rows']} rows)\n"
        f"patch      {patch}\n"
        f"look on    delm-mcp status --board {status['board']}\n"
        f"           delm-mcp context --board {status['board']}\n"
        f"           delm-mcp audit --board {status['board']}",
        highlight=False,
        soft_wrap=True,
    )


def _print_repaired(console: Console, scene: Scene, repaired: list[dict[str, Any]]) -> None:
    table = _grid("repaired", "by", "edit")
    for verdict in repaired:
        table.add_row(f"[green]✓[/] {escape(verdict['target'])}", verdict["name"], escape(_edit(verdict)))
    names = {verdict["target"] for verdict in repaired}
    for target in scene.targets:
        if target.name not in names:
            why = next(
                (row["reason"] for row in reversed(scene.gave_up) if row.get("target") == target.name), ""
            )
            table.add_row(
                f"[red]✗[/] {escape(target.name)}", "", escape(why or target.broken or "see the board")
            )
    console.print(table)


def _edit(verdict: dict[str, Any]) -> str:
    return str(verdict["edit"]).removesuffix(f" makes {verdict['target']} pass")


def _print_refused(console: Console, refused: list[dict[str, Any]]) -> None:
    if not refused:
        console.print("\nThe gate rejected nothing.")
        return
    table = _grid("the gate rejected", "by", "because")
    for verdict in refused:
        reason = verdict["reason"].removeprefix("command: ")
        table.add_row(
            f"{verdict['entry']} {escape(_edit(verdict)[:60])}", verdict["name"], escape(reason[:220])
        )
    console.print()
    console.print(table)


def _print_time(console: Console, scene: Scene) -> None:
    table = _grid("agent", "worked s", "checking s", "waited s", "", "mutants", "repaired", "ended")
    for view in scene.agents.values():
        spent = view.spent_s
        table.add_row(
            view.name or view.label,
            f"{spent['working']:.1f}",
            f"{spent['checking']:.1f}",
            f"{spent['waiting']:.1f}",
            _bar(view),
            str(view.mutants_before + view.mutants),
            str(view.admitted),
            view.ended,
        )
    console.print()
    console.print(table)


def _bar(view: AgentView, width: int = 24) -> str:
    """An agent's time as a bar: working, checking its result, waiting."""
    total = sum(view.spent_s.values()) or 1.0
    parts = []
    for phase, spent in view.spent_s.items():
        parts.append(f"[{PHASES[phase]}]{'█' * round(width * spent / total)}[/]")
    return "".join(parts)
