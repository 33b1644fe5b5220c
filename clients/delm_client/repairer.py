"""An agent without a language model: it repairs one failing target at a time, as a peer on the board.

`python -m delm_client.repairer` is one agent in a process of its own. It claims a task, skips the edits
that `fail` entries rule out, searches for one that makes the target's tests pass, commits it in its own
worktree, and proposes the commit. The board decides on `head`; a refused candidate only means that the
search goes on. What it does is told on standard output, one JSON object a line.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from delm_client.git import GitError, at, blob_of, commit_file, head_of
from delm_client.repair import (
    Budget,
    Candidate,
    Check,
    Counts,
    Finished,
    Reason,
    RepairError,
    Scope,
    ScopeExhausted,
    Target,
    resolve,
    search,
)
from delm_client.session import BoardError, BoardGone, Session, connected
from delm_client.story import Story
from delm_client.words import plural, shortened, task_counts

WAIT_S = 20
LISTED_MAX = 150


@dataclass(frozen=True)
class Place:
    """Where an agent works, and on what."""

    worktree: Path
    board: Path
    run: str
    base: str
    command: str
    mutants_max: int = 0


class Repairer:
    """The worker loop."""

    def __init__(self, session: Session, place: Place, check: Check, story: Story) -> None:
        self._board = session
        self._place = place
        self._check = check
        self._story = story
        self.name = ""

    async def work(self) -> None:
        """Claim and do tasks until the run is over."""
        while True:
            claim = await self._board.call("claim_task", wait_s=WAIT_S, agent=self.name, run=self._place.run)
            self.name = claim["agent"]
            self._story.tell("claim", name=self.name, task=claim.get("task"), reason=claim.get("reason", ""))
            if claim.get("task") is None:
                if claim.get("run_state", "open") != "open":
                    return
                continue
            await self._do(claim)

    async def _do(self, claim: dict[str, Any]) -> None:
        task, lease, target = claim["task"], claim["lease"], ""
        try:
            if task["kind"] == "decide":
                await self._answer(lease)
            elif task["kind"] == "verify":
                await self._board.call(
                    "verify",
                    entry=task["about"],
                    verdict="abstain",
                    reason="This worker searches for edits that pass the tests; it cannot judge a text.",
                    lease=lease,
                )
            else:
                wanted = Target(**_target(task["detail"]))
                target = wanted.name
                await self._repair(wanted, lease)
        except BoardGone:
            raise
        except BoardError as error:
            # A lost lease or an ended run: the next claim says how to go on. If the task is still ours,
            # somebody else should have it.
            self._story.tell("refused", task=task["id"], reason=str(error))
            await self._leave(lease, "release", str(error))
        except (RepairError, GitError) as error:
            self._story.tell("gave_up", task=task["id"], target=target, reason=str(error))
            await self._leave(lease, "fail", str(error))
        finally:
            self._story.phase("waiting")

    async def _leave(self, lease: str, action: str, note: str) -> None:
        """Give the task back, if it is ours to give."""
        try:
            await self._board.call("update_task", lease=lease, action=action, note=note[:1500])
        except BoardGone:
            raise
        except BoardError as error:
            self._story.tell("refused", reason=str(error))

    # -- the answer ------------------------------------------------------------------------------

    async def _answer(self, lease: str) -> None:
        """Say what was repaired, resting on what was verified."""
        patches = await self._entries("patch")
        others = await self._entries("fact")
        rest = [entry["entry"] for entry in [*patches, *others]][-50:]
        queue = await self._board.call("read_context", view="queue", run=self._place.run, agent=self.name)
        counts = task_counts(str(queue.get("text", "")))
        left = counts.get("failed", 0) + counts.get("cancelled", 0)
        self._story.phase("checking", task="decide")
        answer = await self._board.call(
            "propose_update",
            kind="answer",
            gist=answer_gist(len(patches), left),
            summary="\n".join(f"- {entry['entry']}: {entry['gist']}" for entry in patches),
            derived_from=rest,
            completes=True,
            lease=lease,
        )
        answer = await self._decided(answer)
        if answer["state"] != "admitted":
            await self._leave(
                lease, "fail", " ".join(answer.get("reasons", ())) or "the answer was not admitted"
            )

    async def _entries(self, kind: str) -> list[dict[str, Any]]:
        """The live entries of a kind, page by page."""
        found: dict[str, dict[str, Any]] = {}
        since = 0
        while True:
            page = await self._board.call(
                "read_context",
                kind=kind,
                since=since,
                budget_tokens=20_000,
                run=self._place.run,
                agent=self.name,
            )
            found |= {item["entry"]: item for item in page.get("items", ())}
            since = page.get("version_read", 0)
            if not page.get("more"):
                return [item for item in found.values() if item["state"] == "admitted"]

    # -- a repair --------------------------------------------------------------------------------

    async def _repair(self, target: Target, lease: str) -> None:
        """Search from the run's head until a candidate is admitted or everything was tried."""
        refused: set[str] = set()
        while True:
            head = head_of(self._place.worktree, self._place.run, self._place.base)
            at(self._place.worktree, head)
            again = await self._search(target, lease, refused)
            if not again:
                return
            self._story.tell("again", target=target.name, reason="head moved under the patch")

    async def _search(self, target: Target, lease: str, refused: set[str]) -> bool:
        """One search; True when it must begin again because head changed the same lines."""
        ruled_out = {entry["scope"] for entry in await self._entries("fail")}
        self._story.phase("working", target=target.name, ruled_out=len(ruled_out))
        blobs: dict[str, str] = {}
        counts = Counts()

        def scope_name(scope: Scope) -> str:
            if scope.file not in blobs:
                blobs[scope.file] = blob_of(self._place.worktree, scope.file)
            return f"{scope} ({scope.file} as {blobs[scope.file]})"

        found = search(
            self._place.worktree,
            target,
            self._check,
            skip=lambda scope: scope_name(scope) in ruled_out,
            on_progress=self._story.progress,
            budget=Budget(mutants=self._place.mutants_max),
        )
        try:
            while True:
                event = await anyio.to_thread.run_sync(next, found)
                counts = event.counts
                if isinstance(event, ScopeExhausted) and not event.candidates:
                    await self._rule_out(event, scope_name(event.scope))
                elif isinstance(event, Candidate):
                    outcome = await self._propose(event, target, lease, refused)
                    if outcome != "go on":
                        return outcome == "again"
                elif isinstance(event, Finished):
                    await self._ended(event, target, lease)
                    return False
        finally:
            self._story.tell("searched", target=target.name, **asdict(counts))
            close = getattr(found, "close", None)
            if close is not None:
                await anyio.to_thread.run_sync(close)

    async def _rule_out(self, event: ScopeExhausted, scope: str) -> None:
        """Tell peers what need not be tried again."""
        where = f"{event.scope.file}::{event.scope.function}"
        began = time.monotonic()
        try:
            await self._board.call(
                "propose_update",
                kind="fail",
                gist=shortened(
                    f"No {event.scope.family} edit in {where} makes {event.scope.target} pass, "
                    f"{plural(event.tried, 'edit')} tried"
                ),
                scope=scope[:500],
                evidence=[
                    {
                        "type": "artifact",
                        "ref": "search",
                        "text": f"{plural(event.tried, 'mutant')} run, {event.timed_out} of them timed out",
                    }
                ],
                agent=self.name,
                run=self._place.run,
            )
            self._story.tell("ruled_out", scope=scope, call_s=time.monotonic() - began)
        except BoardGone:
            raise
        except BoardError as error:
            self._story.tell("refused", reason=str(error))

    async def _propose(self, event: Candidate, target: Target, lease: str, refused: set[str]) -> str:
        """Commit a candidate and let the board decide: `done`, `go on`, or `again` on a new head."""
        if event.mutation.id in refused:
            return "go on"
        edit = event.mutation
        gist = f"{edit.file}:{edit.line} in {edit.function}: {edit.change[:200]} makes {target.name} pass"
        commit = commit_file(self._place.worktree, edit.file, event.source, gist)
        self._story.phase("checking", target=target.name, edit=gist)
        answer = await self._board.call(
            "propose_update",
            kind="patch",
            gist=shortened(gist),
            raw=event.diff,
            evidence=[{"type": "command", "ref": "check", "text": commit}],
            completes=True,
            lease=lease,
        )
        answer = await self._decided(answer)
        reasons = " ".join(answer.get("reasons", ()))
        self._story.tell(
            "verdict",
            entry=answer["entry"],
            state=answer["state"],
            target=target.name,
            edit=gist,
            reason=reasons,
        )
        if answer["state"] == "admitted":
            return "done"
        if "does not apply on head" in reasons:
            return "again"
        refused.add(edit.id)
        # The task may have gone back to the queue while the check ran; showing the lease takes it again.
        await self._board.call("update_task", lease=lease, action="renew")
        at(self._place.worktree, f"{commit}^")
        self._story.phase("working", target=target.name)
        return "go on"

    async def _decided(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Wait for the verdict on an entry whose checks are slow."""
        while answer["state"] == "pending":
            await anyio.sleep(0.5)
            seen = await self._board.call("read_context", entries=[answer["entry"]], run=self._place.run)
            item = seen["items"][0]
            answer = {**answer, "state": item["state"], "reasons": [item["reason"]] if item["reason"] else []}
        return answer

    async def _ended(self, event: Finished, target: Target, lease: str) -> None:
        """No candidate is left: the target passes already, or cannot be repaired by one edit."""
        if event.reason is Reason.ALREADY_PASSING:
            head = head_of(self._place.worktree, self._place.run, self._place.base)
            answer = await self._board.call(
                "propose_update",
                kind="fact",
                gist=shortened(f"{target.name} passes at {head[:12]} without a patch of its own"),
                evidence=[{"type": "command", "ref": "check", "text": head}],
                completes=True,
                lease=lease,
            )
            answer = await self._decided(answer)
            if answer["state"] == "admitted":
                self._story.tell("passes", target=target.name)
            else:
                await self._leave(lease, "fail", " ".join(answer.get("reasons", ())))
            return
        note = f"{event.detail} ({plural(event.counts.mutants, 'mutant')} run)"
        await self._board.call("update_task", lease=lease, action="fail", note=note[:1500])
        self._story.tell("gave_up", target=target.name, reason=note)


def answer_gist(patches: int, left: int) -> str:
    """The answer to a run: what the team repaired, and what it could not."""
    many = f"{plural(patches, 'patch')} {'is' if patches == 1 else 'are'}" if patches else "No patch is"
    if not left:
        return f"{many} admitted on head; every target is repaired"
    rest = f"{plural(left, 'target')} {'is' if left == 1 else 'are'} left"
    return f"{many} admitted on head; {rest}, where the team found no edit that the gate accepts"


def task_detail(target: Target) -> str:
    """What a repair task says: enough for this agent, readable for any other."""
    return json.dumps(
        {
            "name": target.name,
            "failing": list(target.failing[:LISTED_MAX]),
            "passing": list(target.passing[:LISTED_MAX]),
            "broken": target.broken,
        }
    )


def _target(detail: str) -> dict[str, Any]:
    """The fields of a target from a task's detail."""
    try:
        facts = json.loads(detail)
        return {
            "name": str(facts["name"]),
            "failing": tuple(facts["failing"]),
            "passing": tuple(facts["passing"]),
            "broken": str(facts["broken"]),
        }
    except (ValueError, KeyError, TypeError) as error:
        raise RepairError(f"this task is not one that a repair agent understands: {error}") from error


async def _main(place: Place, label: str) -> None:
    story = Story(label)
    story.tell("started")
    check = await anyio.to_thread.run_sync(resolve, place.command, place.worktree)
    async with connected(place.worktree, board=place.board, principal=label) as session:
        agent = Repairer(session, place, check, story)
        try:
            await agent.work()
        finally:
            story.phase("waiting")
            story.tell("stopped", name=agent.name, spent_s=story.spent_s)


def main() -> None:
    """Run one agent."""
    parser = argparse.ArgumentParser(
        prog="python -m delm_client.repairer", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--worktree", type=Path, required=True)
    parser.add_argument("--board", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--check", required=True)
    parser.add_argument("--label", required=True)
    parser.add_argument("--mutants", type=int, default=0)
    given = parser.parse_args()
    place = Place(given.worktree, given.board, given.run, given.base, given.check, given.mutants)
    try:
        anyio.run(_main, place, given.label)
    except KeyboardInterrupt:
        sys.exit(130)
    except (BoardError, RepairError, GitError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
