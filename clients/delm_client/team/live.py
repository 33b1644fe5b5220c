"""What the terminal shows of a team at work, and the one-line forms for where there is no terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from delm_client.team.record import (
    Connected,
    Ended,
    Entered,
    Event,
    Faulted,
    Holds,
    Joined,
    Line,
    Noted,
    RunIs,
    Started,
)
from delm_client.team.spans import waiting_share
from delm_client.team.tally import Tally, duration, percent, shortly
from delm_client.team.view import VERIFY, AgentView, EntryView, State, Trouble, View, exit_text
from delm_client.terminal import one_row, printable
from delm_client.words import plural, shortened

STATES = {
    State.STARTING: ("·", "dim"),
    State.JOINED: ("○", "white"),
    State.WORKING: ("●", "bold blue"),
    State.VERIFYING: ("◆", "bold yellow"),
    State.WAITING: ("○", "white"),
    State.ENDED: ("-", "dim"),
    State.GIVEN_UP: ("✗", "red"),
}
ENTRY_MARKS = {
    "admitted": ("✓", "green"),
    "rejected": ("✗", "red"),
    "retracted": ("✗", "red"),
    "suspect": ("?", "yellow"),
    "superseded": ("~", "dim"),
    "pending": ("…", "magenta"),
}
WIDE_COLUMNS = 110
LABEL_COLUMNS = 14
SUBJECT_COLUMNS = 30
GROWTH_COLUMNS = 16
BLOCKS = "▁▂▃▄▅▆▇█"
NOTES = 2
# What is needed besides rows of content: the head's two, three frames, and a heading.
FRAMES = 9
LINE_CHARS = 200


def render(view: View, rows: int, columns: int = 0, now: float = 0.0) -> RenderableType:
    """The team as it is, within `rows` rows: the newest lines of everything stay visible.

    Args:
        view: What is known.
        rows: At most so many; below 14 the lower frames are cut.
        columns: How wide it is, by default as wide as where it is printed; from 110 on there is more to read.
        now: The time that the clock shows, in seconds since 1970; by default that of the latest event.
    """
    return _Screen(view, rows, columns, now)


@dataclass(frozen=True, slots=True)
class _Screen:
    view: View
    rows: int
    columns: int
    now: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _screen(self.view, self.rows, self.columns or options.max_width, self.now)


def _screen(view: View, rows: int, columns: int, now: float) -> RenderableType:
    notes = [_trouble(one) for one in _latest(view, NOTES)]
    room = max(3, rows - FRAMES - len(notes))
    agents = min(max(1, len(view.agents)), max(1, room // 2))
    entries = max(1, (room - agents) // 2)
    verdicts = max(1, room - agents - entries)
    decided = [one for one in view.verdicts if one.state != "admitted"][-verdicts:]
    # What one frame does not need is the other's.
    entries += verdicts - max(1, len(decided))
    return Group(
        _head(view, max(now, view.now)),
        _counts(view),
        Panel(_agents(view, agents, columns), title=_agents_title(view, now), title_align="left"),
        Panel(_context(view, entries, columns), title=_context_title(view), title_align="left"),
        Panel(_verdicts(decided, columns), title="refused, doubted, replaced", title_align="left"),
        *notes,
    )


# -- the head ------------------------------------------------------------------------------------


def _head(view: View, now: float) -> Table:
    state = view.run_state or "opening"
    goal = view.facts.goal if view.facts else ""
    bad = state in {"stalled", "cancelled"}
    cells = [
        Text(printable(state), style="bold red" if bad else "bold green"),
        Text(duration(now - view.started_at) if view.started_at else "", style="dim"),
        one_row(Text(printable(view.run_reason if bad else goal))),
    ]
    if view.simulated:
        cells.insert(0, Text(" SIMULATED ", style="bold black on yellow"))
    head = Table.grid(padding=(0, 1))
    for cell in cells:
        head.add_column(no_wrap=cell is not cells[-1])
    head.add_row(*cells)
    return head


def _counts(view: View) -> Table:
    total, done = sum(view.tasks.values()), view.tasks.get("done", 0)
    line = Table.grid(padding=(0, 2))
    for gives_way in (False, False, True):
        line.add_column(no_wrap=not gives_way)
    rest = ", ".join(
        f"{count} {printable(state)}" for state, count in view.tasks.items() if state != "done" and count
    )
    line.add_row(
        ProgressBar(
            total=max(1, total), completed=done, width=12, complete_style="green", finished_style="green"
        ),
        Text(f"{done} of {plural(total, 'task')} done"),
        one_row(Text(" · ".join(filter(None, [_money(view.spent), rest])), style="dim")),
    )
    return line


def _money(spent: Tally) -> str:
    if not spent.counted:
        return ""
    return f"{shortly(spent.input_tokens + spent.output_tokens)} tokens, {spent.cost}"


# -- the frames ----------------------------------------------------------------------------------


def _agents_title(view: View, now: float) -> Text:
    alive = sum(agent.alive for agent in view.agents.values())
    share = waiting_share(view.times(end=max(now, view.ended_at)))
    waited = f", waiting {percent(share)} of their time" if share is not None else ""
    return Text(f"agents: {alive} of {len(view.agents)} alive{waited}")


def _agents(view: View, rows: int, columns: int) -> RenderableType:
    if not view.agents:
        return Text("none yet", style="dim")
    wide = columns >= WIDE_COLUMNS
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("agent", "state", "task"):
        table.add_column(heading, no_wrap=True)
    table.add_column("doing", ratio=1, overflow="ellipsis", no_wrap=True)
    for heading in ("in", "cached", "out", "cost", "starts") if wide else ("tokens", "cost"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.expand = True
    shown = _shown(list(view.agents.values()), rows)
    for agent in shown:
        table.add_row(*_agent_cells(agent, wide), *_spent_cells(agent, wide))
    if len(shown) < len(view.agents):
        table.add_row(Text(f"and {len(view.agents) - len(shown)} more", style="dim"))
    return table


def _shown(agents: list[AgentView], rows: int) -> list[AgentView]:
    """The agents that there is room for, in their order; who is alive goes before who is gone."""
    if len(agents) <= rows:
        return agents
    chosen = {agent.label for agent in sorted(agents, key=lambda agent: not agent.alive)[: max(0, rows - 1)]}
    return [agent for agent in agents if agent.label in chosen]


def _agent_cells(agent: AgentView, wide: bool) -> list[Text]:
    mark, style = STATES[agent.state]
    return [
        Text(shortened(printable(agent.label), LABEL_COLUMNS)),
        Text(f"{mark} {agent.state}", style=style),
        Text(printable(agent.task) if agent.alive else ""),
        one_row(Text(printable(_doing(agent, wide)), style="" if agent.alive else "dim")),
    ]


def _doing(agent: AgentView, wide: bool) -> str:
    """Why it ended, or which check it waits for.

    Else its latest words or tool, after its task's subject where there is room for both.
    """
    if not agent.alive:
        return exit_text(agent.ended) if agent.ended else ""
    if agent.pending and not agent.task:
        return f"while {next(iter(agent.pending))} is checked"
    tool = " ".join(filter(None, [agent.tool, agent.tool_detail])) if agent.used_last else ""
    latest = tool or agent.words
    if not wide:
        return latest or agent.subject
    return " · ".join(filter(None, [shortened(agent.subject, SUBJECT_COLUMNS), latest]))


def _spent_cells(agent: AgentView, wide: bool) -> list[str]:
    spent = agent.spent
    if not wide:
        return [spent.tokens(spent.input_tokens + spent.output_tokens, short=True), spent.cost_short]
    counts = (spent.input_tokens, spent.cached_tokens, spent.output_tokens)
    return [*(spent.tokens(count, short=True) for count in counts), spent.cost_short, str(agent.attempts)]


def _context_title(view: View) -> Text:
    bars = _growth(view.growth)
    count = plural(view.live, "entry")
    return Text(f"shared context, version {view.version}: {count} {bars}".rstrip())


def _growth(growth: Sequence[tuple[float, int]]) -> str:
    """The context's size over its changes, as a row of blocks."""
    if len(growth) < 2:
        return ""
    taken = min(GROWTH_COLUMNS, len(growth))
    sizes = [growth[(index + 1) * len(growth) // taken - 1][1] for index in range(taken)]
    most = max(1, *sizes)
    return "".join(BLOCKS[min(len(BLOCKS) - 1, size * len(BLOCKS) // (most + 1))] for size in sizes)


def _context(view: View, rows: int, columns: int) -> RenderableType:
    relied_on = [entry for entry in view.entries.values() if entry.state == "admitted"]
    if not relied_on:
        return Text("empty so far", style="dim")
    newest = sorted(relied_on, key=lambda entry: entry.at)[-rows:]
    return _entries([(entry, entry.strength, entry.gist) for entry in newest], columns)


def _verdicts(decided: Sequence[EntryView], columns: int) -> RenderableType:
    if not decided:
        return Text("nothing", style="dim")
    return _entries([(entry, entry.state, entry.reason or entry.gist) for entry in decided], columns)


def _entries(rows: Sequence[tuple[EntryView, str, str]], columns: int) -> Table:
    """Entries, each with a word and a text; who they are of where there is room for it."""
    wide = columns >= WIDE_COLUMNS
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False, expand=True)
    for _ in range(5 if wide else 3):
        table.add_column(no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for entry, word, text in rows:
        who = (entry.kind, shortened(printable(entry.agent), LABEL_COLUMNS)) if wide else ()
        cells = (printable(entry.entry), *who, word)
        table.add_row(
            Text(*ENTRY_MARKS.get(entry.state, (" ", ""))),
            *(Text(printable(cell), style="cyan" if cell is word else "") for cell in cells),
            one_row(Text(printable(text))),
        )
    return table


def _latest(view: View, count: int) -> list[Trouble]:
    # An end is in the agent's row already.
    told = [one for one in (*view.troubles, *view.notes) if one.what != "ended"]
    return sorted(told, key=lambda one: one.at)[-count:]


def _trouble(one: Trouble) -> Text:
    said = one.text if one.what == "note" else f"{one.what}: {one.text}"
    return one_row(Text(printable(_of(one.agent, said, ": ")), style="yellow"))


def _of(agent: str, said: str, link: str) -> str:
    """Words with whose they are, unless they say so themselves."""
    return said if not agent or said.startswith(f"{agent} ") else f"{agent}{link}{said}"


# -- without a terminal ----------------------------------------------------------------------------


def line_for(line: Line) -> str | None:
    """An event as one line of printable text, such as `18:04:31 claude-1 works on T3: Mend the parser`.

    None for what is not notable: words, tools, tokens, and a run that goes on. The time is local.
    """
    said = _said(line.what)
    if said is None:
        return None
    try:
        clock = datetime.fromtimestamp(line.at).strftime("%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        clock = "--:--:--"
    return f"{clock} {shortened(printable(_of(line.agent, said, ' ')), LINE_CHARS)}"


def _said(what: Event) -> str | None:  # noqa: PLR0911 - one line for each kind
    match what:
        case Started():
            again = f", attempt {what.attempt}" if what.attempt > 1 else ""
            return f"started: {what.harness}, process {what.pid}{again}"
        case Joined():
            return "joined the board"
        case Connected(ok=False):
            return f"could not connect: {what.detail or 'the client does not say why'}"
        case Faulted():
            return f"reports: {what.text}"
        case Holds():
            return _held(what)
        case Ended():
            return f"ended: {exit_text(what)}"
        case Entered():
            return _entered(what)
        case RunIs() if what.state != "open":
            return f"the run is {what.state}{': ' if what.reason else ''}{what.reason}"
        case Noted():
            return what.text
        case _:
            return None


def _held(what: Holds) -> str | None:
    if not what.task:
        return None
    return f"{'verifies under' if what.kind == VERIFY else 'works on'} {what.task}: {what.subject}"


def _entered(what: Entered) -> str:
    strength = f" ({what.strength})" if what.strength and what.state == "admitted" else ""
    told = what.gist if what.state in {"admitted", "pending"} else what.reason or what.gist
    return f"{what.entry} {what.kind} {what.state}{strength}: {told}"
