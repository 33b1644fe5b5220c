"""What happens to a team, a sentence for each event worth one: for logs and pipes."""

import signal
import time

from delm_client.team.record import (
    Connected,
    Ended,
    Entered,
    Event,
    Faulted,
    Holds,
    Joined,
    Line,
    Noted,
    RunIs,
    Started,
)
from delm_client.words import shortened

GIST_CHARS = 160
REASON_CHARS = 240


def printable(text: str) -> str:
    """Text of agents for a terminal: one line of printable characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def sentence(line: Line) -> str:
    """A line of the record in words; empty where it is of no note by itself."""
    said = _said(line.agent, line.what)
    return f"{time.strftime('%H:%M:%S', time.localtime(line.at))} {printable(said)}" if said else ""


def _said(agent: str, what: Event) -> str:  # noqa: PLR0911 - one for each kind
    match what:
        case Started():
            again = f", attempt {what.attempt}" if what.attempt > 1 else ""
            return f"{agent} started ({what.harness}, process {what.pid}{again})"
        case Connected():
            return "" if what.ok else f"{agent} could not connect to the board: {what.detail}"
        case Joined():
            return f"{agent} joined the board"
        case Faulted():
            return f"{agent} reports an error: {shortened(what.text, REASON_CHARS)}"
        case Holds():
            return f"{agent} has {what.task} ({what.kind}): {what.subject}" if what.task else ""
        case Ended():
            return _ended(agent, what)
        case Entered():
            return _entered(agent, what)
        case RunIs():
            why = f": {what.reason}" if what.reason else ""
            return f"the run is {what.state}{why}" if what.state != "open" else ""
        case Noted():
            return what.text
        case _:
            return ""


def _ended(agent: str, what: Ended) -> str:
    how = "ended" if what.code == 0 else f"ended with code {what.code}"
    if what.code < 0:
        how = f"was ended by {signal_name(-what.code)}"
    return f"{agent} {how}" + (f": {shortened(what.reason, REASON_CHARS)}" if what.reason else "")


def signal_name(number: int) -> str:
    """What a signal is called, such as `SIGKILL`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _entered(agent: str, what: Entered) -> str:
    gist = shortened(what.gist, GIST_CHARS)
    strength = f" [{what.strength}]" if what.state == "admitted" and what.strength else ""
    why = (
        f", because {shortened(what.reason, REASON_CHARS)}"
        if what.reason and what.state == "rejected"
        else ""
    )
    return f"{what.entry} {what.kind} of {agent} is {what.state}{strength}: {gist}{why}"
