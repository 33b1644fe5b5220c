"""Small instances of SWE-bench for tests: a project with faults, in git, with hidden tests and official rows.

They are judged by the local judge for real: the hidden tests run in bubblewrap. Their log is graded by the
official harness where DELM_SWEBENCH_PYTHON names a Python that has it, else by a few lines that stand in for
its parser (`GRADING`), since it takes some 490 MB.
"""

import os
import shutil
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
LATER = "what came later"
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
    git(project, "commit", "--quiet", "-am", LATER)
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


# Stands in for docker, which does not run here: its "image" is a clone, and its commands run in no container.
DOCKER = """
import os, pathlib, shutil, subprocess, sys
here = pathlib.Path(__file__).parent
with (here / "asked.txt").open("a") as file:
    file.write(" ".join(sys.argv[1:4]) + "\\n")
if sys.argv[1] != "run": sys.exit(0)
argv = sys.argv[2:]
assert argv[argv.index("--network") + 1] == "none", argv
mounted = argv[argv.index("--volume") + 1].split(":")[0]
at = argv.index("/bin/bash")
if argv[at - 1] != "swebench/sweb.eval.x86_64.owner_1776_project-add:latest": sys.exit(125)
testbed = here / f"testbed-{os.getpid()}"
shutil.copytree(here / "image", testbed)
places = {"/testbed": testbed, "/delm": mounted, "/opt/miniconda3": here / "conda"}
words = argv[at:]
for place, real in places.items():
    words[2] = words[2].replace(place, str(real))
sys.exit(subprocess.run(words, cwd="/", env={**os.environ, "HOME": str(here)}).returncode)
"""


def stand_in(folder: Path, image: Path) -> str:
    """A `docker` whose image is that clone."""
    folder.mkdir()
    shutil.copytree(image, folder / "image")
    git(folder / "image", "checkout", "--quiet", "--detach", "HEAD~1")  # the base; later commits are in it
    (folder / "conda" / "bin").mkdir(parents=True)
    (folder / "conda" / "bin" / "activate").write_text("conda() { true; }\n")
    (folder / "docker.py").write_text(DOCKER)
    return program(folder / "docker", f'exec {sys.executable} {folder / "docker.py"} "$@"')


# Stands in for the harness where it needs docker: leaves a report on the run as 5.0.2 does, on one whose
# environment broke as long as there is a file `broken`.
EVALUATION = """
import json, pathlib, sys
if "-c" in sys.argv: sys.exit(0)
here = pathlib.Path(__file__).parent
value = {name: sys.argv[sys.argv.index(name) + 1] for name in sys.argv if name.startswith("--")}
ids = sys.argv[sys.argv.index("--instance_ids") + 1:]
preds = {each["instance_id"]: each for each in map(json.loads, open(value["--predictions_path"]))}
broken = [name for name in ids if (here / "broken").exists()]
right = [name for name in ids if name not in broken and "+    return a + b" in preds[name]["model_patch"]]
report = dict(resolved_ids=right, error_ids=broken, incomplete_ids=[], empty_patch_ids=[],
              unresolved_ids=[name for name in ids if name not in broken + right])
model = preds[ids[0]]["model_name_or_path"]
pathlib.Path(value["--report_dir"], f"{model}.{value['--run_id']}.json").write_text(json.dumps(report))
"""


def harness_stand_in(folder: Path) -> str:
    """A Python in whose place the harness answers, whatever it is asked to run."""
    folder.mkdir()
    (folder / "evaluation.py").write_text(EVALUATION)
    return program(folder / "python", f'exec {sys.executable} {folder / "evaluation.py"} "$@"')
