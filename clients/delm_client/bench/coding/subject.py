"""Items that are solved by changing files, for the runner: what benchmarks of this kind have in common.

A benchmark of this kind says how its items become repositories (`Workspaces`) and what a patch is worth
(`judged`); the rest is here: topologies, submissions and the patches that are kept, sums and estimates.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread

from delm_client.bench.coding import topologies
from delm_client.bench.coding.coder import CHARACTERS_PER_TOKEN, Desk, Habits
from delm_client.bench.coding.workspace import Workspaces, forget
from delm_client.bench.items import Item
from delm_client.bench.statistics import tally
from delm_client.bench.subjects import Estimated, Outcome, Row, Scene, Team, Topology
from delm_client.git import git

EMPTY = "empty"
PROMPT_TOKENS = 700
"""Of instructions and actions, in each call."""
STEP_TOKENS, RESULT_TOKENS, LEAD_TOKENS, JUDGE_TOKENS = 250, 500, 150, 80
"""Usual sizes of a reply, of what an action prints, and of what leads and judges say."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a patch is worth.

    Attributes:
        outcome: In a word, such as `passed`.
        right: None where that is found out later.
        more: What else its row says.
    """

    outcome: str
    right: bool | None
    more: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Coding:
    """A benchmark whose items are solved by changing files."""

    habits: Habits
    workspaces: Workspaces
    usual_steps: int = 8
    """How many steps an agent takes, for estimates."""
    topologies = (Topology.SINGLE, Topology.INDEPENDENT, Topology.CENTRAL, Topology.DELM)
    groups: tuple[str, ...] = ()
    max_tokens = 8192
    scripted = "coder"
    on_top = "How many steps agents take is a guess; mended patches, further rounds and retries come on top."

    def judged(self, item: Any, patch: str, repository: Path, folder: Path) -> Judged:
        """Say what a patch is worth; it is not empty. Blocks.

        Args:
            repository: The item's; its base is checked out there.
            folder: Does not exist yet, and may be used.

        Raises:
            BenchError: It cannot be found out here; says nothing about the patch.
        """
        raise NotImplementedError

    async def answer(self, scene: Scene) -> Outcome:
        """See `Subject.answer`."""
        return await topologies.answer(scene, Desk(scene.item, self.workspaces, self.habits))

    async def cut_short(self, scene: Scene, why: str) -> Outcome:
        """See `Subject.cut_short`: what is in the folders by then counts."""
        return await anyio.to_thread.run_sync(topologies.gathered, scene, why)

    async def row(self, scene: Scene, outcome: Outcome | None) -> dict[str, Any]:
        """See `Subject.row`: the team's submission, and each agent's own."""
        try:
            if outcome is None:
                return {
                    "right": False,
                    "outcome": "",
                    "patch": "",
                    "submissions": [],
                    **self.named(scene.item),
                }
            return await anyio.to_thread.run_sync(self._row, scene, outcome)
        finally:
            await anyio.to_thread.run_sync(forget, topologies.work_folder(scene))

    def named(self, item: Any) -> dict[str, Any]:
        """The groups of an item, as its row has them."""
        return {}

    def _row(self, scene: Scene, outcome: Outcome) -> dict[str, Any]:
        known: dict[str, Judged] = {"": Judged(EMPTY, False, {})}
        team = self._submission(scene, "team", outcome.reply, known)
        own = [
            {
                "agent": f"agent-{number}",
                **self._submission(scene, f"agent-{number}", patch, known),
                **more,
            }
            for number, (patch, more) in enumerate(zip(outcome.replies, outcome.agents, strict=True), 1)
        ]
        return {**team, "submissions": own, **self.named(scene.item)}

    def _submission(self, scene: Scene, name: str, patch: str, known: dict[str, Judged]) -> dict[str, Any]:
        """Keep a patch and judge it; one that was judged already is not judged again."""
        if patch not in known:
            folder = topologies.work_folder(scene).resolve() / f"judged-{len(known)}"
            known[patch] = self.judged(scene.item, patch, topologies.repository_of(scene), folder)
        judged = known[patch]
        path = scene.patches / f"{name}.patch"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(patch, encoding="utf-8", newline="")
        kept = path.relative_to(scene.run_folder).as_posix()
        return {"right": judged.right, "outcome": judged.outcome, "patch": kept, **judged.more}

    def estimate(self, item: Item, team: Team) -> Estimated:
        """See `Subject.estimate`: so many agents with the usual number of steps, whose prompts grow."""
        steps = min(self.usual_steps, self.habits.steps_max)
        base = PROMPT_TOKENS + len(self.workspaces.task(item)) // CHARACTERS_PER_TOKEN
        growing = (STEP_TOKENS + RESULT_TOKENS) * steps * (steps - 1) // 2
        calls = team.agents * steps
        given, taken = team.agents * (steps * base + growing), calls * STEP_TOKENS
        if team.topology in (Topology.SINGLE, Topology.INDEPENDENT):
            return calls, given, taken
        leads = 2  # dividing, and deciding
        calls, given, taken = calls + leads, given + leads * 2 * base, taken + leads * LEAD_TOKENS
        if team.topology is Topology.DELM and team.policy == "strict":
            judgements = team.agents + 1
            return calls + judgements, given + judgements * 2 * base, taken + judgements * JUDGE_TOKENS
        return calls, given, taken

    def sums(self, done: Sequence[Row]) -> dict[str, Any]:
        """See `Subject.sums`: Avg@1 and Pass@k over agents' submissions, outcomes, and what one costs."""
        threads = [[one["right"] is True for one in row["submissions"]] for row in done if row["submissions"]]
        count = sum(map(len, threads))
        costs = [row["spent"]["cost_usd"] for row in done]
        cost = None if None in costs or not done else sum(costs)
        each: dict[str, Any] = {}
        if count:
            each["avg_at_1"] = tally(right for thread in threads for right in thread)
            each[f"pass_at_{max(map(len, threads))}"] = tally(any(thread) for thread in threads)
        return {
            "outcomes": dict(Counter(row["outcome"] for row in done)),
            "each_agent": each,
            "submissions": count,
            "cost_usd_an_item": None if cost is None else cost / len(done),
            "cost_usd_a_submission": None if cost is None or not count else cost / count,
        }


def base_of(repository: Path) -> str:
    """The commit that an item began with."""
    return git(repository, "rev-parse", "HEAD")
