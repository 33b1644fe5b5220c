"""`install`: tells an agent's client of the board, in the client's own configuration file."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from delm_mcp.board.tokens import PREFIX
from delm_mcp.cli.joining import documents, files
from delm_mcp.cli.joining.files import Records
from delm_mcp.cli.joining.recipes import Client, Scope, Server, client_named, file_of, local_server
from delm_mcp.cli.joining.showing import diff_of
from delm_mcp.cli.wiring import err, out, run
from delm_mcp.config import state_folder
from delm_mcp.errors import ConfigError

_LINE_STYLE = {"+": "green", "-": "red", "@": "cyan"}


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a file; `after` None removes it, and an undo will bring `ground` back."""

    file: Path
    before: bytes | None
    after: bytes | None
    why: str
    folders: tuple[str, ...] = ()
    ground: bytes | None = None


def install(
    client: Annotated[
        str, typer.Argument(help="claude, codex, gemini, opencode, vscode or cursor.", show_default=False)
    ],
    scope: Annotated[
        Scope | None,
        typer.Option(
            help="project: for this repository, also for those who share it. user: for all of yours. "
            "Default: project, but user for codex.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str, typer.Option(help="A server of your team, e.g. https://host/mcp, in place of a local board.")
    ] = "",
    token_variable: Annotated[
        str,
        typer.Option(
            help="The variable that holds the token for --url, e.g. DELM_TOKEN; only its name is kept."
        ),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the change and make none.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back.")] = False,
) -> None:
    """Let a client's agents join the board: adds one entry to the client's own configuration file.

    Shows the change and asks first. Everything else in the file stays as it is: comments, order, keys that
    we do not know, indentation and line ends. A second time it changes nothing. --undo puts the file back
    byte for byte, or, where it was changed since, takes out our entry alone; what the file was before is
    kept for that in ~/.local/state/delm-mcp, for you only.
    """

    async def main() -> None:
        known = client_named(client)
        server = _server(url, token_variable)
        where = scope or known.scope
        file = file_of(known, where, Path.cwd())
        records = Records(state_folder())
        change = _undoing(known, file, records) if undo else _adding(known, file, server, records)
        if change.before == change.after:
            out.print(f"{file}: {change.why}; nothing to do.", markup=False, highlight=False, soft_wrap=True)
            return
        _show(change)
        if dry_run:
            return
        if not yes and not typer.confirm("Make this change?", err=True):
            raise typer.Exit(1)
        _make(change, records, undo=undo)
        _say(f"{file}: undone." if undo else f"{file}: {known.title} finds the board in its next session.")
        for line in () if undo else filter(None, (known.after, _shared(where, server))):
            _say(line)

    run(main)


def _say(text: str, style: str = "") -> None:
    err.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _server(url: str, token_variable: str) -> Server:
    if token_variable and not url:
        raise ConfigError("--token-variable goes with --url.", "A local board needs no token.")
    if not url:
        return local_server()
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--url {url!r} is no address.", "For example https://host:8722/mcp.")
    if "@" in url.partition("://")[2].partition("/")[0] or PREFIX in url:
        raise ConfigError(
            "--url has a password or a token in it.", "Pass its variable: --token-variable NAME."
        )
    if token_variable and (not token_variable.isidentifier() or token_variable.startswith(PREFIX)):
        # It may be the token itself, and half of those would do as names.
        raise ConfigError(
            "--token-variable is no name of a variable.",
            "Name the variable that holds the token, such as DELM_TOKEN; do not pass the token itself.",
        )
    return Server(url=url, token_variable=token_variable)


def _shared(scope: Scope, server: Server) -> str:
    """What those who share a project have to know of its entry."""
    if scope is Scope.PROJECT and server.command and Path(server.command[0]).is_absolute():
        return f"delm-mcp is not on PATH, so {server.command[0]} was written: others will have it elsewhere."
    return ""


def _adding(client: Client, file: Path, server: Server, records: Records) -> Change:
    before = files.load(file)
    text = files.decode(before, file)
    present = documents.entry_in(client, documents.parse(client, text, str(file)))
    wanted = documents.merged(present, client.entry(server))
    if present == wanted:
        return Change(file, before, before, "the board's entry is there")
    after = documents.with_entry(client, text, wanted, str(file)).encode("utf-8")
    record, ground = records.of(file), before
    if record is not None and before is not None and files.digest(before) != record.after:
        # The user's changes since an earlier install are to stay, and its entry is not the user's.
        ground = documents.without_entry(client, text, str(file)).encode("utf-8")
    return Change(file, before, after, "added", ground=ground)


def _undoing(client: Client, file: Path, records: Records) -> Change:
    before = files.load(file)
    record = records.of(file)
    if before is not None and record is not None and files.digest(before) == record.after:
        after = None if record.before is None else base64.b64decode(record.before)
        return Change(file, before, after, "as it was", record.folders)
    if before is None:
        return Change(file, None, None, "is not there")
    text = files.decode(before, file)
    after = documents.without_entry(client, text, str(file)).encode("utf-8")
    if after == before:
        return Change(file, before, before, "has no entry of ours")
    why = "changed since it was installed" if record else "nothing is known of how it was before"
    _say(f"{file}: {why}, so only our entry is removed.", "yellow")
    return Change(file, before, after, why)


def _make(change: Change, records: Records, *, undo: bool) -> None:
    earlier = records.of(change.file)
    if change.after is None:
        if files.load(change.file) != change.before:
            raise ConfigError(f"{change.file} was changed meanwhile.", "Run the command again.")
        files.remove(change.file, change.folders)
    elif undo:
        files.replace(change.file, change.after, expected=change.before)
    else:
        records.keep(change.file, change.ground, change.after)
        try:
            files.replace(change.file, change.after, expected=change.before)
        except ConfigError:
            records.put(change.file, earlier)
            raise
    if undo:
        records.put(change.file, None)


def _show(change: Change) -> None:
    """The change as a diff, on standard output."""
    before, after = ((content or b"").decode("utf-8") for content in (change.before, change.after))
    names = (str(change.file) if change.before is not None else "(not there)",
             str(change.file) if change.after is not None else "(removed)")  # fmt: skip
    for line in diff_of(before, after, names):
        style = "bold" if line.startswith(("+++", "---")) else _LINE_STYLE.get(line[:1], "")
        out.print(Text(line, style=style), soft_wrap=True)
