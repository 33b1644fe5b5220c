"""What a run should look like after each operation, in plain dicts and from the rules as they are written
down, not from the code: no transition table, no SQL, no row classes.

Every method either changes the dicts and returns what the board must answer, or raises `Refusal` and
changes nothing.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

LEASE_S, LEASE_MAX_S = 100.0, 350.0
ATTEMPTS, LOSSES, ROUNDS, REJECTIONS = 2, 2, 2, 3
GRACE_S, AUTHOR_S, LIVE_S, CHECK_S = 10.0, 30.0, 1000.0, 30.0
UNFINISHED = {"blocked", "ready", "leased", "submitted"}

LIMITS = {
    "lease_s": LEASE_S,
    "lease_max_s": LEASE_MAX_S,
    "max_attempts": ATTEMPTS,
    "max_losses": LOSSES,
    "max_rounds": ROUNDS,
    "max_rejections": REJECTIONS,
    "decide_grace_s": GRACE_S,
    "author_first_s": AUTHOR_S,
    "agent_live_s": LIVE_S,
}


class Refusal(Exception):
    """The board must refuse this."""


@dataclass
class Oracle:
    """One run."""

    now: float
    run: dict[str, Any] = field(
        default_factory=lambda: {"state": "open", "version": 0, "rounds": 0, "finisher": ""}
    )
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)
    entries: dict[int, dict[str, Any]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    lines: list[tuple[int, str, int]] = field(default_factory=list)

    def attempt(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method; put everything back if it refuses."""
        kept = deepcopy((self.run, self.tasks, self.agents, self.entries, self.checks, self.lines))
        try:
            return getattr(self, name)(*args, **kwargs)
        except Refusal:
            self.run, self.tasks, self.agents, self.entries, self.checks, self.lines = kept
            raise

    # -- tasks -----------------------------------------------------------------------------------

    def _new(self, kind: str, subject: str, **fields: Any) -> dict[str, Any]:
        task = {
            "id": len(self.tasks) + 1,
            "kind": kind,
            "subject": subject,
            "state": "ready",
            "priority": 0,
            "needs": set(),
            "waits": set(),
            "attempts": 0,
            "losses": 0,
            "rejections": 0,
            "agent": "",
            "token": "",
            "claimed": 0.0,
            "until": 0.0,
            "favours": "",
            "shuns": "",
            "favours_until": 0.0,
            "result": 0,
            **fields,
        }
        self.tasks[task["id"]] = task
        return task

    def open_blockers(self, task: dict[str, Any]) -> set[int]:
        """The tasks that a task still waits for."""
        return {need for need in task["waits"] if self.tasks[need]["state"] != "done"}

    def _reaches(self, start: int, goal: int) -> bool:
        return goal in self.open_blockers(self.tasks[start]) or any(
            self._reaches(need, goal) for need in self.open_blockers(self.tasks[start])
        )

    def add(self, subject: str, after: list[int], needs: set[str], priority: int) -> dict[str, Any]:
        if self.run["state"] not in {"open", "stalled"}:
            raise Refusal
        waited = [self.tasks[need] for need in after]
        if any(t["kind"] != "work" or t["state"] in {"failed", "cancelled"} for t in waited):
            raise Refusal
        same = [
            t
            for t in self.tasks.values()
            if t["subject"] == subject and t["state"] in UNFINISHED and t["kind"] == "work"
        ]
        task = same[0] if same else self._new("work", subject, needs=needs, priority=priority)
        if not same:
            self.run["state"] = "open"
        for need in after:
            if need == task["id"] or self._reaches(need, task["id"]):
                raise Refusal
            if self.tasks[need]["state"] == "done":
                continue
            if task["state"] not in {"blocked", "ready"}:
                raise Refusal
            task["waits"].add(need)
            task["state"] = "blocked"
        return task

    def _insist_open(self) -> None:
        if self.run["state"] != "open":
            raise Refusal

    def held(self, agent: str) -> dict[str, Any] | None:
        rows = [t for t in self.tasks.values() if t["state"] == "leased" and t["agent"] == agent]
        assert len(rows) <= 1, "one lease an agent"
        return rows[0] if rows else None

    def _renew(self, task: dict[str, Any]) -> None:
        task["until"] = min(self.now + LEASE_S, task["claimed"] + LEASE_MAX_S)

    def claim(self, agent: str, tags: set[str], new_token: str = "") -> dict[str, Any] | None:
        """The task that the agent must get, or None. An unknown agent joins."""
        if agent not in self.agents:
            self._insist_open()
            self.agents[agent] = {"tags": set()}
        me = self.agents[agent]
        me.update(seen=self.now, tags=tags or me["tags"])
        if self.run["state"] != "open":
            return None
        task: dict[str, Any] | None
        held = self.held(agent)
        if held and self.now < held["claimed"] + LEASE_MAX_S:
            self._renew(held)
            return held
        if held:
            self._lose(held)
        ended = [t for t in self.tasks.values() if t["state"] == "leased" and t["until"] < self.now]
        for lost in sorted(ended, key=lambda t: (t["until"], t["id"])):
            self._lose(lost)
        if self.run["state"] != "open":
            return None
        task = self._favoured(agent) or self._next_ready(agent, me["tags"]) or self._decision(agent)
        if task:
            task.update(
                state="leased",
                agent=agent,
                claimed=self.now,
                until=self.now + LEASE_S,
                favours="",
                shuns="",
                favours_until=0.0,
            )
        return task

    def _favoured(self, agent: str) -> dict[str, Any] | None:
        rows = [t for t in self._ready() if t["favours"] == agent]
        return min(rows, key=lambda t: t["id"], default=None)

    def _ready(self) -> list[dict[str, Any]]:
        return [t for t in self.tasks.values() if t["state"] == "ready" and t["kind"] == "work"]

    def _next_ready(self, agent: str, tags: set[str]) -> dict[str, Any] | None:
        rows = [
            t
            for t in self._ready()
            if t["needs"] <= tags
            and (t["favours_until"] <= self.now or not (t["favours"] or t["shuns"] == agent))
        ]
        return min(rows, key=lambda t: (-t["priority"], t["id"]), default=None)

    def drained(self, but: int = 0) -> bool:
        """Nothing moves, and nobody who is there could move it; `but` is a decision that is being made."""
        moving = [t for t in self.tasks.values() if t["state"] in {"leased", "submitted"} and t["id"] != but]
        if moving or self.checks:
            return False
        live = [a for a in self.agents.values() if self.now - a["seen"] <= LIVE_S]
        return not any(not t["needs"] or any(t["needs"] <= a["tags"] for a in live) for t in self._ready())

    def _decision(self, agent: str) -> dict[str, Any] | None:
        if not self.drained():
            return None
        waiting = [t for t in self.tasks.values() if t["kind"] == "decide" and t["state"] == "ready"]
        assert len(waiting) <= 1, "one decision a run"
        last = self.run["finisher"]
        task = (
            waiting[0]
            if waiting
            else self._new("decide", "", favours=last, favours_until=self.now + GRACE_S if last else 0.0)
        )
        mine = task["favours"] in {"", agent} or task["favours_until"] <= self.now
        return task if mine else None

    def _lose(self, task: dict[str, Any]) -> None:
        if task["kind"] == "decide" and not self.drained(but=task["id"]):
            task["state"] = "cancelled"
            return
        task["losses"] += 1
        task["state"] = "ready"
        if task["losses"] > LOSSES:
            self._fail(task)

    def _fail(self, task: dict[str, Any]) -> None:
        task["state"] = "failed"
        self._cancel_after(task)
        if task["kind"] == "decide":
            self.run["state"] = "stalled"

    def _cancel_after(self, gone: dict[str, Any]) -> None:
        for task in self.tasks.values():
            if gone["id"] in task["waits"] and task["state"] in {"blocked", "ready"}:
                task["state"] = "cancelled"
                self._cancel_after(task)

    def show(self, task_id: int, token: str) -> dict[str, Any]:
        """What showing a lease does: the task, renewed or revived."""
        task = self.tasks[task_id]
        if task["token"] != token:
            raise Refusal
        self._insist_open()
        self.agents[task["agent"]]["seen"] = self.now
        if self.now >= task["claimed"] + LEASE_MAX_S:
            raise Refusal
        if task["state"] == "ready" and self.held(task["agent"]) is None:
            if not task["favours"]:
                task["losses"] = max(0, task["losses"] - 1)
            task.update(state="leased", favours="", shuns="", favours_until=0.0, until=0.0)
        if task["state"] != "leased":
            raise Refusal
        self._renew(task)
        return task

    def renew(self, task_id: int, token: str) -> None:
        self.show(task_id, token)

    def release(self, task_id: int, token: str) -> None:
        task = self.show(task_id, token)
        self._lose(task)
        if task["state"] != "cancelled":
            task["token"] = ""

    def give_up(self, task_id: int, token: str) -> None:
        self._give_up(self.show(task_id, token))

    def _count_rejection(self, task: dict[str, Any]) -> None:
        task["rejections"] += 1
        if task["rejections"] >= REJECTIONS:
            task["rejections"] = 0
            self._give_up(task)

    def _give_up(self, task: dict[str, Any]) -> None:
        if task["kind"] == "decide" and not self.drained(but=task["id"]):
            task["state"] = "cancelled"
            return
        task.update(state="ready", attempts=task["attempts"] + 1, token="")
        if task["attempts"] >= ATTEMPTS:
            self._fail(task)
        elif task["kind"] == "work" and self._others(task):
            task.update(shuns=task["agent"], favours_until=self.now + AUTHOR_S)

    def _others(self, task: dict[str, Any]) -> bool:
        """Somebody who is there, and is not the one who had it, could take the task."""
        return any(
            name != task["agent"] and self.now - a["seen"] <= LIVE_S and task["needs"] <= a["tags"]
            for name, a in self.agents.items()
        )

    def split(self, task_id: int, token: str, subjects: list[str]) -> None:
        """Add parts under a lease and let the task wait for them; for a decision, another round."""
        task = self.show(task_id, token)
        if task["kind"] == "decide":
            if self.run["rounds"] >= ROUNDS:
                raise Refusal
            for subject in subjects:
                self.add(subject, [], set(), 0)
            self._finish(task, 0)
            self.run["rounds"] += 1
            return
        parts = {self.add(subject, [], set(), 0)["id"] for subject in subjects}
        if any(part == task_id or self._reaches(part, task_id) for part in parts):
            raise Refusal
        task["waits"] |= parts
        task.update(state="blocked", token="")

    def _finish(self, task: dict[str, Any], result: int) -> None:
        task.update(state="done", result=result)
        for other in self.tasks.values():
            if other["state"] == "blocked" and task["id"] in other["waits"] and not self.open_blockers(other):
                other["state"] = "ready"
        self.run["finisher"] = task["agent"]

    # -- entries ---------------------------------------------------------------------------------

    def propose(self, task_id: int, token: str, entry: dict[str, Any], *, quoted: bool | None = None) -> int:
        """Judge a proposal under a lease.

        Args:
            entry: kind, gist, key, supersedes, derived_from, completes.
            quoted: None when no slow check is needed, else whether its quote stands in the source.
        """
        task = self.show(task_id, token)
        deciding = task["kind"] == "decide"
        if (entry["kind"] == "answer") != (deciding and entry["completes"]):
            raise Refusal
        if entry["kind"] == "answer" and not self.drained(but=task_id):
            raise Refusal
        number = len(self.entries) + 1
        kept = {
            **entry,
            "id": number,
            "state": "pending",
            "task": task_id,
            "agent": task["agent"],
            "quoted": quoted,
            "version": 0,
        }
        self.entries[number] = kept
        if not self._sound(kept):
            kept["state"] = "rejected"
            if kept["completes"]:
                self._count_rejection(task)
        elif quoted is None:
            self._admit(kept)
        else:
            self.checks.append({"entry": number, "good": quoted, "due": self.now + CHECK_S})
            if kept["completes"]:
                task["state"] = "submitted"
        return number

    def _sound(self, entry: dict[str, Any]) -> bool:
        others = [e for e in self.entries.values() if e["state"] == "admitted" and e["id"] != entry["id"]]
        live = {e["id"] for e in others}
        if entry["kind"] == "answer" and live and not entry["derived_from"]:
            return False
        rivals = {e["id"] for e in others if entry["key"] and e["key"] == entry["key"]}
        if entry["kind"] != "answer":
            rivals |= {e["id"] for e in others if e["gist"] == entry["gist"]}
        named = {*entry["supersedes"], *entry["derived_from"]}
        if not (named <= live and rivals <= set(entry["supersedes"])):
            return False
        replaced = [self.entries[number] for number in entry["supersedes"]]
        if self._grounds(entry) & set(entry["supersedes"]):
            return False
        return entry["quoted"] is not None or not any(
            old["quoted"] and old["agent"] != entry["agent"] for old in replaced
        )

    def _grounds(self, entry: dict[str, Any]) -> set[int]:
        """All that an entry rests on, however deep."""
        parents = set(entry["derived_from"])
        return parents.union(
            *(self._grounds(self.entries[number]) for number in parents if number in self.entries)
        )

    def _admit(self, entry: dict[str, Any]) -> None:
        self.run["version"] += 1
        for old in dict.fromkeys(entry["supersedes"]):
            self.entries[old]["state"] = "superseded"
            self.lines.append((self.run["version"], "superseded", old))
        entry.update(state="admitted", version=self.run["version"])
        self.lines.append((self.run["version"], "admitted", entry["id"]))
        task = self.tasks[entry["task"]]
        if entry["completes"] and task["state"] in {"leased", "submitted"}:
            self._finish(task, entry["id"])
        if entry["kind"] == "answer":
            for other in self.tasks.values():
                if other["state"] in {"blocked", "ready"}:
                    other["state"] = "cancelled"
            self.run["state"] = "finished"

    def settle(self) -> bool:
        """Another process runs the oldest check whose process is gone."""
        due = [check for check in self.checks if check["due"] < self.now]
        if not due:
            return False
        self.checks.remove(due[0])
        entry = self.entries[due[0]["entry"]]
        if due[0]["good"] and self.run["state"] == "open" and self._sound(entry):
            self._admit(entry)
            return True
        entry["state"] = "rejected"
        self.run["version"] += 1
        self.lines.append((self.run["version"], "rejected", entry["id"]))
        task = self.tasks[entry["task"]]
        if entry["completes"] and task["state"] == "submitted":
            self._returned_late(task)
        return True

    def _returned_late(self, task: dict[str, Any]) -> None:
        if task["kind"] == "decide" and not self.drained(but=task["id"]):
            task["state"] = "cancelled"
            return
        task.update(state="ready", rejections=task["rejections"] + 1)
        if task["rejections"] < REJECTIONS:
            task.update(favours=task["agent"], favours_until=self.now + AUTHOR_S)
            return
        task.update(rejections=0, attempts=task["attempts"] + 1, token="")
        if task["attempts"] >= ATTEMPTS:
            self._fail(task)
