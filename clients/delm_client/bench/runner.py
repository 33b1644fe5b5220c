"""Runs the items of a benchmark through one topology: several at once, within caps, and resumable."""

import errno
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel

from delm_client.bench.errors import BenchError
from delm_client.bench.folder import Attempt, Folder
from delm_client.bench.forms import Ask
from delm_client.bench.items import Item
from delm_client.bench.limits import Caps, Meter, OverLimit
from delm_client.bench.models import SCRIPTED, Model, ModelBroke, ModelRefused
from delm_client.bench.prefixes import Prefixes
from delm_client.bench.subjects import Outcome, Scene, Subject, Team, Topology
from delm_client.git import GitError
from delm_client.repair import processes
from delm_client.session import BoardError

DONE, BROKEN = "done", "broken"
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Whatever is asked of the model now would be paid for and lost."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does with each item."""

    topology: Topology
    agents: int
    policy: str
    habits: Mapping[str, Any]
    """The subject's, as the run's configuration keeps them."""
    item_caps: Caps
    run_caps: Caps
    at_once: int
    preset: str = ""
    """Of the policy, where that is a file in the run's folder."""

    @property
    def team(self) -> Team:
        if self.preset:
            return Team(self.topology, self.agents, self.preset, self.policy)
        return Team(self.topology, self.agents, self.policy)


@dataclass
class Progress:
    """Where a run is; whoever shows it reads it."""

    total: int
    resumed: int = 0
    done: int = 0
    right: int = 0
    broken: int = 0
    open: int = 0
    """Done, and judged later."""
    started: float = field(default_factory=time.monotonic)
    meter: Meter | None = None

    @property
    def here(self) -> int:
        """Items that this process has finished or given up."""
        return self.done + self.broken - self.resumed


