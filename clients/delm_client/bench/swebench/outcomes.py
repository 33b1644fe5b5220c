"""What became of an attempt, and how the official harness's reports say it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from delm_client.bench.errors import DataError, did_you_mean
from delm_client.bench.items import Instance
from delm_client.bench.swebench.predictions import Prediction

APPLY_FAILED = ">>>>> Patch Apply Failed"
TIMED_OUT = "Test timed out after"
LOGS = Path("logs") / "run_evaluation"


class Outcome(StrEnum):
    """What became of one attempt at one instance."""

    RESOLVED = "resolved"
    UNRESOLVED = "unresolved"
    """The patch is wrong: tests fail, or it does not apply, or its tests never end."""
    EMPTY_PATCH = "empty_patch"
    """The agent was content to change nothing."""
    ENVIRONMENT_BROKE = "environment_broke"
    """Nothing is known about the patch: run it again."""
    NOT_RUN = "not_run"

    @property
    def is_judged(self) -> bool:
        """Whether it says something about the agent."""
        return self in (Outcome.RESOLVED, Outcome.UNRESOLVED, Outcome.EMPTY_PATCH)


@dataclass(frozen=True, slots=True)
class Judged:
    """The outcome of one attempt, and why, where more is known."""

    instance_id: str
    outcome: Outcome
    reason: str = ""


def read_run_report(path: Path, logs: Path | None = None) -> dict[str, Judged]:
    """Read the harness's report on a whole run, `<model>.<run_id>.json`, schema version 2.

    The harness calls `error` whatever has no report of its own: a patch that does not apply as well as an
    image that cannot be pulled. Its logs tell the two apart.

    Args:
        logs: The run's folder in the harness's logs (`log_folder`); None: an error counts as a broken
            environment, unless the report gives a reason.

    Raises:
        DataError: It is no such report.
    """
    report = _object(path)
    ids = {
        name: _ids(path, report, f"{name}_ids") for name in ("resolved", "unresolved", "empty_patch", "error")
    }
    broke = set(report.get("infra_failure_ids") or ())
    reasons: Mapping[str, str] = report.get("failure_reasons") or {}
    judged: dict[str, Judged] = {}
    for instance_id in report.get("incomplete_ids") or ():
        judged[instance_id] = Judged(instance_id, Outcome.NOT_RUN)
    for instance_id in ids["empty_patch"]:
        judged[instance_id] = Judged(instance_id, Outcome.EMPTY_PATCH)
    for instance_id in ids["unresolved"]:
        judged[instance_id] = Judged(instance_id, Outcome.UNRESOLVED, reasons.get(instance_id, ""))
    for instance_id in ids["error"]:
        judged[instance_id] = _error(instance_id, reasons.get(instance_id, ""), logs)
    for instance_id in broke - set(ids["resolved"]):
        judged[instance_id] = Judged(instance_id, Outcome.ENVIRONMENT_BROKE, reasons.get(instance_id, ""))
    for instance_id in ids["resolved"]:
        judged[instance_id] = Judged(instance_id, Outcome.RESOLVED)
    return judged


def read_instance_report(path: Path) -> dict[str, Judged]:
    """Read the harness's report on one instance, `report.json` in its log folder.

    Raises:
        DataError: It is no such report.
    """
    judged = {}
    for instance_id, report in _object(path).items():
        if not isinstance(report, dict) or "resolved" not in report:
            raise DataError(f"{path}: {instance_id} has no `resolved`; this is no report on an instance.")
        reason = str(report.get("infra_failure_reason") or "")
        if report["resolved"]:
            outcome = Outcome.RESOLVED
        elif report.get("patch_is_None") or report.get("patch_exists") is False:
            outcome = Outcome.EMPTY_PATCH
        elif report.get("infra_failure"):
            outcome = Outcome.ENVIRONMENT_BROKE
        else:
            outcome = Outcome.UNRESOLVED
            if report.get("patch_successfully_applied") is False:
                reason = reason or "no_test_results"
        judged[instance_id] = Judged(instance_id, outcome, reason)
    return judged


def log_folder(harness: Path, run_id: str, model: str) -> Path:
    """Where the harness, started in a folder, keeps the logs of a run."""
    return harness / LOGS / run_id / model.replace("/", "__")


def complete(
    instances: Iterable[Instance], predictions: Iterable[Prediction], judged: Mapping[str, Judged]
) -> dict[str, Judged]:
    """One outcome for each instance: without a prediction `not_run`, without a report `environment_broke`."""
    patches = {prediction.instance_id: prediction.patch for prediction in predictions}
    outcomes = {}
    for instance in instances:
        if instance.id in judged:
            outcomes[instance.id] = judged[instance.id]
        elif instance.id not in patches:
            outcomes[instance.id] = Judged(instance.id, Outcome.NOT_RUN)
        elif not patches[instance.id].strip():
            outcomes[instance.id] = Judged(instance.id, Outcome.EMPTY_PATCH)
        else:
            outcomes[instance.id] = Judged(instance.id, Outcome.ENVIRONMENT_BROKE, "no report")
    return outcomes


def _error(instance_id: str, reason: str, logs: Path | None) -> Judged:
    log = logs / instance_id / "run_instance.log" if logs else None
    text = log.read_text(encoding="utf-8", errors="replace") if log and log.is_file() else ""
    if APPLY_FAILED in text:
        return Judged(instance_id, Outcome.UNRESOLVED, "patch_does_not_apply")
    if TIMED_OUT in text or reason == "tests_timed_out":
        return Judged(instance_id, Outcome.UNRESOLVED, "tests_timed_out")
    return Judged(instance_id, Outcome.ENVIRONMENT_BROKE, reason)


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path} does not exist: the harness writes its report when it ends. See what it printed."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no report of the harness: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} is no report of the harness: it holds no object.")
    return value


def _ids(path: Path, report: Mapping[str, Any], name: str) -> list[str]:
    if name not in report:
        hint = did_you_mean(name, report)
        raise DataError(f"{path}: the field `{name}` is missing, so this is no report on a run.{hint}")
    value = report[name]
    if not isinstance(value, list) or not all(isinstance(instance_id, str) for instance_id in value):
        raise DataError(f"{path}: `{name}` must be a list of instance ids.")
    return value
