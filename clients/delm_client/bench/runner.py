"""Runs the items of a benchmark through one topology: several at once, within caps, and resumable."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio

from delm_client.bench.errors import BenchError
from delm_client.bench.folder import Attempt, Folder
from delm_client.bench.items import Question
from delm_client.bench.limits import Caps, Meter, OverLimit
from delm_client.bench.longbench.scoring import extract_answer
from delm_client.bench.models import SCRIPTED, Model, ModelRefused
from delm_client.bench.reader import Ask, Habits
from delm_client.bench.topologies import Outcome, Scene, Topology, answer
from delm_client.session import BoardError

DONE, BROKEN = "done", "broken"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does with each item."""

    topology: Topology
    agents: int
    policy: str
    habits: Habits
    item_caps: Caps
    run_caps: Caps
    at_once: int


@dataclass
class Progress:
    """Where a run is; whoever shows it reads it."""

    total: int
    resumed: int = 0
    done: int = 0
    right: int = 0
    broken: int = 0
    started: float = field(default_factory=time.monotonic)
    meter: Meter | None = None

    @property
    def here(self) -> int:
        """Items that this process has finished or given up."""
        return self.done + self.broken - self.resumed


async def run(
    folder: Folder,
    questions: Sequence[Question],
    plan: Plan,
    model: Model,
    told: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Run what is not done yet.

    Raises:
        OverLimit: A cap of the whole run is reached; what was under way is not counted, and run on resume.
        ModelRefused: No call can work.
    """
    ready = {key: item for key, item in folder.items().items() if item["state"] == DONE}
    meter = Meter(plan.run_caps, "the run", spent=folder.spending())
    progress = Progress(
        len(questions),
        resumed=len(ready),
        done=len(ready),
        right=sum(item["right"] for item in ready.values()),
        meter=meter,
    )
    told(progress)
    limiter = anyio.CapacityLimiter(plan.at_once)

    async def one(question: Question) -> None:
        async with limiter:
            item = await _item(folder, question, plan, model, meter)
        folder.finish(item)
        progress.done += item["state"] == DONE
        progress.right += item["right"]
        progress.broken += item["state"] == BROKEN
        told(progress)

    left = [question for question in questions if question.id not in ready]
    try:
        if left:
            meter.check()
        async with model, anyio.create_task_group() as group:
            for question in left:
                group.start_soon(one, question)
    except* (OverLimit, ModelRefused) as errors:
        failure = bottom(errors)
    else:
        return progress
    raise failure


async def _item(
    folder: Folder, question: Question, plan: Plan, model: Model, run_meter: Meter
) -> dict[str, Any]:
    """One attempt at one item: its result, `done` or `broken`."""
    attempt = folder.attempt(question.id)
    meter = Meter(plan.item_caps, "the item", run_meter)
    asking = Asking(model, meter, attempt)
    begun, error = time.monotonic(), ""
    outcome: Outcome | None = None
    try:
        with anyio.move_on_after(plan.item_caps.seconds) as time_cap:
            where = attempt.board_folder() if plan.topology is Topology.DELM else attempt.boards
            scene = Scene(question, plan.habits, plan.agents, asking.agent, where, plan.policy)
            outcome = await answer(plan.topology, scene)
        if time_cap.cancelled_caught:
            outcome = Outcome("", f"the seconds limit of the item is reached ({plan.item_caps.seconds:g})")
    except Exception as raised:
        deepest = bottom(raised)
        if isinstance(deepest, ModelRefused) or (isinstance(deepest, OverLimit) and deepest.whole_run):
            raise deepest from None
        if isinstance(deepest, OverLimit):
            outcome = Outcome("", str(deepest))
        elif isinstance(deepest, BenchError | BoardError | OSError):
            error = str(deepest)
        else:
            raise
    return {
        **_graded(question, outcome, error),
        "attempt": attempt.number,
        "seconds": time.monotonic() - begun,
        "spent": meter.spent.as_json(),
        "served_by": sorted(asking.served),
        "board": dict(outcome.board) if outcome else {},
    }


def _graded(question: Question, outcome: Outcome | None, error: str) -> dict[str, Any]:
    letter = extract_answer(outcome.reply) if outcome else None
    own = [extract_answer(reply) for reply in outcome.replies] if outcome else []
    return {
        "id": question.id,
        "state": DONE if outcome else BROKEN,
        "right": letter == question.answer,
        "letter": letter,
        "wanted": question.answer,
        "reply": outcome.reply if outcome else "",
        "ended": outcome.ended if outcome else f"could not be run: {error}",
        "agents": [{"letter": each, "right": each == question.answer} for each in own],
        "sub_domain": question.sub_domain,
        "length": question.length,
        "difficulty": question.difficulty,
    }


class Asking:
    """The way of an item's agents to the model: within the caps, and every call kept."""

    def __init__(self, model: Model, meter: Meter, attempt: Attempt) -> None:
        self._model = model
        self._meter = meter
        self._attempt = attempt
        self.served: set[str] = set()

    def agent(self, name: str) -> Ask:
        """An agent's own way; its calls go into its own trajectory."""

        async def ask(step: str, instructions: str, prompt: str) -> str:
            self._meter.check()
            said = await self._model.ask(instructions, prompt)
            self._meter.add(said.call)
            self.served.add(said.model)
            self._attempt.keep(
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
    return isinstance(error, ModelRefused) or (isinstance(error, OverLimit) and error.whole_run)


def scripted(served: Sequence[str]) -> bool:
    """Whether a scripted model had a part in it."""
    return any(name.startswith(SCRIPTED) for name in served)
