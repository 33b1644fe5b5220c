"""One agent of a team: started, heard, started again while there is work for it, and ended.

An agent that ends may have done well or badly; what counts is what the board has seen of it. One that ends
`restarts` times in a row without a result is given up.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, Process

from delm_client.git import GitError
from delm_client.team.causes import cause_of
from delm_client.team.following import Following, Seen
from delm_client.team.harness import Harness, Launch
from delm_client.team.hearing import Hearing, Log
from delm_client.team.hosting import Host
from delm_client.team.owner import clean_environment
from delm_client.team.processes import MARK, end, tail
from delm_client.team.record import Ended, Event, Faulted, Holds, Line, Noted, Started
from delm_client.team.team import Team
from delm_client.team.view import ASKED, GIVEN_UP
from delm_client.team.wish import Member, TeamError
from delm_client.team.worktrees import branch_of, git_variables, take_up

JOIN_S = 120.0
DRAIN_S = 2.0
PAUSE_S_MAX = 30.0


@dataclass
class Ending:
    """Why the team is to end before its run is over, and how quickly."""

    reason: str = ""
    asked: anyio.Event = field(default_factory=anyio.Event)
    hurry: anyio.Event = field(default_factory=anyio.Event)

    def ask(self, reason: str) -> None:
        """End the team; the first reason counts, and being asked twice is being in a hurry."""
        if self.asked.is_set():
            self.hurry.set()
            return
        self.reason = reason
        self.asked.set()


@dataclass
class Crew:
    """All agents of a team."""

    team: Team
    host: Host
    following: Following
    ending: Ending
    running: dict[str, Process] = field(default_factory=dict)
    starting: set[str] = field(default_factory=set)

    @property
    def busy(self) -> set[str]:
        """Who runs, or is about to."""
        return {*self.running, *self.starting}

    def worth_starting(self, label: str) -> bool:
        """Whether an agent would find something to do: a task, or a run in which nothing moves.

        The board makes the task to decide, and gives back leases that ended, only when somebody claims.
        """
        seen = self.following.seen
        others = self.busy - {label}
        idle = sum(not seen.holding(other).task for other in others)
        if seen.over or seen.count("ready") > idle:
            return True
        return not others and not seen.count("submitted") and not seen.row.get("open_checks")

    async def goes_on_without(self, label: str) -> bool:
        """An agent is gone: whether the run is still open; then what the agent held is handed on."""
        if self.following.seen.over:
            return False
        await look(self.team, self.following)
        if self.following.seen.over:
            return False
        if self.following.seen.holding(label).task:
            await release(self.team, [label])
            await look(self.team, self.following)
        return True


async def look(team: Team, following: Following) -> None:
    """Read the run now, because what was followed may lag behind."""
    try:
        following.take(Seen(await team.owner.status(team.facts.run)))
    except TeamError as error:
        team.record.tell(Noted(f"The board could not be read just now: {error}"))


async def release(team: Team, labels: list[str]) -> None:
    """Hand on what agents that are gone still hold; leases that cannot be released end by themselves."""
    try:
        await team.owner.release(team.facts.run, labels)
    except TeamError as error:
        team.record.tell(Noted(f"Leases of {', '.join(labels)} end by themselves: {error}"))


class Worker:
    """One agent, from its first process to its last."""

    def __init__(self, crew: Crew, member: Member, harness: Harness) -> None:
        self._crew = crew
        self._member = member
        self._harness = harness
        self._label = member.label
        self._team = crew.team
        self._attempt = sum(
            isinstance(line.what, Started) and line.agent == member.label for line in crew.team.record.lines
        )
        self._verdicts = 0
        self._held = Holds()
        self._hearing = Hearing(harness.parser(), self._tell)
        crew.team.record.listeners.append(self._notice)

    def _tell(self, what: Event) -> None:
        self._team.record.tell(what, self._label)

    def _notice(self, line: Line) -> None:
        """Count what only the queue shows: tasks to verify or decide that the agent is done with."""
        if line.agent == self._label and isinstance(line.what, Holds):
            self._verdicts += self._held.kind in {"verify", "decide"} and line.what.task != self._held.task
            self._held = line.what

    def _results(self) -> int:
        return self._crew.following.seen.decided(self._label) + self._verdicts

    async def work(self) -> None:
        """Be there until the run is over, or there is no point in it any more."""
        fruitless = 0
        while not self._crew.following.seen.over:
            before = self._results()
            await self._once()
            if not await self._crew.goes_on_without(self._label):
                return
            fruitless = 0 if self._results() > before else fruitless + 1
            if fruitless > self._team.wish.restarts:
                self._give_up(fruitless)
                return
            if fruitless:
                await self._pause(fruitless)
            await self._crew.following.until(lambda: self._crew.worth_starting(self._label))

    def _give_up(self, times: int) -> None:
        said = f" Its last words: {self._hearing.words}." if self._hearing.words else ""
        how = "once" if times == 1 else f"{times} times in a row"
        self._tell(
            Noted(
                f"{self._label} ended {how} without a result and {GIVEN_UP}.{said} "
                f"See {self._team.folder.log(self._label)}"
            )
        )

    async def _pause(self, fruitless: int) -> None:
        """Wait longer after each failure, but not longer than the run goes on."""
        with anyio.move_on_after(min(PAUSE_S_MAX, 2.0 ** (fruitless - 1))):
            await self._crew.following.until(lambda: self._crew.following.seen.over)

    # -- one process -------------------------------------------------------------------------------

    async def _once(self) -> int:
        """Start a process, hear it to its end, and say how that was; returns its exit code."""
        self._attempt += 1
        self._hearing = Hearing(self._harness.parser(), self._tell)
        self._crew.starting.add(self._label)
        try:
            await self._crew.host.ready()
            left = await self._left() if self._attempt > 1 else None
            launch = self._harness.launch(self._team.assignment(self._member, self._crew.host, left))
            write_files(launch)
            process = await self._start(launch)
        except (OSError, TeamError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self._tell(Faulted(f"{self._harness.program} cannot be started: {why.rstrip('.')}."))
            self._tell(Ended(127, "it could not be started"))
            return 127
        finally:
            self._crew.starting.discard(self._label)
        self._crew.running[self._label] = process
        self._team.pids.add(self._label, process.pid)
        self._tell(Started(self._member.kind, process.pid, self._attempt))
        try:
            return await self._attend(process, launch, time.time())
        finally:
            with anyio.CancelScope(shield=True):
                await self._part(process)

    async def _left(self) -> Sequence[str]:
        """What the process before left uncommitted in the worktree, where git works again."""
        path, branch = self._team.folder.worktree(self._label), branch_of(self._team.facts.run, self._label)
        try:
            return await anyio.to_thread.run_sync(take_up, self._team.repository, path, branch)
        except (GitError, OSError) as error:
            self._tell(Noted(f"The worktree {path} stays as it is: {error}"))
            return ()

    async def _start(self, launch: Launch) -> Process:
        return await anyio.open_process(
            launch.argv,
            cwd=self._team.folder.worktree(self._label),
            env=self._environment(launch),
            start_new_session=True,
        )

    def _environment(self, launch: Launch) -> dict[str, str]:
        secrets: Mapping[str, str] = self._crew.host.secrets(self._label)
        mark = {MARK: str(self._team.folder.worktree(self._label))}
        return {**clean_environment(), **git_variables(self._label), **mark, **launch.variables, **secrets}

    async def _attend(self, process: Process, launch: Launch, since: float) -> int:
        async with anyio.create_task_group() as group:
            group.start_soon(self._feed, process, launch.stdin)
            group.start_soon(self._await_joining, since)
            # Some clients tell only there that their key is refused or their model is out of reach.
            streams = ((process.stdout, "out"), (process.stderr, "log"))
            heard = [anyio.Event() for _ in streams]
            for (stream, kind), done in zip(streams, heard, strict=True):
                group.start_soon(self._hear, stream, kind, done)
            code = await process.wait()
            with anyio.move_on_after(DRAIN_S):
                for done in heard:
                    await done.wait()
            group.cancel_scope.cancel()
        return code

    async def _part(self, process: Process) -> None:
        """The process is gone, or is ended now."""
        asked = process.returncode is None
        await end(process, self._crew.ending.hurry, self._team.folder.worktree(self._label))
        await process.aclose()
        self._crew.running.pop(self._label, None)
        self._team.pids.remove(self._label)
        code = process.returncode or 0
        self._tell(Ended(code, self._why(code, asked)))
        self._crew.following.nudge()

    def _why(self, code: int, asked: bool) -> str:
        if asked:
            return f"{ASKED}: {self._crew.ending.reason or 'the run is over'}"
        if code <= 0:
            return ""
        said = tail(self._team.folder.log(self._label)) or self._hearing.words
        cause = cause_of(f"{said} {self._hearing.words}", self._member.kind)
        return " ".join(filter(None, [said, cause]))

    async def _feed(self, process: Process, text: str) -> None:
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            if text:
                await process.stdin.send(text.encode())
            await process.stdin.aclose()

    async def _hear(self, stream: ByteReceiveStream | None, kind: str, heard: anyio.Event) -> None:
        """Take in what the process prints, line by line; all of it is kept in a file."""
        assert stream is not None  # noqa: S101 - it is a pipe
        await self._hearing.hear(stream, Log(self._team.folder.log(self._label, kind)))
        heard.set()

    async def _await_joining(self, since: float) -> None:
        """Say so when the board has not seen the agent within a time."""
        following = self._crew.following
        with anyio.move_on_after(JOIN_S):
            await following.until(lambda: float(following.seen.agent(self._label).get("seen_at", 0)) >= since)
            return
        said = self._hearing.words or tail(self._team.folder.log(self._label)) or "it has said nothing"
        cause = cause_of(said, self._member.kind) or "its model may be slow, or its MCP client not connected"
        self._tell(Noted(f"{self._label} has not joined the board within {JOIN_S:.0f} s ({said}): {cause}."))


def write_files(launch: Launch) -> None:
    """Write what an agent needs, readable by the user only.

    Raises:
        TeamError: It cannot be written.
    """
    try:
        for path, text in launch.files.items():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(
                os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as f:
                f.write(text)
            path.chmod(0o600)
    except OSError as error:
        raise TeamError(f"{error.filename} cannot be written: {error.strerror}.") from error
