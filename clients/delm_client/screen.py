"""What the terminal shows of a team: live while it works, and a summary at the end."""

import re
import shlex
import time
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from delm_client.scene import AgentView, Scene
from delm_client.session import server_name
from delm_client.terminal import escape, grid, one_row, printable
from delm_client.words import plural, shortened

PHASES = {"working": "cyan", "checking": "magenta", "waiting": "yellow", "starting": "dim", "gone": "dim"}
BAR_COLUMNS = 100
PICTURE_COLUMNS = 118
PICTURE_ROWS = 27
# What the live view needs besides its rows: the head, three frames, and a heading.
FRAMES = 8
NOTES = 2


def live(scene: Scene, rows: int = PICTURE_ROWS) -> RenderableType:
    """The scene while the team works, within `rows` rows: the newest lines of everything stay visible."""
    notes = [one_row(Text(printable(note), style="yellow")) for note in scene.notes[-NOTES:]]
    room = max(3, rows - FRAMES - len(notes))
    agents = min(len(scene.agents), max(1, room // 2))
    context = max(1, (room - agents) // 2)
    verdicts = max(1, room - agents - context)
    return Group(
        _head(scene),
        Panel(_agents(scene, agents), title="agents", title_align="left"),
        Panel(_verdicts(scene, verdicts), title="what the gate decided", title_align="left"),
        Panel(_context(scene, context), title=f"shared context, version {scene.version}", title_align="left"),
        *notes,
    )


def _head(scene: Scene) -> Table:
    total = len(scene.targets)
    head = Table.grid(padding=(0, 2))
    for gives_way in (False, False, False, True):
        head.add_column(no_wrap=not gives_way)
    head.add_row(
        Text(f"{scene.repaired} of {total} repaired", style="bold green"),
        ProgressBar(
            total=max(1, total),
            completed=scene.decided,
            width=20,
            complete_style="green",
            finished_style="green",
        ),
        Text(f"{time.monotonic() - scene.started:.0f} s", style="dim"),
        one_row(Text(scene.queue_line, style="dim")),
    )
    return head


def save(scene: Scene, picture: Path) -> None:
    """The live view as an SVG picture."""
    console = Console(record=True, width=PICTURE_COLUMNS, file=StringIO(), force_terminal=True)
    console.print(live(scene))
    console.save_svg(str(picture), title="delm-run demo")


def _agents(scene: Scene, rows: int) -> Table:
    table = grid("agent", "state", "mutants", "admitted", "rejected", "task", gives_way="task")
    views = list(scene.agents.values())
    shown = views if len(views) <= rows else views[: max(0, rows - 1)]
    for view in shown:
        table.add_row(
            view.name or view.label,
            f"[{PHASES.get(view.phase, 'white')}]{view.ended or view.phase}[/]",
            str(view.mutants_before + view.mutants),
            str(view.admitted),
            str(view.rejected),
            one_row(Text(printable(view.target))),
        )
    if len(shown) < len(views):
        table.add_row(f"[dim]and {len(views) - len(shown)} more[/]")
    return table


def _verdicts(scene: Scene, rows: int) -> RenderableType:
    if not scene.verdicts:
        return Text("nothing proposed yet", style="dim")
    lines = []
    for verdict in scene.verdicts[-rows:]:
        good = verdict["state"] == "admitted"
        line = Text.assemble(
            ("✓ ", "green") if good else ("✗ ", "red"), f"{verdict['entry']} ", printable(verdict["edit"])
        )
        lines.append(one_row(line))
    return Group(*lines)


def _context(scene: Scene, rows: int) -> RenderableType:
    """The newest lines of the context; a scope only repeats what the gist says in more words."""
    if not scene.context:
        return Text("empty so far", style="dim")
    lines = (re.sub(r"scope «[^»]*» ", "", printable(line)) for line in scene.context[-rows:])
    return Group(*[one_row(Text(line)) for line in lines])


def summary(
    console: Console, scene: Scene, status: dict[str, Any], patch: str, picture: Path | None = None
) -> None:
    """What was repaired, what the gate rejected and why, how the time went, and where the board is."""
    run = status["runs"][0]
    _print_repaired(console, scene)
    _print_rejected(console, scene)
    _print_time(console, scene)
    if scene.notes:
        console.print()
    for note in scene.notes:
        console.print(Text(printable(note), style="yellow"))
    color = "green" if run["state"] == "finished" else "red"
    console.print(
        f"\nThe run is [{color}]{run['state']}[/]: {escape(run['answer'] or run['reason'])}.\n",
        highlight=False,
    )
    program, board = server_name(), shlex.quote(str(status["board"]))
    console.print(
        f"board      {status['board']}\n"
        f"head       {run['head']} (base {run['base'][:12]}, log {plural(run['log']['rows'], 'row')})\n"
        f"patch      {patch}\n"
        + (f"picture    {picture}\n" if picture is not None else "")
        + f"look on    {program} status --board {board}\n"
        f"           {program} context --board {board}\n"
        f"           {program} audit --board {board}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _print_item(console: Console, head: Text, *details: str) -> None:
    """An item of a list: its head, and what belongs to it indented below."""
    console.print(head)
    for detail in details:
        console.print(Padding(Text(printable(detail)), (0, 0, 0, 4)))


def _print_repaired(console: Console, scene: Scene) -> None:
    repaired = [verdict for verdict in scene.verdicts if verdict["state"] == "admitted"]
    for verdict in repaired:
        head = Text.assemble(
            ("✓ ", "green"), printable(verdict["target"]), (f"  by {verdict['name']}", "dim")
        )
        _print_item(console, head, _edit(verdict))
    names = {verdict["target"] for verdict in repaired}
    given_up = {str(row.get("target")): str(row["reason"]) for row in scene.gave_up}
    for target in scene.targets:
        if target.name in names:
            continue
        if target.name in scene.passing:
            _print_item(
                console,
                Text.assemble(("✓ ", "green"), printable(target.name)),
                "passes without a patch of its own",
            )
        else:
            why = target.broken or given_up.get(target.name, "nobody decided on it; see the board")
            _print_item(console, Text.assemble(("✗ ", "red"), printable(target.name)), why)


def _edit(verdict: dict[str, Any]) -> str:
    return str(verdict["edit"]).removesuffix(f" makes {verdict['target']} pass")


def _print_rejected(console: Console, scene: Scene) -> None:
    rejected = [verdict for verdict in scene.verdicts if verdict["state"] == "rejected"]
    if not rejected:
        console.print("\nThe gate rejected nothing.")
        return
    console.print(f"\nThe gate rejected {plural(len(rejected), 'patch')}:", highlight=False)
    for verdict in rejected:
        head = Text.assemble(
            ("✗ ", "red"),
            f"{verdict['entry']} for {printable(verdict['target'])}",
            (f"  by {verdict['name']}", "dim"),
        )
        reason = str(verdict["reason"]).removeprefix("command: ")
        _print_item(console, head, _edit(verdict), f"because {shortened(reason, 300)}")


def _print_time(console: Console, scene: Scene) -> None:
    wide = console.width >= BAR_COLUMNS
    # The bar has no legend of its own: the headings of its three parts have its colors.
    times = {"working": "worked s", "checking": "checking s", "waiting": "waited s"}
    parts = [f"[{PHASES[phase]}]{heading}[/]" if wide else heading for phase, heading in times.items()]
    headings = ["agent", *parts, "mutants", "repaired", "ended"]
    table = grid(*headings, *(["where its time went"] if wide else []))
    for view in scene.agents.values():
        spent = view.spent_s
        table.add_row(
            view.name or view.label,
            f"{spent['working']:.1f}",
            f"{spent['checking']:.1f}",
            f"{spent['waiting']:.1f}",
            str(view.mutants_before + view.mutants),
            str(view.admitted),
            view.ended,
            *([_bar(view)] if wide else []),
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
