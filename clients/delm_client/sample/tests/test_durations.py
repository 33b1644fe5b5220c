import pytest

from programs.durations import clock, seconds


def test_nothing_takes_no_time():
    assert clock(0) == "0:00:00"


def test_as_many_minutes_as_seconds():
    assert clock(61) == "0:01:01"
    assert clock(-122) == "-0:02:02"


@pytest.mark.parametrize(
    ("total", "text"),
    [(59, "0:00:59"), (60, "0:01:00"), (3600, "1:00:00"), (3725, "1:02:05"), (90061, "25:01:01")],
)
def test_hours_minutes_and_seconds(total, text):
    assert clock(total) == text


def test_a_negative_duration():
    assert clock(-3725) == "-1:02:05"


@pytest.mark.parametrize(("text", "total"), [("7", 7), ("2:05", 125), ("1:02:05", 3725), ("0:00:00", 0)])
def test_durations_are_read(text, total):
    assert seconds(text) == total


@pytest.mark.parametrize("total", [1, 599, 3599, 86399])
def test_what_is_written_can_be_read(total):
    assert seconds(clock(total)) == total
