"""What is known of a team at work: what its agents told, and what the board says."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from delm_client.repair import Report, Target
from delm_client.words import task_counts


@dataclass
class AgentView:
    """What is known of one agent."""

    label: str
    pid: int = 0
    name: str = ""
    phase: str = "starting"
    target: str = ""
    since: float = field(default_factory=time.monotonic)
    mutants: int = 0
    mutants_before: int = 0
    admitted: int = 0
    rejected: int = 0
    gave_up: int = 0
    spent_s: dict[str, float] = field(
        default_factory=lambda: {"working": 0.0, "checking": 0.0, "waiting": 0.0}
    )
    ended: str = ""

    def enter(self, phase: str) -> None:
        """Another phase begins; the time of the one before counts."""
        now = time.monotonic()
        if self.phase in self.spent_s:
            self.spent_s[self.phase] += now - self.since
        self.phase, self.since = phase, now


@dataclass
class Scene:
    """Everything that the terminal shows."""

    project: str
    folder: Path
    board: Path
    check: str
    targets: list[Target]
    before: Report
    agents: dict[str, AgentView] = field(default_factory=dict)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    gave_up: list[dict[str, Any]] = field(default_factory=list)
    passing: set[str] = field(default_factory=set)
    """Targets that were found to pass without a patch of their own."""
    notes: list[str] = field(default_factory=list)
    queue_line: str = ""
    context: list[str] = field(default_factory=list)
    version: int = 0
    run_state: str = "open"
    started: float = field(default_factory=time.monotonic)
    told: list[dict[str, Any]] = field(default_factory=list)
    """Every line of every agent, but for the many on progress."""

    @property
    def repaired(self) -> int:
        """How many targets are repaired, as the queue line has it; the answer is a task that is no target."""
        done = task_counts(self.queue_line).get("done", 0)
        return min(len(self.targets), done - (self.run_state == "finished" and done > 0))

    @property
    def decided(self) -> int:
        """How many targets are repaired or given up, as the queue line has it."""
        return min(len(self.targets), self.repaired + task_counts(self.queue_line).get("failed", 0))

    def keep(self, line: dict[str, Any]) -> None:
        """Keep a line for whoever sums up afterwards."""
        if line["event"] != "progress":
            self.told.append(line)

    def hear(self, line: dict[str, Any]) -> None:
        """Take in one line that an agent told."""
        view = self.agents[line["agent"]]
        match line["event"]:
            case "claim":
                view.name = line["name"]
                task = line.get("task")
                if task:
                    view.target = task["subject"]
                    view.mutants_before += view.mutants
                    view.mutants = 0
            case "phase":
                view.enter(line["phase"])
                view.target = line.get(
                    "target", line.get("task", view.target if line["phase"] != "waiting" else "")
                )
            case "progress":
                view.mutants = line["mutants"]
            case "verdict":
                self.verdicts.append({**line, "name": view.name})
                view.admitted += line["state"] == "admitted"
                view.rejected += line["state"] == "rejected"
            case "gave_up":
                self.gave_up.append({**line, "name": view.name})
                view.gave_up += 1
            case "passes":
                self.passing.add(line["target"])
            case "again" | "refused":
                self.notes.append(f"{view.name or view.label}: {line['reason']}")
            case "stopped":
                view.ended = "finished"
                view.spent_s = line["spent_s"]
            case _:
                pass
