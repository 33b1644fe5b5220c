"""`doctor`: whether the agents' clients that are here can reach the board, and what to do if not."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer
from rich.table import Table

from delm_mcp import __version__
from delm_mcp.checks.bubblewrap import bubblewrap_problem
from delm_mcp.checks.gitrunner import find_git
from delm_mcp.checks.processes import run_program
from delm_mcp.cli import views
from delm_mcp.cli.joining import documents, files
from delm_mcp.cli.joining.recipes import CLIENTS, Client, Scope, file_of, local_server, project_root
from delm_mcp.cli.serving import BoardFile
from delm_mcp.cli.wiring import opened_at, out, run
from delm_mcp.config import Place, find_place
from delm_mcp.errors import CheckUnavailable, ConfigError, DelmError

if TYPE_CHECKING:
    from delm_mcp.cli.joining.reaching import Reached, Target, Unreachable


class State(StrEnum):
    OK = "ok"
    NOTE = "note"  # works, and could be better
    BROKEN = "broken"


PATIENCE_S = 10.0
_STYLE = {State.OK: "green", State.NOTE: "yellow", State.BROKEN: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it, if anything."""

    subject: str
    state: State
    detail: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A client's entry for the board, and the file that it stands in."""

    client: Client
    scope: Scope
    file: Path
    target: "Target"


