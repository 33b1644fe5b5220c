"""What is known of a team from its events: states, times, tokens and cost, the context."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delm_client.team.chart import Chart, chart, strip
from delm_client.team.record import (
    Ended,
    Entered,
    Event,
    Faulted,
    Holds,
    Joined,
    Line,
    Noted,
    RunIs,
    Said,
    Spent,
    Started,
)
from delm_client.team.spans import Activity, Life, Span, awaiting_gate_s, coarse, times, waiting_share
from delm_client.team.tally import duration, shortly, usd
from delm_client.team.view import GIVEN_UP, State, View
from tests.team_story import START, facts, seen, story, told

ME = "claude-1"


def lived(*events: tuple[float, Event]) -> View:
    return seen(told((after_s, ME, what) for after_s, what in events))


def activities(view: View, end_s: float) -> list[tuple[str, float, float]]:
    spans = view.spans(ME, START + end_s)
    return [(span.activity.value, span.start - START, span.end - START) for span in spans]


# -- states --------------------------------------------------------------------------------------


def test_an_agent_goes_through_its_states() -> None:
    view = View(facts())
    passed = [view.agents[ME].state]
    events: list[tuple[float, Event]] = [
        (1, Started("claude", 7, 1)),
        (2, Joined()),
        (3, Holds("T1", "work", "one")),
        (4, Holds("T2", "verify", "two")),
        (5, Holds("T3", "decide", "three")),
        (6, Holds()),
        (7, Ended(1)),
        (8, Started("claude", 8, 2)),
        (9, Ended(1, "the key is refused")),
        (9, Noted(f"{ME} ended twice in a row and {GIVEN_UP}.")),
    ]
    for after_s, what in events:
        view.hear(Line(START + after_s, ME, what))
        passed.append(view.agents[ME].state)
    assert passed == [
        State.STARTING, State.STARTING, State.JOINED, State.WORKING, State.VERIFYING, State.WORKING,
        State.WAITING, State.ENDED, State.WAITING, State.ENDED, State.GIVEN_UP,
    ]  # fmt: skip
    assert view.agents[ME].restarts == 1


def test_what_an_agent_holds_outlives_its_process_but_nobody_works_on_it_meanwhile() -> None:
    view = lived(
        (0, Started("claude", 7, 1)),
        (10, Holds("T1", "work", "one")),
        (20, Ended(-9, "killed")),
        (30, Started("claude", 8, 2)),
        (40, Ended(0)),
        (50, Holds()),
    )
    assert activities(view, 60) == [
        ("waiting", 0, 10), ("working", 10, 20), ("gone", 20, 30), ("working", 30, 40), ("gone", 40, 60),
    ]  # fmt: skip


def test_a_record_that_lost_its_beginning_is_read_from_where_it_begins() -> None:
    view = lived((5, Said("on with it")), (8, Holds("T1", "work", "one")))
    assert activities(view, 9) == [("waiting", 5, 8), ("working", 8, 9)]
    assert view.agents[ME].state is State.WORKING


# -- times ---------------------------------------------------------------------------------------

EVENTS = st.one_of(
    st.just(Started("claude", 2, 2)),
    st.just(Joined()),
    st.just(Faulted("x")),
    st.just(Ended(0)),
    st.builds(
        Entered, st.sampled_from(["E1", "E2"]), st.just("fact"), st.sampled_from(["pending", "admitted"])
    ),
    st.builds(Holds, st.sampled_from(["", "T1", "T2"]), st.sampled_from(["work", "verify", "decide"])),
)
MOMENTS = st.floats(0, 1000, allow_nan=False)
BEGIN: Event = Started("claude", 1, 1)
LIVES = st.builds(
    lambda begin_s, rest: [(begin_s, BEGIN), *rest],
    MOMENTS,
    st.lists(st.tuples(MOMENTS, EVENTS), max_size=40),
)


@given(LIVES, MOMENTS)
def test_spans_cover_an_agents_lifetime_without_gaps_and_overlaps_whatever_clocks_do(
    events: list[tuple[float, Event]], end_s: float
) -> None:
    view = lived(*events)
    begin, end = START + events[0][0], START + max(end_s, *(after_s for after_s, _ in events))
    spans = view.spans(ME, end)
    assert (begin == end and not spans) or (spans[0].start, spans[-1].end) == (begin, end)
    assert all(span.end > span.start for span in spans)
    assert all(one.end == other.start and not one.goes_on(other) for one, other in pairwise(spans))
    assert sum(times(spans).values()) == pytest.approx(end - begin)


@given(LIVES, st.floats(0.01, 300))
def test_a_coarse_picture_covers_the_same_time_with_parts_that_can_be_seen(
    events: list[tuple[float, Event]], least_s: float
) -> None:
    spans = lived(*events).spans(ME, START + 2000)
    drawn = coarse(spans, least_s)
    assert (drawn[0].start, drawn[-1].end) == (spans[0].start, spans[-1].end)
    assert all(one.end == other.start for one, other in pairwise(drawn))
    assert sum(span.length_s < least_s for span in drawn) <= 1 + sum(
        span.length_s >= least_s for span in spans
    )
    assert {span for span in spans if span.length_s >= least_s} <= set(drawn)


def test_waiting_for_a_decision_on_an_own_entry_is_told_from_waiting_for_work() -> None:
    view = lived(
        (0, Started("claude", 7, 1)),
        (10, Holds("T1", "work", "one")),
        (20, Entered("E1", "patch", "pending", "", "so")),
        (22, Holds()),
        (25, Entered("E2", "fact", "pending", "", "so")),
        (30, Entered("E1", "patch", "admitted", "executed", "so")),
        (40, Entered("E2", "fact", "rejected", "", "so")),
    )
    spans = view.spans(ME, START + 50)
    assert [(span.activity.value, span.awaits, span.length_s) for span in spans] == [
        ("waiting", "", 10), ("working", "", 12), ("waiting", "E1", 8), ("waiting", "E2", 10),
        ("waiting", "", 10),
    ]  # fmt: skip
    assert awaiting_gate_s(spans) == 18
    assert [bar.gate for bar in drawn(view).lanes[0].bars] == [False, False, True, True]


def test_the_share_of_waiting_is_of_the_time_with_a_process() -> None:
    view = seen(story())
    spent = view.times(ME, START + 100)
    assert [spent[one] for one in Activity] == [30, 0, 59, 10]
    assert waiting_share(spent) == pytest.approx(59 / 89)
    assert waiting_share(dict.fromkeys(Activity, 0.0)) is None
    everybody = view.times(end=START + 100)
    assert everybody[Activity.VERIFYING] == 30
    assert everybody[Activity.GONE] == 25


# -- tokens and cost -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "cost_usd", "cost"),
    [
        ([], None, "?"),
        ([Spent(10, 1, 0, 0.5), Spent(10, 1, 0, 0.25)], 0.75, "$0.75"),
        ([Spent(10, 1, 0, None)], None, "?"),
        ([Spent(10, 1, 0, 0.5), Spent(10, 1, 0, None)], None, "at least $0.50"),
        ([Spent(10, 1, 0, None), Spent(0, 0, 0, 0.5)], 0.5, "$0.50"),
        ([Spent(10, 1, 0, None), Started("c", 2, 2), Spent(0, 0, 0, 0.5)], None, "at least $0.50"),
        ([Spent(10, 1, 0, None), Spent(10, 1, 0, 0.5)], 0.5, "$0.50"),
        ([Spent(1, 1, 0, 0.25), Spent(1, 1, 0, None), Spent(1, 1, 0, 0.25)], None, "at least $0.50"),
        ([Spent(10, 1, 0, 0.0)], 0.0, "$0.00"),
        ([Spent(1, 1, 0, 0.5), Spent(10, 1, 0, float("nan"))], None, "at least $0.50"),
    ],
    ids=[
        "nothing told", "all known", "unknown", "partly", "billed at the end", "the bill of another process",
        "a bill with the rest of the tokens", "one step of several unknown", "free", "nonsense",
    ],
)  # fmt: skip
def test_an_unknown_cost_stays_unknown(events: list[Event], cost_usd: float | None, cost: str) -> None:
    view = lived((0, Started("claude", 1, 1)), *((1, what) for what in events))
    assert view.agents[ME].spent.cost_usd == cost_usd
    assert view.agents[ME].spent.cost == cost


def test_the_total_is_a_lower_bound_where_an_agent_reports_nothing() -> None:
    view = seen(
        told([(0, "a", Started("x", 1, 1)), (0, "b", Started("x", 2, 1)), (1, "a", Spent(10, 2, 5, 0.5))])
    )
    total = view.spent
    assert (total.cost_usd, total.cost) == (None, "at least $0.50")
    assert (total.tokens(total.input_tokens), total.tokens(0)) == ("at least 10", "?")
    assert view.agents["b"].spent.tokens(0) == "?"
    assert view.agents["a"].spent.tokens(10) == "10"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (duration(0), "0 s"), (duration(0.44), "0.4 s"), (duration(59.7), "1 min"),
        (duration(725), "12 min 5 s"), (duration(3599.6), "1 h"), (duration(12000), "3 h 20 min"),
        (shortly(999), "999"), (shortly(12345), "12.3k"),
        (shortly(999_960), "1.0M"), (usd(1234.5), "$1,234.50"), (usd(0.0421), "$0.0421"), (usd(0.0), "$0.00"),
    ],
)  # fmt: skip
def test_numbers_are_worded_for_people(said: str, meant: str) -> None:
    assert said == meant


# -- the context and the queue -----------------------------------------------------------------------


def test_entries_carry_their_last_state_and_every_decision_is_kept() -> None:
    view = seen(story(), facts())
    assert {label: entry.state for label, entry in view.entries.items()} == {
        "E1": "admitted", "E2": "rejected", "E3": "retracted",
    }  # fmt: skip
    assert [(one.entry, one.state) for one in view.verdicts] == [
        ("E1", "admitted"), ("E2", "rejected"), ("E3", "admitted"), ("E3", "retracted"),
    ]  # fmt: skip
    assert [size for _, size in view.growth] == [1, 2, 1]
    assert (view.live, view.version, view.run_state, view.tasks) == (1, 3, "finished", {"done": 2})
    assert (view.agents[ME].admitted, view.agents[ME].rejected) == (2, 1)
    assert [one.what for one in view.troubles] == ["no connection", "fault", "ended", "restart", "ended"]


def test_an_entry_told_twice_counts_once_and_keeps_what_the_second_leaves_out() -> None:
    first = Entered("E1", "fact", "admitted", "quoted", "A gist")
    view = seen(told([(0, ME, Joined()), (1, ME, first), (2, "", Entered("E1", "", "admitted"))]))
    assert len(view.verdicts) == 1
    assert replace(view.entries["E1"], at=0) == replace(view.verdicts[0], at=0)


@pytest.mark.parametrize(
    "what",
    [Holds(task=["T1"]), Spent(input_tokens="many"), RunIs("open", None, {}), Said(None)],  # type: ignore[arg-type]
    ids=lambda what: what.event,
)
def test_values_that_make_no_sense_are_left_out_and_counted(what: Event) -> None:
    view = lived((0, Started("claude", 1, 1)), (1, what))
    view.hear(Line(float("nan"), ME, Joined()))
    assert view.unread == 2
    assert view.agents[ME].state is State.STARTING


# -- the figure ----------------------------------------------------------------------------------


def drawn(view: View) -> Chart:
    found = chart(view)
    assert found is not None
    return found


@given(LIVES)
def test_bars_stay_inside_the_figure_and_next_to_each_other(events: list[tuple[float, Event]]) -> None:
    view = seen(told((after_s, ME, what) for after_s, what in events), facts(ended_at=START + 1001))
    figure = drawn(view)
    bars = figure.lanes[0].bars
    assert all(bar.x >= 0 and bar.x + bar.width <= 100.01 for bar in bars)
    assert all(one.x + one.width == pytest.approx(other.x, abs=0.01) for one, other in pairwise(bars))


@given(st.floats(0.01, 5_000_000))
def test_the_axis_has_a_few_labels_that_differ(length_s: float) -> None:
    lines = told([(0, ME, Started("claude", 1, 1)), (length_s, ME, Joined())])
    labels = [tick.label for tick in drawn(seen(lines)).ticks]
    assert labels[0] == "0"
    assert len(set(labels)) == len(labels) <= 7


def test_a_strip_of_characters_shows_what_took_most_of_each_cell() -> None:
    life = Life()
    for at, activity in [
        (0, Activity.WAITING),
        (2, Activity.WORKING),
        (6, Activity.VERIFYING),
        (9, Activity.GONE),
    ]:
        life.become(activity, at)
    assert strip(life.until(10), 0, 10, 5) == "·██▒▒"
    assert strip(life.until(10), 0, 0, 5) == ""
    assert strip([Span(Activity.WORKING, 4, 6)], 0, 10, 5) == "  █  "


def test_nothing_is_drawn_of_a_team_of_which_nothing_was_heard() -> None:
    nothing: dict[str, Any] = {"started_at": 0.0, "ended_at": 0.0}
    assert chart(View(facts())) is None
    assert chart(View(facts(**nothing))) is None
