"""What is assumed, each with where it comes from. Whatever is not measured is swept."""

from dataclasses import dataclass, fields
from math import isfinite

from delm_client.simulate.errors import SimulationError


@dataclass(frozen=True, slots=True)
class Prices:
    """USD for a million tokens; the default is what FACTS call Gemini 3 Flash's."""

    prompt: float = 0.50
    cached: float = 0.05
    completion: float = 3.00

    def checked(self) -> "Prices":
        """The same, or a SimulationError that names what cannot be."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not isfinite(value) or value < 0:
                raise SimulationError(
                    f"The price of {field.name} tokens is {value:g}: it cannot be negative."
                )
        return self


@dataclass(frozen=True, slots=True)
class Assumptions:
    """The parameters of a simulation. README means the figures that `delm-mcp bench` gave there."""

    turn_s: float = (
        4.0  # one turn of any agent that does not do the task itself; default: the trace's median call
    )

    # An orchestrator.
    orchestrator_calls: float = 2.0  # a task: half to assign it, half to merge its result
    item_s: float = (
        0.5  # each task more in a turn for several: about 43 tokens at 11.6 ms, as in the real trace
    )
    group: int = 8  # workers of a middle manager
    report_tokens: int = 100  # of a result, to the orchestrator: as long as a gist, which favours it
    preamble_tokens: int = (
        1_500  # before an orchestrator or a verifier has read anything: a first call of the trace
    )

    # DeLM. Its agents pay turns to claim, to propose and to verify; the server's times are the README's.
    claim_turns: float = 1.0
    propose_turns: float = 1.0
    verdict_turns: float = 2.0  # beyond claiming the verify task
    claim_s: float = 1 / 730  # README: 730 claims/s over HTTP with 16 clients
    propose_s: float = 1 / 295  # README: 295 proposals/s over HTTP with 16 clients
    gate_s: float = 0.085  # README: proposal to admission, strict, one peer, a quote; p50
    check_s: float = 0.0  # a check on the moved head, one after another; README: 0.603 s in bubblewrap
    peer_wait_s: float = 60.0  # the default policy's: then an entry is admitted that nobody can judge
    lease_s: float = 300.0  # the default policy's; an orchestrator notices a silent worker after as long

    # The context.
    gist_tokens: int = 100
    window_entries: int = 20  # a budget of 2,000 tokens, as read_context has
    turn_tokens: int = 100  # that a turn to claim, propose, assign or judge writes
    case_tokens: int = 345  # README: what a verifier reads

    # What nobody measured: how much agents get into each other's way. Zero unless swept.
    dead_ends: float = 0.0  # probability that a task runs into a dead end of its family
    dead_share: float = 0.3  # of the task's time, spent there unless somebody has told
    families: int = 20  # dead ends differ between families
    false_results: float = 0.0  # probability that a result is false at first
    caught: float = (
        0.8  # of the false ones, by the gate; the README's strict preset leaves 36 of 219 to judgement
    )
    rests: float = 0.5  # probability that a task rests on one earlier entry; on a false one, it is done twice

    def checked(self) -> "Assumptions":
        """The same, or a SimulationError that names what cannot be."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not isfinite(value) or value < 0:
                raise SimulationError(f"{field.name} is {value:g}: it cannot be negative or infinite.")
        for name in ("dead_ends", "dead_share", "false_results", "caught", "rests"):
            if getattr(self, name) > 1:
                raise SimulationError(f"{name} is {getattr(self, name):g}: a share lies between 0 and 1.")
        if min(self.group, self.families) < 1:
            raise SimulationError("group and families must be at least 1.")
        return self
