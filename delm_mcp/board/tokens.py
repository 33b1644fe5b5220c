"""Rights to call over HTTP: made, listed and revoked by the owner; only their hashes are kept."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace

from delm_mcp.board.identity import clean_name
from delm_mcp.domain.model import Caller, Principal, Role, RunId, Token
from delm_mcp.errors import InvalidInput, NotFound
from delm_mcp.store.base import Store, Tx

PREFIX = "delm_"


def digest(secret: str) -> str:
    """What is kept of a secret. It has 256 random bits, so a plain hash cannot be searched."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


async def create(
    store: Store,
    now: float,
    *,
    name: str,
    role: Role = Role.AGENT,
    runs: Sequence[str] = (),
    agent: str = "",
    ttl_s: float = 0.0,
) -> tuple[Token, str]:
    """Make a token.

    Args:
        name: The principal that it stands for; independence is counted by it.
        runs: The runs that it is for; empty for all.
        agent: The only agent name that it may speak for; empty for any.
        ttl_s: How long it is valid; 0 for ever.

    Returns:
        The row, and the secret, which is shown once and never kept.

    Raises:
        InvalidInput: The name is taken or empty.
        NotFound: There is no such run.
    """
    secret = PREFIX + secrets.token_urlsafe(32)

    def creating(tx: Tx) -> Token:
        clean_name(name, "a token's name")
        if agent:
            clean_name(agent, "an agent's name")
        if any(row.name == name and not row.revoked_at for row in tx.tokens()):
            raise InvalidInput(
                f"There is a token {name!r} already.", "Revoke it first, or choose another name."
            )
        for run in runs:
            if tx.run(RunId(run)) is None:
                raise NotFound(f"There is no run {run!r} on this board.", "`delm-mcp status` lists them.")
        expires = now + ttl_s if ttl_s else 0.0
        return tx.insert(Token(0, name, digest(secret), role, tuple(runs), agent, now, expires))

    return await store.write("create_token", "owner", now, creating), secret


async def revoke(store: Store, now: float, name: str) -> Token:
    """End a token; calls with it are refused from the next one on.

    Raises:
        NotFound: There is no such token that is still valid.
    """

    def revoking(tx: Tx) -> Token:
        row = next((row for row in tx.tokens() if row.name == name and not row.revoked_at), None)
        if row is None:
            raise NotFound(f"There is no valid token {name!r}.", "`delm-mcp token list` shows them.")
        return tx.update(row, replace(row, revoked_at=now))

    return await store.write("revoke_token", "owner", now, revoking)


async def caller_of(store: Store, now: float, secret: str) -> Caller | None:
    """Who calls with a secret; None when it is unknown, expired or revoked."""
    row = await store.read(lambda tx: tx.token_with(digest(secret)))
    if row is None or row.revoked_at or (row.expires_at and row.expires_at <= now):
        return None
    return Caller(Principal(f"token:{row.name}"), row.role, frozenset(row.runs), row.agent, row.sha256)


async def active(store: Store, now: float) -> list[Token]:
    """The tokens that are valid now."""
    rows = await store.read(lambda tx: tx.tokens())
    return [row for row in rows if not row.revoked_at and not (row.expires_at and row.expires_at <= now)]
