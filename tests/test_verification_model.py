"""No order of proposals, verdicts, disputes, retractions and checks breaks what `verification_rules` says.

Hypothesis draws what a team does and prints it when a rule breaks: `thrown(17)` is the action that 17 stands
for. What was found so is played again below, in the order in which it happened.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from delm_mcp.domain.policy import Policy
from tests.boards import Desk, desk_in
from tests.verification_team import Action, Drawn, Team, thrown
from tests.verification_world import WAYS, World, policy

POLICIES = st.builds(
    policy,
    st.sampled_from(list(WAYS)),
    st.sampled_from([(1, 0), (1, 2), (1, 3), (2, 0), (2, 3)]),
    st.sampled_from(["attest", "reject", "wait"]),
    st.integers(1, 3),
)


class Teams(RuleBasedStateMachine):
    """Does what is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal("asyncio"))
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.world = World()
        self.desk: Desk = self.stack.enter_context(
            self.portal.wrap_async_context_manager(desk_in(folder, examiner=self.world))
        )

    @initialize(
        policy=POLICIES,
        principals=st.sampled_from([(0, 1, 2, 0), (0, 1, 2, 3, 0), (0, 1, 0)]),
        tasks=st.integers(3, 6),
    )
    def open(self, policy: Policy, principals: Sequence[int], tasks: int) -> None:
        self.team = Team(self.desk, self.world, principals)
        self.portal.call(self.team.opens, policy, tasks)

    @rule(action=st.integers(0, 2**64 - 1).map(thrown))
    def act(self, action: Action) -> None:
        self.portal.call(self.team.acts, *action)

    def teardown(self) -> None:
        try:
            if self.desk.run:
                self.portal.call(self.team.ends)
        finally:
            self.stack.close()


