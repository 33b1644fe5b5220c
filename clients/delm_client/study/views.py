"""What is shown of each part of a replay: one description for its tables and its plots."""

from delm_client.simulate.views import Column, View
from delm_client.study.sweep import CROWDED, DIVIDED, PARTS

REPLAYED = "replayed"


def _all(measure: str, *topologies: str) -> tuple[Column, ...]:
    return tuple(Column(topology, topology, measure) for topology in topologies)


def _view(
    name: str,
    part: str,
    title: str,
    unit: str,
    columns: tuple[Column, ...],
    *,
    factor: float = 1.0,
    digits: int = 2,
    log_x: bool = False,
) -> View:
    """A view whose heading says that it was replayed."""
    return View(
        name,
        part,
        title,
        unit,
        columns,
        factor=factor,
        digits=digits,
        log_x=log_x,
        says=REPLAYED,
        bottom=PARTS[part].x,
    )


SEARCHED = ("independent", "context", "central", "delm")
WEIGHED = ("independent", "central", "central-async", "delm", "delm-open")
MISTAKEN = ("independent", "delm", "delm-open", "delm-strict")
LOST = ("independent", "central", "delm", "delm-silent")
# Over one agent that needs no board: it runs the suite itself.
SPED = "Speed-up over one agent"
VIEWS = (
    _view(
        "programs-speed-up", "programs", f"{SPED}, a program a task", "times",
        _all("speed_up", *DIVIDED), log_x=True,
    ),
    _view(
        "programs-time", "programs", "Wall time, a program a task", "s",
        _all("makespan_s", *DIVIDED), digits=1,
        log_x=True,
    ),
    _view(
        "programs-tests", "programs", "Tests executed, a program a task", "tests",
        _all("tests", *DIVIDED), digits=0, log_x=True
    ),
    _view(
        "programs-waiting", "programs", "Agents' time spent waiting", "% of their time",
        _all("waiting", *DIVIDED), factor=100, digits=0, log_x=True,
    ),
    _view(
        "programs-repaired", "programs", "Programs repaired, and right by held-out tests", "programs",
        (Column("repaired", "delm", "repaired"), Column("of those, right", "independent", "right")),
        digits=1, log_x=True,
    ),
    _view(
        "programs-saved", "programs", "Tests saved by `fail` entries, a program a task",
        "% of all that would be executed", _all("saved", "delm"), factor=100, digits=1, log_x=True,
    ),
    _view(
        "curve", "curve", "Programs repaired by tests executed", "programs",
        _all("repaired", "independent", "central", "delm"), digits=1,
    ),
    _view(
        "swarm-tests", "swarm", "Tests executed, all on one program", "tests",
        _all("tests", *CROWDED), digits=0, log_x=True,
    ),
    _view(
        "swarm-saved", "swarm", "Tests saved by shared `fail` entries, all on one program",
        "% of all that would be executed",
        _all("saved", "context", "delm"), factor=100, digits=1, log_x=True,
    ),
    _view(
        "swarm-repeated", "swarm", "Edits run that a peer had run", "% of all edits run",
        _all("repeated", *CROWDED), factor=100, digits=0, log_x=True,
    ),
    _view(
        "swarm-speed-up", "swarm", f"{SPED}, all on one program", "times",
        _all("speed_up", *CROWDED), log_x=True,
    ),
    _view(
        "search-faster", "search", "Speed of the search beside independent agents", "times as fast",
        (
            *_all("faster", *SEARCHED),
            Column("delm, repairable only", "delm", "faster_repairable"),
        ),
        log_x=True,
    ),
    _view(
        "search-speed-up", "search", "Speed-up of the search over one agent", "times",
        _all("speed_up", *SEARCHED), log_x=True,
    ),
    _view(
        "search-kills", "search", "Tests that edits take, most deadly test first", "tests",
        (
            Column("delm, as it is", "delm", "tests_fixed"),
            Column("delm, own kills", "delm", "tests_own"),
            Column("delm, shared kills", "delm", "tests_shared"),
        ),
        digits=0, log_x=True,
    ),
    _view("weight", "weight", f"{SPED}, with slower tests", "times", _all("speed_up", *WEIGHED), log_x=True),
    _view(
        "losses-time", "losses", "Wall time over that without a loss", "times", _all("longer", *LOST),
        log_x=True,
    ),
    _view(
        "losses-tests", "losses", "Tests executed more than without a loss", "tests",
        _all("more_tests", "central", "delm", "delm-silent"), digits=0, log_x=True,
    ),
    _view(
        "mistakes-repaired", "mistakes", "Programs truly repaired", "programs",
        _all("repaired", *MISTAKEN), digits=1,
    ),
    _view(
        "mistakes-false", "mistakes", "Programs taken for repaired that are not", "programs",
        _all("false", *MISTAKEN), digits=1,
    ),
    _view(
        "mistakes-tests", "mistakes", "Tests executed by agents that misjudge", "tests",
        _all("tests", *MISTAKEN), digits=0,
    ),
    _view(
        "mistakes-time", "mistakes", "Wall time of agents that misjudge", "s",
        _all("makespan_s", *MISTAKEN), digits=1,
    ),
)  # fmt: skip
