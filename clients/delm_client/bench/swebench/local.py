"""Without docker: an instance's own evaluation script in a bubblewrap sandbox, graded by the harness's own
parser.

The scripts were written for the official images, which `sandbox.py` imitates. There is no network in it: what
a script would install has to be there.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from delm_client.bench.errors import PlugError
from delm_client.bench.items import Instance
from delm_client.bench.swebench import outcomes, sandbox
from delm_client.bench.swebench.checkouts import Checkouts
from delm_client.bench.swebench.outcomes import Judged, Outcome
from delm_client.bench.swebench.predictions import read
from delm_client.git import GitError, git
from delm_client.repair.processes import last_lines, run_bounded

GRADE_S = 300
# As the harness tries them, one after the other.
APPLY = (("apply", "--verbose"), ("apply", "--verbose", "--reject"))
PATCH = ("patch", "--batch", "--fuzz=5", "-p1", "-i")
RUN = ("/bin/bash", "-c", "exec /bin/bash /opt/miniconda3/eval.sh > /out/test_output.txt 2>&1")
# Runs in the interpreter that has `swebench`: grades a log as the harness would, and prints its report.
GRADER = """
import json, sys
from swebench.harness.grading import get_eval_report
from swebench.harness.utils import make_test_spec
row, prediction, log = json.load(sys.stdin)
report = get_eval_report(make_test_spec(row), prediction, log, include_tests_status=True)
json.dump(report, open(sys.argv[1], "w"), indent=4)
"""


@dataclass(frozen=True, slots=True)
class LocalSandbox:
    """Judges one prediction after the other; resumes what is judged already."""

    checkouts: Checkouts
    pythons: Mapping[str, Path]
    """Virtual environments by `owner/name@version`, or by `owner/name` where one does for all."""
    folder: Path
    """Where logs and reports are kept, laid out as the harness does."""
    run_id: str
    harness_python: str = sys.executable
    """The interpreter that has `swebench`, for grading; it needs some 490 MB."""
    timeout_s: float = 1800.0

    def check(self) -> None:
        """Does bubblewrap work, and is the harness installed. Raises PlugError."""
        sandbox.check()
        try:
            found = run_bounded(
                [self.harness_python, "-c", "import swebench.harness.grading"],
                Path.cwd(),
                timeout_s=sandbox.PROBE_S,
            )
        except OSError as error:
            raise PlugError(f"{self.harness_python} cannot be started: {error}") from error
        if found.code != 0:
            raise PlugError(
                f"{self.harness_python} cannot import the harness, whose parsers grade: "
                f"{last_lines(found.output, 1)} Install it in an environment of its own: "
                "`pip install 'swebench>=5,<6'`, and name its python."
            )

    def judge(self, instances: Sequence[Instance], predictions: Path) -> dict[str, Judged]:
        """See `Judge.judge`."""
        self.check()
        made = {prediction.instance_id: prediction for prediction in read(predictions)}
        judged: dict[str, Judged] = {}
        for instance in instances:
            prediction = made.get(instance.id)
            if prediction is None or not prediction.patch.strip():
                continue
            logs = outcomes.log_folder(self.folder, self.run_id, prediction.model) / instance.id
            report = logs / "report.json"
            known = outcomes.read_instance_report(report) if report.is_file() else {}
            if known and known[instance.id].outcome.is_judged:
                judged |= known
                continue
            report.unlink(missing_ok=True)
            logs.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="delm-testbed-") as made_here:
                try:
                    found = self._run(instance, prediction.patch, Path(made_here), logs)
                except (PlugError, GitError) as error:
                    found = Judged(instance.id, Outcome.ENVIRONMENT_BROKE, str(error))
            judged[instance.id] = found or self._graded(instance, prediction.official(), logs)
        return outcomes.complete(instances, made.values(), judged)

    def _run(self, instance: Instance, patch: str, scratch: Path, logs: Path) -> Judged | None:
        """Run the evaluation script on the patched project; None where it ran to its end."""
        python = sandbox.python_for(instance, self.pythons)
        testbed = scratch / "testbed"
        self.checkouts.open(instance, testbed)
        diff = logs / "patch.diff"
        diff.write_text(patch, encoding="utf-8")
        if not _apply(testbed, diff):
            return Judged(instance.id, Outcome.UNRESOLVED, "patch_does_not_apply")
        out = scratch / "out"
        out.mkdir()
        conda = sandbox.conda(scratch / "conda", python)
        (conda / "eval.sh").write_text(instance.eval_script, encoding="utf-8")
        argv = [*sandbox.words(testbed, conda, python, "--bind", str(out), "/out"), *RUN]
        ended = run_bounded(argv, scratch, timeout_s=self.timeout_s)
        if ended.code is None:
            return Judged(instance.id, Outcome.UNRESOLVED, "tests_timed_out")
        said = out / "test_output.txt"
        # What ran could write there, so a link is not followed.
        if said.is_symlink() or not said.is_file():
            raise PlugError(f"The sandbox did not start: {last_lines(ended.output, 2)}")
        shutil.copyfile(said, logs / "test_output.txt")
        return None

    def _graded(self, instance: Instance, prediction: Mapping[str, str], logs: Path) -> Judged:
        row = {
            "instance_id": instance.id,
            "image": instance.image,
            "eval_script": instance.eval_script,
            "repo": instance.repo,
            "version": instance.version,
            "FAIL_TO_PASS": instance.fail_to_pass,
            "PASS_TO_PASS": instance.pass_to_pass,
            "log_parser": instance.log_parser,
            "eval_type": instance.eval_type or "pass_and_fail",
        }
        given = logs / "grade.json"
        given.write_text(json.dumps([row, prediction, str(logs / "test_output.txt")]), encoding="utf-8")
        report = logs / "report.json"
        # Through a shell only for its redirection: the names are arguments.
        argv = ["/bin/sh", "-c", 'exec "$1" -c "$2" "$3" < "$4"', "grade"]
        argv += [self.harness_python, GRADER, str(report.resolve()), str(given.resolve())]
        ended = run_bounded(argv, logs, timeout_s=GRADE_S)
        if not report.is_file():
            return Judged(
                instance.id, Outcome.ENVIRONMENT_BROKE, f"cannot be graded: {last_lines(ended.output, 2)}"
            )
        return outcomes.read_instance_report(report)[instance.id]


def _apply(testbed: Path, diff: Path) -> bool:
    """Apply a patch with what the harness tries, each on a clean tree."""
    path = str(diff.resolve())
    for words in APPLY:
        try:
            git(testbed, *words, path)
        except GitError:
            git(testbed, "checkout", "--", ".")
            git(testbed, "clean", "-fdq")
        else:
            return True
    return (
        bool(shutil.which("patch"))
        and run_bounded([*PATCH, path], testbed, timeout_s=sandbox.PROBE_S).code == 0
    )
