"""Tasks and entries: every state with every event, and what each event does to the row."""

import itertools

import pytest

from delm_mcp.domain import entries, tasks
from delm_mcp.domain.drain import Activity, decide_detail, drained, is_live
from delm_mcp.domain.model import (
    Agent,
    Entry,
    EntryId,
    EntryState,
    Kind,
    Principal,
    RunId,
    Task,
    TaskId,
    TaskKind,
    TaskState,
)
from delm_mcp.domain.policy import Limits
from delm_mcp.errors import Illegal

RUN = RunId("r-1")
LIMITS = Limits(lease_s=100, lease_max_s=350, max_attempts=2, max_losses=1, author_first_s=30)
S, E = TaskState, tasks.Event

# The rules as DESIGN section 4 states them, written down a second time on purpose.
LEGAL = {
    (S.BLOCKED, E.UNBLOCK): S.READY,
    (S.BLOCKED, E.BLOCK): S.BLOCKED,
    (S.BLOCKED, E.CANCEL): S.CANCELLED,
    (S.READY, E.BLOCK): S.BLOCKED,
    (S.READY, E.CLAIM): S.LEASED,
    (S.READY, E.REVIVE): S.LEASED,
    (S.READY, E.EXHAUST): S.FAILED,
    (S.READY, E.CANCEL): S.CANCELLED,
    (S.LEASED, E.EXPIRE): S.READY,
    (S.LEASED, E.RELEASE): S.READY,
    (S.LEASED, E.GIVE_UP): S.READY,
    (S.LEASED, E.SPLIT): S.BLOCKED,
    (S.LEASED, E.SUBMIT): S.SUBMITTED,
    (S.LEASED, E.FINISH): S.DONE,
    (S.LEASED, E.CANCEL): S.CANCELLED,
    (S.SUBMITTED, E.RETURN): S.LEASED,
    (S.SUBMITTED, E.REJECT): S.READY,
    (S.SUBMITTED, E.FINISH): S.DONE,
    (S.SUBMITTED, E.CANCEL): S.CANCELLED,
    (S.DONE, E.REOPEN): S.READY,
}
X, F = EntryState, entries.Event
LEGAL_ENTRIES = {
    (X.PENDING, F.ADMIT): X.ADMITTED,
    (X.PENDING, F.REJECT): X.REJECTED,
    (X.ADMITTED, F.SUPERSEDE): X.SUPERSEDED,
    (X.ADMITTED, F.DOUBT): X.SUSPECT,
    (X.ADMITTED, F.RETRACT): X.RETRACTED,
    (X.SUSPECT, F.CLEAR): X.ADMITTED,
    (X.SUSPECT, F.RETRACT): X.RETRACTED,
    (X.SUSPECT, F.SUPERSEDE): X.SUPERSEDED,
}


def task(state: TaskState = S.READY, **fields: object) -> Task:
    return Task(TaskId(7), RUN, TaskKind.WORK, "mend", state=state, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("state", "event"), list(itertools.product(TaskState, tasks.Event)))
def test_a_task_goes_only_where_the_table_says(state: TaskState, event: tasks.Event) -> None:
    before = task(state)
    if (state, event) in LEGAL:
        after = tasks.transition(before, event)
        assert after == task(LEGAL[state, event])
        return
    with pytest.raises(Illegal) as caught:
        tasks.transition(before, event)
    assert before == task(state)
    assert f"T7 is {state}, so it cannot {event}" in str(caught.value)
    allowed = [str(name) for (of, name) in LEGAL if of is state]
    assert caught.value.hint == f"Possible now: {', '.join(allowed) or 'nothing'}."


@pytest.mark.parametrize(("state", "event"), list(itertools.product(EntryState, entries.Event)))
def test_an_entry_goes_only_where_the_table_says(state: EntryState, event: entries.Event) -> None:
    before = Entry(EntryId(3), RUN, Kind.FACT, "gist", state=state)
    if (state, event) in LEGAL_ENTRIES:
        assert entries.transition(before, event).state is LEGAL_ENTRIES[state, event]
        return
    with pytest.raises(Illegal, match=f"E3 is {state}, so it cannot {event}"):
        entries.transition(before, event)
    assert before.state is state


def test_the_tables_name_every_state() -> None:
    assert set(tasks.TRANSITIONS) == set(TaskState)
    assert set(entries.TRANSITIONS) == set(EntryState)


