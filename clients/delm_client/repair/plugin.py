"""The pytest plugin of the test server: waits in the zygote; selects, traces and reports in a child.

`server.py` loads this file by path in the interpreter of the check command: nothing but the standard
library and pytest can be imported here.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

IMPORTS_THE_PROJECT = 77
NOT_SOURCE = re.compile(
    r"(^|/)(tests?/.*|site-packages/.*|test_[^/]*\.py|[^/]*_test\.py|(conftest|setup|noxfile)\.py)$"
)


class Session:
    """One pytest session, with the request of a child; or without one yet, in the zygote."""

    def __init__(self, server: Any, request: dict[str, Any] | None) -> None:
        self.server = server
        self.request = request
        self.outcomes: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self.lines: dict[str, set[tuple[str, int]]] = {}
        self.current = self.lines.setdefault("", set())  # what runs at import
        self.sources: dict[str, str] = {}
        self.trace()

    def trace(self) -> None:
        if self.request is not None and self.request["trace"]:
            threading.settrace(self.enter)
            sys.settrace(self.enter)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(self, early_config: Any) -> Iterator[None]:
        known = early_config.known_args_namespace
        if hasattr(known, "no_cov"):  # pytest-cov would trace what we trace, and write a report
            known.no_cov = True
        yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_cmdline_main(self, config: Any) -> Iterator[None]:
        option = config.option
        option.basetemp = os.path.join(self.server.scratch, "tmp", "pytest")
        option.xmlpath = None
        option.tbstyle = "native"  # nobody reads the tracebacks, and the long style takes longer
        if hasattr(option, "numprocesses"):
            option.numprocesses, option.dist, option.tx = 0, "no", []
        yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_collection(self, session: Any) -> Iterator[None]:
        if self.request is None:
            if imported_sources(self.server.root):
                os._exit(IMPORTS_THE_PROJECT)
            self.server.answer({"ready": "zygote"})
            self.request = self.server.serve()
            self.trace()
        root = str(session.config.rootpath)
        files = dict.fromkeys(os.path.join(root, test.partition("::")[0]) for test in self.request["ids"])
        session.config.args = [file for file in files if os.path.exists(file)]
        session.config.option.maxfail = 1 if self.request["stop_first"] else 0
        yield

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        wanted = self.request["ids"] if self.request else ()
        order = {test: place for place, test in enumerate(wanted)}
        chosen = [item for item in items if str(item.nodeid) in order]
        items[:] = sorted(chosen, key=lambda item: order[str(item.nodeid)])

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        self.current = self.lines.setdefault(str(item.nodeid), set())
        yield

    def pytest_runtest_logreport(self, report: Any) -> None:
        test = str(report.nodeid)
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.places[test] = f"{crash.path}:{crash.lineno}" if crash else ""
            self.outcomes[test] = "failed" if report.when == "call" else "error"
        elif report.skipped:
            self.outcomes[test] = "skipped"
        elif report.when == "call":
            self.outcomes.setdefault(test, "passed")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        if self.request is None:
            return  # the zygote itself ends: an error before the first request
        sys.settrace(None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        message: dict[str, Any] = {"tests": self.outcomes, "places": self.places}
        if self.request["trace"]:
            message["lines"] = {test: by_file(lines) for test, lines in self.lines.items()}
        self.server.report(message)
        os._exit(0)

    def enter(self, frame: Any, event: str, arg: object) -> Any:
        """Trace function: a local tracer for the frames of project sources, none for others."""
        filename = frame.f_code.co_filename
        relative = self.sources.get(filename)
        if relative is None:
            relative = self.sources[filename] = project_source(filename, self.server.root)
        if not relative:
            return None

        def line(frame: Any, event: str, arg: object) -> Any:
            if event == "line":
                self.current.add((relative, frame.f_lineno))
            return line

        self.current.add((relative, frame.f_lineno))
        return line


def by_file(lines: set[tuple[str, int]]) -> dict[str, list[int]]:
    grouped: dict[str, list[int]] = {}
    for file, line in sorted(lines):
        grouped.setdefault(file, []).append(line)
    return grouped


def project_source(filename: str, root: str) -> str:
    """The path inside the project of a source that may be mutated; "" for everything else.

    A file that a link puts into the project is somebody else's.
    """
    if not filename.startswith(root + os.sep) or not filename.endswith(".py"):
        return ""
    relative = filename[len(root) + 1 :].replace(os.sep, "/")
    if NOT_SOURCE.search(relative) or os.path.realpath(filename) != filename:
        return ""
    return relative


def imported_sources(root: str) -> list[str]:
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    return [file for file in files if isinstance(file, str) and project_source(file, root)]
