"""The board as an MCP server: six tools, one resource, one prompt. Translates, and nothing else.

Tool descriptions and parameter names are product text: agents read them on every turn, and a test
holds their size to `schemas.TOKENS_MAX`.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from delm_mcp import __version__
from delm_mcp.board import Board
from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Answer, Claim
from delm_mcp.board.identity import label_id
from delm_mcp.board.reading import Wanted
from delm_mcp.board.verifying import Opinion
from delm_mcp.domain.model import Caller, Evidence, Kind
from delm_mcp.domain.proposal import Proposal
from delm_mcp.domain.text import one_line
from delm_mcp.errors import DelmError
from delm_mcp.surfaces import texts
from delm_mcp.surfaces.schemas import flat

Name = Annotated[str, Field(max_length=64)]
Lease = Annotated[str, Field(max_length=64)]
Label = Annotated[str, Field(max_length=20)]
Labels = Annotated[list[Label], Field(max_length=50)]
Tags = Annotated[list[Annotated[str, Field(max_length=48)]], Field(max_length=20)]


RESOURCE_TOKENS = 20_000
EVIDENCE_HELP = (
    "quote: ref=path@commit or source, text=exact words; command: ref=its name, text=full commit; "
    "artifact: ref=name, text=content (patch the server cannot fetch: ref=patch or patch@base, "
    "text=git diff); url: ref=address"
)


class EvidenceArg(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["quote", "command", "artifact", "url"]
    ref: Annotated[str, Field(max_length=500)]
    text: Annotated[str, Field(max_length=60_000)] = ""


class TaskArg(BaseModel):
    model_config = ConfigDict(extra="forbid")
    subject: Annotated[str, Field(max_length=300)]
    detail: Annotated[str, Field(max_length=20_000)] = ""
    after: Annotated[
        list[Label], Field(max_length=50, description="waits for: T7, or #1 = 1st of this call")
    ] = []
    needs: Annotated[Tags, Field(description="tags its agent must have")] = []
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    copies: Annotated[int, Field(ge=0, le=16, description="parallel attempts")] = 0


class Tools:
    """The six tools of a board, for callers that `caller_of` tells apart."""

    def __init__(
        self,
        board: Board,
        caller_of: Callable[[], Caller],
        on_claim: Callable[[Claim], None],
        gone_of: Callable[[], Callable[[], bool]],
    ) -> None:
        self._board = board
        self._caller = caller_of
        self._on_claim = on_claim
        self._gone_of = gone_of

    async def claim_task(
        self,
        task: Label = "",
        tags: Tags = [],  # noqa: B006 - pydantic copies it, and a factory would show no default
        wait_s: Annotated[float, Field(ge=0, le=25)] = 0,
        agent: Name = "",
        run: Name = "",
    ) -> CallToolResult:
        """Get work: the task, its lease, and context news. Already hold a lease? You get it back. \
Nothing ready: says why and what to do."""
        answer = await self._board.claim_task(
            self._caller(), task=task, tags=tags, wait_s=wait_s, agent=agent, run=run, gone=self._gone_of()
        )
        self._on_claim(answer)
        return _result(answer)

    async def read_context(
        self,
        since: Annotated[int, Field(ge=0)] = 0,
        at: Annotated[int, Field(ge=0)] = 0,
        view: Literal["context", "queue", "why"] = "context",
        entries: Labels = [],  # noqa: B006 - as above
        level: Literal["gist", "summary", "raw"] = "gist",
        kind: Literal["", "fact", "fail", "patch", "answer"] = "",
        query: Annotated[str, Field(max_length=200)] = "",
        budget_tokens: Annotated[int, Field(ge=1, le=60_000)] = 2000,
        agent: Name = "",
        run: Name = "",
    ) -> CallToolResult:
        """Read what is verified. Default: gists after `since`. entries + level unfolds. \