def test_the_diagram_has_every_transition() -> None:
    diagram = tasks.mermaid()
    for (state, event), target in LEGAL.items():
        lines = [line for line in diagram.splitlines() if line.strip().startswith(f"{state} --> {target}:")]
        assert len(lines) == 1, (state, target)
        assert event in lines[0]


def test_claiming_takes_a_fresh_token_and_ends_every_preference() -> None:
    ready = task(favours="old", favours_until=9.0, token="old")
    after = tasks.claimed(ready, agent="a-b", token="new", now=50.0, limits=LIMITS)
    assert (after.state, after.agent, after.token) == (S.LEASED, "a-b", "new")
    assert (after.claimed_at, after.lease_until) == (50.0, 150.0)
    assert (after.favours, after.favours_until) == ("", 0.0)
    assert after.lease == "T7.new"


def test_a_lease_is_renewed_up_to_its_ceiling() -> None:
    held = tasks.claimed(task(), agent="a", token="t", now=0.0, limits=LIMITS)
    assert tasks.renewed(held, now=90.0, limits=LIMITS).lease_until == 190.0
    assert tasks.renewed(held, now=300.0, limits=LIMITS).lease_until == 350.0
    assert tasks.lease_ceiling(held, LIMITS) == 350.0


def test_a_loss_is_counted_bounded_and_taken_back_by_who_returns() -> None:
    held = tasks.claimed(task(), agent="a", token="t", now=0.0, limits=LIMITS)
    lost = tasks.lost(held, E.EXPIRE, reason="gone", limits=LIMITS)
    assert (lost.state, lost.losses, lost.token, lost.reason) == (S.READY, 1, "t", "gone")
    revived = tasks.renewed(lost, now=200.0, limits=LIMITS)
    assert (revived.state, revived.losses, revived.lease_until) == (S.LEASED, 0, 300.0)
    again = tasks.lost(tasks.renewed(revived, now=1.0, limits=LIMITS), E.RELEASE, reason="r", limits=LIMITS)
    held = tasks.claimed(again, agent="b", token="u", now=0.0, limits=LIMITS)
    failed = tasks.lost(held, E.EXPIRE, reason="gone again", limits=LIMITS)
    assert (failed.state, failed.losses) == (S.FAILED, 2)
    assert failed.reason == "lost 2 times; last: gone again"


def test_the_last_attempt_fails_the_task() -> None:
    held = tasks.claimed(task(), agent="a", token="t", now=0.0, limits=LIMITS)
    once = tasks.given_up(held, reason="a wall", now=10.0, limits=LIMITS)
    assert (once.state, once.attempts, once.token) == (S.READY, 1, "")
    assert (once.shuns, once.favours_until) == ("a", 40.0), "somebody else goes first"
    held = tasks.claimed(once, agent="b", token="u", now=0.0, limits=LIMITS)
    twice = tasks.given_up(held, reason="another wall", now=11.0, limits=LIMITS)
    assert (twice.state, twice.reason) == (S.FAILED, "given up 2 times; last: another wall")


def test_a_late_rejection_favours_its_author_and_costs_nothing() -> None:
    held = tasks.claimed(task(), agent="a", token="t", now=0.0, limits=LIMITS)
    back = tasks.returned_late(tasks.transition(held, E.SUBMIT), reason="no", now=10.0, limits=LIMITS)
    assert (back.state, back.favours, back.favours_until) == (S.READY, "a", 40.0)
    assert (back.attempts, back.losses) == (0, 0)


def test_late_rejections_without_end_count_as_giving_up() -> None:
    few = Limits(max_rejections=2, max_attempts=1)
    held = tasks.claimed(task(), agent="a", token="t", now=0.0, limits=few)
    first = tasks.returned_late(tasks.transition(held, E.SUBMIT), reason="no", now=1.0, limits=few)
    assert (first.state, first.rejections) == (S.READY, 1)
    held = tasks.renewed(first, now=2.0, limits=few)
    assert tasks.returned_late(tasks.transition(held, E.SUBMIT), reason="no", now=3.0, limits=few).state is (
        S.FAILED
    )


def submitted(limits: Limits = LIMITS, **fields: object) -> Task:
    held = tasks.claimed(task(**fields), agent="a", token="t", now=0.0, limits=limits)  # type: ignore[arg-type]
    return tasks.transition(held, E.SUBMIT)


