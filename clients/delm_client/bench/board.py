"""What every agent does on a board, whatever its work is: claim, read the news, give back, judge."""

from collections.abc import Mapping
from typing import Any

from delm_client.bench.forms import Judgement
from delm_client.session import BoardError, BoardGone, Session

WAIT_S = 20
REFUSALS_MAX = 20
"""So many calls in a row that the board refuses mean that something is wrong with this program."""
PAGE_TOKENS = 20_000
MERGED = ("admitted", "superseded")


class BoardAgent:
    """One worker. What it does with a task is its subclass's.

    Attributes:
        name: On the board; empty before the first claim.
        seen: The version of the context up to which it has read.
    """

    def __init__(self, board: Session) -> None:
        self.board = board
        self.name = ""
        self.seen = 0
        self._notes = ""

    async def do(self, task: Mapping[str, Any], lease: str) -> None:
        """Do one task, and tell the board what came of it."""
        raise NotImplementedError

    async def work(self) -> None:
        """Claim and do tasks until the run is over.

        Raises:
            BoardError: The board is gone, or refuses whatever is tried.
        """
        refused = 0
        while True:
            claim = await self.board.call("claim_task", agent=self.name, wait_s=WAIT_S)
            self.name = claim["agent"]
            if claim.get("task") is None:
                if claim.get("run_state", "open") != "open":
                    return
                continue
            try:
                await self.do(claim["task"], claim["lease"])
                refused = 0
            except BoardGone:
                raise
            except BoardError as error:  # such as a lease that ended: the next claim says how to go on
                refused += 1
                if refused == REFUSALS_MAX:
                    raise
                await self.leave(claim["lease"], "release", str(error))

    async def verdict(self, task: Mapping[str, Any], given: Judgement, lease: str) -> None:
        """Answer a verify task."""
        await self.board.call(
            "verify",
            entry=task["about"],
            verdict=given.verdict,
            reason=given.reason,
            fails=given.fails,
            lease=lease,
        )

    async def news(self) -> str:
        """All gists: what was read before, and what came since. It only grows at its end."""
        more = True
        while more:
            page = await self.board.call(
                "read_context", since=self.seen, budget_tokens=PAGE_TOKENS, agent=self.name
            )
            self._notes += page.get("text", "")  # empty values are left out of answers
            self.seen, more = page.get("version_read", self.seen), bool(page.get("more"))
        return self._notes

    async def live(self, kind: str) -> list[dict[str, Any]]:
        """The admitted entries of a kind."""
        return await live_entries(self.board, kind, self.name)

    async def leave(self, lease: str, action: str, note: str) -> None:
        """Give the task back, if it is ours to give."""
        try:
            await self.board.call("update_task", lease=lease, action=action, note=note[:1500])
        except BoardGone:
            raise
        except BoardError:
            return  # it was not ours any more


async def head_on(board: Session, base: str, agent: str = "", run: str = "") -> str:
    """The run's head as its context has it: what the newest patch moved it to.

    The ref in the repository follows a moment later: who has just read of a patch may not see it there.
    """
    patches = await entries_of(board, "patch", agent, run)
    merged = [each for each in patches if each["state"] in MERGED and each.get("commit")]
    return str(max(merged, key=lambda each: int(each["version"]))["commit"]) if merged else base


async def live_entries(board: Session, kind: str, agent: str = "", run: str = "") -> list[dict[str, Any]]:
    """The admitted entries of a kind, oldest first."""
    return [item for item in await entries_of(board, kind, agent, run) if item["state"] == "admitted"]


async def entries_of(board: Session, kind: str, agent: str = "", run: str = "") -> list[dict[str, Any]]:
    """The entries of a kind that are or were relied on, oldest first, page by page."""
    found: dict[str, dict[str, Any]] = {}
    since, more = 0, True
    while more:
        page = await board.call(
            "read_context", kind=kind, since=since, budget_tokens=PAGE_TOKENS, agent=agent, run=run
        )
        found |= {item["entry"]: item for item in page.get("items", ())}
        since, more = page.get("version_read", since), bool(page.get("more"))
    return list(found.values())
