"""The board and a plain-dict oracle, side by side through every operation in every order."""

import tempfile
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from delm_mcp.board.adding import NewTask
from delm_mcp.board.reading import Wanted
from delm_mcp.domain.model import Caller, Evidence, Kind, Principal
from delm_mcp.domain.policy import build
from delm_mcp.domain.proposal import Proposal
from delm_mcp.errors import Refused
from delm_mcp.store import journal
from delm_mcp.store.base import Tx
from tests.boards import SEEN, desk_in, quote
from tests.oracle import LIMITS, Oracle, Refusal

SUBJECTS = [f"task {letter}" for letter in "abcdefgh"]
GISTS = [f"Module {letter} drops a comma" for letter in "abcdefgh"]
SOURCE = "\n".join(GISTS)
TAGS = st.sets(st.sampled_from(["x", "y"]))


class Boards(RuleBasedStateMachine):
    """Each rule does one thing to both and compares the answers; the invariants compare the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal("asyncio"))
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.desk = self.stack.enter_context(self.portal.wrap_async_context_manager(desk_in(folder)))
        self.oracle = Oracle(self.desk.clock())
        self.names: list[str] = []
        self.leases: list[tuple[int, str]] = []
        self.context = ""
        self.requests = 0

    def teardown(self) -> None:
        self.stack.close()

    def call(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return self.portal.call(work)

    def both(self, name: str, *args: Any, real: Callable[[], Coroutine[Any, Any, Any]], **kwargs: Any) -> Any:
        """Do one thing to both; they must agree on whether it is refused.

        Returns:
            What the oracle and the board answered, or None.
        """
        self.oracle.now = self.desk.clock()
        try:
            expected = self.oracle.attempt(name, *args, **kwargs)
        except Refusal:
            before = self.call(self.desk.dump)
            with pytest.raises(Refused):
                self.call(real)
            assert self.call(self.desk.dump) == before
            return None
        return expected, self.call(real)

    @initialize(subjects=st.lists(st.sampled_from(SUBJECTS), min_size=1, max_size=3, unique=True))
    def open(self, subjects: list[str]) -> None:
        policy = build({"limits": LIMITS})
        for subject in subjects:
            self.oracle.add(subject, [], set(), 0)
        self.call(lambda: self.desk.open(*subjects, policy=policy, sources=(("notes", SOURCE),)))

    # -- the queue -------------------------------------------------------------------------------

    @precondition(lambda self: len(self.oracle.tasks) < 8)
    @rule(
        subject=st.sampled_from(SUBJECTS),
        after=st.lists(st.integers(0, 100), max_size=2),
        needs=TAGS,
        priority=st.integers(-1, 1),
    )
    def add(self, subject: str, after: list[int], needs: set[str], priority: int) -> None:
        known = list(self.oracle.tasks)
        waits = [known[number % len(known)] for number in after]
        new = NewTask(subject, "", tuple(f"T{need}" for need in waits), tuple(sorted(needs)), priority)
        answers = self.both("add", subject, waits, needs, priority, real=lambda: self.desk.add(new))
        if answers:
            expected, queued = answers
            assert [(added.id, added.state) for added in queued.tasks] == [
                (f"T{expected['id']}", expected["state"])
            ]

    @rule(who=st.integers(0, 4), tags=TAGS)
    def claim(self, who: int, tags: set[str]) -> None:
        name = self.names[who] if who < len(self.names) else ""
        caller = Caller(Principal(f"p{who if name else len(self.names)}"))
        real = self.desk.claim(caller, agent=name, tags=tuple(sorted(tags)))
        expected_name = name
        if not name and self.oracle.run["state"] == "open":
            claim = self.call(lambda: real)
            expected_name = claim.agent
            self.names.append(claim.agent)
            self.oracle.now = self.desk.clock()
            expected = self.oracle.claim(claim.agent, tags)
        else:
            answers = self.both("claim", expected_name, tags, real=lambda: real)
            if answers is None:
                return
            expected, claim = answers
        assert (claim.task is not None) == (expected is not None), claim.reason
        if expected is not None:
            assert claim.task.id == f"T{expected['id']}"
            token = claim.lease.split(".")[1]
            assert claim.reclaimed == (expected["token"] == token)
            expected["token"] = token
            if (expected["id"], token) not in self.leases:
                self.leases.append((expected["id"], token))

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 7), how=st.sampled_from(["renew", "release", "give_up"]))
    def update(self, which: int, how: str) -> None:
        task, token = self.lease(which)
        self.requests += 1
        action = "fail" if how == "give_up" else how
        note = f"note {self.requests}"
        lease = f"T{task}.{token}"
        self.both(
            how,
            task,
            token,
            real=lambda: self.desk.board.update_task(
                self.holder(task), lease=lease, action=action, note=note
            ),
        )

    @precondition(lambda self: self.leases)
    @rule(which=st.integers(0, 7), subjects=st.lists(st.sampled_from(SUBJECTS), min_size=1, max_size=2))
    def split(self, which: int, subjects: list[str]) -> None:
        task, token = self.lease(which)
        self.requests += 1
        self.both(
            "split",
            task,
            token,
            subjects,
            real=lambda: self.desk.add(
                *subjects,
                lease=f"T{task}.{token}",
                split=True,
                request=f"r{self.requests}",
                caller=self.holder(task),
            ),
        )

    @rule(seconds=st.sampled_from([1.0, 10.0, 10.0, 31.0, 31.0, 100.0, 101.0, 350.0, 1001.0]))
    def pass_time(self, seconds: float) -> None:
        self.desk.clock.advance(seconds)

    def lease(self, which: int) -> tuple[int, str]:
        """Mostly a lease that is current, otherwise one of the latest."""
        current = [
            (task["id"], task["token"]) for task in self.oracle.tasks.values() if task["state"] == "leased"
        ]
        leases = current if current and which < 6 else self.leases[-3:]
        return leases[which % len(leases)]

    def holder(self, task: int) -> Caller:
        """The principal of the agent that holds a task, or held it last."""
        return Caller(Principal(f"p{self.names.index(self.oracle.tasks[task]['agent'])}"))

    # -- the context -----------------------------------------------------------------------------

    @precondition(lambda self: self.leases)
    @rule(
        which=st.integers(0, 7),
        gist=st.sampled_from(GISTS),
        key=st.sampled_from(["", "", "k1", "k2"]),
        supersedes=st.one_of(st.just([]), st.lists(st.integers(1, 9), max_size=2)),
        derived=st.one_of(st.just([]), st.lists(st.integers(1, 9), max_size=1)),
        completes=st.sampled_from([True, True, False]),
        slow=st.sampled_from([None, None, True, False]),
    )
    def propose(
        self,
        which: int,
        gist: str,
        key: str,
        supersedes: list[int],
        derived: list[int],
        completes: bool,
        slow: bool | None,
    ) -> None:
        evidence = SEEN if slow is None else quote("notes", gist if slow else "nowhere in the notes")
        named = [number for number in supersedes if number <= len(self.oracle.entries) + 1]
        parents = [number for number in derived if number <= len(self.oracle.entries) + 1]
        entry = _draft("fact", gist, key=key, supersedes=named, derived_from=parents, completes=completes)
        self.submit_under(*self.lease(which), entry, evidence, slow)

    @rule(who=st.integers(0, 2))
    def work(self, who: int) -> None:
        """Claim and complete, so that runs get somewhere; a decision is answered."""
        self.claim(who, set())
        task = self.oracle.held(self.names[who]) if who < len(self.names) else None
        if task is None:
            return
        if task["kind"] == "decide":
            self.answer(0, True)
            return
        self.requests += 1
        gist = f"Finding number {self.requests} holds"
        entry = _draft("fact", gist, completes=True)
        self.submit_under(task["id"], task["token"], entry, SEEN, None)

    @precondition(lambda self: any(t["kind"] == "decide" for t in self.oracle.tasks.values()))
    @rule(which=st.integers(0, 7), rest=st.booleans())
    def answer(self, which: int, rest: bool) -> None:
        live = [number for number, entry in self.oracle.entries.items() if entry["state"] == "admitted"]
        parents = live[:2] if rest else []
        entry = _draft("answer", "Every module keeps its commas", derived_from=parents, completes=True)
        self.submit_under(*self.lease(which), entry, (), None)

    def submit_under(
        self, task: int, token: str, entry: dict[str, Any], evidence: tuple[Evidence, ...], slow: bool | None
    ) -> None:
        proposal = Proposal(
            **{
                **entry,
                "kind": Kind(entry["kind"]),
                "evidence": evidence,
                "supersedes": tuple(entry["supersedes"]),
                "derived_from": tuple(entry["derived_from"]),
            }
        )
        self.requests += 1
        board = self.desk.another(self.desk.dying) if slow is not None else self.desk.board
        caller, request = self.holder(task), f"r{self.requests}"

        def real() -> Coroutine[Any, Any, Any]:
            return board.propose_update(caller, proposal, lease=f"T{task}.{token}", request=request)

        answers = self.both("propose", task, token, entry, quoted=slow, real=real)
        if answers is None:
            return
        number, proposed = answers
        assert (proposed.entry, proposed.state) == (f"E{number}", self.oracle.entries[number]["state"])
        before = self.call(self.desk.dump)
        again = self.call(real)
        assert (again.entry, again.replayed) == (proposed.entry, True)
        assert self.call(self.desk.dump) == before

    @precondition(lambda self: self.oracle.checks)
    @rule()
    def settle(self) -> None:
        expected, ran = self.both("settle", real=self.desk.board.checker.run_next)
        assert ran == expected

    @precondition(lambda self: self.names)
    @rule(who=st.integers(0, 4), at=st.integers(0, 20), budget=st.sampled_from([1, 20, 60, 20_000]))
    def read(self, who: int, at: int, budget: int) -> None:
        version = self.oracle.run["version"]
        since = at % (version + 1)
        name = self.names[who % len(self.names)]
        caller = Caller(Principal(f"p{who % len(self.names)}"))
        wanted = Wanted(since=since, budget_tokens=budget)
        known = self.call(lambda: self.desk.agent(name)).acked
        seen = self.call(lambda: self.desk.board.read_context(caller, wanted, agent=name, run=self.desk.run))
        assert since <= seen.version_read <= version
        assert seen.more == (seen.version_read < version)
        assert self.at_version(since) + seen.text == self.at_version(seen.version_read)
        assert self.call(lambda: self.desk.agent(name)).acked == max(known, since)
        if since > known:
            self.oracle.agents[name]["seen"] = self.desk.clock()

    def at_version(self, version: int) -> str:
        if version == 0:
            return ""
        wanted = Wanted(at=version, budget_tokens=20_000)
        caller = Caller(Principal("p0"))
        return str(self.call(lambda: self.desk.board.read_context(caller, wanted, run=self.desk.run)).text)

    # -- what must hold after every step ---------------------------------------------------------

    @precondition(lambda self: self.desk.run)
    @invariant()
    def agree(self) -> None:
        home, tasks, entries, changes, fault, differences = self.call(lambda: self.desk.store.read(self.rows))
        ours = self.oracle
        assert (home.state, home.version, home.rounds) == (
            ours.run["state"],
            ours.run["version"],
            ours.run["rounds"],
        )
        assert {task.id: _task(task) for task in tasks} == {
            number: _expected(ours, task) for number, task in ours.tasks.items()
        }
        assert {entry.id: (entry.state, entry.version) for entry in entries} == {
            number: (entry["state"], entry["version"]) for number, entry in ours.entries.items()
        }
        assert [(c.version, c.what, c.entry) for c in changes] == ours.lines
        assert sorted({change.version for change in changes}) == list(range(1, home.version + 1))
        assert (fault, differences) == (None, [])
        holders = [task.agent for task in tasks if task.state == "leased"]
        assert len(holders) == len(set(holders))

    @precondition(lambda self: self.desk.run)
    @invariant()
    def only_grow(self) -> None:
        text = self.at_version(self.oracle.run["version"])
        assert text.startswith(self.context)
        self.context = text

    def rows(self, tx: Tx) -> tuple[Any, ...]:
        runs = tx.runs()
        assert len(runs) == 1
        run = runs[0]
        log = tx.log(run.id)
        heard = [c for name in ("", *self.names) for c in tx.changes(run.id, 0, run.version, reader=name)]
        changes = sorted(heard, key=lambda change: change.id)
        unique = list({c.id: c for c in changes}.values())
        return (
            run,
            tx.tasks(run.id),
            tx.entries(run.id),
            unique,
            journal.walk(log),
            journal.differences(journal.replay(log), tx.dump(run.id)),
        )


def _draft(kind: str, gist: str, **fields: Any) -> dict[str, Any]:
    usual = {"key": "", "supersedes": [], "derived_from": [], "completes": False}
    return {"kind": kind, "gist": gist, **usual, **fields}


def _task(task: Any) -> tuple[Any, ...]:
    token = task.token if task.state in {"leased", "ready"} else ""
    until = task.lease_until if task.state == "leased" else 0.0
    return (
        task.state,
        task.kind,
        task.attempts,
        task.losses,
        task.blocked_by if task.state == "blocked" else 0,
        task.result,
        token,
        until,
        task.favours if task.state == "ready" else "",
    )


def _expected(oracle: Oracle, task: dict[str, Any]) -> tuple[Any, ...]:
    return (
        task["state"],
        task["kind"],
        task["attempts"],
        task["losses"],
        len(oracle.open_blockers(task)) if task["state"] == "blocked" else 0,
        task["result"],
        task["token"] if task["state"] in {"leased", "ready"} else "",
        task["until"] if task["state"] == "leased" else 0.0,
        task["favours"] if task["state"] == "ready" else "",
    )


def explore(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Boards,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_board_does_what_the_oracle_says() -> None:
    explore(15, 40)


@pytest.mark.long
def test_the_board_does_what_the_oracle_says_a_thousand_times() -> None:
    explore(1000, 60)
