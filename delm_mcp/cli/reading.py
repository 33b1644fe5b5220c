"""`context`, `why` and `diff`: what is verified, what stands behind it, and how it changed."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, TypeVar

import typer

from delm_mcp.board import reading
from delm_mcp.board.identity import find_run, label_id
from delm_mcp.board.operation import Operation
from delm_mcp.board.reading import MAX_BUDGET, Wanted
from delm_mcp.cli import views
from delm_mcp.cli.runs import OWNER, RunName
from delm_mcp.cli.serving import BoardFile
from delm_mcp.cli.wiring import Served, err, opened, out, run
from delm_mcp.domain import rendering
from delm_mcp.domain.differences import Difference
from delm_mcp.domain.explaining import Explanation
from delm_mcp.domain.model import Entry, EntryId

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


async def look(served: Served, action: Callable[[Operation], T]) -> T:
    """Read from an open board."""
    now = served.board.clock()
    return await served.board.store.read(lambda tx: action(Operation(tx, now, served.board.ids)))


def context(
    board: BoardFile = None,
    run_name: RunName = "",
    at: Annotated[int, typer.Option(min=0, help="As it was at this version; default: now.")] = 0,
    since: Annotated[int, typer.Option(min=0, help="Only what came after this version.")] = 0,
    kind: Annotated[str, typer.Option(help="Only fact, fail, patch or answer.")] = "",
    query: Annotated[str, typer.Option(help="Only gists with these words.")] = "",
    unfold: Annotated[list[str] | None, typer.Option(help="An entry in full, e.g. E12; repeatable.")] = None,
    why: Annotated[str, typer.Option(help="What stands behind an entry, e.g. E12.")] = "",
) -> None:
    """Print the verified context, now or at any earlier version."""

    async def main() -> None:
        asked = [(why, "why")] if why else [(label, "context") for label in unfold or ()]
        async with opened(board) as served:
            for label, view in asked:
                await _print(
                    served,
                    run_name,
                    Wanted(view=view, entries=(label,), level="raw", budget_tokens=MAX_BUDGET),
                )
            if not asked:
                await _print(
                    served, run_name, Wanted(since, at, kind=kind, query=query, budget_tokens=MAX_BUDGET)
                )

    run(main)


async def _print(served: Served, run_name: str, wanted: Wanted) -> None:
    """Print all of a reading, page by page."""
    while True:
        reading = await served.board.read_context(OWNER, wanted, run=run_name)
        out.print(reading.text, end="", highlight=False, markup=False, soft_wrap=True)
        if not reading.more or wanted.entries:
            break
        wanted = replace(wanted, since=reading.version_read)
    err.print(f"run {reading.run} ({reading.run_state}), version {reading.version_read}", highlight=False)


def why(
    entry: Annotated[str, typer.Argument(help="The entry, e.g. E12.")],
    board: BoardFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what stands behind an entry: how it got where it is, and what it rests on, however deep.

    Evidence and where the server found it, what each check said, verdicts and disputes, and the same for
    the entries that it derives from.
    """

    async def main() -> None:
        async with opened(board) as served:
            found = await look(served, lambda op: _explained(op, entry))
        if as_json:
            views.print_json(found.facts)
        elif out.is_terminal:
            out.print(views.tree(found))
        else:
            out.print(found.text, end="", highlight=False, markup=False, soft_wrap=True)

    run(main)


def _explained(op: Operation, label: str) -> Explanation:
    return reading.explanation(op, EntryId(label_id(label, "E")))


def diff(
    since: Annotated[int, typer.Argument(min=0, help="The earlier version.")],
    upto: Annotated[int, typer.Argument(min=0, help="The later version; default: now.")] = 0,
    board: BoardFile = None,
    run_name: RunName = "",
    as_json: AsJson = False,
) -> None:
    """Show what changed between two versions of the context on balance, an entry a line.

    + relied on now, ~ replaced, ? in doubt, ! retracted, - came and went in between, = as before.
    """

    def compares(op: Operation) -> tuple[str, int, list[tuple[Difference, Entry]]]:
        home = find_run(op, OWNER, run_name, "", reading=True)
        return home.id, upto or home.version, reading.compare(op, home, since, upto)

    async def main() -> None:
        async with opened(board) as served:
            name, last, found = await look(served, compares)
        if as_json:
            rows = [_difference(*pair) for pair in found]
            views.print_json({"run": name, "from": since, "to": last, "differences": rows})
            return
        for difference, entry in found:
            out.print(views.difference(difference, entry), highlight=False, soft_wrap=True)
        counts = Counter(difference.effect.value for difference, _ in found)
        said = ", ".join(f"{count} {effect}" for effect, count in counts.items()) or "nothing changed"
        err.print(f"run {name}, version {since} to {last}: {said}", highlight=False)

    run(main)


def _difference(found: Difference, entry: Entry) -> dict[str, Any]:
    return {
        **rendering.facts(entry),
        "effect": found.effect.value,
        "was": found.was.value if found.was else "",
        "now": found.now.value,
        "note": found.note,
        "versions": [change.version for change in found.changes],
    }
