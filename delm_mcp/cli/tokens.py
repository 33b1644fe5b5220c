"""`token`: rights to call over HTTP."""

import re
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from delm_mcp.board import tokens
from delm_mcp.cli.serving import BoardFile
from delm_mcp.cli.wiring import err, opened, out, run
from delm_mcp.domain.model import Role, Token
from delm_mcp.errors import ConfigError

app = typer.Typer(
    no_args_is_help=True, help="Make, list and revoke the tokens of agents that call over HTTP."
)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _seconds(text: str) -> float:
    """A duration such as 90m, 12h or 30d."""
    match = re.fullmatch(r"(\d+)([smhdw])", text.strip())
    if match is None:
        raise ConfigError(f"--ttl {text!r} is not a duration.", "For example 90m, 12h or 30d.")
    return int(match.group(1)) * _UNITS[match.group(2)]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whom it is for; independence of votes is counted by it.")],
    role: Annotated[
        Role, typer.Option(help="owner may also cancel runs, observer may only read.")
    ] = Role.AGENT,
    run_id: Annotated[
        list[str] | None, typer.Option("--run", help="Only for this run; may be repeated.")
    ] = None,
    agent: Annotated[str, typer.Option(help="Only for this agent name.")] = "",
    ttl: Annotated[
        str, typer.Option(help="How long it is valid, e.g. 12h or 30d. Default: until revoked.")
    ] = "",
    board: BoardFile = None,
) -> None:
    """Make a token. Its secret is printed once, on standard output, and never kept."""

    async def main() -> None:
        ttl_s = _seconds(ttl) if ttl else 0.0
        async with opened(board, create=True) as served:
            row, secret = await tokens.create(
                served.board.store,
                time.time(),
                name=name,
                role=role,
                runs=run_id or (),
                agent=agent,
                ttl_s=ttl_s,
            )
        err.print(f"token {row.name!r} ({row.role}); this is shown once:", highlight=False)
        out.print(secret, highlight=False, soft_wrap=True)

    run(main)


@app.command("list")
def list_tokens(board: BoardFile = None) -> None:
    """Show all tokens, without their secrets."""

    async def main() -> None:
        async with opened(board) as served:
            rows = await served.board.store.read(lambda tx: tx.tokens())
        table = Table("name", "role", "runs", "agent", "made", "state")
        for row in rows:
            table.add_row(
                row.name,
                row.role,
                ", ".join(row.runs) or "all",
                row.agent or "any",
                _day(row.created_at),
                _state(row),
            )
        out.print(table)

    run(main)


@app.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="The token's name.")], board: BoardFile = None) -> None:
    """End a token at once."""

    async def main() -> None:
        async with opened(board) as served:
            await tokens.revoke(served.board.store, time.time(), name)
        err.print(f"token {name!r} is revoked", highlight=False)

    run(main)


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _state(row: Token) -> str:
    if row.revoked_at:
        return f"revoked {_day(row.revoked_at)}"
    if not row.expires_at:
        return "valid"
    return f"{'expired' if row.expires_at <= time.time() else 'valid until'} {_day(row.expires_at)}"
