"""`init`, `status`, `cancel` and `retract`: runs, as their owner sees them."""

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from rich.live import Live
from rich.markup import escape

from delm_mcp.board.adding import NewTask
from delm_mcp.board.operation import Operation
from delm_mcp.board.runs import Opening, summary
from delm_mcp.cli import views
from delm_mcp.cli.serving import BoardFile
from delm_mcp.cli.wiring import Served, err, opened, out, run
from delm_mcp.config import DEFAULT_PROTECT, Place, detect_check, find_place, load_policy, parse_command
from delm_mcp.domain.model import Caller, Change, Entry, EntryState, Principal, Role, TaskId, TaskState
from delm_mcp.domain.rendering import line
from delm_mcp.errors import ConfigError, NotFound

OWNER = Caller(Principal("owner"), Role.OWNER)
RunName = Annotated[str, typer.Option("--run", help="The run, where there are several.")]


def init(
    goal: Annotated[str, typer.Argument(help="What the team is to reach.")],
    task: Annotated[list[str] | None, typer.Option("--task", help="A first task; may be repeated.")] = None,
    tasks_file: Annotated[
        Path | None,
        typer.Option(
            help="First tasks as JSON: a list of {subject, detail, after, needs, priority, copies}."
        ),
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            help='A command that patches must pass, e.g. --check "pytest -q", or name=words; repeatable.'
        ),
    ] = None,
    check_timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a command is stopped.")
    ] = 600,
    policy: Annotated[str, typer.Option(help="open, standard, strict, or a TOML file.")] = "standard",
    protect: Annotated[
        list[str] | None,
        typer.Option(help="Globs that patches cannot change; default: tests and what configures them."),
    ] = None,
    source: Annotated[
        list[Path] | None, typer.Option(help="A text file that quotes are checked against; repeatable.")
    ] = None,
    run_name: Annotated[str, typer.Option("--run", help="A name for the run.")] = "",
    board: BoardFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> None:
    """Open a run: its goal, first tasks, commands and policy. Agents of this repository then find it.

    The commands, the policy and the current commit are written down now; nothing that agents edit later
    changes them. Uncommitted work is not part of the run.
    """

    async def main() -> None:
        place = await find_place(board)
        if check and place.repo is None:
            raise ConfigError(
                f"--check needs a git repository, because patches are commits. {place.problem}".strip(),
                "git init && git add -A && git commit -m start, or leave --check out.",
            )
        base = await _current_commit(place, needed=bool(check))
        opening = Opening(
            goal=goal,
            commands=tuple(parse_command(text, check_timeout) for text in check or ()),
            policy=load_policy(policy, tuple(protect or ()), DEFAULT_PROTECT if check else ()),
            sources=tuple(_source(path) for path in source or ()),
            repo=str(place.repo.main) if base and place.repo else "",
            base=base,
            run=run_name,
        )
        new = [NewTask(subject) for subject in task or ()] + _from_file(tasks_file)
        async with opened(board, create=True) as served:
            opened_run, tasks = await served.board.open_run(OWNER, opening, new or [NewTask(goal[:300])])
        if as_json:
            facts = {"run": opened_run, "tasks": [added.id for added in tasks], "board": str(place.board)}
            views.print_json({**facts, "base": opening.base})
            return
        out.print(
            f"run [bold]{opened_run}[/] is open with {len(tasks)} tasks, board {escape(str(place.board))}",
            highlight=False,
            soft_wrap=True,
        )
        for command in opening.commands:
            if shutil.which(command.argv[0]) is None:
                _warn(f"{command.argv[0]!r} of the command {command.name} is not on this PATH.")
        if not check:
            found = detect_check(place.repo.main) if place.repo else ""
            hint = f' This repository looks like --check "{found}".' if found else ""
            out.print(
                f"No command was given, so patches are attested, not executed.{hint}",
                highlight=False,
                soft_wrap=True,
            )
        out.print(
            "Agents join with [bold]delm-mcp stdio[/]; watch them with [bold]delm-mcp status --watch[/].",
            highlight=False,
        )

    run(main)


async def _current_commit(place: Place, *, needed: bool) -> str:
    """The commit that the run starts from; empty where there is none and none is needed."""
    if place.repo is None:
        return ""
    try:
        return await place.repo.resolve("HEAD")
    except NotFound:
        if not needed:
            return ""
        raise ConfigError(
            f"The repository {place.repo.main} has no commit yet.", 'git add -A && git commit -m "Start".'
        ) from None


def _warn(text: str) -> None:
    err.print(f"warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _source(path: Path) -> tuple[str, str]:
    try:
        return path.name, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--source {path} cannot be read as UTF-8 text: {error}.", "Convert it first."
        ) from error


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    subject: str
    detail: str = ""
    after: list[str] = []
    needs: list[str] = []
    priority: int = 0
    copies: int = 1