def explore(rounds: int, steps: int) -> None:
    """Ten runs a round: after ten, Hypothesis mostly varies what it has, and here that finds less."""
    for _ in range(rounds):
        run_state_machine_as_test(
            Teams,
            settings=settings(
                max_examples=10,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_no_order_of_verdicts_disputes_and_retractions_breaks_the_rules() -> None:
    explore(1, 50)


@pytest.mark.long
def test_no_order_of_verdicts_disputes_and_retractions_breaks_the_rules_in_a_thousand_runs() -> None:
    explore(100, 100)


# -- what was found so -----------------------------------------------------------------------------

BAD = "test 1 fails, lint 1 fails"
CHECK: Action = ("check", "pass", "", 0, 0)
AWAY: Action = ("check", "away", "", 0, 0)


def says(kind: str = "fact", proof: str = "seen", **more: Any) -> Drawn:
    """A proposal with nothing special about it."""
    usual = {"tree": BAD, "parents": [], "supersedes": [], "key": "", "completes": False, "fresh": True}
    return Drawn(**{"kind": kind, "proof": proof, "checked": False, **usual, **more})


def turn(who: int, kind: str = "fact", proof: str = "seen", **more: Any) -> Action:
    return ("turn", who, "pass", says(kind, proof, **more))


STALE = [
    *(turn(0, proof="lint"), CHECK),
    *(turn(0, proof="test", parents=[0]), CHECK),
    turn(0, parents=[0]),
    *(turn(1, "patch"), CHECK),
]
TWO_JUDGES = [
    turn(0, completes=True),
    ("update", 1, "release"),
    ("update", 2, "release"),
    ("claim", 1, "verify", 0),
]
BACK = [*TWO_JUDGES, ("wait", 101.0), ("claim", 2, "verify", 1)]
DONE_TWICE = [("add", 0, [0], "outside"), turn(0, completes=True), ("claim", 0, "next", 0)]
DOUBLY = [turn(0, proof="lint"), CHECK, turn(1, "patch"), CHECK, ("dispute", 1, -1, [], False)]


def judges(who: int, verdict: str = "pass") -> list[Action]:
    """Give up what one holds, and judge."""
    return [("update", who, "release"), ("claim", who, "verify", 0), ("judge", who, verdict, False)]


ONE = policy("executed", (1, 0), "attest", 2)
PAIR = policy("peers", (2, 0), "attest", 2)
ALONE = policy("peers", (1, 0), "wait", 2)
JUDGE = policy("judge", (1, 0), "attest", 2)
SCENES: dict[str, tuple[Policy, int, Sequence[Action]]] = {
    "inputs of a child hold before those of its parent": (ONE, 4, [*STALE, AWAY, CHECK]),
    "inputs of a parent hold first": (ONE, 4, [*STALE, CHECK, CHECK]),
    "a parent in doubt twice is cleared": (ONE, 4, [*STALE, AWAY, CHECK, ("wait", 6.0), CHECK]),
    "a parent is superseded while the inputs of its child are open": (
        JUDGE,
        4,
        [
            *(turn(0, proof="lint"), CHECK, CHECK),
            *(turn(0, proof="test", parents=[0]), CHECK, CHECK),
            *(turn(1, "patch"), CHECK, AWAY, AWAY),
            *(turn(2, proof="lint", supersedes=[2]), CHECK, CHECK),
            *(("wait", 6.0), CHECK, CHECK, CHECK),
        ],
    ),
    "a new doubt comes while the judge thinks": (
        JUDGE,
        4,
        [turn(0), CHECK, ("dispute", 1, 0, [], False), ("check", "pass", "dispute", 2, 0)],
    ),
    "what an entry rests on is disputed while the judge thinks": (
        JUDGE,
        4,
        [
            *(turn(0), CHECK, turn(0, parents=[0]), CHECK),
            *(("dispute", 1, 0, [], False), ("check", "pass", "dispute", 2, -1)),
        ],
    ),
    "a peer judges before the server has run a command again": (ONE, 4, [*DOUBLY, AWAY, *judges(3), CHECK]),
    "the server has run a command again before a peer judges": (ONE, 4, [*DOUBLY, CHECK, *judges(3)]),
    "an entry is superseded in doubt": (
        ONE,
        4,
        [turn(0), turn(0, parents=[0]), ("dispute", 1, -1, [], False), turn(3, supersedes=[1])],
    ),
    "somebody else disputes when half of the verdicts are in": (
        policy("executed", (2, 0), "attest", 2),
        5,
        [
            *(turn(0), ("dispute", 1, 0, [], False), *judges(3)),
            *(("dispute", 4, 0, [], False), *judges(5), *judges(3)),
        ],
    ),
    "a verify task is split": (PAIR, 4, [*TWO_JUDGES, ("add", 1, [], "split")]),
    "a finding is to complete a verify task": (
        PAIR,
        4,
        [*TWO_JUDGES, ("propose", 1, says(completes=True))],
    ),
    "two agents of a principal ask for verify tasks by name": (
        PAIR,
        4,
        [*TWO_JUDGES, ("claim", 2, "verify", 1)],
    ),
    "a lease comes back to a principal that judges": (PAIR, 4, [*BACK, ("update", 1, "renew")]),
    "a lease comes back to a principal that has judged": (
        PAIR,
        4,
        [*BACK, ("judge", 2, "pass", False), ("update", 1, "renew")],
    ),
    "a result falls with the result that its task waited for": (
        ONE,
        1,
        [*DONE_TWICE, ("propose", 0, says(proof="nothing", parents=[0], completes=True)), ("retract", -1)],
    ),
    "a task is handed on when what it waited for is open again": (
        ONE,
        1,
        [*DONE_TWICE, ("retract", -1), ("update", 0, "release")],
    ),
    "a task is split when what it waited for is open again": (
        ONE,
        1,
        [*DONE_TWICE, ("retract", -1), ("add", 0, [], "split")],
    ),
    "a run is cancelled while nobody comes to judge": (ALONE, 4, [turn(0)]),
}


@pytest.mark.anyio
@pytest.mark.parametrize("scene", SCENES)
async def test_the_rules_hold_also_when(tmp_path: Path, scene: str) -> None:
    settled, tasks, actions = SCENES[scene]
    world = World()
    async with desk_in(tmp_path, examiner=world) as desk:
        team = Team(desk, world, (0, 1, 1, 2, 3, 4))
        await team.opens(settled, tasks)
        for action in actions:
            await team.acts(*action)
        await team.ends()
