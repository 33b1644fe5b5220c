"""`stdio`, `serve` and `tools`: the board as an MCP server."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from delm_mcp.board import tokens
from delm_mcp.board.answers import Claim
from delm_mcp.board.background import beside
from delm_mcp.board.ids import RandomIds
from delm_mcp.board.keeping import Keeper
from delm_mcp.checks.runner import Wish
from delm_mcp.cli.sessions import Book
from delm_mcp.cli.wiring import opened, out, run
from delm_mcp.config import local_principal
from delm_mcp.domain.model import Caller, Principal
from delm_mcp.domain.travel import Reach, Shares
from delm_mcp.errors import ConfigError
from delm_mcp.surfaces.addresses import is_loopback

BoardFile = Annotated[
    Path | None,
    typer.Option(
        "--board", help="The board's file. Default: .delm/board.db in the repository's main worktree."
    ),
]
Commands = Annotated[
    Wish,
    typer.Option(
        "--commands",
        help="How the run's commands are run: auto (bubblewrap where it works, else a plain process), "
        "bubblewrap, process, or off.",
    ),
]


def stdio(
    board: BoardFile = None,
    agent: Annotated[
        str, typer.Option("--agent", envvar="DELM_AGENT", help="Speak only for this agent name.")
    ] = "",
    commands: Commands = "auto",
) -> None:
    """Serve one agent over standard input and output; this is what agents start."""

    from delm_mcp.surfaces.mcp import make_server
    from delm_mcp.surfaces.stdio import serve_stdio

    async def main() -> None:
        async with opened(board, commands=commands, create=True, works=True) as served:
            caller = Caller(Principal(local_principal(agent or RandomIds().token())), agent=agent)
            keeper = Keeper(served.board, lambda: caller)
            book = Book(served.place.board)

            def claimed(claim: Claim) -> None:
                book.note(claim.run, claim.agent)
                if claim.lease:
                    keeper.add(claim.lease, claim.expires_s)

            server = make_server(served.board, lambda: caller, on_claim=claimed)
            try:
                async with beside(keeper.work):
                    await serve_stdio(server)
            finally:
                book.close()
                await keeper.release_all()

    run(main)


def serve(
    board: BoardFile = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond loopback, tokens are required.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8722,
    commands: Commands = "off",
    url: Annotated[str, typer.Option(help="How clients reach this server, if not by host and port.")] = "",
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Accept only this Host header; may be given several times.")
    ] = None,
    repo_url: Annotated[
        str,
        typer.Option(
            help="Where agents elsewhere can `git fetch` the repository; answers then say so. Without it "
            "they exchange patches as text."
        ),
    ] = "",
) -> None:
    """Host the board over streamable HTTP at /mcp, with a health check at /healthz.

    Commands are off by default, because they run what agents wrote. `--commands bubblewrap` runs them
    without network on a read-only system; `auto` and `process` are for loopback only.
    """

    from delm_mcp.cli.listening import listen

    async def main() -> None:
        if commands in ("auto", "process") and not is_loopback(host):
            raise ConfigError(
                f"--commands {commands} may run agents' code without a sandbox, so not on {host}.",
                "Use --commands bubblewrap, or off.",
            )
        if not repo_url.isprintable() or repo_url.startswith("-"):
            raise ConfigError("--repo-url is no address.", "Give what agents can pass to `git fetch`.")
        reach = Reach(Shares.PERHAPS if is_loopback(host) else Shares.NO, repo_url.strip())
        async with opened(board, commands=commands, create=True, works=True, reach=reach) as served:
            valid = await tokens.active(served.board.store, served.board.clock())
            if not valid and not is_loopback(host):
                raise ConfigError(
                    f"Nobody could be told apart on {host}: the board has no tokens.",
                    "Make one first: delm-mcp token create NAME. Or listen on 127.0.0.1.",
                )
            await listen(served.board, host, port, bool(valid), url, tuple(allow_host or ()))

    run(main)


def tools() -> None:
    """Print what the tool definitions cost each agent's context, in tokens."""

    from delm_mcp.surfaces import schemas
    from delm_mcp.surfaces.mcp import make_server

    async def main() -> None:
        server = make_server(None, lambda: None)  # type: ignore[arg-type, return-value]
        table = Table("tool", "tokens", title="names + descriptions + input schemas, at 4 characters a token")
        listed = await server.list_tools()
        for tool in listed:
            table.add_row(tool.name, str(schemas.tokens(tool)))
        table.add_section()
        table.add_row("all", f"{sum(map(schemas.tokens, listed))} of {schemas.TOKENS_MAX}")
        out.print(table)

    run(main)
