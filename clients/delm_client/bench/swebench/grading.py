"""The judging of a run: patches that agents left are given to a judge, and what it said is kept.

Agents and judge are two phases. A patch costs calls of a model and is kept whatever becomes of its judging;
what is not judged yet, or whose environment broke, is judged on resume, and no agent is asked again.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from delm_client.bench.folder import lines_of
from delm_client.bench.items import Instance
from delm_client.bench.swebench.environments import Judge
from delm_client.bench.swebench.outcomes import Judged, Outcome
from delm_client.bench.swebench.predictions import Prediction, write_lines

TEAM = "team"
"""Whose submission it is: the team's, or that of an agent by its name."""
Submissions = Mapping[str, Mapping[str, str]]
"""Patches by whom, and by the instance; an empty one says: nothing was to be changed."""


class Verdicts:
    """What became of each patch, in a JSON Lines file that only grows; the last line on a patch counts.

    The same patch at the same instance is one patch, whoever submitted it.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open a file, or begin it; a line that a killed process left half-written is none.

        Args:
            path: None: nothing is known, and nothing kept.
        """
        self._path = path
        self._found: dict[tuple[str, str], Judged] = {}
        for line in lines_of(path) if path and path.is_file() else ():
            try:
                each = json.loads(line)
                judged = Judged(each["instance_id"], Outcome(each["outcome"]), each["reason"])
                self._found[judged.instance_id, each["patch_sha256"]] = judged
            except (ValueError, KeyError, TypeError):
                continue

    def of(self, instance_id: str, patch: str) -> Judged:
        """What is known of a patch; `not_run` where it was never judged."""
        if not patch.strip():
            return Judged(instance_id, Outcome.EMPTY_PATCH)
        return self._found.get((instance_id, _digest(patch)), Judged(instance_id, Outcome.NOT_RUN))

    def keep(self, patch: str, judged: Judged) -> None:
        """Append what a judge said."""
        self._found[judged.instance_id, _digest(patch)] = judged
        line = {
            "instance_id": judged.instance_id,
            "patch_sha256": _digest(patch),
            "outcome": judged.outcome,
            "reason": judged.reason,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            if file.tell() and not _ends_whole(self._path):
                file.write(b"\n")
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _digest(patch: str) -> str:
    return sha256(patch.encode("utf-8", "surrogatepass")).hexdigest()


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def predictions_file(folder: Path, by: str) -> Path:
    """`predictions.jsonl` is the team's; those of single agents lie in `predictions/`."""
    return folder / "predictions.jsonl" if by == TEAM else folder / "predictions" / f"{by}.jsonl"


def write_predictions(folder: Path, submissions: Submissions, model: str) -> None:
    """Write one file in the official format for the team and for each agent, whole or not at all."""
    for by, patches in submissions.items():
        write_lines(
            predictions_file(folder, by), [Prediction(name, model, patch) for name, patch in patches.items()]
        )


def judge_left(
    folder: Path,
    instances: Sequence[Instance],
    submissions: Submissions,
    judge_of: Callable[[str], Judge],
    told: Callable[[str, int], None] = lambda by, count: None,
) -> None:
    """Give the judge what it has not judged, or where the environment broke: one call for each submitter.

    Their predictions have to be written. What a judge says is kept in `judged.jsonl`, call by call.

    Args:
        judge_of: The judge for one submitter's predictions.
        told: Is told of a call before it: by whom the patches are, and how many.

    Raises:
        PlugError: The judge cannot be started at all; what it said before is kept.
    """
    verdicts = Verdicts(folder / "judged.jsonl")
    tried: set[tuple[str, str]] = set()
    for by, patches in submissions.items():
        left = [
            each
            for each in instances
            if each.id in patches
            and (each.id, patches[each.id]) not in tried
            and not verdicts.of(each.id, patches[each.id]).outcome.is_judged
        ]
        if not left:
            continue
        told(by, len(left))
        judged = judge_of(by).judge(left, predictions_file(folder, by))
        for each in left:
            verdicts.keep(patches[each.id], judged[each.id])
            tried.add((each.id, patches[each.id]))