def doctor(
    board: BoardFile = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Also start other programs, and call URLs, that this project's files name."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check that agents can join: this machine, the board, and each client that is here.

    Does for every entry of ours what its client would do: starts the command (or calls the URL), connects
    and lists the tools. What a project's files name beside delm-mcp itself came with the project, so it is
    tried with --trust only. Changes nothing, and makes no board. Exits with 1 if something is broken.
    """

    async def main() -> None:
        place = await find_place(board)
        findings = [*await _machine(), await _board(place), *await _clients(trust=trust)]
        if as_json:
            views.print_json([asdict(finding) for finding in findings])
        else:
            _print(findings)
        if any(finding.state is State.BROKEN for finding in findings):
            raise typer.Exit(1)

    run(main)


def _print(findings: list[Finding]) -> None:
    table = Table("", "", "", box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        style = _STYLE[finding.state]
        table.add_row(
            views.escape(finding.subject), f"[{style}]{finding.state}[/]", views.escape(finding.detail)
        )
        if finding.hint:
            table.add_row("", "", f"[cyan]{views.escape(finding.hint)}[/]")
    out.print(table)


# -- the machine and the board -------------------------------------------------------------------


async def _machine() -> list[Finding]:
    findings = [Finding("Python", State.OK, f"{platform.python_version()} ({sys.executable})")]
    try:
        said = await run_program(
            [find_git(), "--version"], cwd=Path.cwd(), env=os.environ, timeout_s=PATIENCE_S
        )
        version = said.stdout.decode("utf-8", "replace").strip().removeprefix("git version ")
        findings.append(Finding("git", State.OK, version))
    except CheckUnavailable as error:
        findings.append(
            Finding("git", State.NOTE, error.problem, "Without it no patch can be checked. Install git.")
        )
    problem = await bubblewrap_problem()
    findings.append(
        Finding(
            "bubblewrap", State.NOTE, problem, "Commands then run as plain processes. Install bubblewrap."
        )
        if problem
        else Finding("bubblewrap", State.OK, "commands run without network, on a read-only system")
    )
    command = local_server().command[0]
    findings.append(
        Finding("delm-mcp", State.OK, f"{__version__}, on PATH")
        if command == "delm-mcp"
        else Finding(
            "delm-mcp",
            State.NOTE,
            f"{__version__} is {command}, and PATH leads to {shutil.which('delm-mcp') or 'none'}",
            "`pipx install .` or `uv tool install .` puts it on PATH; the plugins need that.",
        )
    )
    return findings


async def _board(place: Place) -> Finding:
    if not place.board.exists():
        hint = 'Open a run with `delm-mcp init "goal"`, or let the first agent do it.'
        return Finding("board", State.NOTE, f"none yet at {place.board}", hint)
    try:
        async with opened_at(place) as served:
            status = await served.board.store.status()
            runs = await served.board.store.read(lambda tx: [f"{run.id} ({run.state})" for run in tx.runs()])
    except DelmError as error:
        return Finding("board", State.BROKEN, error.problem, error.hint)
    shown = ", ".join(runs[-3:]) or "no run yet"
    detail = f"{place.board}, {status.engine} {status.engine_version}, {shown}"
    warning = " ".join((*status.warnings, place.problem)).strip()
    return Finding("board", State.NOTE if warning else State.OK, detail, warning)


# -- the clients ---------------------------------------------------------------------------------


async def _clients(*, trust: bool) -> list[Finding]:
    """Every client that is here, in the order of our list; entries that lead to one place share a check."""
    findings: dict[str, list[Finding]] = {name: [] for name in CLIENTS}
    links: list[Link] = []
    for client in CLIENTS.values():
        for found in _entries(client):
            if isinstance(found, Link) and (trust or _is_harmless(found)):
                links.append(found)
            elif isinstance(found, Link):
                findings[client.name].append(_untried(found))
            else:
                findings[client.name].append(found)
    answers = await _reach_all({link.target for link in links})
    for link in links:
        findings[link.client.name].append(_linked(link, answers[link.target]))
    shown = [finding for listed in findings.values() for finding in listed]
    none = Finding("clients", State.NOTE, f"none of {', '.join(CLIENTS)} is here", "Install one of them.")
    return shown or [none]


def _entries(client: Client) -> Iterator[Link | Finding]:
    """What a client's files and packages say of the board."""
    from delm_mcp.cli.joining.reaching import Target, Unreachable, target_of

    here = shutil.which(client.program) is not None
    joined = False
    for scope in Scope:
        file = file_of(client, scope, Path.cwd())
        try:
            facts = documents.parse(client, files.decode(files.load(file), file), str(file))
            entry = documents.entry_in(client, facts)
            if entry is None:
                continue
            joined = True
            yield Link(client, scope, file, target_of(entry))
        except ConfigError as error:
            yield Finding(client.title, State.BROKEN, error.problem, error.hint)
        except Unreachable as error:
            yield Finding(client.title, State.BROKEN, f"{file}: {error}", error.hint)
    package = _package(client)
    if package is not None:
        joined = True
        yield Link(client, Scope.USER, package, Target(("delm-mcp", "stdio")))
    if here and not joined:
        hint = f"delm-mcp install {client.name}"
        yield Finding(client.title, State.NOTE, "is here, and knows nothing of the board", hint)


def _is_harmless(link: Link) -> bool:
    """Whether trying it does nothing that whoever wrote a project's files could have chosen.

    A cloned repository may name any program, and any URL with any variable of ours in a header.
    """
    own = link.target.command in {("delm-mcp", "stdio"), local_server().command}
    return link.scope is Scope.USER or (own and not link.target.variables)


def _untried(link: Link) -> Finding:
    hint = "If you know it, `delm-mcp doctor --trust` tries it."
    detail = f"{link.file}: {link.target.shown} came with this project, and was not tried"
    return Finding(link.client.title, State.NOTE, detail, hint)


def _package(client: Client) -> Path | None:
    """Where a client says that it has our plugin or extension."""
    home = Path.home()
    if client.name == "gemini":
        manifest = client.user(home).parent / "extensions" / "delm" / "gemini-extension.json"
        return manifest if manifest.exists() else None
    if client.name == "claude":
        base = os.environ.get("CLAUDE_CONFIG_DIR")
        file, section = (Path(base) if base else home / ".claude") / "settings.json", "enabledPlugins"
        read = partial(documents.parse, CLIENTS["claude"])
    elif client.name == "codex":
        file, section = client.user(home), "plugins"
        read = partial(documents.parse, client)
    else:
        return None
    try:
        plugins = read(files.decode(files.load(file), file), str(file)).get(section)
    except ConfigError:
        return None
    return file if isinstance(plugins, dict) and any(map(_is_on, plugins.items())) else None


def _is_on(plugin: tuple[str, Any]) -> bool:
    name, setting = plugin
    on = setting.get("enabled", True) if isinstance(setting, dict) else setting
    return name.startswith("delm@") and bool(on)


async def _reach_all(targets: set["Target"]) -> dict["Target", "Reached | Unreachable"]:
    from delm_mcp.cli.joining.reaching import Unreachable, reach

    answers: dict[Target, Reached | Unreachable] = {}
    folder = project_root(Path.cwd())

    async def ask(target: "Target", spare: Path) -> None:
        # A board of its own: on the folder's, which may have been cloned too, it would run waiting checks.
        try:
            answers[target] = await reach(target, folder, spare)
        except Unreachable as error:
            answers[target] = error

    with tempfile.TemporaryDirectory(prefix="delm-doctor-") as scratch:
        async with anyio.create_task_group() as group:
            for number, target in enumerate(targets):
                group.start_soon(ask, target, Path(scratch) / f"{number}.db")
    return answers


def _linked(link: Link, answer: "Reached | Unreachable") -> Finding:
    where = f"{link.file}: {link.target.shown}"
    if isinstance(answer, Exception):
        repair = f"{answer.hint} `delm-mcp install {link.client.name} --scope {link.scope}` writes its entry."
        return Finding(link.client.title, State.BROKEN, f"{link.file}: {answer}", repair)
    detail = f"{where} answers in {answer.seconds:g} s with {answer.tools} tools"
    if answer.version != __version__:
        hint = f"It is delm-mcp {answer.version}, and this is {__version__}."
        return Finding(link.client.title, State.NOTE, detail, hint)
    return Finding(link.client.title, State.OK, detail)
