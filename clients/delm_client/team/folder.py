"""What is kept of a team: its folder `.delm/teams/<run>`, and who is at work in it.

`events.jsonl` grows by whole lines; the other files are replaced as a whole. So whenever the launcher is
killed, what is there can be read, but for at most one torn last line.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO

import psutil

from delm_client.team.record import Commit, Event, Line, Noted, TeamFacts, line_of
from delm_client.team.wish import TeamError, Wish, wish_of

START_SLACK_S = 1.0
LOOKS, LOOK_S = 5, 0.05


@dataclass(frozen=True, slots=True)
class Folder:
    """Where everything of a team is."""

    root: Path

    @property
    def run(self) -> str:
        """The team's run."""
        return self.root.name

    @property
    def events(self) -> Path:
        """The record, one JSON object a line."""
        return self.root / "events.jsonl"

    def worktree(self, label: str) -> Path:
        """Where an agent works."""
        return self.root / label

    def home(self, label: str) -> Path:
        """Configuration that only this agent reads."""
        return self.root / "homes" / label

    def log(self, label: str, stream: str = "log") -> Path:
        """What an agent printed: `log` has its errors, `out` the rest."""
        return self.root / "logs" / f"{label}.{stream}"

    def make(self) -> bool:
        """Make the folder, readable by its user only; git ignores everything below `.delm`.

        Returns:
            False where another launcher has just made it.

        Raises:
            TeamError: It cannot be made.
        """
        try:
            home = self.root.parent.parent
            home.mkdir(exist_ok=True)
            ignore = home / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
            self.root.parent.mkdir(exist_ok=True)
            try:
                self.root.mkdir(mode=0o700)
            except FileExistsError:
                return False
            for name in ("logs", "homes"):
                (self.root / name).mkdir(mode=0o700)
        except OSError as error:
            raise TeamError(
                f"{error.filename or self.root} cannot be written: {error.strerror}. The board and the "
                "team's worktrees are kept in .delm in the main worktree: make it writable, or free some "
                "space."
            ) from error
        return True

    # -- whole files -------------------------------------------------------------------------------

    def _write(self, name: str, value: Any) -> None:
        path = self.root / name
        beside = path.with_suffix(".new")
        try:
            with beside.open("w", encoding="utf-8") as file:
                json.dump(value, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            raise TeamError(f"{path} cannot be written: {error.strerror}.") from error

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.root / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TeamError(
                f"{self.root / name} cannot be read, so nothing is known of the team {self.run}: {error}."
            ) from error

    def write_facts(self, facts: TeamFacts) -> None:
        """Replace `team.json`. Raises: TeamError: The disk is full, for example."""
        self._write("team.json", asdict(facts))

    def facts(self) -> TeamFacts:
        """What is known of the team. Raises: TeamError: Nothing that can be read."""
        row = self._read("team.json")
        known = {one.name for one in fields(TeamFacts)}
        try:
            given = {name: value for name, value in row.items() if name in known}
            commits = tuple(Commit(**commit) for commit in given.pop("commits", ()))
            return TeamFacts(**given, commits=commits)
        except (TypeError, AttributeError) as error:
            raise TeamError(f"{self.root / 'team.json'} is of another version: {error}.") from error

    def write_wish(self, wish: Wish) -> None:
        """Replace what `resume` starts from."""
        self._write("wish.json", wish.as_json())

    def wish(self) -> Wish:
        """What the user asked for at first."""
        try:
            return wish_of(self._read("wish.json"))
        except (KeyError, TypeError, ValueError) as error:
            raise TeamError(f"{self.root / 'wish.json'} is of another version: {error}.") from error

    # -- processes ---------------------------------------------------------------------------------

    def write_processes(self, pids: Mapping[str, int]) -> None:
        """Note which processes are ours, so that they can be ended should we be killed."""
        rows = {}
        for name, pid in pids.items():
            with suppress(psutil.Error):
                rows[name] = {"pid": pid, "started": psutil.Process(pid).create_time()}
        self._write("processes.json", rows)

    def processes(self) -> dict[str, psutil.Process]:
        """The noted processes that are still the same ones."""
        if not (self.root / "processes.json").exists():
            return {}
        found = {name: _alive(row) for name, row in dict(self._read("processes.json")).items()}
        return {name: process for name, process in found.items() if process is not None}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only launcher of the team.

        Raises:
            TeamError: There is another one.
        """
        with (self.root / "lock").open("a+", encoding="utf-8") as file:
            if not _locks(file):
                raise TeamError(
                    f"The team {self.run} is under way already. Watch it: delm-run attach {self.run}; "
                    f"end it: delm-run stop {self.run}."
                )
            file.truncate(0)
            me = psutil.Process()
            json.dump({"pid": me.pid, "started": me.create_time()}, file)
            file.flush()
            yield

    def launcher(self) -> psutil.Process | None:
        """The launcher of the team if it is alive; never a process that came after it."""
        try:
            with (self.root / "lock").open(encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError:
                    return _alive(json.load(file))
        except (OSError, ValueError):
            pass
        return None


def _locks(file: TextIO) -> bool:
    """Take the lock; whoever only looks whether it is taken holds it for a moment."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(LOOK_S)
        else:
            return True
    return False


def _alive(row: Mapping[str, Any]) -> psutil.Process | None:
    try:
        process = psutil.Process(int(row["pid"]))
        same = abs(process.create_time() - float(row["started"])) < START_SLACK_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, KeyError, TypeError, ValueError):
        return None