view: queue = tasks and who has them; why = what stands behind an entry."""
        wanted = Wanted(since, at, view, tuple(entries), level, kind, query, budget_tokens)
        return _result(await self._board.read_context(self._caller(), wanted, agent=agent, run=run))

    async def propose_update(
        self,
        kind: Literal["fact", "fail", "patch", "answer"],
        gist: Annotated[str, Field(max_length=2000, description="<=100 tokens, stands alone")],
        lease: Lease = "",
        summary: Annotated[str, Field(max_length=20_000)] = "",
        raw: Annotated[str, Field(max_length=60_000)] = "",
        evidence: Annotated[list[EvidenceArg], Field(max_length=20, description=EVIDENCE_HELP)] = [],  # noqa: B006
        scope: Annotated[str, Field(max_length=500, description="of a fail: what was tried, where")] = "",
        key: Annotated[str, Field(max_length=500, description="at most one live entry per key")] = "",
        supersedes: Labels = [],  # noqa: B006 - as above
        derived_from: Labels = [],  # noqa: B006 - as above
        base_version: Annotated[int, Field(ge=0, description="version you have read")] = 0,
        completes: bool = False,
        request_id: Name = "",
        agent: Name = "",
        run: Name = "",
    ) -> CallToolResult:
        """Propose one self-contained finding, checked before peers see it. Answers admitted, rejected \
(and what would pass) or pending. completes: it is the task's result."""
        proposal = Proposal(
            kind=Kind(kind),
            gist=gist,
            summary=summary,
            raw=raw,
            evidence=tuple(Evidence(item.type, item.ref, item.text) for item in evidence),
            scope=scope,
            key=key,
            supersedes=tuple(label_id(label, "E") for label in supersedes),
            derived_from=tuple(label_id(label, "E") for label in derived_from),
            base_version=base_version,
            completes=completes,
        )
        answer = await self._board.propose_update(
            self._caller(), proposal, lease=lease, agent=agent, run=run, request=request_id
        )
        return _result(answer)

    async def verify(
        self,
        entry: Label,
        verdict: Literal["pass", "fail", "abstain"],
        reason: Annotated[str, Field(max_length=2000)],
        fails: Annotated[
            list[Literal["support", "coherence", "arithmetic", "drift", "synthesis", "absence"]],
            Field(max_length=6),
        ] = [],  # noqa: B006 - as above
        against: Labels = [],  # noqa: B006 - as above
        lease: Lease = "",
        agent: Name = "",
        run: Name = "",
    ) -> CallToolResult:
        """Judge the entry of your verify task (with its lease), or dispute an admitted one: verdict=fail \
with agent or any lease; name what fails, cite entries against it. Never your own."""
        opinion = Opinion(entry, verdict, reason, tuple(fails), tuple(against))
        return _result(await self._board.verify(self._caller(), opinion, lease=lease, agent=agent, run=run))

    async def add_tasks(
        self,
        tasks: Annotated[list[TaskArg], Field(min_length=1, max_length=100)],
        lease: Lease = "",
        split: bool = False,
        goal: Annotated[str, Field(max_length=4000)] = "",
        request_id: Name = "",
        agent: Name = "",
        run: Name = "",
    ) -> CallToolResult:
        """Queue work. With a lease and split: splits that task, and answers a decide task. \
goal opens a new run."""
        new = [
            NewTask(t.subject, t.detail, tuple(t.after), tuple(t.needs), t.priority, t.copies or 1)
            for t in tasks
        ]
        answer = await self._board.add_tasks(
            self._caller(), new, lease=lease, split=split, goal=goal, agent=agent, run=run, request=request_id
        )
        return _result(answer)

    async def update_task(
        self,
        lease: Lease,
        action: Literal["renew", "release", "fail"],
        note: Annotated[str, Field(max_length=2000)] = "",
        agent: Name = "",
        run: Name = "",
    ) -> CallToolResult:
        """Keep or give up your task. release hands it on; fail: it cannot be done."""
        answer = await self._board.update_task(
            self._caller(), lease=lease, action=action, note=note, agent=agent, run=run
        )
        return _result(answer)

    def all(self) -> list[Tool]:
        """The tools, with flat schemas and annotations (one of the clients refuses tools without)."""
        writes = ToolAnnotations(
            read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
        )
        reads = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
        listed: list[tuple[Callable[..., Any], str, ToolAnnotations]] = [
            (self.claim_task, "Claim a task", writes),
            (self.read_context, "Read the context", reads),
            (self.propose_update, "Propose an update", writes),
            (self.verify, "Verify an entry", writes),
            (self.add_tasks, "Add tasks", writes),
            (self.update_task, "Keep or give up a task", writes),
        ]
        tools = []
        for function, title, annotations in listed:
            tool = Tool.from_function(function, title=title, annotations=annotations, structured_output=False)
            tool.parameters = flat(tool.parameters)
            tools.append(tool)
        return tools


