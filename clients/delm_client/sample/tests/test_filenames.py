import pytest

from programs.filenames import numbered, split_extension


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("notes.txt", ("notes", "txt")),
        ("Makefile", ("Makefile", "")),
        (".profile", (".profile", "")),
        ("", ("", "")),
        ("draft.", ("draft", "")),
    ],
)
def test_names_with_at_most_one_dot(name, parts):
    assert split_extension(name) == parts


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("photo.small.jpg", ("photo.small", "jpg")),
        ("v1.2.3.zip", ("v1.2.3", "zip")),
        (".config.toml", (".config", "toml")),
        ("..", (".", "")),
    ],
)
def test_the_last_dot_begins_the_extension(name, parts):
    assert split_extension(name) == parts


def test_a_free_name_stays():
    assert numbered("notes.txt", {"other.txt"}) == "notes.txt"


def test_a_taken_name_gets_the_next_number():
    taken = {"notes.txt", "notes-2.txt", "Makefile"}
    assert numbered("notes.txt", taken) == "notes-3.txt"
    assert numbered("Makefile", taken) == "Makefile-2"


def test_the_number_stands_before_the_extension():
    assert numbered("photo.small.jpg", {"photo.small.jpg"}) == "photo.small-2.jpg"
