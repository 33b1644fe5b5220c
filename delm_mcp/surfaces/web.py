"""The board over HTTP: the MCP endpoint, who may call it, a health check, and what hooks ask."""

from collections.abc import Callable
from contextvars import ContextVar

import anyio
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from delm_mcp import __version__
from delm_mcp.board import Board, tokens
from delm_mcp.board.background import beside
from delm_mcp.domain.model import Caller, Principal
from delm_mcp.errors import DelmError
from delm_mcp.surfaces.addresses import is_loopback
from delm_mcp.surfaces.gatehouse import add_gate
from delm_mcp.surfaces.mcp import BoardServer, make_server

ANYBODY = Caller(Principal("http:local"))
"""Who calls a server on loopback without tokens: whoever can reach it, told apart by nothing."""


TOKENLESS = (
    "This server asks for no tokens, because its board had none when it started. "
    "Restart `delm-mcp serve`, or come without a token."
)
_GONE: ContextVar[Callable[[], bool]] = ContextVar("gone", default=lambda: False)


class NoticesDisconnects:
    """Lets a waiting call know that its caller has hung up.

    With JSON answers nobody reads from the connection while a call runs, so an agent that vanished
    would still be given the next task, which would then be stuck for a whole lease.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and watch its connection once its body has been read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        read, gone = anyio.Event(), anyio.Event()

        async def received() -> Message:
            if read.is_set():
                await gone.wait()
                return {"type": "http.disconnect"}
            message = await receive()
            if message["type"] == "http.disconnect":
                gone.set()
            if not message.get("more_body", False):
                read.set()
            return message

        async def watch() -> None:
            await read.wait()
            while not gone.is_set():
                if (await receive())["type"] == "http.disconnect":
                    gone.set()

        token = _GONE.set(gone.is_set)
        try:
            async with beside(watch):
                await self._app(scope, received, send)
        finally:
            _GONE.reset(token)


class RefusesTokens:
    """Turns away whoever shows a token to a server that knows none.

    Such a server takes everybody for one principal, so a team that was given tokens after it had started
    would wait for each other's verdicts for ever.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes without a token."""
        if scope["type"] == "http" and "authorization" in Headers(scope=scope):
            answer = JSONResponse({"error": TOKENLESS}, status_code=401)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


class BoardToken(AccessToken):
    """An accepted token, with the caller that it stands for."""

    caller: Caller


class Verifier:
    """Checks bearer tokens against the board."""

    def __init__(self, board: Board) -> None:
        self._board = board

    async def verify_token(self, token: str) -> AccessToken | None:
        """The accepted token, or None."""
        caller = await tokens.caller_of(self._board.store, self._board.clock(), token)
        if caller is None:
            return None
        return BoardToken(token="", client_id=caller.principal, scopes=[caller.role], caller=caller)


def calling() -> Caller:
    """The caller of the request that is being handled."""
    token = get_access_token()
    return token.caller if isinstance(token, BoardToken) else ANYBODY


def _calling_strictly(with_tokens: bool) -> Caller | None:
    """The caller of a route that the SDK does not guard: without a token nobody, where there are tokens."""
    if with_tokens and not isinstance(get_access_token(), BoardToken):
        return None
    return calling()


def make_app(
    board: Board,
    *,
    host: str,
    port: int,
    with_tokens: bool,
    public_url: str = "",
    allowed_hosts: tuple[str, ...] = (),
    prepare: Callable[[BoardServer], None] = lambda server: None,
) -> Starlette:
    """The ASGI application: streamable HTTP at `/mcp` (stateless, JSON answers) and `/healthz`.

    Args:
        host: What it will listen on.
        port: And where.
        with_tokens: Whether callers must show a bearer token.
        public_url: How clients reach it, if not by host and port.
        allowed_hosts: `Host` headers that are accepted; by default any beyond loopback, where tokens
            are required, and only loopback's on loopback (against DNS rebinding).
        prepare: Adds to the server before it is served; tests add the conformance fixtures here.
    """
    url = AnyHttpUrl(public_url or f"http://{'[' + host + ']' if ':' in host else host}:{port}")
    auth = (
        AuthSettings(
            issuer_url=url,
            resource_server_url=url,
            required_scopes=[],
            validate_token_resource=False,  # our tokens are for this board, and name no audience
        )
        if with_tokens
        else None
    )
    server = make_server(
        board, calling, token_verifier=Verifier(board) if with_tokens else None, auth=auth, gone_of=_GONE.get
    )

    @server.custom_route("/healthz", methods=["GET"])  # type: ignore[untyped-decorator]
    async def healthz(_: Request) -> Response:
        try:
            runs = await board.store.read(lambda tx: len(tx.runs()))
        except DelmError as error:
            return JSONResponse({"status": "failing", "error": error.problem}, status_code=503)
        return JSONResponse({"status": "ok", "version": __version__, "runs": runs})

    security = _security(host, allowed_hosts)
    add_gate(server, board, lambda: _calling_strictly(with_tokens), security)
    prepare(server)
    app = server.streamable_http_app(
        json_response=True,
        stateless_http=True,
        transport_security=security,
        host=host,
    )
    app.add_middleware(NoticesDisconnects)
    if not with_tokens:
        app.add_middleware(RefusesTokens)
    return app


def _security(host: str, allowed_hosts: tuple[str, ...]) -> TransportSecuritySettings:
    """On loopback only loopback's names are accepted as `Host`, so that no web page can reach the board."""
    if not allowed_hosts and not is_loopback(host):
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    own = f"[{host}]:*" if ":" in host else f"{host}:*"
    names = list(allowed_hosts) or ["127.0.0.1:*", "localhost:*", "[::1]:*", own]
    origins = [f"{scheme}://{name}" for name in names for scheme in ("http", "https")]
    return TransportSecuritySettings(allowed_hosts=names, allowed_origins=origins)