def _result(answer: Answer) -> CallToolResult:
    """Both forms of an answer."""
    return CallToolResult(
        content=[TextContent(type="text", text=texts.text(answer))],
        structured_content=texts.structured(answer),
    )


def failed(problem: str, hint: str) -> CallToolResult:
    """A tool error: what was wrong and what would work, in both forms."""
    problem, hint = one_line(problem), one_line(hint)
    said = f"{problem} {hint}".strip()
    return CallToolResult(
        content=[TextContent(type="text", text=f"error: {said}")],
        structured_content={"error": problem, "hint": hint},
        is_error=True,
    )


class BoardServer(MCPServer[Any]):
    """An MCP server whose refusals are answers that an agent can act on."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool; what the rules refuse, and arguments of the wrong shape, become tool errors."""
        known = {tool.name: tool for tool in await self.list_tools()}
        if name not in known:
            return failed(f"There is no tool {one_line(name)[:64]!r}.", f"Tools: {', '.join(known)}.")
        parameters = known[name].input_schema["properties"]
        unknown = sorted(set(arguments) - set(parameters))
        if unknown:
            return failed(
                f"{name} has no argument {one_line(', '.join(unknown))[:200]}.",
                f"Arguments: {', '.join(parameters)}.",
            )
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, DelmError):
                return failed(cause.problem, cause.hint)
            if isinstance(cause, ValidationError):
                return failed(*_explain(cause, parameters))
            raise


def _explain(error: ValidationError, parameters: Mapping[str, Any]) -> tuple[str, str]:
    """The first argument that does not fit, without repeating its value."""
    fault = error.errors(include_input=False, include_url=False)[0]
    place = one_line(".".join(str(part) for part in fault["loc"]))[:200] or "arguments"
    schema = parameters.get(str(fault["loc"][0]), {}) if fault["loc"] else {}
    allowed = f" One of: {', '.join(repr(v) for v in schema['enum'])}." if "enum" in schema else ""
    return f"{place}: {fault['msg']}.", f"Send it again with that mended.{allowed}"


def make_server(
    board: Board,
    caller_of: Callable[[], Caller],
    *,
    on_claim: Callable[[Claim], None] = lambda claim: None,
    gone_of: Callable[[], Callable[[], bool]] = lambda: lambda: False,
    token_verifier: TokenVerifier | None = None,
    auth: AuthSettings | None = None,
) -> BoardServer:
    """The MCP server of a board.

    Args:
        board: The open board.
        caller_of: Who makes the call that is being handled.
        on_claim: Told of each answer to a claim: who the caller is now, and the lease to keep, if any.
        gone_of: Gives a way to ask whether the caller of the present call has left.
        token_verifier: How bearer tokens are checked, for HTTP.
        auth: Where they are valid, for HTTP.
    """
    server = BoardServer(
        "delm",
        title="DeLM board",
        version=__version__,
        instructions=texts.INSTRUCTIONS,
        tools=Tools(board, caller_of, on_claim, gone_of).all(),
        token_verifier=token_verifier,
        auth=auth,
        log_level="WARNING",
    )

    @server.resource(
        "delm://context",
        name="context",
        title="Verified context",
        description="Everything that is verified, as gists.",
        mime_type="text/plain",
    )
    async def context() -> str:
        try:
            answer = await board.read_context(caller_of(), Wanted(budget_tokens=RESOURCE_TOKENS))
        except DelmError as error:
            raise ResourceError(str(error)) from error
        more = f"(more: read_context since={answer.version_read})\n" if answer.more else ""
        return answer.text + more

    @server.prompt(
        name="worker", title="Work on the board", description="Join the team and work until the run is done."
    )
    def worker(run: str = "", tags: str = "") -> str:
        return texts.worker_prompt(run, tags)

    return server
