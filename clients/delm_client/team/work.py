"""A team at work: its agents, the run that is followed, and the bounds that end it."""

import signal

import anyio

from delm_client.team.folder import Record
from delm_client.team.following import Following
from delm_client.team.hosting import hosting
from delm_client.team.record import Noted
from delm_client.team.spending import Budget
from delm_client.team.supervise import Crew, Ending, Worker, look, release
from delm_client.team.team import Team
from delm_client.team.wish import TeamError

GRACE_S = 30.0
KEEP_S = 60.0
KEEP_S_MIN = 0.5
NOBODY = "no agent left"


async def work(team: Team, ending: Ending) -> str:
    """Let the team work until its run is over or it is ended; the record is open.

    Returns:
        How it ended: the run's state, or why it was ended before.

    Raises:
        TeamError: The board cannot be served.
    """
    wish, record = team.wish, team.record
    budget = Budget(wish.budget_usd, ending, lambda text: record.tell(Noted(text)))
    for line in record.lines:
        budget.hear(line)
    record.listeners.append(budget.hear)
    following = Following(team.owner, team.facts.run, team.labels, record)
    try:
        async with hosting(
            wish.transport, team.owner, team.facts.run, team.labels, record, team.pids
        ) as host:
            await _supervise(Crew(team, host, following, ending))
    finally:
        # Also after an error: what was admitted until then is the team's result.
        with anyio.CancelScope(shield=True):
            await settle(team, following)
    return following.seen.state if following.seen.over else ending.reason or NOBODY


async def _supervise(crew: Crew) -> None:
    """Let the agents work, and whatever looks after them."""
    following, ending, wish = crew.following, crew.ending, crew.team.wish
    async with anyio.create_task_group() as around:
        around.start_soon(following.work)
        around.start_soon(_keep, crew)
        if wish.timeout_s:
            around.start_soon(_time_out, wish.timeout_s, ending)
        async with anyio.create_task_group() as agents:
            around.start_soon(_cancel_when_asked, ending, agents.cancel_scope)
            around.start_soon(_cancel_when_over, following, ending, agents.cancel_scope)
            for member in wish.members:
                agents.start_soon(Worker(crew, member, crew.team.harnesses[member.label]).work)
        around.cancel_scope.cancel()


async def settle(team: Team, following: Following) -> None:
    """Agents are gone: hand on what they still hold, and keep the run's last state."""
    if not following.seen.over:
        await look(team, following)
    held = [label for label in team.labels if following.seen.holding(label).task]
    if held and not following.seen.over:
        await release(team, held)
        await look(team, following)
    team.last = following.seen.row


async def _cancel_when_asked(ending: Ending, scope: anyio.CancelScope) -> None:
    await ending.asked.wait()
    scope.cancel()


async def _cancel_when_over(following: Following, ending: Ending, scope: anyio.CancelScope) -> None:
    """Agents hear from the board that the run is over, and have a while to end by themselves."""
    await following.until(lambda: following.seen.over)
    with anyio.move_on_after(GRACE_S):
        await ending.asked.wait()
    scope.cancel()


async def _time_out(timeout_s: float, ending: Ending) -> None:
    await anyio.sleep(timeout_s)
    ending.ask("timeout")


async def _keep(crew: Crew) -> None:
    """Renew what agents that are alive hold, for they may think longer than a lease lasts.

    Over stdio the agent's own server does that.
    """
    if crew.team.wish.transport == "stdio":
        return
    following, lease_s, told = crew.following, 0.0, False
    while True:
        await following.until(lambda: following.seen.lease_s > 0)
        lease_s = max(lease_s, following.seen.lease_s)
        await anyio.sleep(min(KEEP_S, max(KEEP_S_MIN, lease_s / 3)))
        alive = sorted(label for label in crew.running if following.seen.holding(label).task)
        if not alive:
            continue
        try:
            await crew.team.owner.keep(crew.team.facts.run, alive)
        except TeamError as error:
            if not told:
                crew.team.record.tell(Noted(f"Leases are not kept for now: {error}"))
                told = True


def ending_signals() -> list[signal.Signals]:
    """What ends a team in order; under `nohup` a closed terminal does not."""
    ends = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    return [one for one in ends if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]


async def until_signalled(ending: Ending, told: list[signal.Signals], record: Record) -> None:
    """A first Ctrl-C (or SIGTERM, from `delm-run stop`) ends the team in order, a second one at once."""
    with anyio.open_signal_receiver(*ending_signals()) as signals:
        async for number in signals:
            told.append(number)
            if len(told) == 1:
                ending.ask("interrupted")
                record.tell(
                    Noted("Stopping: agents are ended, and their work is kept. Ctrl-C again: at once.")
                )
            else:
                ending.hurry.set()
