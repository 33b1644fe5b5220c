"""What the repair library raises.

RepairError
├── CheckError     the check command is not pytest, or cannot start
├── ProjectError   the project cannot be tested: no tests, a suite that does not end
└── HarnessError   the test server cannot start, or died and could not be replaced
"""


class RepairError(Exception):
    """Base of all; its text says what is wrong and what would work."""


class CheckError(RepairError):
    """The check command is not one that runs pytest here."""


class ProjectError(RepairError):
    """The project as it stands gives nothing that could be searched."""


class HarnessError(RepairError):
    """The server that runs mutants cannot do its work."""
