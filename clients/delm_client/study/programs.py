"""A project of faulty programs: those of a benchmark with one fault sown into each, or a project as it is.

Faults are drawn from the same families of edits that the search tries. That flatters how many are repaired,
and is why whoever shows the count says so. Families are drawn first, so that common edits do not crowd out
others.
"""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from delm_client.bench.errors import DataError, ExtraMissing
from delm_client.bench.exercises.project import CHECK, GITIGNORE, PYTEST_INI
from delm_client.bench.items import Benchmark, Exercise
from delm_client.bench.registry import load
from delm_client.repair.check import resolve
from delm_client.repair.copies import copy_project
from delm_client.repair.discover import Report, run_suite
from delm_client.repair.harness import End, Harness, Limits
from delm_client.repair.mutations import Family, Mutation, mutant, mutations
from delm_client.repair.source import MODULE, Source
from delm_client.study.errors import StudyError
from delm_client.study.subjects import Subject, subjects

SAMPLE = "sample"
EXERCISES = (Benchmark.HUMANEVAL, Benchmark.MBPP, Benchmark.EXERCISM, Benchmark.QUIXBUGS)
TRIES = 12
"""Faults drawn for a program until one makes a test fail."""
LIMITS = Limits(cpu_s=2.0, wall_s=60.0)
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a study is about; the same wish gives the same programs."""

    name: str
    """`sample`, a benchmark, or the path of a project with failing tests."""
    source: str = ""
    programs: int = 40
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """One program of the project."""

    name: str
    program: str
    test: str
    """The test file that the search sees."""
    edit: str = ""
    """The fault that was sown; empty where the program came with its own."""
    family: str = ""
    held_out: tuple[str, ...] = ()
    """Node ids that grade a repair, in the folder `graded`."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a study: `project` is what agents see, `graded` has the held-out tests."""

    folder: Path

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def graded(self) -> Path:
        return self.folder / "graded"

    @property
    def config(self) -> Path:
        return self.folder / "study.json"


def prepare(wanted: Wanted, place: Place, told: Told) -> dict[str, Fault]:
    """Make the project, or find the one that an earlier study with this wish has made.

    Returns:
        What was sown, by test file; empty for a project as it is.

    Raises:
        StudyError: The folder is another study's, or there is nothing to repair.
        BenchError: The benchmark's data are not there.
    """
    if place.config.is_file():
        return _found(wanted, place)
    if place.folder.exists() and any(place.folder.iterdir()):
        raise StudyError(f"{place.folder} is not empty and no study: pass a new folder with --into.")
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        faults = _made(wanted, place, told)
    except BaseException:
        shutil.rmtree(place.folder, ignore_errors=True)
        raise
    rows = {"wanted": asdict(wanted), "faults": [asdict(fault) for fault in faults]}
    place.config.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return {fault.test: fault for fault in faults}


