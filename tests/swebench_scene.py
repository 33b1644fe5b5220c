"""Small instances of SWE-bench for tests: a project with faults, in git, with hidden tests and official rows.

They are judged by the local judge for real: the hidden tests run in bubblewrap. Their log is graded by the
official harness where DELM_SWEBENCH_PYTHON names a Python that has it, else by a few lines that stand in for
its parser (`GRADING`), since it takes some 490 MB.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from delm_client.bench.errors import PlugError
from delm_client.bench.items import Instance
from delm_client.bench.reading import Row
from delm_client.bench.swebench import data, sandbox
from delm_client.git import git
from tests.bench_data import instance_row, json_lines

FUNCTIONS = {"add": ("a - b", "a + b"), "times": ("a + b", "a * b"), "less": ("a > b", "a < b")}
"""By name, what is wrong in the project and what would be right."""
SECRET = "hidden-test-of"
EVAL_SCRIPT = """#!/bin/bash
set -uxo pipefail
source /opt/miniconda3/bin/activate
conda activate testbed
cd /testbed
cat > hidden.py <<'EOF_1'
{test}
EOF_1
: '>>>>> Start Test Output'
python hidden.py
: '>>>>> End Test Output'
"""
TEST = """
# {secret}-{name}
import calc
right = [calc.{name}(a, b) == ({right}) for a in range(3) for b in range(3)]
print('PASSED' if all(right) else 'FAILED', 'hidden.py::test_{name}')
print('PASSED' if calc.same(3) == 3 else 'FAILED', 'hidden.py::test_same')
"""
GRADING = """
import pathlib
def make_test_spec(row):
    return row
def get_eval_report(spec, prediction, log, include_tests_status):
    said = dict(line.split()[1::-1] for line in pathlib.Path(log).read_text().splitlines()
                if line.startswith(("PASSED ", "FAILED ")))
    wanted = [*spec["FAIL_TO_PASS"], *spec["PASS_TO_PASS"]]
    right = all(said.get(test) == "PASSED" for test in wanted)
    return {spec["instance_id"]: {"patch_exists": True, "patch_successfully_applied": bool(said),
                                  "resolved": right}}
"""


@dataclass(frozen=True)
class Scene:
    """The project's clones, its rows, and what judges."""

    clones: Path
    rows: tuple[dict[str, Any], ...]
    data: Path
    harness_python: str

    @property
    def instances(self) -> tuple[Instance, ...]:
        return data.parse([Row(row["instance_id"], row) for row in self.rows])

    @property
    def python(self) -> Path:
        return Path(sys.prefix)


def scene(folder: Path, *names: str) -> Scene:
    """Make a clone and one instance for each of FUNCTIONS; a later commit in it holds all fixes."""
    project = folder / "clones" / "owner__project"
    project.mkdir(parents=True)
    git(project, "init", "--quiet", "--initial-branch=main")
    (project / "calc.py").write_text(_calc(0), encoding="utf-8")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "base")
    base = git(project, "rev-parse", "HEAD")
    rows = []
    for name in names or tuple(FUNCTIONS):
        git(project, "checkout", "--quiet", "--", ".")
        wrong, right = FUNCTIONS[name]
        fixed = _calc(0).replace(_function(name, wrong), _function(name, right))
        (project / "calc.py").write_text(fixed, encoding="utf-8")
        rows.append(
            instance_row(
                instance_id=f"owner__project-{name}",
                base_commit=base,
                problem_statement=f"calc.{name}(a, b) is wrong: it should give {right}.",
                patch=git(project, "diff") + "\n",
                test_patch=f"{SECRET}-{name}",
                eval_script=EVAL_SCRIPT.format(test=TEST.format(name=name, right=right, secret=SECRET)),
                log_parser="parse_log_pytest",
                image="",
                FAIL_TO_PASS=[f"hidden.py::test_{name}"],
                PASS_TO_PASS=["hidden.py::test_same"],
            )
        )
    (project / "calc.py").write_text(_calc(1), encoding="utf-8")
    git(project, "commit", "--quiet", "-am", "what came later")
    return Scene(folder / "clones", tuple(rows), json_lines(folder / "data.jsonl", rows), _harness(folder))


def _function(name: str, body: str) -> str:
    return f"def {name}(a, b):\n    return {body}\n"


def _calc(which: int) -> str:
    listed = [_function(name, bodies[which]) for name, bodies in FUNCTIONS.items()]
    return "\n\n".join([*listed, "def same(a):\n    return a\n"])


def _harness(folder: Path) -> str:
    if real := os.environ.get("DELM_SWEBENCH_PYTHON"):
        return real
    package = folder / "stand-in" / "swebench" / "harness"
    package.mkdir(parents=True)
    for name in ("grading", "utils"):
        (package / f"{name}.py").write_text(GRADING, encoding="utf-8")
    return program(
        folder / "harness-python", f'PYTHONPATH={package.parent.parent} exec {sys.executable} "$@"'
    )


def program(path: Path, text: str) -> str:
    """An executable of /bin/sh."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def needs_bubblewrap() -> None:
    """Skips the test where no sandbox can be made."""
    try:
        sandbox.check()
    except PlugError as error:
        pytest.skip(f"bubblewrap does not work here: {error}")
