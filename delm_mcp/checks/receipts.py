"""Receipts of command checks: in-toto statements with the test-result predicate.

Formats: https://github.com/in-toto/attestation, spec/v1/statement.md, spec/v1/resource_descriptor.md and
spec/predicates/test-result.md (v0.1). Its extension rule allows fields of our own with a name that does
not collide; ours are under `delmMcp`, and no standard field depends on them. Unsigned: the board's
chain of hashes protects them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from delm_mcp.checks.commands import CommandSpec, Outcome
from delm_mcp.checks.judging import Judgement

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"

_TAIL_CHARS_MAX = 4_000
# For each list of test names. A receipt stays below 64 KB in UTF-8, whatever the test suite.
_NAMES_CHARS_MAX = 2_000
_PATHS_LISTED_MAX = 20
_NAME_CHARS_MAX = 200


@dataclass(frozen=True)
class Inputs:
    """What a check was about; full object names, empty where there is none.

    `tree` is what the command ran on; `head` and `head_tree` what it was compared with; `commit` the
    patch as its author proposed it; `restored` the paths that protect globs put back.
    """

    tree: str
    head: str = ""
    head_tree: str = ""
    commit: str = ""
    restored: tuple[str, ...] = ()


def command_receipt(
    spec: CommandSpec, outcome: Outcome, judgement: Judgement, inputs: Inputs
) -> dict[str, object]:
    """The statement about one command on one tree, as JSON-ready values.

    `result` is PASSED for a verdict `pass`, WARNED when tests nevertheless fail (they failed before
    as well), and FAILED for everything else: an abstention is not a pass. Lists of tests are cut and
    counted in `delmMcp.counts`; the names in them are the test ids of `junit`.
    """
    tests = outcome.tests or {}
    by_outcome = {
        kind: sorted(test for test, result in tests.items() if result in results)
        for kind, results in (
            ("passed", ("passed",)),
            ("warned", ("skipped",)),
            ("failed", ("failed", "error")),
        )
    }
    result = "FAILED"
    if judgement.verdict == "pass":
        result = "WARNED" if by_outcome["failed"] or outcome.exit_code != 0 else "PASSED"
    return {
        "_type": STATEMENT_TYPE,
        "subject": _subject(inputs),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": result,
            "configuration": [_configuration(spec, outcome)],
            **{f"{kind}Tests": _cut(names) for kind, names in by_outcome.items()},
            "delmMcp": {
                "verdict": judgement.verdict,
                "reason": judgement.reason[:2_000],
                "exitCode": outcome.exit_code,
                "killedReason": outcome.killed_reason,
                "reportProblem": outcome.report_problem[:500],
                "durationS": outcome.duration_s,
                "outputTail": _end(outcome.tail),
                "counts": {kind: len(names) for kind, names in by_outcome.items()},
                "head": inputs.head,
                "headTree": inputs.head_tree,
                "commit": inputs.commit,
                "restored": [_printable(path) for path in inputs.restored[:_PATHS_LISTED_MAX]],
                "restoredCount": len(inputs.restored),
                "notes": [note[:300] for note in outcome.notes[:10]],
            },
        },
    }


def spec_digest(spec: CommandSpec) -> str:
    """sha256 of a command's definition, in lowercase hex."""
    fields = {
        "argv": list(spec.argv),
        "name": spec.name,
        "report": spec.report,
        "timeoutS": spec.timeout_s,
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _subject(inputs: Inputs) -> list[dict[str, object]]:
    subject: list[dict[str, object]] = [{"name": "tree", "digest": {"gitTree": inputs.tree}}]
    if inputs.commit:
        subject.append({"name": "patch", "digest": {"gitCommit": inputs.commit}})
    return subject


def _configuration(spec: CommandSpec, outcome: Outcome) -> dict[str, object]:
    return {
        "name": f"command:{spec.name}",
        "digest": {"sha256": spec_digest(spec)},
        "annotations": {
            "argv": _cut(spec.argv),
            "timeoutS": spec.timeout_s,
            "report": spec.report,
            "sandbox": outcome.sandbox,
        },
    }


def _cut(names: Sequence[str]) -> list[str]:
    """As many names as fit, and at least one: an empty list of failed tests would mean none failed."""
    kept: list[str] = []
    room = _NAMES_CHARS_MAX
    for name in names:
        shown = _printable(name)
        room -= len(shown)
        if kept and room < 0:
            break
        kept.append(shown)
    return kept


def _end(text: str) -> str:
    return text if len(text) <= _TAIL_CHARS_MAX else f"[...]{text[-_TAIL_CHARS_MAX:]}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:_NAME_CHARS_MAX])
