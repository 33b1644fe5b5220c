"""Small samples that the tests of the benchmarks make, and where the real data are, if they are."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
GIVEN = os.environ.get("DELM_SHARED_DATA")
# Beside the repository, or beside the folder that its worktrees are in.
PLACES = [Path(GIVEN)] if GIVEN else [ROOT.parent / "shared/data", ROOT.parent.parent / "shared/data"]


def real(name: str) -> Path:
    """A file of the real data; skips the test where it is not there."""
    for place in PLACES:
        if (place / name).is_file():
            return place / name
    pytest.skip(f"real data: no {name}; set DELM_SHARED_DATA")


def question_row(**changed: Any) -> dict[str, Any]:
    """A row of LongBench-v2's schema."""
    return {
        "_id": "q1",
        "domain": "Multi-Document QA",
        "sub_domain": "Legal",
        "difficulty": "easy",
        "length": "short",
        "question": "Which ship sailed first?",
        "choice_A": "Argo",
        "choice_B": "Beagle",
        "choice_C": "Calypso",
        "choice_D": "Discovery",
        "answer": "B",
        "context": "The Beagle sailed on a Monday.\n\nThe Calypso sailed on a Tuesday.",
        **changed,
    }


def instance_row(**changed: Any) -> dict[str, Any]:
    """A row of SWE-bench's schema, with test lists as JSON within text."""
    return {
        "repo": "owner/project",
        "instance_id": "owner__project-1",
        "base_commit": "a" * 40,
        "patch": "diff --git a/x b/x\n",
        "test_patch": "",
        "problem_statement": "It is wrong.",
        "hints_text": "a hint",
        "created_at": "2026-01-01T00:00:00Z",
        "version": "1.0",
        "FAIL_TO_PASS": '["tests/test_x.py::test_new"]',
        "PASS_TO_PASS": "[]",
        "environment_setup_commit": "b" * 40,
        "difficulty": "<15 min fix",
        **changed,
    }


def json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
