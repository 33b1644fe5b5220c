"""The calls of a run's trajectories, without their texts."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from delm_client.bench.coding.agent import REFUSED
from delm_client.bench.folder import Folder, safe
from delm_client.bench.limits import Call, Spending
from delm_client.bench.models import SCRIPTED

VERIFYING = ("judge", "verify")
"""Steps that look at somebody else's work."""
ASKED_AGAIN = ("Your reply before was not that JSON object", "That was no action (")
MENDING = ("was refused; mend this:", "proposed for this before was refused:", REFUSED)
"""What prompts say where the reply or the note before did not do; a test ties these words to them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One answered call.

    Attributes:
        item: Its id; the name of its folder where the configuration knows no such item.
        counts: Whether it is of the attempt that gave the item's result; else it was lost.
        end: When the answer was there, in seconds since 1970.
        finish: Why the model stopped, as its server says.
        silent: Whether the reply was empty.
        again: Whether the reply before was not in the form that was asked for.
        mended: Whether it does again what the board refused.
    """

    item: str
    attempt: str
    counts: bool
    agent: str
    step: str
    model: str
    end: float
    finish: str
    silent: bool
    again: bool
    mended: bool
    call: Call

    @property
    def start(self) -> float:
        """When it was asked."""
        return self.end - max(0.0, self.call.latency_s)

    @property
    def verifying(self) -> bool:
        """Whether it looked at somebody else's work."""
        return self.step in VERIFYING

    @property
    def scripted(self) -> bool:
        """Whether no model answered it."""
        return self.model.startswith(SCRIPTED)


def calls_of(folder: Folder, items: Mapping[str, Mapping[str, Any]]) -> list[Asked]:
    """All calls in the order in which they were asked; lines that make no sense are none."""
    ids = {safe(key): key for key in (*folder.config.get("items", ()), *items)}
    found = [
        call
        for place, attempt, line in folder.trajectories()
        for call in _read(ids.get(place, place), attempt, line, items)
    ]
    return sorted(found, key=lambda call: call.start)


def _read(item: str, attempt: str, line: Any, items: Mapping[str, Mapping[str, Any]]) -> Iterator[Asked]:
    try:
        call = Call(**{each.name: line[each.name] for each in fields(Call)})
        prompt, reply = str(line["prompt"]), str(line["reply"])
        yield Asked(
            item=item,
            attempt=attempt,
            counts=str(items[item]["attempt"]) == attempt if item in items else False,
            agent=str(line["agent"]),
            step=str(line["step"]),
            model=str(line["model"]),
            end=datetime.fromisoformat(line["at"]).timestamp(),
            finish=str(line["finish"]),
            silent=not reply.strip(),
            # A transcript keeps what was said at earlier steps; only its end is about the reply before.
            again=any(words in prompt.rpartition("\n--- result\n")[2] for words in ASKED_AGAIN),
            mended=any(words in prompt for words in MENDING),
            call=call,
        )
    except (KeyError, TypeError, ValueError):
        return


def spent(calls: Iterable[Asked]) -> Spending:
    """What they took together."""
    total = Spending()
    for asked in calls:
        total.add(asked.call)
    return total