def teams(main: Path) -> list[Folder]:
    """The teams of a repository, the newest last."""
    found = [Folder(path.parent) for path in (main / ".delm" / "teams").glob("*/team.json")]
    return sorted(found, key=_started_at)


def _started_at(folder: Folder) -> float:
    """One team whose facts are damaged keeps no other from its work."""
    try:
        return folder.facts().started_at
    except TeamError:
        return 0.0


def choose(main: Path, run: str, *, prefer: Callable[[Folder], bool] = lambda _: True) -> Folder:
    """The team that a command means.

    Args:
        run: Its run; empty where it needs no name.
        prefer: Which of several is meant when just one fits.

    Raises:
        TeamError: There is none, or several are possible.
    """
    found = teams(main)
    if not found:
        raise TeamError(f'No team was launched in {main} yet: delm-run team "GOAL" --agents claude:2.')
    if run:
        named = next((folder for folder in found if folder.run == run), None)
        if named is None:
            raise TeamError(f"There is no team {run!r}. There are: {', '.join(f.run for f in found)}.")
        return named
    fitting = [folder for folder in found if _started_at(folder) and prefer(folder)]
    if len(fitting or found) > 1:
        why = "Say which team is meant" if fitting else "No team is one for this now; name one if you mean it"
        raise TeamError(f"{why}: {', '.join(folder.run for folder in fitting or found)}.")
    return (fitting or found)[0]


# -- the record ------------------------------------------------------------------------------------


def read_lines(path: Path, offset: int = 0) -> tuple[list[Line], int]:
    """The whole lines of a record from a byte on, and where the next one begins.

    What is torn, or of an unknown kind, is left out.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            text = file.read()
    except FileNotFoundError:
        return [], offset
    whole = text[: text.rfind(b"\n") + 1]
    lines = []
    for raw in whole.splitlines():
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            line = line_of(json.loads(raw))
            if line is not None:
                lines.append(line)
    return lines, offset + len(whole)


@dataclass
class Record:
    """What happens to a team: kept in its folder, and told to whoever listens."""

    path: Path
    listeners: list[Callable[[Line], None]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    earlier: int = 0
    """How many of the lines are from before this launcher."""
    _file: TextIO | None = None
    _broken: bool = False

    def open(self) -> None:
        """Go on with the record that is there; a torn last line is ended, so that it harms no other."""
        there = self.path.is_file()
        self.lines = read_lines(self.path)[0] if there else []
        self.earlier = len(self.lines)
        torn = there and not _ends_whole(self.path)
        self._file = self.path.open("a", encoding="utf-8", buffering=1)
        if torn:
            self._file.write("\n")

    def close(self) -> None:
        """Write what is left and close."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def tell(self, what: Event, agent: str = "") -> None:
        """Something happened, now."""
        line = Line(time.time(), agent, what)
        self.lines.append(line)
        for listener in self.listeners:
            listener(line)
        if self._file is None or self._broken:
            return
        try:
            self._file.write(json.dumps(line.as_json()) + "\n")
        except OSError as error:
            # The team goes on: what counts is on the board and in git. It is said once.
            self._broken = True
            self.tell(Noted(f"{self.path} cannot be written any more ({error.strerror}); the team goes on."))


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return True
        file.seek(size - 1)
        return file.read(1) == b"\n"