def _found(wanted: Wanted, place: Place) -> dict[str, Fault]:
    try:
        rows: dict[str, Any] = json.loads(place.config.read_text(encoding="utf-8"))
        earlier = Wanted(**rows["wanted"])
        faults = [Fault(**{**row, "held_out": tuple(row["held_out"])}) for row in rows["faults"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{place.config} is no study's: {error}. Pass a new folder with --into.") from error
    if earlier != wanted:
        raise StudyError(
            f"{place.folder} is a study of {earlier.name} with {earlier.programs} programs and seed "
            f"{earlier.seed}, which is not what you ask for: pass a new folder with --into."
        )
    return {fault.test: fault for fault in faults}


def _made(wanted: Wanted, place: Place, told: Told) -> list[Fault]:
    if wanted.name in set(EXERCISES):
        return _sown(wanted, place, told)
    place.project.mkdir()
    if wanted.name == SAMPLE:
        with resources.as_file(resources.files("delm_client") / "sample") as sample:
            shutil.copytree(
                sample, place.project, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        return []
    folder = Path(wanted.name)
    if not folder.is_dir():
        known = ", ".join((SAMPLE, *EXERCISES))
        raise StudyError(f"{wanted.name} is neither a folder nor one of: {known}.")
    if not any(folder.iterdir()):
        raise StudyError(f"{folder} is empty: give the folder of a Python project with failing tests.")
    if place.folder.resolve().is_relative_to(folder.resolve()):
        raise StudyError(
            f"{place.folder} is inside {folder}, which would be copied into itself: pass another --into."
        )
    copy_project(folder.resolve(), place.project)
    return []


def _sown(wanted: Wanted, place: Place, told: Told) -> list[Fault]:
    """Subjects in an order drawn by the seed, until enough of them have a fault."""
    source = Path(wanted.source) if wanted.source else None
    try:
        items = [item for item in load(wanted.name, source) if isinstance(item, Exercise)]
    except (DataError, ExtraMissing) as error:
        raise StudyError(f"{error} (--source names it.)") from error
    usable = subjects(items)
    chance = random.Random(f"{wanted.seed} programs")  # noqa: S311 - a study must repeat itself
    chance.shuffle(usable)
    for one in usable:
        _write(place.project, {**one.files, **one.tests})
        _write(place.graded, {**one.files, **one.held_out})
    told(f"{len(items)} exercises, {len(usable)} with tests that can be used; sowing faults")
    sower = _Sower(place, chance)
    with sower:
        faults = sower.sow(usable, wanted.programs, told)
    kept = {fault.name for fault in faults}
    for one in usable:
        if one.name not in kept:
            _remove(place, one, usable, kept)
    if not faults:
        raise StudyError(
            f"No program of {wanted.name} can be used: none has tests that pass on its solution."
        )
    return faults


class _Sower:
    """Tries faults until one makes a test fail that passes on the right program."""

    def __init__(self, place: Place, chance: random.Random) -> None:
        self._place = place
        self._chance = chance
        for folder in (place.project, place.graded):
            _write(folder, {"pytest.ini": PYTEST_INI, ".gitignore": GITIGNORE})
        self._check = resolve(CHECK, place.project)
        self._harness = Harness(self._check)

    def __enter__(self) -> None:
        self._harness.start()

    def __exit__(self, *_: object) -> None:
        self._harness.close()

    def sow(self, usable: list[Subject], count: int, told: Told) -> list[Fault]:
        report = run_suite(self._check)
        graded = _tests_of(self._place.graded) if any(one.held_out for one in usable) else None
        faults: list[Fault] = []
        for one in usable:
            if len(faults) == count:
                break
            fault = self._fault(one, report, graded)
            if fault is not None:
                faults.append(fault)
                told(f"{len(faults)} of {count} programs have a fault")
        return faults

    def _fault(self, one: Subject, report: Report, graded: Report | None) -> Fault | None:
        test = next(
            name for name in one.tests if Path(name).name.startswith("test_") or name.endswith("_test.py")
        )
        ids = [name for name in report.outcomes if name.startswith(f"{test}::")]
        failing = [name for name in ids if name in set(report.failing)]
        held: tuple[str, ...] = ()
        if graded is not None and one.held_out:
            held = tuple(name for name in graded.outcomes if name.startswith(f"{next(iter(one.held_out))}::"))
            if not held or set(held) & set(graded.failing):
                return None
        if failing or not ids:
            return None
        sown = self._own(one, ids) if one.faulty else self._sown(one, ids)
        if sown is None:
            return None
        edit, family, text = sown
        for folder in (self._place.project, self._place.graded):
            (folder / one.program).write_bytes(text)
        return Fault(one.name, one.program, test, edit, family, held)

    def _own(self, one: Subject, ids: list[str]) -> tuple[str, str, bytes] | None:
        """The fault that the program comes with, unless its tests never end."""
        text = one.faulty.encode()
        return ("", "", text) if self._fails(one, ids, text) else None

    def _sown(self, one: Subject, ids: list[str]) -> tuple[str, str, bytes] | None:
        """A fault: what it is, its family, and the faulty program."""
        source = Source(one.program, (self._place.project / one.program).read_bytes())
        by_family: dict[Family, list[Mutation]] = {}
        for mutation in mutations(source):
            if mutation.function != MODULE:
                by_family.setdefault(mutation.family, []).append(mutation)
        for _ in range(TRIES if by_family else 0):
            mutation = self._chance.choice(by_family[self._chance.choice(sorted(by_family))])
            edited = mutant(source, mutation)
            if edited is not None and self._fails(one, ids, edited):
                return str(mutation), mutation.family, edited
        return None

    def _fails(self, one: Subject, ids: list[str], text: bytes) -> bool:
        """Whether all tests end with this program, and some fail."""
        run = self._harness.run(ids, file=one.program, source=text, limits=LIMITS)
        return run.end is End.COMPLETED and len(run.tests) == len(ids) and not run.passed(ids)


def _tests_of(folder: Path) -> Report:
    return run_suite(resolve(CHECK, folder))


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _remove(place: Place, one: Subject, usable: list[Subject], kept: set[str]) -> None:
    """What no other subject needs."""
    needed = {
        name
        for other in usable
        if other.name in kept
        for name in (*other.files, *other.tests, *other.held_out)
    }
    for name in {*one.files, *one.tests, *one.held_out} - needed:
        for folder in (place.project, place.graded):
            (folder / name).unlink(missing_ok=True)
