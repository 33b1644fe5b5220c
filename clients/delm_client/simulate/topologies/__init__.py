"""The ways to organise a team, by name."""

from delm_client.simulate.topologies.alone import Independent, Single, Split
from delm_client.simulate.topologies.base import FOREVER, Failures, Team
from delm_client.simulate.topologies.central import Batched, Central, Hierarchical, Rounds
from delm_client.simulate.topologies.delm import Delm, DelmOpen

TOPOLOGIES: dict[str, type[Team]] = {
    topology.name: topology
    for topology in (
        Single,
        Independent,
        Split,
        Central,
        Rounds,
        Batched,
        Hierarchical,
        Delm,
        DelmOpen,
    )
}

__all__ = ["FOREVER", "TOPOLOGIES", "Failures", "Team"]
