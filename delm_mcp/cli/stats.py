"""`stats`: what the gate did, what it cost, and what it let through."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from delm_mcp.board.operation import Operation
from delm_mcp.board.stats import report
from delm_mcp.cli.reading import AsJson, look
from delm_mcp.cli.serving import BoardFile
from delm_mcp.cli.views import escape, print_json
from delm_mcp.cli.wiring import opened, out, run

Facts = dict[str, Any]
Row = tuple[str, str, str]


def stats(
    board: BoardFile = None,
    run_name: Annotated[str, typer.Option("--run", help="The run; by default all of them.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what verification did, saved, cost and missed: for each run, and for all together."""

    def counts(op: Operation) -> Facts:
        return report(op, [op.run(run_name)] if run_name else op.tx.runs())

    async def main() -> None:
        async with opened(board) as served:
            found = await look(served, counts)
        if as_json:
            print_json(found)
        else:
            out.print(shown(found))

    run(main)


def shown(found: Facts) -> RenderableType:
    """The economics as something that rich prints."""
    runs: list[Facts] = found["runs"]
    if not runs:
        return Text('No runs yet. Open one with delm-mcp init "goal".')
    if len(runs) == 1:
        title = f"{runs[0]['run']}: {escape(runs[0]['goal'][:100])}"
        return Panel(_figures(runs[0]), title=title, title_align="left")
    return Group(
        _overview(runs, found["total"]),
        Panel(_figures(found["total"]), title=f"all {len(runs)} runs", title_align="left"),
    )


def _overview(runs: Sequence[Facts], total: Facts) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("run")
    for name in ("proposals", "admitted", "refused", "p50", "p99", "verifying", "judge", "retractions"):
        table.add_column(name, justify="right")
    for facts in (*runs, {**total, "run": "all"}):
        proposals, everything = facts["proposals"], facts["admission"].get("all")
        table.add_row(
            facts["run"],
            str(proposals["total"]),
            str(proposals["admitted"]),
            str(proposals["rejected"]),
            duration(everything["p50_s"]) if everything else "-",
            duration(everything["p99_s"]) if everything else "-",
            duration(facts["verifying"]["agents_s"]),
            _cost(facts["verifying"]["judge"]),
            str(sum(facts["retractions"].values())),
        )
    return table


def _figures(facts: Facts) -> RenderableType:
    if not facts["proposals"]["total"]:
        return Text("Nothing has been proposed yet, so there is nothing to count.")
    sections = {
        "the gate": _gate(facts["proposals"]),
        "false starts saved": _saved(facts["saved"]),
        "what it cost": _cost_rows(facts["verifying"]),
        "what it let through": _misses(facts),
    }
    parts: list[RenderableType] = []
    for title, rows in sections.items():
        parts += [Text(title, style="bold"), _table(rows), Text("")]
    return Group(
        *parts, Text("time from proposal to admission", style="bold"), _admission(facts["admission"])
    )


