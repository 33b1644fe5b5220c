"""Repair of Python programs without a language model: find one edit that makes failing tests pass.

`resolve` a check command, `run_suite`, group what fails into `targets`, and `search` each of them.
"""

from delm_client.repair.check import Check, resolve
from delm_client.repair.discover import Outcome, Report, Target, regressions, run_suite, targets
from delm_client.repair.errors import CheckError, HarnessError, ProjectError, RepairError
from delm_client.repair.mutations import Family, Mutation
from delm_client.repair.search import (
    Budget,
    Candidate,
    Counts,
    Event,
    Finished,
    Progress,
    Reason,
    Scope,
    ScopeExhausted,
    search,
)

__all__ = [
    "Budget",
    "Candidate",
    "Check",
    "CheckError",
    "Counts",
    "Event",
    "Family",
    "Finished",
    "HarnessError",
    "Mutation",
    "Outcome",
    "Progress",
    "ProjectError",
    "Reason",
    "RepairError",
    "Report",
    "Scope",
    "ScopeExhausted",
    "Target",
    "regressions",
    "resolve",
    "run_suite",
    "search",
    "targets",
]
