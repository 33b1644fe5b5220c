"""What hooks of clients ask over HTTP: whether an agent still has work, and that its task be handed on.

`GET /agents/NAME/due` answers `{"reason", "mark"}` (see `board.gate.Due`), `POST /agents/NAME/release`
(with any JSON) `{"released": [task]}`. Plain routes beside `/mcp`, because a hook has to be quick and no
model reads them: as tools they would cost every agent's context.
"""

from collections.abc import Awaitable, Callable

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from delm_mcp.board import Board, gate, tending
from delm_mcp.domain.model import Caller
from delm_mcp.errors import DelmError, NotAllowed, NotFound
from delm_mcp.surfaces.mcp import BoardServer

_STATUS: dict[type[DelmError], int] = {NotAllowed: 403, NotFound: 404}


def add_gate(
    server: BoardServer,
    board: Board,
    caller_of: Callable[[], Caller | None],
    security: TransportSecuritySettings,
) -> None:
    """Add the routes to a server.

    Args:
        caller_of: Who makes the request that is being handled; None when it showed no valid token.
        security: Which hosts and origins may ask, so that no web page can.
    """
    guard = TransportSecurityMiddleware(security)

    def guarded(
        answer: Callable[[Caller, str], Awaitable[dict[str, object]]],
    ) -> Callable[[Request], Awaitable[Response]]:
        async def route(request: Request) -> Response:
            # A form of a page elsewhere cannot say that it is JSON, without being asked for leave first.
            refused = await guard.validate_request(request, is_post=request.method == "POST")
            if refused is not None:
                return refused
            caller = caller_of()
            if caller is None:
                return JSONResponse({"error": "This needs a valid bearer token."}, status_code=401)
            try:
                return JSONResponse(await answer(caller, request.path_params["agent"]))
            except DelmError as error:
                status = _STATUS.get(type(error), 400)
                return JSONResponse({"error": error.problem, "hint": error.hint}, status_code=status)

        return route

    async def due(caller: Caller, agent: str) -> dict[str, object]:
        found = await gate.due_of(board, caller, agent)
        return {"reason": found.reason, "mark": found.mark}

    async def release(caller: Caller, agent: str) -> dict[str, object]:
        return {"released": await tending.release_own(board, caller, agent)}

    server.custom_route("/agents/{agent}/due", methods=["GET"])(guarded(due))
    server.custom_route("/agents/{agent}/release", methods=["POST"])(guarded(release))
