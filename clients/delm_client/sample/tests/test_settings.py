from programs.settings import parse


def test_an_empty_text_sets_nothing():
    assert parse("") == {}


def test_comments_and_blank_lines_say_nothing():
    assert parse("# colour = red\n\n   \n  # more\n") == {}


def test_yes_is_a_value_like_any():
    assert parse("quiet = yes") == {"quiet": "yes"}


def test_a_name_and_its_value():
    assert parse("colour = red") == {"colour": "red"}


def test_a_name_alone_is_switched_on():
    assert parse("verbose\nfast") == {"verbose": "yes", "fast": "yes"}


def test_blanks_around_names_and_values_do_not_matter():
    assert parse("  colour=red  \nsize   =   very large") == {"colour": "red", "size": "very large"}


def test_a_value_may_be_empty_or_have_signs_in_it():
    assert parse("prefix =\nformula = a = b # c") == {"prefix": "", "formula": "a = b # c"}


def test_the_last_line_counts():
    assert parse("colour = red\ncolour = blue\nfast = no\nfast") == {"colour": "blue", "fast": "yes"}
