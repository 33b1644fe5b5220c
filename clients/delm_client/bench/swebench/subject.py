"""SWE-bench for the runner: agents leave patches, and a judge says later what became of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from delm_client.bench.coding.coder import Habits
from delm_client.bench.coding.subject import Coding, Judged
from delm_client.bench.errors import BenchError
from delm_client.bench.folder import Folder
from delm_client.bench.items import Instance, Item
from delm_client.bench.runner import DONE
from delm_client.bench.subjects import Row, known_to
from delm_client.bench.swebench.data import HUB
from delm_client.bench.swebench.grading import (
    TEAM,
    Verdicts,
    judge_left,
    predictions_file,
    write_predictions,
)
from delm_client.bench.swebench.outcomes import Outcome
from delm_client.bench.swebench.plugs import Plugs
from delm_client.bench.swebench.sums import sums
from delm_client.bench.swebench.workspaces import instance_of

HIDDEN = "hidden"


@dataclass(frozen=True)
class Chosen(Habits, Plugs):
    """What may differ between runs: the agents' habits, and the plugs."""

    steps_max: int = 80
    """Real traces of such items take 36 calls in the median and 66 at the 90th percentile."""


@dataclass(frozen=True, slots=True)
class SweBench(Coding):
    """Issues of real projects."""

    habits: Chosen
    usual_steps: int = 36
    """See `Chosen.steps_max`."""
    groups: tuple[str, ...] = ("repo", "difficulty")

    @classmethod
    def wished(cls, wishes: Mapping[str, Any]) -> Self:
        """With what a user or a folder says. Raises BenchError for a wish that cannot be had."""
        chosen = known_to(Chosen, wishes)
        if chosen.tests != HIDDEN:
            raise BenchError("SWE-bench's tests are hidden: leave --tests out.")
        return cls(chosen, chosen.workspaces())

    def ready(self, run_folder: Path, data: str, *, working: bool) -> None:
        """See `JudgedLater.ready`."""
        if working:
            self.habits.check_agents()
        self.habits.check_judge(run_folder, data or HUB)

    def judged(self, item: Instance, patch: str, repository: Path, folder: Path) -> Judged:
        """See `Coding.judged`: later, when all agents are through."""
        return Judged(Outcome.NOT_RUN.value, None, {"reason": ""})

    def named(self, item: Instance) -> dict[str, Any]:
        """See `Coding.named`."""
        return {"repo": item.repo, "difficulty": item.difficulty}

    def judge(self, folder: Folder, items: Sequence[Item], told: Callable[[str], None]) -> None:
        """See `JudgedLater.judge`. Predictions are written even where nobody judges."""
        rows = {key: row for key, row in folder.items().items() if row["state"] == DONE}
        patches = {key: _patches(folder, row) for key, row in rows.items()}
        instances = [instance_of(item) for item in items if item.id in rows]
        by = list(dict.fromkeys([TEAM, *(name for each in patches.values() for name in each)]))
        submissions = {
            name: {each.id: patches[each.id][name] for each in instances if name in patches[each.id]}
            for name in by
        }
        write_predictions(folder.path, submissions, model_name(folder))
        told(f"{len(rows)} predictions in {predictions_file(folder.path, TEAM)}")
        judge_of = self.habits.judge(folder.path, folder.config["data"] or HUB)
        try:
            if judge_of is not None:
                judge_left(folder.path, instances, submissions, judge_of, _telling(told))
        finally:
            verdicts = Verdicts(folder.path / "judged.jsonl")
            for key, row in rows.items():
                judged = _judged(row, patches[key], verdicts)
                if judged != row:
                    folder.finish(judged)

    def sums(self, done: Sequence[Row]) -> dict[str, Any]:
        """See `Subject.sums`."""
        return {**Coding.sums(self, done), **sums(done)}


def model_name(folder: Folder) -> str:
    """What `model_name_or_path` says of a run: the harness makes folders of it."""
    plan = folder.config["plan"]
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.config["model"]["name"])
    return f"delm-run-{plan['topology']}-{plan['agents']}-{model}"


def _patches(folder: Folder, row: Row) -> dict[str, str]:
    """The patches of a row by whom. Raises BenchError where one is gone."""
    places = {TEAM: row["patch"]} | {each["agent"]: each["patch"] for each in row["submissions"]}
    try:
        return {by: (folder.path / place).read_bytes().decode() for by, place in places.items()}
    except (OSError, ValueError) as error:
        raise BenchError(f"The patch of {row['id']} is not there any more: {error}") from error


def _judged(row: Row, patches: Mapping[str, str], verdicts: Verdicts) -> dict[str, Any]:
    """The row with what is known of its patches."""

    def known(by: str) -> dict[str, Any]:
        became = verdicts.of(row["id"], patches[by])
        right = became.outcome is Outcome.RESOLVED if became.outcome.is_judged else None
        return {"right": right, "outcome": became.outcome.value, "reason": became.reason}

    submissions = [{**each, **known(each["agent"])} for each in row["submissions"]]
    return {**row, **known(TEAM), "submissions": submissions}


def _telling(told: Callable[[str], None]) -> Callable[[str, int], None]:
    return lambda by, count: told(f"judging {count} {'patch' if count == 1 else 'patches'} of {by}")
