import pytest

from programs.edit_distance import closest, distance


@pytest.mark.parametrize(("source", "target", "steps"), [("", "", 0), ("abc", "", 3), ("", "abcd", 4)])
def test_from_and_to_nothing(source, target, steps):
    assert distance(source, target) == steps


def test_the_only_choice_is_the_closest():
    assert closest("", ["pear", "fig"]) == "fig"


@pytest.mark.parametrize(
    ("source", "target", "steps"),
    [
        ("cat", "cat", 0),
        ("cat", "cut", 1),
        ("cat", "at", 1),
        ("cat", "cats", 1),
        ("kitten", "sitting", 3),
        ("saturday", "sunday", 3),
        ("abc", "xyz", 3),
        ("ab", "ba", 2),
    ],
)
def test_known_distances(source, target, steps):
    assert distance(source, target) == steps
    assert distance(target, source) == steps


def test_the_closest_word():
    assert closest("colour", ["color", "cooler", "collar"]) == "color"
