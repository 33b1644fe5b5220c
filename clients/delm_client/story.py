"""What an agent tells whoever started it, one JSON object a line."""

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from delm_client.repair import Progress


@dataclass
class Story:
    """What an agent tells, and how its time went: `working`, `checking` (its result) or `waiting`."""

    label: str
    spent_s: dict[str, float] = field(
        default_factory=lambda: {"working": 0.0, "checking": 0.0, "waiting": 0.0}
    )
    _phase: str = "waiting"
    _since: float = field(default_factory=time.monotonic)
    _told: float = 0.0

    def phase(self, name: str, **facts: Any) -> None:
        """Another phase begins."""
        now = time.monotonic()
        self.spent_s[self._phase] += now - self._since
        self._phase, self._since = name, now
        self.tell("phase", phase=name, **facts)

    def tell(self, event: str, **facts: Any) -> None:
        """One line for whoever started this agent."""
        line = {"agent": self.label, "event": event, "at": time.time(), **facts}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    def progress(self, step: Progress) -> None:
        """How far a search is, a few times a second."""
        now = time.monotonic()
        if now - self._told > 0.3:
            self._told = now
            self.tell("progress", scope=str(step.scope), mutants=step.counts.mutants)
