"""Read a JUnit XML report that untrusted code has written.

Straight on the expat parser: a report has no use for a document type, and without one there are no
entities to expand and nothing external to load, so the first `<!DOCTYPE` ends the reading.
"""

import hashlib
import os
import stat
from pathlib import Path
from xml.parsers import expat

from delm_mcp.domain.text import fenced

REPORT_BYTES_MAX = 32 * 1024 * 1024
TESTS_MAX = 100_000
_ID_CHARS_MAX = 400

# The worst of several results for one test counts: pytest reports a test that passed and whose
# teardown failed as two.
_RANK = {"passed": 0, "skipped": 1, "error": 2, "failed": 3}
_ELEMENT_OUTCOME = {"failure": "failed", "error": "error", "skipped": "skipped"}


class BadReport(ValueError):
    """Not a JUnit report, or one that is too large. Its text says what is wrong."""


def read_report(path: Path) -> dict[str, str]:
    """The results in a report file: test id -> `passed`, `failed`, `error` or `skipped`.

    Raises:
        BadReport: There is no such plain file, or see `parse_report`.
    """
    try:
        # Neither a link to a file of ours nor a pipe that never answers.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadReport(f"no report was written ({error.strerror})") from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadReport("the report is not a plain file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(REPORT_BYTES_MAX + 1)
    finally:
        os.close(handle)
    return parse_report(data)


def parse_report(data: bytes) -> dict[str, str]:
    """The results in a report: test id (`classname::name`) -> outcome.

    Raises:
        BadReport: It is not well-formed, declares a document type, has no `testsuite`, or exceeds
            `REPORT_BYTES_MAX` or `TESTS_MAX`.
    """
    if len(data) > REPORT_BYTES_MAX:
        raise BadReport(f"the report has more than {REPORT_BYTES_MAX} bytes")
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, BadReport):
            raise
        raise BadReport(f"the report is not well-formed XML: {error}") from error
    return reader.outcomes


class _Reader:
    """Collects outcomes while expat walks through the report."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self._depth = 0
        self._test: str | None = None
        self._outcome = "passed"

    def doctype(self, *_: object) -> None:
        raise BadReport("the report declares a document type")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and name not in ("testsuites", "testsuite"):
            raise BadReport(f"the report begins with {fenced(name[:40])}, not <testsuites>")
        if name == "testcase":
            group, test = attributes.get("classname", ""), attributes.get("name", "")
            self._test = _test_id(f"{group}::{test}" if group else test)
            self._outcome = "passed"
        elif self._test is not None and name in _ELEMENT_OUTCOME:
            self._outcome = max(self._outcome, _ELEMENT_OUTCOME[name], key=_RANK.__getitem__)

    def end(self, name: str) -> None:
        self._depth -= 1
        if name == "testcase" and self._test is not None:
            known = self.outcomes.get(self._test, "passed")
            self.outcomes[self._test] = max(known, self._outcome, key=_RANK.__getitem__)
            self._test = None
            if len(self.outcomes) > TESTS_MAX:
                raise BadReport(f"the report has more than {TESTS_MAX} tests")


def _test_id(test: str) -> str:
    """One printable line; ids end up in what agents read."""
    test = "".join(c if c.isprintable() else "\ufffd" for c in test)
    if len(test) <= _ID_CHARS_MAX:
        return test
    # The end tells parameters apart, so a cut alone would make several tests one.
    digest = hashlib.sha256(test.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{test[: _ID_CHARS_MAX - 17]}~{digest}"