def _table(rows: Sequence[Row]) -> Table:
    """Names, numbers, and what a number could be misread without."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(width=20)
    table.add_column(justify="right", min_width=20, no_wrap=True)
    table.add_column(style="dim")
    for name, number, remark in rows:
        table.add_row(f"  {name}", number, remark)
    return table


# -- the sections --------------------------------------------------------------------------------


def _gate(proposals: Facts) -> list[Row]:
    refused = _listed(proposals["refused"])
    if proposals["could_not_check"]:
        refused += f"; {proposals['could_not_check']} of them because a check could not run or tell"
    now = {name: proposals[name] for name in ("live", "suspect", "superseded", "retracted")}
    rows = [
        ("proposals", str(proposals["total"]), ""),
        ("admitted", str(proposals["admitted"]), _listed(proposals["by_strength"])),
        ("", "", f"now {_listed(now)}" if proposals["admitted"] else ""),
        ("refused", str(proposals["rejected"]), refused),
        ("pending", str(proposals["pending"]), ""),
        ("attested only", str(proposals["attested_only"]), "admitted with nothing but their author's word"),
        ("without peers", str(proposals["without_peers"]), "peers were to judge, and none was there"),
    ]
    return [row for row in rows if any(row)]


def _saved(saved: Facts) -> list[Row]:
    exact, key = saved["same_gist"], saved["same_key"]
    return [
        (
            "duplicates refused",
            str(saved["duplicates"]),
            f"{exact} said again, {key} for a key that is taken",
        ),
        (
            "tasks skipped",
            str(saved["skipped"]),
            "somebody else's live fail stands behind the result, or behind giving up; who avoids a dead "
            "end without a word is not counted",
        ),
    ]


def _cost_rows(verifying: Facts) -> list[Row]:
    judge = verifying["judge"]
    ended = (
        f"{verifying['done']} with a verdict ({verifying['abstained']} abstained), {verifying['closed']} not "
        f"needed any more, {verifying['open']} open; {verifying['lost']} leases lost"
    )
    server = _listed({name: duration(value) for name, value in verifying["server_s"].items()})
    server_s = sum(verifying["server_s"].values())
    untimed = verifying["untimed"]
    if untimed:
        server += f"; the duration of {untimed} more is not known"
    return [
        ("verify tasks", str(verifying["asked"]), ended),
        ("agents' time", duration(verifying["agents_s"]), "from claim to verdict"),
        ("servers' time", _at_least(duration(server_s), bool(untimed)), server),
        ("judge", _cost(judge), _billed(judge)),
        (
            "cases",
            f"{verifying['case_tokens']:,} tokens",
            "given to verifiers to read; what agents spend on thinking is not known to the board",
        ),
    ]


def _billed(judge: Facts) -> str:
    if not judge["bills"]:
        return "no model was asked"
    tokens = f"{judge['input_tokens']:,} tokens in, {judge['output_tokens']:,} out"
    said = f"{judge['bills']} bills, {judge['requests']} requests, "
    said += _at_least(tokens, bool(judge["uncounted"]))
    if judge["unknown_costs"]:
        said += f"; the cost of {judge['unknown_costs']} is unknown"
    return said


def _misses(facts: Facts) -> list[Row]:
    disputes, retractions = facts["disputes"], facts["retractions"]
    outcomes = {name: disputes[name] for name in ("upheld", "dismissed", "open", "moot")}
    caught = _listed({f"by {name}": count for name, count in retractions.items()})
    return [
        ("disputes", str(disputes["total"]), _listed(outcomes)),
        (
            "retractions",
            str(sum(retractions.values())),
            f"admitted at first, caught {caught}" if caught else "of what was admitted",
        ),
    ]


def _admission(admission: Facts) -> RenderableType:
    if not admission:
        return Text("  nothing was admitted yet")
    table = Table("  waited for", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("admitted", "p50", "p99", "longest"):
        table.add_column(name, justify="right")
    for path, times in admission.items():
        table.add_row(
            f"  {'the board alone' if path == 'board' else path}",
            str(times["count"]),
            *(duration(times[name]) for name in ("p50_s", "p99_s", "max_s")),
        )
    return table


# -- numbers -------------------------------------------------------------------------------------


def duration(value_s: float) -> str:
    """Seconds for people."""
    if value_s < 0.0005:
        return "0 s"
    if value_s < 1:
        return f"{value_s * 1000:.0f} ms"
    if value_s < 120:
        return f"{value_s:.1f} s"
    return f"{value_s / 60:.0f} min" if value_s < 7200 else f"{value_s / 3600:.1f} h"


def _cost(judge: Facts) -> str:
    if not judge["bills"]:
        return "-"
    if judge["usd"] is None:
        return "cost unknown"
    return _at_least(f"{judge['usd']:.4f} USD", bool(judge["unknown_costs"]))


def _at_least(text: str, partly: bool) -> str:
    return f"at least {text}" if partly else text


def _listed(counts: Facts) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)
