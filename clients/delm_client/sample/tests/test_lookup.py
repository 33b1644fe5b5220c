from programs.lookup import lookup, paths

TREE = {"name": "board", "server": {"port": 80, "log": {"level": "info", "file": None}}, "tags": ["a"]}


def test_a_value_at_the_top():
    assert lookup(TREE, "name") == "board"
    assert lookup(TREE, "tags") == ["a"]


def test_a_path_that_leads_nowhere():
    assert lookup(TREE, "nothing") is None
    assert lookup(TREE, "nothing", 7) == 7
    assert lookup({}, "a.b.c", "x") == "x"


def test_a_branch_is_a_value_too():
    assert lookup({"a": {"b": 1}}, "a") == {"b": 1}


def test_a_value_one_level_down():
    assert lookup(TREE, "server.port") == 80


def test_a_value_two_levels_down():
    assert lookup(TREE, "server.log.level", "none") == "info"


def test_none_is_a_value():
    assert lookup(TREE, "server.log.file", "default") is None


def test_a_path_that_ends_on_the_way():
    assert lookup(TREE, "server.log.colour", "grey") == "grey"
    assert lookup(TREE, "name.length", 5) == 5


def test_all_paths():
    assert paths(TREE) == ["name", "server.port", "server.log.level", "server.log.file", "tags"]


def test_every_path_has_its_value():
    tree = {"a": 1, "b": {"c": 2, "d": {"e": 3}}}
    assert [lookup(tree, path) for path in paths(tree)] == [1, 2, 3]