def _from_file(path: Path | None) -> list[NewTask]:
    if path is None:
        return []
    example = 'It holds a list like [{"subject": "...", "after": ["#1"], "needs": ["gpu"]}].'
    try:
        rows = TypeAdapter(list[_Row]).validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"--tasks-file {path} cannot be read: {error.strerror}.", "Check the path."
        ) from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise ConfigError(f"--tasks-file {path}: {place}: {fault['msg']}.", example) from None
    return [
        NewTask(row.subject, row.detail, tuple(row.after), tuple(row.needs), row.priority, row.copies)
        for row in rows
    ]


def status(
    board: BoardFile = None,
    run_name: RunName = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="A live view, until Ctrl-C; with --json a line for each change.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show the board: its store, its runs, who works on what, and what was verified last."""

    async def main() -> None:
        async with opened(board) as served:
            if watch:
                await (_stream(served, run_name) if as_json else _watch(served, run_name))
                return
            seen = await _look(served, run_name)
            if as_json:
                views.print_json(seen)
            else:
                out.print(views.board(seen))

    run(main)


async def _look(served: Served, run_name: str) -> dict[str, Any]:
    """Everything that `status` shows, as JSON values."""
    now = served.board.clock()
    state = await served.board.store.status()

    def looking(op: Operation) -> list[dict[str, Any]]:
        rows = [op.run(run_name)] if run_name else op.tx.runs()
        return [{**summary(op, row), **views.details(op, row)} for row in rows]

    runs = await served.board.store.read(lambda tx: looking(Operation(tx, now, served.board.ids)))
    return {
        "board": state.location,
        "engine": f"{state.engine} {state.engine_version}",
        "durability": state.durability,
        "schema": state.schema,
        "warnings": list(state.warnings),
        "runs": runs,
    }


async def _watch(served: Served, run_name: str) -> None:
    with Live(console=out, auto_refresh=False, screen=out.is_terminal) as live:
        while True:
            cursor = served.board.store.committed()
            live.update(views.board(await _look(served, run_name)), refresh=True)
            await served.board.store.wait(cursor, 1.0)
            await anyio.sleep(0.1)  # so that a busy board is drawn ten times a second at most


async def _stream(served: Served, run_name: str) -> None:
    """Print a line of JSON whenever something has changed but the time that passed."""
    told: Any = None
    while True:
        cursor = served.board.store.committed()
        seen = await _look(served, run_name)
        if (settled := _settled(seen)) != told:
            told = settled
            sys.stdout.write(json.dumps(seen) + "\n")  # ASCII, so that nothing in it steers a terminal
            sys.stdout.flush()
        await served.board.store.wait(cursor, 1.0)
        await anyio.sleep(0.1)


def _settled(value: Any) -> Any:
    """The values of a status without those that change by themselves."""
    if isinstance(value, dict):
        return {
            key: _settled(item) for key, item in value.items() if key not in {"seen_s_ago", "lease_left_s"}
        }
    return [_settled(item) for item in value] if isinstance(value, list) else value


def cancel(
    reason: Annotated[str, typer.Argument(help="Why; agents are told.")],
    board: BoardFile = None,
    run_name: RunName = "",
) -> None:
    """Cancel a run and its unfinished tasks; what was verified stays readable."""

    async def main() -> None:
        async with opened(board) as served:
            ended = await served.board.cancel_run(OWNER, run_name, reason)
        err.print(f"run {ended} is cancelled", highlight=False)

    run(main)


def retract(
    entry: Annotated[str, typer.Argument(help="The entry, e.g. E12.")],
    reason: Annotated[str, typer.Argument(help="Why; agents are told.")],
    board: BoardFile = None,
) -> None:
    """Take an entry out of the context. What rests on it becomes suspect and is verified again."""

    async def main() -> None:
        async with opened(board) as served:
            gone = await served.board.retract(OWNER, entry, reason)
            now, ids = served.board.clock(), served.board.ids
            fell, told = await served.board.store.read(lambda tx: _fallout(Operation(tx, now, ids), gone))
        out.print(fell, end="", highlight=False, markup=False, soft_wrap=True)
        err.print(told, highlight=False, markup=False, soft_wrap=True)

    run(main)


def _fallout(op: Operation, gone: Entry) -> tuple[str, str]:
    """What a retraction did: its lines of the context, and what comes next."""
    version = op.tx.changes_of(gone.id)[-1].version
    changes = op.tx.changes(gone.run, version - 1, version)
    entries = op.tx.headlines({change.entry for change in changes})
    lines = "".join(line(change, entries[change.entry]) for change in changes)
    fell = sum(change.what is Change.RETRACTED for change in changes) - 1
    suspect = [row.label for row in op.tx.descendants(gone.id) if row.state is EntryState.SUSPECT]
    told = [f"{gone.label} is retracted"]
    if fell:
        told.append(f"{fell} more fell with it")
    named = ", ".join(suspect)
    told.append(f"suspect, to be verified again: {named}" if suspect else "nothing is suspect because of it")
    task = op.tx.task(TaskId(gone.task)) if gone.completes else None
    if task is not None and task.state is not TaskState.DONE:
        told.append(f"{task.label}, which it had completed, is {task.state}")
    return lines, "; ".join(told)