async def run(
    folder: Folder,
    subject: Subject,
    items: Sequence[Item],
    plan: Plan,
    model: Model,
    told: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Run what is not done yet.

    Raises:
        OverLimit: A cap of the whole run is reached; what was under way is not counted, and run on resume.
        ModelRefused: No call can work.
        OSError: Nothing can be kept any more, such as on a full disk.
    """
    ready = {key: item for key, item in folder.items().items() if item["state"] == DONE}
    meter = Meter(plan.run_caps, "the run", spent=folder.spending())
    progress = Progress(
        len(items),
        resumed=len(ready),
        done=len(ready),
        right=sum(item["right"] is True for item in ready.values()),
        open=sum(item["right"] is None for item in ready.values()),
        meter=meter,
    )
    told(progress)
    limiter = anyio.CapacityLimiter(plan.at_once)
    left = [item for item in items if item.id not in ready]
    ending = _Ending(len(left))

    async def one(item: Item) -> None:
        async with limiter:
            with ending.noted():
                asking = Asking(model, meter, plan, folder.attempt(item.id))
                row = await _row(folder, subject, item, plan, asking)
        if row["state"] == BROKEN:
            await anyio.lowlevel.checkpoint()  # the run ends, and that is what broke it
        folder.finish(row)
        progress.done += row["state"] == DONE
        progress.right += row["right"] is True
        progress.open += row["right"] is None
        progress.broken += row["state"] == BROKEN
        told(progress)
        ending.one_less()

    try:
        if left:
            meter.check()
        async with model, anyio.create_task_group() as group:
            for item in left:
                group.start_soon(one, item)
            group.start_soon(ending.watch)
    except* (OverLimit, ModelRefused, OSError) as errors:
        failure = bottom(errors)
    else:
        return progress
    raise failure


class _Ending:
    """How a run ends: with a Ctrl-C, tests are ended at once; with a cap they are awaited, as what led to
    them is paid for.
    """

    def __init__(self, items: int) -> None:
        self._left = items
        self._failed = False
        self._over = anyio.Event()
        processes.again()
        self._look()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Around an item: what it raises ends the run."""
        try:
            yield
        except Exception:
            self._failed = True
            raise

    def one_less(self) -> None:
        """An item is through."""
        self._left -= 1
        self._look()

    def _look(self) -> None:
        if not self._left:
            self._over.set()

    async def watch(self) -> None:
        """Beside the items, until all are through."""
        try:
            await self._over.wait()
        finally:
            if not self._over.is_set() and not self._failed:
                processes.no_more()


async def _row(folder: Folder, subject: Subject, item: Item, plan: Plan, asking: "Asking") -> dict[str, Any]:
    """One attempt at one item: its result, `done` or `broken`."""
    attempt = asking.attempt
    scene = Scene(item, plan.team, asking.agent, attempt.boards, attempt.patches, folder.path)
    begun, took, error = time.monotonic(), 0.0, ""
    outcome: Outcome | None = None
    try:
        outcome = await _outcome(subject, scene, asking.meter)
        took = time.monotonic() - begun
        graded = await subject.row(scene, outcome)
    except Exception as raised:
        deepest = bottom(raised)
        if _stops(deepest) or not isinstance(deepest, BenchError | BoardError | GitError | OSError):
            raise deepest from None
        error, outcome = str(deepest), None
        graded = await subject.row(scene, None)
    return {
        "id": item.id,
        "state": DONE if outcome else BROKEN,
        "ended": outcome.ended if outcome else f"could not be run: {error}",
        **graded,
        "attempt": attempt.number,
        "seconds": took or time.monotonic() - begun,
        "spent": asking.meter.spent.as_json(),
        "served_by": sorted(asking.served),
        "board": dict(outcome.board) if outcome else {},
    }


async def _outcome(subject: Subject, scene: Scene, meter: Meter) -> Outcome:
    """What the team came to, by itself or when a cap of the item ended its work.

    Raises:
        ModelBroke: Its time was over before the model answered any call, which says nothing about a team.
    """
    seconds = meter.caps.seconds
    try:
        with anyio.move_on_after(seconds):
            return await subject.answer(scene)
        why = f"the seconds limit of the item is reached ({seconds:g})"
        if not meter.spent.calls:
            raise ModelBroke(f"{why}, and the model has not answered any call: is its server well?")
    except Exception as raised:
        deepest = bottom(raised)
        if not isinstance(deepest, OverLimit) or deepest.whole_run:
            raise deepest from None
        why = str(deepest)
    return await subject.cut_short(scene, why)


class Asking:
    """The way of an item's agents to the model: within the caps, and every call kept."""

    def __init__(self, model: Model, run_meter: Meter, plan: Plan, attempt: Attempt) -> None:
        self._model = model
        self.meter = Meter(plan.item_caps, "the item", run_meter)
        self.attempt = attempt
        self.served: set[str] = set()

    def agent(self, name: str) -> Ask:
        """An agent's own way; its calls go into its own trajectory."""

        prefixes = Prefixes()

        async def ask(step: str, instructions: str, prompt: str, *, max_tokens: int = 0) -> str:
            self.meter.check()
            said = await self._model.ask(instructions, prefixes.blocks(step, prompt), max_tokens)
            self.meter.add(said.call)
            self.served.add(said.model)
            self.attempt.keep(
                name,
                {
                    "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "agent": name,
                    "step": step,
                    "model": said.model,
                    "finish": said.finish,
                    "instructions": instructions,
                    "prompt": prompt,
                    "reply": said.text,
                    **asdict(said.call),
                },
            )
            return said.text

        return ask


def bottom(error: BaseException) -> BaseException:
    """What lies at the bottom of nested groups; what stops a whole run goes first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = [bottom(each) for each in error.exceptions]
    return next((each for each in found if _stops(each)), found[0])


def _stops(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in UNWRITABLE
    return isinstance(error, ModelRefused) or (isinstance(error, OverLimit) and error.whole_run)


def scripted(served: Sequence[str]) -> bool:
    """Whether a scripted model had a part in it."""
    return any(name.startswith(SCRIPTED) for name in served)