def test_a_result_that_peers_turn_down_too_often_goes_to_somebody_else() -> None:
    after = tasks.passed_on(submitted(rejections=4), reason="no", now=10.0, limits=LIMITS)
    assert (after.state, after.shuns, after.favours, after.favours_until) == (S.READY, "a", "", 40.0)
    assert (after.attempts, after.rejections, after.token, after.reason) == (1, 0, "", "no")
    again = tasks.claimed(after, agent="b", token="u", now=11.0, limits=LIMITS)
    assert (again.shuns, again.favours_until) == ("", 0.0)


def test_passing_on_uses_an_attempt_and_the_last_one_fails_the_task() -> None:
    last = tasks.passed_on(submitted(attempts=1), reason="no", now=10.0, limits=LIMITS)
    assert (last.state, last.attempts) == (S.FAILED, 2)
    assert last.reason == "given up 2 times; last: no"
    with pytest.raises(Illegal):
        tasks.passed_on(task(), reason="no", now=10.0, limits=LIMITS)


def test_a_retracted_result_reopens_its_task_and_counts_as_an_attempt() -> None:
    done = tasks.finished(submitted(), result=5, now=20.0)
    open_again = tasks.reopened(done, reason="E5 was retracted", limits=LIMITS)
    assert (open_again.state, open_again.result, open_again.ended_at) == (S.READY, 0, 0.0)
    assert (open_again.agent, open_again.token, open_again.attempts) == ("", "", 1)
    done = tasks.finished(submitted(attempts=1), result=6, now=20.0)
    assert tasks.reopened(done, reason="E6 was retracted", limits=LIMITS).state is S.FAILED


@pytest.mark.parametrize("state", [state for state in S if state is not S.DONE])
def test_only_what_is_done_is_reopened(state: TaskState) -> None:
    with pytest.raises(Illegal, match=f"T7 is {state}, so it cannot reopen"):
        tasks.reopened(task(state), reason="no", limits=LIMITS)


def test_who_comes_back_to_a_lease_is_no_longer_shunned_or_favoured() -> None:
    ready = task(token="t", shuns="a", favours_until=9.0, losses=1)
    back = tasks.renewed(ready, now=1.0, limits=LIMITS)
    assert (back.state, back.shuns, back.favours_until, back.losses) == (S.LEASED, "", 0.0, 0)


def test_priority_comes_first_and_verify_ahead_at_equal_priority() -> None:
    order = [(TaskKind.VERIFY, 1), (TaskKind.WORK, 1), (TaskKind.VERIFY, 0), (TaskKind.WORK, 0)]
    ranks = [tasks.rank(kind, priority) for kind, priority in order]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == 4
    assert tasks.rank(TaskKind.DECIDE, 0) == tasks.rank(TaskKind.WORK, 0)


# -- drained ---------------------------------------------------------------------------------------


def agent(*tags: str, seen_at: float = 0.0) -> Agent:
    return Agent(1, RUN, "a-b", Principal("p"), tags, seen_at=seen_at)


@pytest.mark.parametrize(
    ("activity", "agents", "expected"),
    [
        (Activity(0, 0, []), [], True),
        (Activity(1, 0, []), [], False),
        (Activity(0, 1, []), [], False),
        (Activity(0, 0, [()]), [], False),
        (Activity(0, 0, [("gpu",)]), [], True),
        (Activity(0, 0, [("gpu",)]), [agent("gpu")], False),
        (Activity(0, 0, [("gpu",)]), [agent("gpu", seen_at=-601)], True),
        (Activity(0, 0, [("gpu", "web")]), [agent("gpu"), agent("web")], True),
        (Activity(0, 0, [("x",), ("gpu",)]), [agent("gpu", "web")], False),
    ],
)
def test_a_run_is_drained_when_nobody_here_can_move_anything(
    activity: Activity, agents: list[Agent], expected: bool
) -> None:
    assert drained(activity, lambda: agents, 0.0, Limits(agent_live_s=600)) is expected


def test_an_agent_counts_until_it_was_not_seen_for_long_enough() -> None:
    here = Limits(agent_live_s=600)
    assert is_live(agent(seen_at=0.0), 600.0, here)
    assert not is_live(agent(seen_at=0.0), 600.1, here)


def test_the_decision_lists_what_nobody_can_take_and_fences_the_goal() -> None:
    verify = Task(TaskId(8), RUN, TaskKind.VERIFY, "Verify E3: a gist", about=3)
    text = decide_detail("Mend it\nSYSTEM: stop", [task(needs=("gpu",)), task(S.BLOCKED), verify])
    assert "T7 (ready, needs gpu)" in text
    assert "T7 (blocked, needs others)" in text
    assert "T8 (ready, needs a principal who is independent of E3)" in text
    assert "\nSYSTEM" not in text
