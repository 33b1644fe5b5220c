"""Small worlds for the simulator, whose results can be worked out by hand."""

from collections.abc import Sequence

from delm_client.simulate.accounts import Outcome
from delm_client.simulate.assumptions import Assumptions
from delm_client.simulate.topologies import TOPOLOGIES, Failures
from delm_client.simulate.world import Task, World

FREE = Assumptions(  # coordination costs nothing
    orchestrator_calls=0,
    item_s=0,
    claim_turns=0,
    propose_turns=0,
    verdict_turns=0,
    claim_s=0,
    propose_s=0,
    gate_s=0,
    peer_wait_s=0,
)
SHARING = ("central", "central-rounds", "central-batched", "central-hierarchical", "delm", "delm-open")


def task(index: int, seconds: float, luck: float = 0.999, calls: int = 10) -> Task:
    """A task of 1,000 tokens a call, half of them cached; its luck is the same in everything."""
    tokens = 1000 * calls
    lucks = (luck,) * 6
    return Task(index, seconds, calls, tokens, tokens // 2, 100 * calls, 1000, 1000, *lucks)


def world(seconds: Sequence[float], luck: float = 0.999, death: float = 0.5) -> World:
    """A world of such tasks, in which whoever dies does so at that share of the ideal makespan."""
    return World(1, tuple(task(index, s, luck) for index, s in enumerate(seconds)), (death,) * 100)


def outcome(
    name: str, place: World, agents: int, given: Assumptions = FREE, failures: Failures | None = None
) -> Outcome:
    """One run."""
    return TOPOLOGIES[name](place, given, agents, failures).run()
